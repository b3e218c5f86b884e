/** Contributions: exact bytes, what is malformed, the grid, and the sensitivity that the rounding is charged to. */
import { describe, expect, test } from "vitest";
import {
  type Contribution,
  contributionBytes,
  contributionFractionBits,
  contributionSensitivity,
  contributionsHash,
  decodeContribution,
  encodeContribution,
  finestFractionBits,
  MAX_PLACES,
  quantizeSum,
} from "../../pipeline/privacy/contribution.ts";

const MADE: Contribution = {
  runId: "00112233445566778899aabbccddeeff",
  configHash: Buffer.from(Uint8Array.from({ length: 32 }, (_, i) => 0xa0 + i)).toString("hex"),
  modelVersion: 7,
  lane: 3,
  from: 1000,
  to: 2 ** 40 + 5,
  places: 32,
  used: 30,
  nonce: Uint8Array.from({ length: 16 }, (_, i) => i),
  fractionBits: 25,
  sum: Int32Array.of(0, -1, 2_147_483_647, -2_147_483_648),
};
/** Packed by Python's struct ("<HHIIIIQQ", run id, nonce, configuration, "<I4i"). */
const HEX =
  "010019000300000007000000200000001e000000e8030000000000000500000000010000" +
  "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f" +
  "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf" +
  "0400000000000000ffffffffffffff7f00000080";

describe("codec", () => {
  test("the bytes are these", () => {
    expect(Buffer.from(encodeContribution(MADE)).toString("hex")).toBe(HEX);
    expect(HEX).toHaveLength(2 * contributionBytes(4));
  });

  test("and back, from a view at an odd address too", () => {
    const shifted = Buffer.concat([Buffer.from("x"), Buffer.from(HEX, "hex")]).subarray(1);
    expect(decodeContribution(shifted, 4)).toEqual(MADE);
  });

  test("any other length is malformed", () => {
    const bytes = Buffer.from(HEX, "hex");
    for (let length = 0; length < bytes.length; length += 1) {
      expect(decodeContribution(bytes.subarray(0, length), 4)).toBeNull();
    }
    expect(decodeContribution(Buffer.concat([bytes, Buffer.alloc(1)]), 4)).toBeNull();
    expect(decodeContribution(bytes, 3)).toBeNull();
    expect(decodeContribution(bytes, 5)).toBeNull();
  });

  const malformed: [string, number, string][] = [
    ["version 0", 0, "0000"],
    ["version 2", 0, "0200"],
    ["fraction bits 53", 2, "3500"],
    ["no places", 12, "00000000"],
    ["too many places", 12, "01000100"],
    ["more used than places", 16, "21000000"],
    ["a range that ends where it begins", 28, "e803000000000000"],
    ["a range that ends before", 28, "e703000000000000"],
    ["an offset of 2^53", 28, "0000000000002000"],
    ["another count", 100, "03000000"],
  ];
  test.each(malformed)("%s is malformed", (_name, at, hex) => {
    const bytes = Buffer.from(HEX, "hex");
    bytes.write(hex, at, "hex");
    expect(decodeContribution(bytes, 4)).toBeNull();
  });

  test("every single-byte change gives another contribution or none", () => {
    const bytes = Buffer.from(HEX, "hex");
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      expect(decodeContribution(changed, 4)).not.toEqual(MADE);
    }
  });

  test.each([
    { runId: "00" },
    { runId: "G".repeat(32) },
    { nonce: new Uint8Array(15) },
    { configHash: "a".repeat(63) },
    { lane: -1 },
    { lane: 2 ** 32 },
    { modelVersion: 1.5 },
    { used: 33 },
    { to: 1000 },
    { from: Number.NaN },
  ])("%j is not encoded", (change) => {
    expect(() => encodeContribution({ ...MADE, ...change })).toThrow(
      expect.objectContaining({ code: "internal" }),
    );
  });
});

test("the hash of an update's contributions", () => {
  // Python: sha256(cbor2.dumps(["sealstream/contributions/v1", [d, d]])) of the digest d below.
  const digest = Buffer.from(
    "806bb68094a93765765a7bfdf7b513dd444b79da8967a4f977760aedcc515135",
    "hex",
  );
  expect(Buffer.from(contributionsHash([digest, digest])).toString("hex")).toBe(
    "6b58bbb4e6d500ae58e816e27c43acf7c0547c21a1353b020be23462538a68b8",
  );
  expect(contributionsHash([digest])).not.toEqual(contributionsHash([digest, digest]));
});

