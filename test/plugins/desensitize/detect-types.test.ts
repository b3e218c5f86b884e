/**
 * The built-in detectors, each alone: examples and counter-examples, and check digits that others have judged.
 *
 * Debug and release run through the same tests.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { BUILTIN_TYPES } from "../../../pipeline/stages/desensitize/detect/builtin.ts";
import { EXAMPLES, unmarked } from "./detect-examples.ts";
import { ALL, BUILDS, createDetectors, markDetections } from "./detect-guest.ts";

const VECTORS = join(import.meta.dirname, "..", "..", "vectors", "detect");

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(join(VECTORS, file), "utf8"));
}

// Because the files are ours, and a wrong one fails the tests below.
const numbers = readJson("check-digits.json") as Record<
  string,
  { readonly valid: readonly string[]; readonly invalid: readonly string[] }
>;
const mobiles = readJson("phone_examples_mobile.json") as Record<string, string>;

/** National and international spellings of an example mobile number. */
const SPELLINGS: Readonly<Record<string, (national: string) => string[]>> = {
  US: (n) => [n, `+1${n}`, `(${n.slice(0, 3)}) ${n.slice(3, 6)}-${n.slice(6)}`, `1 ${n}`],
  GB: (n) => [`0${n}`, `+44${n}`, `0${n.slice(0, 4)} ${n.slice(4)}`, `+44 (0)${n}`],
  DE: (n) => [
    `0${n}`,
    `+49${n}`,
    `0${n.slice(0, 4)}-${n.slice(4)}`,
    `+49 ${n.slice(0, 4)} ${n.slice(4)}`,
  ],
  FR: (n) => [`0${n}`, `+33${n}`, `0${n}`.replaceAll(/(..)(?=.)/g, "$1 "), `+33 (0)${n}`],
  ES: (n) => [n, `+34${n}`, n.replaceAll(/(...)(?=.)/g, "$1 "), `+34 ${n}`],
  IT: (n) => [n, `+39${n}`, `${n.slice(0, 3)} ${n.slice(3)}`, `+39 ${n.slice(0, 3)} ${n.slice(3)}`],
  NL: (n) => [`0${n}`, `+31${n}`, `06-${n.slice(1)}`, `+31 6 ${n.slice(1)}`],
  CN: (n) => [n, `+86${n}`, `${n.slice(0, 3)}-${n.slice(3, 7)}-${n.slice(7)}`, `86 ${n}`],
  IN: (n) => [n, `+91${n}`, `${n.slice(0, 5)} ${n.slice(5)}`, `0${n}`],
  BR: (n) => [n, `+55${n}`, `(${n.slice(0, 2)}) ${n.slice(2, 7)}-${n.slice(7)}`, `+55 ${n}`],
};

describe.each(BUILDS)("%s", (build) => {
  describe.each(BUILTIN_TYPES)("%s", (type) => {
    const kernel = createDetectors(build, [type]);
    test.each(EXAMPLES[type])("%s", (marked) => {
      expect(markDetections(kernel, [unmarked(marked)])).toEqual([marked]);
    });

    test("is named by its token", () => {
      const first = EXAMPLES[type][0] ?? "";
      const redacted = kernel.redact([unmarked(first)])[0];
      expect(redacted).toBe(first.replaceAll(/«[^»]*»/g, `[${type.toUpperCase()}]`));
    });
  });

  test.each([
    ["card", "card"],
    ["iban", "iban"],
    ["deTaxId", "de-tax-id"],
    ["cnId", "cn-id"],
    ["ssn", "ssn"],
  ] as const)("%s: numbers that python-stdnum has judged", (key, type) => {
    const kernel = createDetectors(build, [type]);
    const { valid, invalid } = numbers[key]!;
    expect(valid.length).toBeGreaterThanOrEqual(60);
    expect(markDetections(kernel, valid)).toEqual(valid.map((number) => `«${number}»`));
    expect(markDetections(kernel, invalid)).toEqual(invalid);
  });

  test("phone: libphonenumber's example mobiles of ten countries, in four spellings each", () => {
    const kernel = createDetectors(build, ["phone"]);
    const texts = Object.entries(SPELLINGS).flatMap(([region, spell]) => spell(mobiles[region]!));
    expect(markDetections(kernel, texts)).toEqual(texts.map((text) => `«${text}»`));
  });

  test("together they find all that each finds alone", () => {
    const kernel = createDetectors(build, ALL);
    for (const type of BUILTIN_TYPES) {
      const alone = createDetectors(build, [type]);
      const texts = EXAMPLES[type].map(unmarked);
      const together = kernel.detect(texts);
      for (const { row, start, end } of alone.detect(texts)) {
        const covers = together.some(
          (one) => one.row === row && one.start <= start && one.end >= end,
        );
        expect(covers, `${type}: ${texts[row]}`).toBe(true);
      }
    }
  });
});
