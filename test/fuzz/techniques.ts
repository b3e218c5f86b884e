/**
 * What each rule makes of one text, for the fuzz: written from plugins/desensitize/README.md, with node:crypto,
 * @noble/ciphers, BigInt and RegExp. Must not share code with the guest or with what writes its configuration.
 */
import { hash } from "node:crypto";
import { FF1 } from "@noble/ciphers/ff1.js";
import type {
  DesensitizeRule,
  DigestForm,
  Generalization,
} from "../../pipeline/spec/pipeline-spec.ts";
import { detectSlowly } from "../plugins/desensitize/detect-reference.ts";
import { KEYS } from "../plugins/desensitize/guest.ts";
import type { Action } from "../plugins/desensitize/one-rule.ts";
import { masked } from "../plugins/desensitize/reference.ts";

type ActionOf<A extends DesensitizeRule["action"]> = Extract<Action, { readonly action: A }>;

/** The rule does not take the text. */
export const REFUSED = Symbol("refused");
/** The reference cannot say: the record is compared between builds only. */
export const UNSURE = Symbol("unsure");
export type Made = string | typeof REFUSED | typeof UNSURE;

const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const LIMIT = 10n ** 15n;
/** Digits before the point from which on a number is past the limit, whatever they are. */
const MOST_DIGITS = 16;
const FF1_LONGEST = 128;
const FF1_FEWEST = 1_000_000;
/** Texts up to this length are searched by the slow matcher, whose time is quadratic. */
const SEARCHED_MAX = 300;

function secret(env: string): Buffer {
  const key = KEYS[env];
  if (key === undefined) throw new Error(`no key ${env}`);
  return key;
}

const pads = new Map<Buffer, readonly [inner: Buffer, outer: Buffer]>();
const BLOCK_BYTES = 64;

/** HMAC-SHA-256 (RFC 2104) by two hashes: half the time of createHmac, which makes a key each time. */
export function hmac(key: Buffer, message: Buffer): Buffer {
  const padded = Buffer.alloc(BLOCK_BYTES);
  padded.set(key.length > BLOCK_BYTES ? hash("sha256", key, "buffer") : key);
  const known = pads.get(key) ?? [
    padded.map((byte) => byte ^ 0x36),
    padded.map((byte) => byte ^ 0x5c),
  ];
  pads.set(key, [Buffer.from(known[0]), Buffer.from(known[1])]);
  const inner = hash("sha256", Buffer.concat([known[0], message]), "buffer");
  return hash("sha256", Buffer.concat([known[1], inner]), "buffer");
}

const derivedKeys = new Map<string, Buffer>();

/** The key that picks, fakes or noise are made with. */
export function derived(env: string, use: "pick" | "fake" | "perturb"): Buffer {
  const name = `${env} ${use}`;
  const label = Buffer.from(`sealstream desensitize ${use} v1`);
  const key = derivedKeys.get(name) ?? hmac(secret(env), label);
  derivedKeys.set(name, key);
  return key;
}

