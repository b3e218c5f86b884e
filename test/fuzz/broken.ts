/**
 * Ways to break a document, one for each kind of bad input: bytes that are no UTF-8, half surrogate pairs, what other
 * readers of JSON take, nesting, cuts, and what stands before or behind.
 */
import type { Random } from "../plugins/desensitize/random.ts";

/** Every class of bytes that RFC 3629 excludes, and bytes that are fine. */
const SEQUENCES = [
  ...[
    [0x80],
    [0xbf],
    [0xc0, 0xaf],
    [0xc1, 0xbf],
    [0xe0, 0x80, 0xaf],
    [0xe0, 0x9f, 0xbf],
    [0xf0, 0x80, 0x80, 0xaf],
  ],
  ...[
    [0xf0, 0x8f, 0xbf, 0xbf],
    [0xed, 0xa0, 0x80],
    [0xed, 0xbf, 0xbf],
    [0xf4, 0x90, 0x80, 0x80],
    [0xf5, 0x80, 0x80, 0x80],
  ],
  ...[
    [0xff],
    [0xfe],
    [0xe2, 0x82],
    [0xf0, 0x9f, 0x98],
    [0xc3],
    [0xe2, 0x28, 0xa1],
    [0xf8, 0x88, 0x80, 0x80, 0x80],
  ],
  ...[
    [0xc2, 0x80],
    [0xdf, 0xbf],
    [0xe0, 0xa0, 0x80],
    [0xed, 0x9f, 0xbf],
    [0xee, 0x80, 0x80],
    [0xf0, 0x90, 0x80, 0x80],
    [0xf4, 0x8f, 0xbf, 0xbf],
  ],
].map((bytes) => Buffer.from(bytes));
const ESCAPES = [
  ...[
    "\\ud800",
    "\\udc00",
    "\\uDBFF\\ud800",
    "\\ud83d\\u0041",
    "\\udfff\\ud800",
    "\\ud83d\\ude00",
    "\\u0000",
    "\\u00",
    "\\x41",
  ],
  ...[
    "\\",
    "\\u12g4",
    "\\U0041",
    "\\0",
    "\\'",
    "\n",
    "\t",
    "\u0000",
    "\u001f",
    "\u007f",
    "\\ud83d\\",
    "\\ud83d\\u",
    "\\ud83dx",
  ],
];
const VALUES = [
  ...[
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    "01",
    ".5",
    "1.",
    "1e",
    "0x10",
    "1_000",
    "undefined",
    "True",
    "nul",
    "'x'",
    "/**/1",
  ],
  ...[
    "-",
    "--1",
    "1e+",
    "1E400",
    "-0",
    "[1,]",
    "{,}",
    "[,1]",
    '{"a"}',
    "[1 2]",
    '"',
    "[",
    "{",
    "]",
    "}",
    "1e99999999999999999999",
  ],
];
const BEFORE = [
  "\ufeff",
  "\u0000",
  " ",
  "\u00a0",
  "//\n",
  "x",
  ")]}'\n",
  "\u2028",
  "\v",
  "\f",
  "[",
  "{}",
];
const BEHIND = [
  "\u0000",
  " x",
  "{}",
  ",",
  "}",
  "]",
  "\ufeff",
  "\n\n",
  "#",
  "\u001a",
  "\u00a0",
  "null",
  '"',
];
const LEVELS = [1, 2, 10, 58, 59, 60, 61, 62, 63, 64, 65, 66, 100, 1000];

/** Where a byte stands in a document; one of its occurrences, or its end. */
function placeOf(bytes: Buffer, sign: string, random: Random): number {
  const from = random.int(bytes.length + 1);
  const at = bytes.indexOf(sign, from);
  if (at !== -1) return at + 1;
  const first = bytes.indexOf(sign);
  return first === -1 ? bytes.length : first + 1;
}

function insert(bytes: Buffer, at: number, what: Buffer | string): Buffer {
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(what as string), bytes.subarray(at)]);
}

/** Some value in the place of another, or before it. */
function otherValue(bytes: Buffer, what: string, random: Random): Buffer {
  const at = placeOf(bytes, ":", random);
  const ends = [",", "}"].map((sign) => bytes.indexOf(sign, at)).filter((end) => end !== -1);
  const end = random.chance(0.8) ? Math.min(...ends, bytes.length) : at;
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(what), bytes.subarray(end)]);
}

function nested(random: Random): string {
  const levels = random.pick(LEVELS);
  const closes = random.chance(0.9);
  const mixed = Array.from({ length: levels }, () => random.chance(0.5));
  const isArray = (level: number): boolean => mixed[level] ?? true;
  const opening = mixed.map((_, level) => (isArray(level) ? "[" : '{"a":')).join("");
  const closing = mixed.map((_, level) => (isArray(levels - 1 - level) ? "]" : "}")).join("");
  return `${opening}${random.pick(["1", '""', "[]", "{}"])}${closes ? closing : ""}`;
}

/** A copy that is broken in one way, or only odd. */
export function breakDocument(bytes: Buffer, random: Random): Buffer {
  switch (random.int(9)) {
    case 0:
      return bytes.subarray(0, random.int(bytes.length + 1));
    case 1: {
      const copy = Buffer.from(bytes);
      copy[random.int(copy.length)] = random.int(256);
      return copy;
    }
    case 2:
      return insert(bytes, random.int(bytes.length + 1), random.pick(SEQUENCES));
    case 3:
      return insert(bytes, placeOf(bytes, '"', random), random.pick(SEQUENCES));
    case 4:
      return insert(bytes, placeOf(bytes, '"', random), random.pick(ESCAPES));
    case 5:
      return otherValue(bytes, random.pick(VALUES), random);
    case 6:
      return insert(bytes, 0, random.pick(BEFORE));
    case 7:
      return insert(bytes, bytes.length, random.pick(BEHIND));
    default:
      return random.chance(0.1)
        ? Buffer.from(nested(random))
        : otherValue(bytes, nested(random), random);
  }
}