describe("grid", () => {
  test("the finest one on which no sum leaves int32", () => {
    expect(contributionFractionBits({ places: 1, l2ClipNorm: 1 })).toBe(30);
    expect(contributionFractionBits({ places: 32, l2ClipNorm: 1 })).toBe(25);
    expect(contributionFractionBits({ places: 33, l2ClipNorm: 1 })).toBe(25);
    expect(contributionFractionBits({ places: 1, l2ClipNorm: 2 ** -40 })).toBe(52);
    for (const places of [1, 2, 3, 31, 32, 33, 1000, MAX_PLACES]) {
      for (const l2ClipNorm of [1e-3, 0.1, 1, 1.7, 100]) {
        const bits = contributionFractionBits({ places, l2ClipNorm });
        const largest = places * l2ClipNorm * 2 ** bits;
        expect(largest).toBeLessThan(2 ** 31 - 1);
        if (bits < 52) expect(largest * 2 * (1 + 2 ** -7)).toBeGreaterThan(2 ** 31 - 2);
      }
    }
  });

  test.each([
    { places: 0, l2ClipNorm: 1 },
    { places: 1.5, l2ClipNorm: 1 },
    { places: MAX_PLACES + 1, l2ClipNorm: 1 },
    { places: 1, l2ClipNorm: 0 },
    { places: 1, l2ClipNorm: Number.NaN },
    { places: 1, l2ClipNorm: Number.POSITIVE_INFINITY },
    { places: 4, l2ClipNorm: 2 ** 30 },
  ])("%j has none", (options) => {
    expect(finestFractionBits(options)).toBeNull();
    expect(() => contributionFractionBits(options)).toThrow(
      expect.objectContaining({ code: "limit-exceeded" }),
    );
  });

  test("rounds to the nearest", () => {
    expect(quantizeSum(Float32Array.of(0, 0.25, 0.374, 0.376, -0.374, -0.376), 2)).toEqual(
      Int32Array.of(0, 1, 1, 2, -1, -2),
    );
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, 129])("%d does not fit", (value) => {
    expect(() => quantizeSum(Float32Array.of(value), 24)).toThrow(
      expect.objectContaining({ code: "internal" }),
    );
  });
});

describe("sensitivity", () => {
  test("clip plus sqrt(d) grid units", () => {
    expect(contributionSensitivity({ l2ClipNorm: 2, parameters: 16, fractionBits: 3 })).toBe(2.5);
  });

  test("holds for neighbours on a coarse grid, where rounding matters, and the clip alone would not", () => {
    const parameters = 64;
    const fractionBits = 3;
    const l2ClipNorm = 1;
    const bound = contributionSensitivity({ l2ClipNorm, parameters, fractionBits });
    let largest = 0;
    for (let trial = 0; trial < 2_000; trial += 1) {
      const sum = Float32Array.from({ length: parameters }, () => Math.random() * 8 - 4);
      const one = Float64Array.from({ length: parameters }, () => Math.random() - 0.3);
      const norm = Math.sqrt(one.reduce((total, value) => total + value * value, 0));
      const without = sum.map((value, i) => value - (one[i] ?? 0) / norm);
      const [a, b] = [quantizeSum(sum, fractionBits), quantizeSum(without, fractionBits)];
      const squares = a.reduce((total, value, i) => total + (value - (b[i] ?? 0)) ** 2, 0);
      largest = Math.max(largest, Math.sqrt(squares) / 2 ** fractionBits);
    }
    expect(largest).toBeLessThanOrEqual(bound);
    expect(largest).toBeGreaterThan(l2ClipNorm);
  });

  test("the worst case is reached: every coordinate on the edge of rounding", () => {
    const parameters = 16;
    const up = new Float32Array(parameters).fill(1.5);
    const down = new Float32Array(parameters).fill(1.5 - 2 ** -12);
    const [a, b] = [quantizeSum(up, 0), quantizeSum(down, 0)];
    const moved = Math.sqrt(a.reduce((total, value, i) => total + (value - (b[i] ?? 0)) ** 2, 0));
    expect(moved).toBe(4);
    const l2ClipNorm = Math.sqrt(parameters) * 2 ** -12;
    expect(contributionSensitivity({ l2ClipNorm, parameters, fractionBits: 0 })).toBeCloseTo(4, 2);
  });
});

describe("rounding", () => {
  test("goes to the nearest integer, halves to even, for either kind of number", () => {
    const sum = [0.5, 1.5, 2.5, -0.5, -1.5, 0.4999999, -0.7, 2 ** 20 + 0.75, 0, -3];
    const expected = Int32Array.of(0, 2, 2, 0, -2, 0, -1, 2 ** 20 + 1, 0, -3);
    expect(quantizeSum(Float64Array.from(sum), 0)).toEqual(expected);
    expect(quantizeSum(Float32Array.from(sum), 0)).toEqual(expected);
    // Math.round after adding a half would make 1 of the largest number below one half.
    expect(quantizeSum(Float64Array.of(0.49999999999999994), 0)).toEqual(Int32Array.of(0));
  });

  test.each([
    ["not a number, with numbers behind it", [Number.NaN, 1, -1]],
    ["infinite", [1, Number.NEGATIVE_INFINITY]],
    ["beyond the grid", [2 ** 31, 1]],
    ["below the grid", [1, -(2 ** 31)]],
  ])("refuses what is %s", (_name, sum) => {
    expect(() => quantizeSum(Float64Array.from(sum), 0)).toThrow(/does not fit/);
    expect(() => quantizeSum(Float32Array.from(sum), 0)).toThrow(/does not fit/);
  });
});
