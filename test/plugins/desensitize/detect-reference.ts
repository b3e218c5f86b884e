/**
 * A slow matcher to compare the detectors with: RegExp on every start and end, checks written a second time.
 *
 * Works on characters, not bytes, and shares nothing with the compiler or the guest but the patterns themselves.
 */
import {
  BUILTIN_SHAPES,
  BUILTIN_TYPES,
  type Shape,
} from "../../../pipeline/stages/desensitize/detect/builtin.ts";
import type { Detector } from "../../../pipeline/stages/desensitize/detect/compile.ts";

interface Span {
  readonly start: number;
  readonly end: number;
  readonly type: number;
}

const WORD = /[0-9A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u04ff]/;
const digitsOf = (text: string) => text.replaceAll(/\D/g, "");

function luhn(text: string): boolean {
  const digits = digitsOf(text);
  const sum = [...digits].reverse().reduce((total, digit, i) => {
    const doubled = Number(digit) * 2;
    return total + (i % 2 === 0 ? Number(digit) : doubled > 9 ? doubled - 9 : doubled);
  }, 0);
  return digits.length >= 12 && digits.length <= 19 && sum % 10 === 0;
}

/** The countries that the fuzz knows; all of them are checked against python-stdnum elsewhere. */
const IBAN_LENGTHS: Readonly<Record<string, number>> = {
  DE: 22,
  GB: 22,
  FR: 27,
  NO: 15,
  ES: 24,
  IT: 27,
};

function iban(text: string): boolean {
  const plain = text.replaceAll(/[^0-9A-Za-z]/g, "").toUpperCase();
  const numeric = `${plain.slice(4)}${plain.slice(0, 4)}`.replaceAll(/[A-Z]/g, (letter) =>
    String(letter.charCodeAt(0) - 55),
  );
  return IBAN_LENGTHS[plain.slice(0, 2)] === plain.length && BigInt(numeric) % 97n === 1n;
}

function ssn(text: string): boolean {
  return /^(?!000|666|9)...[-. ](?!00)..[-. ](?!0000)/.test(text);
}

/** Node's own parser of addresses, by way of URL. */
function ipv6(text: string): boolean {
  return /\d/.test(text) && URL.canParse(`http://[${text}]/`);
}

function isDay(year: number, month: number, day: number): boolean {
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year < 100 ? year + 1900 : year, month - 1, day);
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day && month >= 1;
}

function numbersOf(text: string): [number, number, number] {
  const [a = 0, b = 0, c = 0] = (text.match(/\d+/g) ?? []).map(Number);
  return [a, b, c];
}

function deTaxId(text: string): boolean {
  const digits = digitsOf(text);
  const counts = Object.values(Object.groupBy(digits.slice(0, 10), (digit) => digit));
  const repeated = counts.filter((same) => (same?.length ?? 0) > 1);
  if (repeated.length !== 1 || (repeated[0]?.length ?? 0) > 3) return false;
  if (/(.)\1\1/.test(digits.slice(0, 10))) return false;
  let product = 10;
  for (const digit of digits.slice(0, 10))
    product = (((Number(digit) + product) % 10 || 10) * 2) % 11;
  return (11 - product) % 10 === Number(digits[10]);
}

function cnId(text: string): boolean {
  if (!/^(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|91)/.test(text)) return false;
  const [year, month, day] = [text.slice(6, 10), text.slice(10, 12), text.slice(12, 14)].map(
    Number,
  );
  if (year! < 1800 || year! > 2099 || !isDay(year!, month!, day!)) return false;
  const sum = [...text].reduce(
    (total, digit, i) => total + (/x/i.test(digit) ? 10 : Number(digit)) * (2 ** (17 - i) % 11),
    0,
  );
  return sum % 11 === 1;
}

function isBalanced(text: string): boolean {
  let open = 0;
  for (const sign of text.replaceAll(/[^()]/g, "")) {
    open += sign === "(" ? 1 : -1;
    if (open < 0) return false;
  }
  return open === 0;
}

