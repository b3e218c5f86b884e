/**
 * Generalizing: what each kind makes of values, and that what it does not understand is refused.
 */
import { describe, expect, test } from "vitest";
import type { Generalization } from "../../../pipeline/spec/pipeline-spec.ts";
import { BUILDS } from "./guest.ts";
import { stringText } from "./json-text.ts";
import { outOf } from "./one-rule.ts";
import { createRandom } from "./random.ts";

describe.each(BUILDS)("%s", (build) => {
  const generalized = (to: Generalization, texts: readonly string[]) =>
    outOf(build, { action: "generalize", to }, texts);

  test("to ranges of one width, rounded down exactly", () => {
    const cases = {
      "0": "0-9",
      "9": "0-9",
      "10": "10-19",
      "39.99999999999999999999": "30-39",
      "3.9e1": "30-39",
      "390e-1": "30-39",
      "0.00039e5": "30-39",
      "-0": "0-9",
      "-1": "-10 to -1",
      "-10": "-10 to -1",
      "-10.5": "-20 to -11",
      "-0.001": "-10 to -1",
      "999999999999999": "999999999999990-999999999999999",
      '"41"': "40-49",
      '"\\u0034\\u0031"': "40-49",
      null: null,
    };
    expect(generalized({ width: 10 }, Object.keys(cases))).toEqual(Object.values(cases));
    expect(generalized({ width: 1 }, ["7", "-7"])).toEqual(["7-7", "-7 to -7"]);
    expect(generalized({ width: 10 ** 15 - 1 }, ["5"])).toEqual(["0-999999999999998"]);
  });

  test("to ranges between bounds", () => {
    const to = { bounds: [-5, 0, 18, 19, 65] };
    const cases = {
      "-1e300": "<-5",
      "-5.1": "<-5",
      "-5": "-5 to -1",
      "-0.5": "-5 to -1",
      "0": "0-17",
      "17.9": "0-17",
      "18.5": "18",
      "19": "19-64",
      "65": "65+",
      "1e400": "65+",
      null: null,
    };
    expect(generalized(to, Object.keys(cases))).toEqual(Object.values(cases));
  });

  test("a number that is none, or beyond what is told apart, is refused", () => {
    const texts = [
      '""',
      '" 1"',
      '"1 "',
      '"12a"',
      '"0x10"',
      '"01"',
      '"+1"',
      '"1."',
      '"NaN"',
      '"٣"',
      "true",
      "[1]",
      "{}",
    ];
    for (const to of [{ width: 10 }, { bounds: [0] }]) {
      expect(generalized(to, texts)).toEqual(texts.map(() => "wrong-type"));
    }
    const large = ["1e15", "-1e15", "1e400", "1000000000000000.5", "1e99999999999999999999"];
    expect(generalized({ width: 10 }, large)).toEqual(large.map(() => "wrong-type"));
  });

  test("ranges of random numbers are those of exact arithmetic", () => {
    const random = createRandom();
    for (const width of [1, 3, 10, 1000, 65_537]) {
      const numbers = Array.from(
        { length: 400 },
        () => (random.chance(0.5) ? 1 : -1) * random.int(10 ** (1 + random.int(9))),
      );
      const scaled = numbers.map((n) => ({ text: `${n}e-2`, n }));
      expect(
        generalized(
          { width },
          scaled.map(({ text }) => text),
        ),
        `seed ${random.seed}`,
      ).toEqual(
        scaled.map(({ n }) => {
          const low = Math.floor(Math.floor(n / 100) / width) * width + 0;
          const high = low + width - 1;
          return low < 0 ? `${low} to ${high}` : `${low}-${high}`;
        }),
      );
    }
  });

  test("a date to its month, year and decade", () => {
    const dates = [
      '"1984-02-29"',
      '"2000-02-29T23:59:60Z"',
      '"1999-12-31T00:00+14:00"',
      '"2026-11-05T08:15:30.123-05:30"',
      "null",
    ];
    expect(generalized({ date: "month" }, dates)).toEqual([
      "1984-02",
      "2000-02",
      "1999-12",
      "2026-11",
      null,
    ]);
    expect(generalized({ date: "year" }, dates)).toEqual(["1984", "2000", "1999", "2026", null]);
    expect(generalized({ date: "decade" }, dates)).toEqual([
      "1980s",
      "2000s",
      "1990s",
      "2020s",
      null,
    ]);
  });

  test.each([
    "1983-02-29",
    "1900-02-29",
    "2026-13-01",
    "2026-00-10",
    "2026-04-31",
    "2026-01-00",
    "26-01-01",
    "2026-1-1",
    "20260101",
    "2026-01",
    "2026",
    "01.02.2026",
    "2026/01/01",
    "2026-01-01 ",
    " 2026-01-01",
    "2026-01-01T",
    "2026-01-01 10:00",
    "2026-01-01T10",
    "2026-01-01T24:00",
    "2026-01-01T10:60",
    "2026-01-01T10:00:61",
    "2026-01-01T10:00:00.",
    "2026-01-01T10:00+1",
    "2026-01-01T10:00+24:00",
    "2026-01-01T10:00Zz",
    "2026-01-01Leonard",
    "+002026-01-01",
    "Leonard",
    "",
    "２026-01-01",
  ])("no date: %j", (text) => {
    for (const date of ["month", "year", "decade"] as const) {
      expect(generalized({ date }, [JSON.stringify(text)])).toEqual(["wrong-type"]);
    }
    expect(generalized({ date: "year" }, ["20260101", "true"])).toEqual([
      "wrong-type",
      "wrong-type",
    ]);
  });

  test("a text to its first characters, when it has more", () => {
    const texts = [
      '"10115"',
      '"101"',
      '"SW1A 1AA"',
      '"😀éß漢"',
      '"\\u0041\\"\\n\\ud83d\\ude00"',
      "12345",
      '""',
      "null",
      "false",
    ];
    expect(generalized({ prefix: 3 }, texts)).toEqual([
      "101",
      "wrong-type",
      "SW1",
      "😀éß",
      'A"\n',
      "123",
      "wrong-type",
      null,
      "wrong-type",
    ]);
  });

  test("a value to its level of a hierarchy, else to the root or a dead letter", () => {
    const table = [
      ["b", "B"],
      ["", "empty"],
      ["a", 'say "a"\n'],
      ["10115", "101**"],
      ["é", "e"],
      ["ab", "AB"],
      ["Z", "z"],
    ] as const;
    const texts = [
      '"a"',
      '"b"',
      '""',
      "10115",
      '"\\u00e9"',
      '"ab"',
      '"Z"',
      '"abc"',
      '"A"',
      '"e\\u0301"',
      "null",
      "true",
    ];
    const known = ['say "a"\n', "B", "empty", "101**", "e", "AB", "z"];
    expect(generalized({ table, unknown: null }, texts)).toEqual([
      ...known,
      ...Array(3).fill("wrong-type"),
      null,
      "wrong-type",
    ]);
    expect(generalized({ table, unknown: "*" }, texts)).toEqual([
      ...known,
      "*",
      "*",
      "*",
      null,
      "wrong-type",
    ]);
  });

  test("a hierarchy of many values finds each", () => {
    const random = createRandom();
    const values = [
      ...new Set(Array.from({ length: 3000 }, () => JSON.parse(stringText(random)) as string)),
    ];
    const table = values.map((value, i) => [value, `group ${i}`] as const);
    const texts = values.map((value) => JSON.stringify(value));
    expect(generalized({ table, unknown: null }, texts), `seed ${random.seed}`).toEqual(
      table.map(([, group]) => group),
    );
  });
});