/** The words of a stream: HMAC of the seed and 0, 1, ... */
export function wordStream(key: Buffer, seed: Buffer): () => number {
  const message = Buffer.concat([seed, Buffer.alloc(4)]);
  let bytes = Buffer.alloc(0);
  let at = 0;
  let block = 0;
  return () => {
    if (at === bytes.length) {
      message.writeUInt32BE(block++, 32);
      bytes = hmac(key, message) as Buffer<ArrayBuffer>;
      at = 0;
    }
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
}

function faked(env: string, text: string): string {
  const key = derived(env, "fake");
  const word = wordStream(key, hmac(key, Buffer.from(text)));
  let out = "";
  for (const one of text) {
    if (/[0-9]/.test(one)) out += String(word() % 10);
    else if (/[A-Z]/.test(one)) out += String.fromCharCode(65 + (word() % 26));
    else if (/[a-z]|[^\0-\x7f]/u.test(one)) out += String.fromCharCode(97 + (word() % 26));
    else out += one;
  }
  return out;
}

function inForm(digest: Buffer, form: DigestForm | undefined): string {
  const { encoding, bits } = form ?? { encoding: "hex", bits: 256 };
  return digest.subarray(0, bits / 8).toString(encoding);
}

function pseudonym({ key, keyId, form }: ActionOf<"pseudonymize">, text: string): string {
  const digest = hmac(secret(key.env), Buffer.from(text));
  return `${keyId === undefined ? "" : `${keyId}:`}${inForm(digest, form)}`;
}

/** The number rounded down, exactly; null when it is none or of 10^15 and more. */
export function floorOf(text: string): bigint | null {
  if (!NUMBER.test(text)) return null;
  const [mantissa = "", exponent = "0"] = text.toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.replace("-", "").split(".");
  const digits = `${whole}${fraction}`;
  const significant = digits.replace(/^0+/, "");
  if (significant === "") return 0n;
  // Digits of the value before its point; of an exponent of 300 digits only the size matters.
  const shift = BigInt(exponent) + BigInt(whole.length - (digits.length - significant.length));
  if (shift > BigInt(MOST_DIGITS)) return null;
  const before = shift < 0n ? 0 : Number(shift);
  const magnitude = BigInt(significant.slice(0, before).padEnd(before, "0") || "0");
  const hasFraction = /[1-9]/.test(significant.slice(before));
  const isNegative = text.startsWith("-");
  const value = isNegative ? -magnitude - (hasFraction ? 1n : 0n) : magnitude;
  return value >= LIMIT || value <= -LIMIT ? null : value;
}

function toWidth(width: number, text: string): Made {
  const value = floorOf(text);
  if (value === null) return REFUSED;
  const wide = BigInt(width);
  const rest = ((value % wide) + wide) % wide;
  const low = value - rest;
  return low < 0n ? `${low} to ${low + wide - 1n}` : `${low}-${low + wide - 1n}`;
}

function toBounds(bounds: readonly number[], text: string): Made {
  if (!NUMBER.test(text)) return REFUSED;
  const past = text.startsWith("-") ? -LIMIT : LIMIT;
  const value = floorOf(text) ?? past;
  const above = bounds.filter((bound) => value >= BigInt(bound));
  const low = above.at(-1);
  const next = bounds[above.length];
  if (low === undefined) return `<${next}`;
  if (next === undefined) return `${low}+`;
  if (low < 0) return `${low} to ${next - 1}`;
  return low === next - 1 ? `${low}` : `${low}-${next - 1}`;
}

const DATE =
  /^(\d{4})-(\d\d)-(\d\d)(?:T(?:[01]\d|2[0-3]):[0-5]\d(?::(?:[0-5]\d|60)(?:[.,]\d+)?)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?)?$/;

function toDate(part: "month" | "year" | "decade", text: string): Made {
  const match = DATE.exec(text);
  if (match === null) return REFUSED;
  const [year, month, day] = match.slice(1).map(Number) as [number, number, number];
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year, month - 1, day);
  if (month < 1 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return REFUSED;
  if (part === "month") return text.slice(0, 7);
  return part === "year" ? text.slice(0, 4) : `${text.slice(0, 3)}0s`;
}

function generalized(to: Generalization, text: string): Made {
  if ("width" in to) return toWidth(to.width, text);
  if ("bounds" in to) return toBounds(to.bounds, text);
  if ("date" in to) return toDate(to.date, text);
  if ("prefix" in to) {
    const points = [...text];
    return points.length > to.prefix ? points.slice(0, to.prefix).join("") : REFUSED;
  }
  return to.table.find(([value]) => value === text)?.[1] ?? to.unknown ?? REFUSED;
}

function picked({ key, from }: ActionOf<"pick">, text: string): string {
  const digest = hmac(derived(key.env, "pick"), Buffer.from(text));
  return from[Number(digest.readBigUInt64BE() % BigInt(from.length))] ?? "";
}

const ciphers = new Map<string, ReturnType<typeof FF1>>();

function encrypted({ key, alphabet, tweak }: ActionOf<"fpe">, text: string): Made {
  const numerals = [...text].map((one) => alphabet.indexOf(one));
  if (numerals.includes(-1) || numerals.length > FF1_LONGEST) return REFUSED;
  if (alphabet.length ** numerals.length < FF1_FEWEST) return REFUSED;
  const name = JSON.stringify([key.env, alphabet, tweak]);
  const cipher = ciphers.get(name) ?? FF1(alphabet.length, secret(key.env), Buffer.from(tweak));
  ciphers.set(name, cipher);
  return cipher
    .encrypt(numerals)
    .map((one) => alphabet[one])
    .join("");
}

function redacted({ detectors, replacement }: ActionOf<"redact">, text: string): Made {
  if (text.length > SEARCHED_MAX) return /^(?:~*|é*)$/.test(text) ? text : UNSURE;
  const bytes = Buffer.from(text);
  const names = [
    ...BUILT_IN_ORDER.filter((type) => detectors.includes(type)),
    ...detectors.flatMap((one) => (typeof one === "string" ? [] : [one.name])),
  ];
  let out = "";
  let at = 0;
  for (const { start, end, type } of detectSlowly(text, detectors)) {
    const found = bytes.toString("utf8", start, end);
    out += bytes.toString("utf8", at, start);
    out +=
      replacement.kind === "mask"
        ? replacement.with.repeat([...found].length)
        : replacement.with.replaceAll("{type}", (names[type] ?? "").toUpperCase());
    at = end;
  }
  return out + bytes.toString("utf8", at);
}

/** The order in which the README numbers built-in types. */
const BUILT_IN_ORDER = [
  ...["cn-id", "de-tax-id", "iban", "card", "ssn", "date", "ip", "mac", "url", "email", "phone"],
] as const;

/** What a rule makes of the text of a string or number. Not for rules that have no text of their own. */
export function makeText(action: Action, text: string): Made {
  switch (action.action) {
    case "mask":
      return masked(text, action.keepFirst, action.keepLast, action.with);
    case "pseudonymize":
      return pseudonym(action, text);
    case "hash":
      return inForm(hash("sha256", text, "buffer"), action.form);
    case "generalize":
      return generalized(action.to, text);
    case "pick":
      return picked(action, text);
    case "fake":
      return faked(action.key.env, text);
    case "fpe":
      return encrypted(action, text);
    case "redact":
      return redacted(action, text);
    default:
      throw new Error(`no text comes of ${action.action}`);
  }
}
