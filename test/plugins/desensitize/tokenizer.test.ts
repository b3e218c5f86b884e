/**
 * The plugin's JSON reader against the engine's: it must accept exactly what JSON.parse and a strict TextDecoder
 * accept, but for lone surrogates, which no UTF-8 text can hold.
 */
import { describe, expect, test } from "vitest";
import { type Answer, BUILDS, createGuest } from "./guest.ts";
import { mutate, space, stringText, valueText } from "./json-text.ts";
import { createRandom, type Random } from "./random.ts";

const BATCHES = 40;
const BATCH_RECORDS = 500;

const OPEN_SCHEMA = {
  type: "object",
  properties: { id: {}, kept: {} },
  additionalProperties: true,
};
const OPEN = {
  id: "id",
  schema: OPEN_SCHEMA,
  rules: [
    { field: "id", action: "keep" },
    { field: "kept", action: "keep" },
  ],
} as const;

/** Whether any string in a parsed value, names included, has half a surrogate pair. */
function hasLoneSurrogate(value: unknown): boolean {
  if (typeof value === "string") return !value.isWellFormed();
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(([name, one]) => !name.isWellFormed() || hasLoneSurrogate(one));
}

/** What the plugin must say about these bytes, as far as it is about UTF-8 and JSON. */
function judge(
  bytes: Uint8Array,
): "not-utf8" | "not-json" | "lone-surrogate" | { parsed: unknown } {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return "not-utf8";
  }
  try {
    const parsed: unknown = JSON.parse(text);
    return hasLoneSurrogate(parsed) ? "lone-surrogate" : { parsed };
  } catch {
    return "not-json";
  }
}

/** Holds an answer against what the engine makes of the same bytes. */
function check(bytes: Uint8Array, answer: Answer, about: string): void {
  const wanted = judge(bytes);
  if (wanted === "not-utf8" || wanted === "not-json") {
    expect(answer, about).toBe(wanted);
  } else if (wanted === "lone-surrogate") {
    expect(answer, about).toBe("not-utf8");
  } else if (typeof answer === "string") {
    // JSON, but not fine: refused for its fields, or for a surrogate under a name that came twice.
    const others = ["duplicate-field", "record-id", "wrong-type", "not-utf8"];
    expect(others, about).toContain(answer);
  } else {
    const { id, kept } = wanted.parsed as Record<string, unknown>;
    const expected = Object.entries({ id, kept }).filter(([, value]) => value !== undefined);
    expect(JSON.parse(answer.value), about).toEqual(Object.fromEntries(expected));
    if (typeof id === "string") expect(answer.key, about).toBe(id);
  }
}

function randomRecord(random: Random): Buffer {
  const kept = valueText(random, 4);
  const others = random.chance(0.5) ? `,${stringText(random)}:${valueText(random, 3)}` : "";
  const members = `"id":"x"${space(random)},"kept":${kept}${others}`;
  const bytes = Buffer.from(`${space(random)}{${members}}${space(random)}`);
  return random.chance(0.6) ? mutate(bytes, random) : bytes;
}

