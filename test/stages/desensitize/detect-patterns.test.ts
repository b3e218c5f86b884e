/**
 * The compiler of detector patterns: against JavaScript's own regular expressions, and what it refuses.
 *
 * Random patterns are matched by their automaton and by RegExp, on texts made to come close; SEED repeats a run.
 */
import { describe, expect, test } from "vitest";
import {
  acceptsOf,
  buildDfa,
  type Dfa,
  shortestMatch,
} from "../../../pipeline/spec/patterns/dfa.ts";
import { buildNfa } from "../../../pipeline/spec/patterns/nfa.ts";
import { readPattern } from "../../../pipeline/spec/patterns/pattern-syntax.ts";
import { findAnchors } from "../../../pipeline/stages/desensitize/detect/anchors.ts";
import { compileDetectors } from "../../../pipeline/stages/desensitize/detect/compile.ts";
import { readPrefixes } from "../../../pipeline/stages/desensitize/detect/prefixes.ts";
import { createRandom, type Random } from "../../plugins/desensitize/random.ts";

function dfaOf(pattern: string, ignoreCase = false): Dfa | string {
  return buildDfa(buildNfa("test", [readPattern("test", pattern, ignoreCase)]), 4096);
}

function soundDfa(pattern: string, ignoreCase = false): Dfa {
  const dfa = dfaOf(pattern, ignoreCase);
  if (typeof dfa === "string") throw new Error(`${pattern}: ${dfa}`);
  return dfa;
}

const matches = (dfa: Dfa, text: string) => acceptsOf(dfa, Buffer.from(text)) !== 0;

const ATOMS = [
  "a",
  "b",
  "é",
  "中",
  "😀",
  "[ab]",
  "[^a]",
  ".",
  "\\d",
  "\\w",
  "[a-cé-中]",
  "\\s",
  "\\u{1f600}",
];
const LETTERS = [
  "a",
  "b",
  "c",
  "é",
  "中",
  "😀",
  "1",
  " ",
  "\n",
  "_",
  "ÿ",
  "\u07ff",
  "\u0800",
  "\uffff",
];

function randomPattern(random: Random, depth: number): string {
  if (depth === 0 || random.chance(0.3)) return random.pick(ATOMS);
  const inner = () => randomPattern(random, depth - 1);
  switch (random.int(4)) {
    case 0:
      return `(?:${inner()}|${inner()})`;
    case 1:
      return `(${inner()})${random.pick(["?", "*", "+", "{2}", "{1,3}", "{2,}"])}`;
    default:
      return `${inner()}${inner()}`;
  }
}

test("random patterns match what RegExp matches", () => {
  const random = createRandom();
  let matched = 0;
  for (let i = 0; i < 400; i++) {
    const pattern = randomPattern(random, 4);
    const dfa = dfaOf(pattern);
    const regExp = new RegExp(`^(?:${pattern})$`, "u");
    if (typeof dfa === "string") {
      expect(dfa, `${pattern}, seed ${random.seed}`).toBe("matches-empty");
      expect(regExp.test("")).toBe(true);
      continue;
    }
    for (let j = 0; j < 60; j++) {
      const text = Array.from({ length: 1 + random.int(7) }, () => random.pick(LETTERS)).join("");
      const expected = regExp.test(text);
      expect(matches(dfa, text), `${pattern} on ${text}, seed ${random.seed}`).toBe(expected);
      if (expected) matched++;
    }
  }
  expect(matched).toBeGreaterThan(500);
});

test("every code point is in exactly the classes that RegExp puts it in", () => {
  const classes = [
    ".",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\D",
    "[^\\w\\u0400-\\uffff]",
    "[\\u{80}-\\u{10fff0}]",
  ];
  for (const pattern of classes) {
    const dfa = soundDfa(pattern);
    const regExp = new RegExp(`^(?:${pattern})$`, "u");
    for (let code = 0; code <= 0x10ffff; code += code < 0x3000 ? 1 : 251) {
      if (code >= 0xd800 && code <= 0xdfff) continue;
      const text = String.fromCodePoint(code);
      if (matches(dfa, text) !== regExp.test(text))
        throw new Error(`${pattern}: ${code.toString(16)}`);
    }
  }
});

test("no automaton takes bytes that are not UTF-8", () => {
  const dfa = soundDfa("[\\u0000-\\u{10ffff}]{1,4}");
  for (const hex of [
    "ff",
    "c080",
    "c1bf",
    "eda080",
    "f4908080",
    "f0808080",
    "e08080",
    "80",
    "c3",
  ]) {
    expect(acceptsOf(dfa, Buffer.from(hex, "hex")), hex).toBe(0);
  }
});

test("ignoreCase is about ASCII letters, in classes too", () => {
  const dfa = soundDfa("a[b-d][^x]é", true);
  expect(matches(dfa, "ABzé")).toBe(true);
  expect(matches(dfa, "abXé")).toBe(false);
  expect(matches(dfa, "abzÉ")).toBe(false);
});

