/**
 * The bad inputs of issue 5 by name, each with what must become of it: a reason, or the record that leaves.
 *
 * They hold for a pipeline that groups records and for one that does not: the record's id, subject and grouped values are
 * those of HEAD, and the case says what stands between them.
 */

/** Members that every case has, and what becomes of them; the second is that of a lane that groups. */
export const HEAD = '"id":"x","age":41,"zip":"10115"';

export interface BadInput {
  readonly name: string;
  /** Whole record; null is a tombstone. */
  readonly record: string | Uint8Array | null;
  /** A reason, or the members that leave after those of HEAD, as they are written. */
  readonly becomes: string | { readonly members: string };
}

const record = (members: string): string => `{${HEAD}${members === "" ? "" : `,${members}`}}`;
const leaves = (members: string) => ({ members });

function inName(bytes: readonly number[]): Buffer {
  return Buffer.concat([Buffer.from(`{${HEAD},"n`), Buffer.from(bytes), Buffer.from('":1}')]);
}

function inValue(bytes: readonly number[]): Buffer {
  const open = Buffer.from(`{${HEAD},"name":"Leonard`);
  return Buffer.concat([open, Buffer.from(bytes), Buffer.from('"}')]);
}

const NOT_UTF8: Readonly<Record<string, readonly number[]>> = {
  "a continuation byte alone": [0x80],
  "an overlong form of two bytes": [0xc0, 0xaf],
  "an overlong form of three bytes": [0xe0, 0x80, 0xaf],
  "an overlong form of four bytes": [0xf0, 0x80, 0x80, 0xaf],
  "an encoded high surrogate": [0xed, 0xa0, 0x80],
  "an encoded surrogate pair (CESU-8)": [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
  "a code point above U+10FFFF": [0xf4, 0x90, 0x80, 0x80],
  "a lead byte that does not exist": [0xf5, 0x80, 0x80, 0x80],
  "the byte ff": [0xff],
  "a sequence that is cut off by a quote": [0xe2, 0x82],
  "Latin-1": [0xe9],
};
const SURROGATES: Readonly<Record<string, string>> = {
  "high alone": "\\ud800",
  "low alone": "\\uDC00",
  "two high ones": "\\ud83d\\ud83d",
  "the wrong way round": "\\ude00\\ud83d",
  "parted by a letter": "\\ud83dx\\ude00",
};
const NO_NUMBERS = [
  "NaN",
  "Infinity",
  "-Infinity",
  "+1",
  "01",
  ".5",
  "1.",
  "1e",
  "0x1F",
  "-",
  "1_000",
];

const ESCAPES: readonly BadInput[] = [
  {
    name: "keys and values in escapes",
    record:
      '{"\\u0069d":"x","\\u0061ge":41,"zi\\u0070":"10115","n\\u0061m\\u0065":"L\\u0065onard","\\u0065mail":null}',
    becomes: leaves('"name":"L******","email":null'),
  },
  {
    name: "a value of surrogate pairs in escapes is masked by characters",
    record: record('"name":"\\ud83d\\ude00\\uD83D\\uDE01\\u00e9"'),
    becomes: leaves('"name":"😀**"'),
  },
  {
    name: "an escaped name inside an object that is rebuilt",
    record: record('"address":{"c\\u0069ty":"Berlin","street":"never leaves"}'),
    becomes: leaves('"address":{"city":"Ber"}'),
  },
  {
    name: "an escape that JSON does not have",
    record: record('"name":"\\x41"'),
    becomes: "not-json",
  },
  { name: "an escape that is cut off", record: record('"name":"\\u00e"'), becomes: "not-json" },
  { name: "a bare control character", record: record('"name":"a\tb"'), becomes: "not-json" },
];

const DUPLICATES: readonly BadInput[] = [
  ["a key twice", '"name":"a","name":"b"'],
  ["a key twice, once in escapes", '"name":"a","n\\u0061me":"b"'],
  ["a key twice, both in escapes", '"\\u006eame":"a","nam\\u0065":"b"'],
  ["a key without rule twice", '"secret":"a","secret":"b"'],
  ["the id twice", '"id":"y"'],
  ["a grouped field twice", '"age":41'],
  ["an object twice", '"address":{"city":"Berlin"},"address":{}'],
  ["a key twice inside an object", '"address":{"city":"Berlin","cit\\u0079":"Bern"}'],
  ["a key twice inside an array's element", '"items":[{"iban":"a"},{"iban":"b","iban":"c"}]'],
].map(([name = "", members = ""]) => ({
  ...{ name, record: record(members), becomes: "duplicate-field" },
}));

const NUMBERS: readonly BadInput[] = [
  ...NO_NUMBERS.map((text) => ({
    ...{ name: `${text} is no number`, record: record(`"points":${text}`), becomes: "not-json" },
  })),
  {
    name: "a kept number beyond double leaves as it is spelled",
    record: record('"points":123456789012345678901234567890.10e400'),
    becomes: leaves('"points":123456789012345678901234567890.10e400'),
  },
  {
    name: "a number beyond double for a range",
    record: record('"income":1e400'),
    becomes: "wrong-type",
  },
  {
    name: "a number with an exponent beyond any integer",
    record: record('"income":-1e99999999999999999999'),
    becomes: "wrong-type",
  },
  {
    name: "a number that is nearly nothing",
    record: record('"income":1e-99999999999999999999'),
    becomes: leaves('"income":"0-9999"'),
  },
  {
    name: "more digits than a double has are rounded down, not up",
    record: record('"income":9999.99999999999999999999'),
    becomes: leaves('"income":"0-9999"'),
  },
];

const DEEP = (levels: number, open = "[", close = "]"): string =>
  `${open.repeat(levels)}1${close.repeat(levels)}`;
const SIZES: readonly BadInput[] = [
  {
    name: "64 levels with the record itself",
    record: record(`"points":${DEEP(63)}`),
    becomes: leaves(`"points":${DEEP(63)}`),
  },
  { name: "65 levels", record: record(`"points":${DEEP(64)}`), becomes: "too-large" },
  {
    name: "65 levels in what never leaves",
    record: record(`"secret":${DEEP(64, '{"a":', "}")}`),
    becomes: "too-large",
  },
  { name: "100,000 open brackets", record: "[".repeat(100_000), becomes: "too-large" },
  {
    name: "a string of 1 MB under a pseudonym",
    record: record(`"email":"${"x".repeat(1_000_000)}"`),
    becomes: leaves('"email":PSEUDONYM'),
  },
  {
    name: "a string of 1 MB that is dropped",
    record: record(`"secret":"${"é".repeat(500_000)}"`),
    becomes: leaves(""),
  },
  {
    name: "a string of 1 MB that would leave masked, larger than a topic takes",
    record: record(`"name":"${"x".repeat(1_000_000)}"`),
    becomes: "too-large",
  },
  {
    name: "a record over the pipeline's limit",
    record: record(`"secret":"${"x".repeat(1_100_000)}"`),
    becomes: "too-large",
  },
  {
    name: "50,000 fields that the schema does not know",
    record: record(Array.from({ length: 50_000 }, (_, i) => `"f${i}":${i}`).join(",")),
    becomes: "unknown-field",
  },
];

const SHAPES: readonly BadInput[] = [
  { name: "a tombstone", record: null, becomes: "tombstone" },
  { name: "no bytes", record: "", becomes: "not-json" },
  { name: "whitespace alone", record: " \n\t\r", becomes: "not-json" },
  { name: "a byte order mark", record: `\ufeff${record("")}`, becomes: "not-json" },
  { name: "UTF-16", record: Buffer.from(`\ufeff${record("")}`, "utf16le"), becomes: "not-utf8" },
  { name: "a byte behind it", record: `${record("")}\0`, becomes: "not-json" },
  { name: "another record behind it", record: `${record("")}${record("")}`, becomes: "not-json" },
  { name: "a cut", record: record('"name":"Leon').slice(0, -1), becomes: "not-json" },
  { name: "an array", record: `[${record("")}]`, becomes: "wrong-type" },
  { name: "a string", record: JSON.stringify(record("")), becomes: "wrong-type" },
  { name: "null", record: "null", becomes: "wrong-type" },
  { name: "an empty object", record: "{}", becomes: "record-id" },
  { name: "an object as a name", record: record('"name":{"first":"L"}'), becomes: "wrong-type" },
  {
    name: "whitespace everywhere",
    record: `\r\n{ \t"id" :"x",\n"age": 41 , "zip"\t:"10115" ,"name" : "Leo"\n} `,
    becomes: leaves('"name":"L**"'),
  },
];

export const BAD_INPUTS: readonly BadInput[] = [
  ...ESCAPES,
  ...DUPLICATES,
  ...Object.entries(NOT_UTF8).flatMap(([name, bytes]) => [
    { name: `not UTF-8 in a value: ${name}`, record: inValue(bytes), becomes: "not-utf8" },
    { name: `not UTF-8 in a name: ${name}`, record: inName(bytes), becomes: "not-utf8" },
  ]),
  ...Object.entries(SURROGATES).flatMap(([name, half]) => [
    ...[`"name":"${half}"`, `"secret":[{"a":"${half}"}]`, `"${half}":1`].map((members, i) => ({
      name: `half a surrogate pair, ${name}, ${["in a value", "in what is dropped", "in a name"][i]}`,
      ...{ record: record(members), becomes: "not-utf8" },
    })),
  ]),
  ...NUMBERS,
  ...SIZES,
  ...SHAPES,
];
