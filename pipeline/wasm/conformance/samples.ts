/**
 * Rows that the conformance suite hands to a plugin of which it knows nothing. Made up; every one of them is lawful.
 */
const utf8 = new TextEncoder();

/** Things that records are made of: JSON, `name=value`, lines of text; short and long, plain and not. */
const TEXTS: readonly string[] = [
  '{"id":"a1","name":"Ada","age":36}',
  '{"id":"a2","email":"Ada@Example.org","note":"call \\"early\\""}',
  '{"id":"a3","tags":["x","y"],"nested":{"deep":[1,2,{"er":null}]}}',
  '  { "id" : "a4" , "ok" : true }  ',
  '{"id":"ä5","emoji":"😀","escaped":"\\u00e9"}',
  "{}",
  "[1,2,3]",
  "null",
  "42",
  "id=b1;name=Grace;age=85;email=Grace@Example.org",
  "id=b2; note = two words ;",
  "id,name,age",
  "b3,Katherine,101",
  "a plain line of text",
  "Ünïcödé – text, 文字, عربى",
  "# a comment",
  " ",
  "x",
  "\t\r\n",
  '"',
  "\\",
  "",
  "0123456789abcdef".repeat(4),
  `{"id":"a6","text":"${"lorem ipsum ".repeat(40)}"}`,
];

/** Bytes that are not UTF-8: a lead without its rest, a rest alone, overlong, a surrogate, above U+10FFFF. */
export const NOT_UTF8: readonly Uint8Array[] = [
  [0xc3],
  [0x80],
  [0x61, 0xff, 0x62],
  [0xc0, 0x80],
  [0xe0, 0x80, 0x80],
  [0xed, 0xa0, 0x80],
  [0xf5, 0x80, 0x80, 0x80],
  [0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xe2, 0x82, 0x22, 0x7d],
].map((bytes) => Uint8Array.from(bytes));

const KIB = 1024;
const LARGE_BYTES = [64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 300 * KIB];

/** The rows that are always tried, and behind them the user's. */
export function sampleRows(given: readonly Uint8Array[]): readonly Uint8Array[] {
  return [...TEXTS.map((text) => utf8.encode(text)), ...given];
}

/** Values around and far above a WebAssembly page: a run of one letter, a JSON text, a `name=value`. */
export function largeRows(): readonly Uint8Array[] {
  return LARGE_BYTES.flatMap((bytes) => [
    new Uint8Array(bytes).fill(0x78),
    utf8.encode(`{"id":"l","text":"${"y".repeat(bytes)}"}`),
    utf8.encode(`id=l;text=${"z".repeat(bytes)}`),
  ]);
}
