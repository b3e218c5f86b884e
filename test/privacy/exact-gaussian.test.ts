/**
 * The exact sampler word by word against slow-gaussian.ts, on streams that make every rare path common.
 *
 * Ties of 32-bit digits and products near a half happen once in 2^32 or 2^20 in a real stream; here words come from small
 * alphabets, and scales go to the edge of what is taken.
 */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { fillWithExactGaussians, MAX_SCALE } from "../../pipeline/privacy/exact-gaussian.ts";
import { slowGaussians, thresholds } from "./slow-gaussian.ts";

/** The same words for both, from a hash of a name, through `shape`. */
function streams(name: string, shape: (word: number) => number) {
  const wordsFrom = () => {
    let block = Buffer.alloc(0);
    let counter = 0;
    return () => {
      if (block.length === 0) {
        block = createHash("sha256").update(`${name}/${counter}`).digest();
        counter += 1;
      }
      const word = block.readUInt32LE(0);
      block = block.subarray(4);
      return shape(word);
    };
  };
  const fast = wordsFrom();
  const slow = wordsFrom();
  return {
    fill: (words: Uint32Array) => {
      for (let i = 0; i < words.length; i += 1) words[i] = fast();
    },
    draw: () => BigInt(slow()),
  };
}

/** 2^-60 steps of a scale: exact for those here. */
function bothWays(name: string, scale: number, shape: (word: number) => number, length = 400) {
  const { fill, draw } = streams(name, shape);
  const fast = new Float64Array(length);
  fillWithExactGaussians(fast, scale, fill);
  const numerator = BigInt(scale * 2 ** 60);
  return {
    fast: [...fast].map(BigInt),
    slow: slowGaussians({ length, numerator, bits: 60n, draw }),
  };
}

const ALPHABET = [0, 1, 0x7fffffff, 0x80000000, 0x92025b19, 0xea917985, 0xffffffff, 0xfff35233];

describe("agrees with integers alone", () => {
  const shapes: [string, (word: number) => number][] = [
    ["random words", (word) => word],
    ["eight words", (word) => ALPHABET[word % 8] ?? 0],
    ["four words", (word) => ((word % 4) * 2 ** 30) >>> 0],
    ["mostly ties", (word) => (word % 3 === 0 ? word : 0x92025b19)],
    ["mostly last thresholds", (word) => (word % 4 === 0 ? word : 0xffffffff)],
  ];
  test.each(shapes)("on %s", (name, shape) => {
    for (const scale of [0.001, 1, 3.7, 1e6, 2 ** 31 + 0.5, 1.3 * 2 ** 43, MAX_SCALE]) {
      const { fast, slow } = bothWays(`${name}/${scale}`, scale, shape);
      expect(fast).toEqual(slow);
    }
  });

  test("where doubles cannot decide: x all zeros or all ones behind its first word, scales of two bits", () => {
    for (const scale of [2, 3, 2 ** 20, 3 * 2 ** 46]) {
      for (const rest of [0, 0xffffffff]) {
        const { fast, slow } = bothWays(`half/${scale}/${rest}`, scale, (word) =>
          word % 2 === 0 ? (word & 0xf0000000) >>> 0 : rest,
        );
        expect(fast).toEqual(slow);
      }
    }
  });
});

test("thresholds are those of the series", () => {
  // Scripted: a uniform just below and just above each threshold gives k and k + 1: read through scale 1 and x = 0.
  for (const [k, threshold] of thresholds().entries()) {
    const digits = (value: bigint) =>
      Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(32 * (7 - i))) & 0xffffffffn));
    for (const [offset, expected] of [
      [-1n, k],
      [1n, k + 1],
    ] as const) {
      const value = threshold + offset;
      if (value >= 1n << 256n) continue;
      const words = digits(value);
      // Digits behind the one that decides are not drawn: find out how many are, by the slow way.
      const target = new Float64Array(1);
      const used = decidingDigits(value);
      fillWithExactGaussians(target, 1, (buffer) => {
        // x = 0.4 and no z below it, k + 1 times; sign +; second word 0.
        buffer.fill(0xffffffff);
        buffer.set(words.slice(0, used));
        buffer[used] = 0x66666666;
        buffer[used + 1 + expected + 1] = 0;
      });
      expect(target[0]).toBe(expected);
    }
  }
});

/** Words of a uniform that are read before its place among the thresholds is known. */
function decidingDigits(value: bigint): number {
  let most = 1;
  const word = (v: bigint, i: number) => (v >> BigInt(32 * (7 - i))) & 0xffffffffn;
  for (const threshold of thresholds()) {
    let i = 0;
    while (i < 7 && word(value, i) === word(threshold, i)) i += 1;
    most = Math.max(most, i + 1);
    if (value < threshold) break;
  }
  return most;
}