describe.each(BUILDS)("%s", (build) => {
  const guest = createGuest(build, OPEN);

  test("fuzz: accepts and refuses what JSON.parse and TextDecoder do, and keeps what it keeps", () => {
    const random = createRandom();
    const seen = new Map<string, number>();
    for (let batch = 0; batch < BATCHES; batch++) {
      const records = Array.from({ length: BATCH_RECORDS }, () => randomRecord(random));
      const answers = guest(records);
      records.forEach((bytes, i) => {
        const answer = answers[i]!;
        const kind = typeof answer === "string" ? answer : "ok";
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
        const text = JSON.stringify(bytes.toString("latin1"));
        check(bytes, answer, `seed ${random.seed}, record ${text}`);
      });
    }
    // The fuzz is worth something only if every answer comes up often.
    for (const answer of ["ok", "not-json", "not-utf8"]) {
      expect(seen.get(answer) ?? 0, `seed ${random.seed}`).toBeGreaterThan(100);
    }
  });

  test("every prefix of a record is refused, also with the next record right behind it", () => {
    const record = Buffer.from(
      '{"id":"a\\u00e9","kept":[1,-2.5e+3,{"b\\n":null,"c":[true,false,"€"]},""]}',
    );
    const prefixes = Array.from({ length: record.length }, (_, length) =>
      record.subarray(0, length),
    );
    const answers = guest([...prefixes, record]);
    answers.slice(0, -1).forEach((answer, length) => {
      const cut = judge(prefixes[length]!);
      expect(answer, `first ${length} bytes`).toBe(cut);
    });
    expect(answers.at(-1)).toMatchObject({ key: "aé" });
  });

  test("a record cut in two at any byte is two records, each judged by its own bytes only", () => {
    const text = '{"id":"é€😀\\u00e9\\ud83d\\ude00","kept":[-1.5e+3,true,null,{"😀\\n":"€"}]}';
    const record = Buffer.from(text);
    const halves = Array.from({ length: record.length - 1 }, (_, i) => [
      record.subarray(0, i + 1),
      record.subarray(i + 1),
    ]).flat();
    expect(guest(halves)).toEqual(halves.map((half) => judge(half)));
  });

  test.each([
    "",
    " ",
    "{",
    "}",
    "{}}",
    "{}{}",
    "{} x",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    "{,}",
    '{"a":1 "b":2}',
    "{a:1}",
    "{'a':1}",
    '{"a":01}',
    '{"a":+1}',
    '{"a":.5}',
    '{"a":1.}',
    '{"a":1e}',
    '{"a":1e+}',
    '{"a":-}',
    '{"a":0x1}',
    '{"a":NaN}',
    '{"a":Infinity}',
    '{"a":True}',
    '{"a":nul}',
    '{"a":nulll}',
    '{"a":truee}',
    '{"a":falsey}',
    '{"a":1a}',
    '{"a":"\t"}',
    '{"a":"\\x"}',
    '{"a":"\\u12g4"}',
    '{"a":"\\u123"}',
    '{"a":"\\',
    '{"a":"\\"}',
    '{"a":[1,]}',
    '{"a":[1 2]}',
    '{"a":[}',
    '{"a":{]}',
    '{"a":[1}',
    '{"a":{"b":1]}',
    '{"a":{"b"}}',
    '{"a":{1:2}}',
    '{"a":/**/1}',
    '\ufeff{"id":"x"}',
    '{"a":1}\0',
    '\0{"a":1}',
    '{"a":\u00a01}',
    "[",
    "[1,",
    '"',
    "tru",
    "-",
    "[1]]",
    "1 2",
  ])("not JSON: %j", (text) => {
    expect(() => JSON.parse(text)).toThrow();
    expect(guest([text])).toEqual(["not-json"]);
  });

  test.each(["[]", "[1]", "1", "-0.5e1", '"x"', "true", "null", ' [ {"id":"x"} ] '])(
    "JSON, but not an object: %j",
    (text) => {
      expect(guest([text])).toEqual(["wrong-type"]);
    },
  );

  test.each([
    ["a continuation byte alone", [0x80]],
    ["an overlong form of two bytes", [0xc0, 0xaf]],
    ["an overlong form of three bytes", [0xe0, 0x80, 0xaf]],
    ["an overlong form of four bytes", [0xf0, 0x80, 0x80, 0xaf]],
    ["an encoded surrogate", [0xed, 0xa0, 0x80]],
    ["a code point above U+10FFFF", [0xf4, 0x90, 0x80, 0x80]],
    ["a lead byte that does not exist", [0xf5, 0x80, 0x80, 0x80]],
    ["0xff", [0xff]],
    ["a sequence that is cut off", [0xe2, 0x82]],
  ])("not UTF-8: %s, anywhere in the record", (_, bad) => {
    for (let before = 0; before < 40; before++) {
      const filler = "x".repeat(before);
      const inValue = [Buffer.from(`{"id":"${filler}`), Buffer.from(bad), Buffer.from('"}')];
      const inName = [Buffer.from(`{"id":"1","${filler}`), Buffer.from(bad), Buffer.from('":1}')];
      expect(guest([Buffer.concat(inValue), Buffer.concat(inName)])).toEqual([
        "not-utf8",
        "not-utf8",
      ]);
    }
  });

  test.each([
    "\\ud800",
    "\\udc00",
    "\\ud800\\ud800",
    "\\ud800x\\udc00",
    "\\udfff\\ud800",
    "\\ud83d\\u0041",
  ])("a lone surrogate is not UTF-8: %s", (half) => {
    expect(
      guest([
        `{"id":"${half}"}`,
        `{"id":"x","${half}":1}`,
        `{"id":"x","kept":[{"${half}":"${half}"}]}`,
      ]),
    ).toEqual(["not-utf8", "not-utf8", "not-utf8"]);
  });

  test("nesting: 64 levels with the record itself, not one more", () => {
    const nested = (levels: number) =>
      `{"id":"x","kept":${"[".repeat(levels)}${"]".repeat(levels)}}`;
    const objects = (levels: number) =>
      `{"id":"x","kept":${'{"a":'.repeat(levels)}1${"}".repeat(levels)}}`;
    expect(guest([nested(63), objects(63)])).toMatchObject([{ key: "x" }, { key: "x" }]);
    expect(guest([nested(64), objects(64), nested(10_000)])).toEqual(Array(3).fill("too-large"));
    expect(guest(["[".repeat(65)])).toEqual(["too-large"]);
  });
});