test("word boundaries may be written at the edges and add nothing", () => {
  for (const pattern of ["\\bab\\b", "^ab$", "ab", "^ab\\b"])
    expect(matches(soundDfa(pattern), "ab")).toBe(true);
  expect(matches(soundDfa("a\\\\b"), "a\\b")).toBe(true);
});

test("automata are as small as they can be", () => {
  expect(soundDfa("(?:a|b|ab|ba|aab)c").states).toBe(soundDfa("(?:a(?:|b|ab)|b(?:|a))c").states);
  expect(soundDfa("[01]*1[01]{3}").states).toBe(2 ** 4 + 1);
  expect(shortestMatch(soundDfa("a{3}(?:b|é)"))).toBe(4);
});

describe("refused with a sentence:", () => {
  test.each([
    ["(a)\\1", "backreference"],
    ["(?=a)b", "(?"],
    ["(?<name>a)", "(?"],
    ["a*?", "lazy"],
    ["a**", "repeats a repetition"],
    ["*a", "repeats nothing"],
    ["a\\bc", "edges"],
    ["a^b", "edges"],
    ["[b-a]", "range"],
    ["[a", "without its ]"],
    ["(a", "without its )"],
    ["a)", "without its ("],
    ["a{3,2}", "count"],
    ["a{x}", "count"],
    ["a{300}", "above 256"],
    ["a]", "partner"],
    ["\\p{L}", "not known"],
    ["\\u{110000}", "no code point"],
    ["\\ud800", "half"],
    ["[]", "empty class"],
    ["a\\", "backslash"],
    ["a?", "empty text"],
    ["[^\\s\\S]", "no text"],
  ])("%s", (pattern, says) => {
    expect(() => compileDetectors([{ name: "mine", pattern }])).toThrow(
      expect.objectContaining({
        code: "spec-invalid",
        message: expect.stringMatching(
          new RegExp(`mine.*${says.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")}`),
        ),
      }),
    );
  });

  test.each(["[01]*1[01]{12}", "(?:(?:a{200}){200}){3}", "(a|b)*a(a|b){20}"])(
    "too many states: %s",
    (pattern) => {
      expect(() => compileDetectors([{ name: "mine", pattern }])).toThrow(
        expect.objectContaining({
          code: "limit-exceeded",
          message: expect.stringContaining("mine"),
        }),
      );
    },
  );

  test("what is too long or too deep for a person to read", () => {
    const compile = (pattern: string) => compileDetectors([{ name: "mine", pattern }]);
    expect(() => compile("(".repeat(60))).toThrow(/mine.*over 50 deep/);
    expect(() => compile("a".repeat(2001))).toThrow(/mine.*over 2000 characters/);
  });

  test("no detector, or one twice", () => {
    expect(() => compileDetectors([])).toThrow("no detector");
    expect(() => compileDetectors(["email", "email"])).toThrow("twice");
    expect(() => compileDetectors(["email", { name: "email", pattern: "a" }])).toThrow("twice");
  });
});

describe("anchors", () => {
  const about = (pattern: string) => {
    const { anchor, lookback } = findAnchors(soundDfa(pattern));
    return { anchor: String.fromCharCode(...anchor), lookback };
  };

  test("are bytes that every match holds, the rarest first", () => {
    expect(about("[a-z]{1,5}@[a-z]+")).toEqual({ anchor: "@", lookback: 5 });
    expect(about("[a-z]+@[a-z]+")).toEqual({ anchor: "@", lookback: 511 });
    expect(about("EMP-\\d{5}")).toEqual({ anchor: "0123456789", lookback: 4 });
    expect(about("KD\\d-\\d")).toEqual({ anchor: "0123456789", lookback: 2 });
    // No byte but the first is in every match.
    expect(about("abc|xyz")).toEqual({ anchor: "ax", lookback: 0 });
    expect(about("a1?b")).toEqual({ anchor: "a", lookback: 0 });
  });

  test("of random patterns are in every match, no farther from its start than said", () => {
    const random = createRandom();
    for (let i = 0; i < 200; i++) {
      const pattern = `${randomPattern(random, 3)}${random.pick(["@", "1", "-"])}${randomPattern(random, 2)}`;
      const dfa = dfaOf(pattern);
      if (typeof dfa === "string") continue;
      const { anchor, lookback } = findAnchors(dfa);
      const prefixes = readPrefixes(dfa, anchor);
      for (let j = 0; j < 100; j++) {
        const letters = [...LETTERS, "@", "-"];
        const text = Array.from({ length: 1 + random.int(6) }, () => random.pick(letters)).join("");
        if (!matches(dfa, text)) continue;
        const bytes = [...Buffer.from(text)];
        const at = bytes.findIndex((byte) => anchor.includes(byte));
        const why = `${pattern} on ${text}, seed ${random.seed}`;
        expect(at, why).toBeGreaterThanOrEqual(0);
        expect(at, why).toBeLessThanOrEqual(lookback);
        expect(acceptsOf(prefixes!, Buffer.from(bytes.slice(0, at + 1).reverse())), why).toBe(1);
      }
    }
  });
});