/** What counts of a number: without its extension. */
function withoutExtension(text: string): string {
  return text.replace(/[,x#e].*$/, "");
}

const NATIONAL: Readonly<Record<string, readonly [number, number]>> = {
  "31": [9, 9],
  "33": [9, 9],
  "34": [9, 9],
  "39": [6, 11],
  "44": [9, 10],
  "49": [5, 13],
  "55": [10, 11],
  "86": [10, 11],
  "91": [10, 10],
};

function phoneInternational(text: string): boolean {
  const number = withoutExtension(text.replace(/^(?:\+|00)/, ""));
  const digits = digitsOf(number);
  if (!isBalanced(number) || number.split("/").length > 2) return false;
  if (/^\+\d+$/.test(text)) return digits.length >= 7 && digits.length <= 15;
  if (digits.startsWith("1")) return digits.length === 11;
  const code = digits.slice(0, 2);
  const [least, most] = NATIONAL[code] ?? [5, 13];
  const fits = (length: number) => length >= least && length <= most;
  const hasTrunk = (digits[2] === "0" && code !== "39") || number.includes("(0)");
  return fits(digits.length - 2) || (hasTrunk && fits(digits.length - 3));
}

function phoneTrunk(text: string): boolean {
  const { length } = digitsOf(text);
  const signs = text.replaceAll(/[^.\-/ ]/g, "");
  const count = (sign: string) => signs.split(sign).length - 1;
  if (!isBalanced(text) || count("/") > 1) return false;
  if (length === 8)
    return count("-") === 1 && count(" ") > 0 && count("-") + count(" ") === signs.length;
  if (length < 9 || length > (/[(.\-/ ]/.test(text) ? 13 : 12)) return false;
  if (count(".") > 0 && count(".") < signs.length) return false;
  return count("-") < 2 || count("-") === signs.length;
}

const CHECKS: Readonly<Record<NonNullable<Shape["validator"]>, (text: string) => boolean>> = {
  none: () => true,
  card: luhn,
  iban,
  ssn,
  ipv6,
  dateYearFirst: (text) => isDay(...numbersOf(text)),
  dateDayFirst: (text) => isDay(numbersOf(text)[2], numbersOf(text)[1], numbersOf(text)[0]),
  dateSlashes: (text) => {
    const [a, b, year] = numbersOf(text);
    return isDay(year, b, a) || isDay(year, a, b);
  },
  deTaxId,
  cnId,
  phoneInternational,
  phoneTrunk,
};

function isJoined(text: string, start: number, end: number, joiners: readonly string[]): boolean {
  return joiners.some((joiner) => {
    const beyond = joiner === ":" ? /[0-9a-fA-F]/ : /[0-9]/;
    const before = text[start - 1] === joiner && beyond.test(text[start - 2] ?? "");
    return before || (text[end] === joiner && beyond.test(text[end + 1] ?? ""));
  });
}

/** Detections of one pattern, from left to right, the longest at each start. Positions in UTF-16 units. */
function findAll(text: string, shape: Shape, type: number): Span[] {
  const flags = shape.ignoreCase === true ? "iu" : "u";
  const whole = new RegExp(`^(?:${shape.pattern})$`, flags);
  const begins = new RegExp(`(?:${shape.pattern})`, `${flags}y`);
  const check = CHECKS[shape.validator ?? "none"];
  const isGood = (start: number, end: number) =>
    !WORD.test(text[end] ?? "") &&
    !isJoined(text, start, end, shape.joiners ?? []) &&
    whole.test(text.slice(start, end)) &&
    check(text.slice(start, end));
  const spans: Span[] = [];
  for (let start = 0; start < text.length; start++) {
    begins.lastIndex = start;
    if (WORD.test(text[start - 1] ?? "") || !begins.test(text)) continue;
    for (let end = text.length; end > start; end--) {
      if (!isGood(start, end)) continue;
      spans.push({ start, end, type });
      start = end - 1;
      break;
    }
  }
  return spans;
}

/** Overlapping spans as one, named by the first, then the longest, then the first type. */
function unite(spans: readonly Span[]): Span[] {
  const order = spans.toSorted((a, b) => a.start - b.start || b.end - a.end || a.type - b.type);
  const united: { start: number; end: number; type: number }[] = [];
  for (const span of order) {
    const last = united.at(-1);
    if (last !== undefined && span.start < last.end) last.end = Math.max(last.end, span.end);
    else united.push({ ...span });
  }
  return united;
}

/** Detections of a text, positions in bytes. */
export function detectSlowly(text: string, detectors: readonly Detector[]): Span[] {
  const builtin = BUILTIN_TYPES.filter((type) => detectors.includes(type));
  const users = detectors.filter((one) => typeof one !== "string");
  const shapes: (readonly Shape[])[] = [
    ...builtin.map((type) => BUILTIN_SHAPES[type]),
    ...users.map((user) => [user]),
  ];
  const spans = shapes.flatMap((alike, type) =>
    alike.flatMap((shape) => findAll(text, shape, type)),
  );
  const bytesTo = (at: number) => Buffer.byteLength(text.slice(0, at));
  return unite(spans).map(({ start, end, type }) => ({
    start: bytesTo(start),
    end: bytesTo(end),
    type,
  }));
}
