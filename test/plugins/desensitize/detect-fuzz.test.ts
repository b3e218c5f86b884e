/**
 * The detectors against the slow matcher, on texts put together from pieces of what is looked for.
 *
 * Pieces are cut, joined without spaces and set beside letters of other scripts, so that boundaries, failed checks,
 * overlaps and the edges of the SIMD scan are met by chance. SEED repeats a run.
 */
import { expect, test } from "vitest";
import type { Detector } from "../../../pipeline/stages/desensitize/detect/compile.ts";
import { EXAMPLES, unmarked } from "./detect-examples.ts";
import { ALL, BUILDS, createDetectors } from "./detect-guest.ts";
import { detectSlowly } from "./detect-reference.ts";
import { createRandom, type Random } from "./random.ts";

const WHOLE = Object.values(EXAMPLES).flatMap((texts) =>
  texts.flatMap((text) => [...text.matchAll(/«([^»]*)»/g)].map(([, found]) => found!)),
);
const TOKENS = [
  ...new Set(
    Object.values(EXAMPLES)
      .flat()
      .flatMap((text) => unmarked(text).split(" ")),
  ),
];
const GLUE = [
  "",
  " ",
  " ",
  " ",
  ", ",
  ".",
  "-",
  ":",
  "/",
  "@",
  "(",
  ")",
  "é",
  "中",
  "😀",
  "×",
  "\u00a0",
  "0",
  "a",
  "_",
  "\n",
  "+",
];

function randomText(random: Random): string {
  let text = "x".repeat(random.int(20)) + random.pick(["", " "]);
  for (let i = 1 + random.int(4); i > 0; i--) {
    const piece = random.pick(random.chance(0.6) ? WHOLE : TOKENS);
    const cut = random.chance(0.2) ? random.int(piece.length) : piece.length;
    const changed = random.chance(0.2) ? piece.replace(/\d/, String(random.int(10))) : piece;
    text += changed.slice(0, cut) + random.pick(GLUE);
  }
  return text.toWellFormed();
}

const USERS: readonly Exclude<Detector, string>[] = [
  { name: "employee", pattern: "EMP-\\d{5}" },
  { name: "plate", pattern: "[A-ZÄÖÜ]{1,3}[ -][A-Z]{1,2} ?\\d{1,4}" },
  { name: "words", pattern: "(?:foo|bar)+(?: (?:foo|bar)+)*" },
  { name: "long", pattern: "x+[ .]?[@0-9é]" },
  { name: "hash", pattern: "#\\w+;?", ignoreCase: true },
];

function compare(detectors: readonly Detector[], texts: readonly string[], seed: number): number {
  const expected = texts.map((text) => detectSlowly(text, detectors));
  for (const build of BUILDS) {
    const found = createDetectors(build, detectors).detect(texts);
    const byRow = Map.groupBy(found, ({ row }) => row);
    texts.forEach((text, row) => {
      const ours = (byRow.get(row) ?? []).map(({ start, end, type }) => ({ start, end, type }));
      expect(ours, `${build}: ${JSON.stringify(text)}, seed ${seed}`).toEqual(expected[row]);
    });
  }
  return expected.flat().length;
}

test("random texts, all built-in detectors", () => {
  const random = createRandom();
  const texts = Array.from({ length: Number(process.env["FUZZ_TEXTS"] ?? 400) }, () =>
    randomText(random),
  );
  expect(compare(ALL, texts, random.seed)).toBeGreaterThan(texts.length / 2);
});

test("random texts, detectors one by one and users' patterns", () => {
  const random = createRandom();
  for (const one of ALL) {
    compare(
      [one],
      Array.from({ length: 40 }, () => randomText(random)),
      random.seed,
    );
  }
  const words = [
    "foo",
    "bar",
    "EMP-12345",
    "EMP-1234",
    "M-AB 123",
    "ÄÖ X1",
    "xxx",
    "x@",
    "xx 1",
    "#tag;",
    "#é",
    ...GLUE,
  ];
  const texts = Array.from({ length: 300 }, () =>
    Array.from({ length: random.int(12) }, () => random.pick(words)).join(""),
  );
  expect(compare(USERS, texts, random.seed)).toBeGreaterThan(100);
});
