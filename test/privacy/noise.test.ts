/**
 * Noise rows: exact values from an independent implementation, what they depend on, and whether they are Gaussian.
 *
 * The statistical tests draw a fresh random key, so they are true tests. False-reject rates: 1e-7 for each variance and
 * mean and correlation (|z| < 5.33), and for each Kolmogorov-Smirnov statistic (sqrt(n) D < 2.90, 2 exp(-2 2.9^2)); 12
 * such statistics make about 1e-6 a run. Noise scaled by 2/3 or 3/2 is rejected by the same test, by a margin of z > 40.
 */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { createSecretHandle } from "../../pipeline/crypto/key-handles.ts";
import { normalCdf } from "../../pipeline/privacy/gaussian.ts";
import { noiseRow } from "../../pipeline/privacy/noise.ts";
import vector from "../vectors/noise-row.json" with { type: "json" };

const Z = 5.33;
const KS = 2.9;
const LENGTH = 20_000;
const STANDARD_DEVIATION = 1e6;

function request(changes: Partial<Parameters<typeof noiseRow>[0]> = {}) {
  return {
    noise: createSecretHandle("noise", randomBytes(32)),
    runId: "ab".repeat(16),
    step: 1,
    contributionsHash: new Uint8Array(32),
    length: LENGTH,
    standardDeviation: STANDARD_DEVIATION,
    ...changes,
  };
}

describe("exact values", () => {
  const known = request({
    noise: createSecretHandle("noise", Buffer.from(vector.secret, "hex")),
    runId: vector.runId,
    step: vector.step,
    contributionsHash: Buffer.from(vector.contributionsHash, "hex"),
    length: vector.length,
  });

  test("are those of Python's cryptography and mpmath", () => {
    const row = noiseRow(known);
    expect([...row.subarray(0, 8)]).toEqual(vector.first);
    expect([...row].filter((_, i) => i % 500 === 0)).toEqual(vector.every500th);
    const bytes = Buffer.alloc(4 * row.length);
    for (const [i, value] of row.entries()) bytes.writeInt32LE(value, 4 * i);
    expect(Buffer.from(sha256(bytes)).toString("hex")).toBe(vector.sha256OfInt32LittleEndian);
  });

  test("a shorter row is the beginning of a longer one, at every boundary", () => {
    const row = noiseRow(known);
    for (const length of [0, 1, 2, 3, 8191, 8192, 8193, 9000]) {
      expect(noiseRow({ ...known, length })).toEqual(row.slice(0, length));
    }
  });

  test("the secret is asked for exactly the documented key", () => {
    const asked: string[] = [];
    const noise = {
      hkdf: (info: Uint8Array, bytes: number) => {
        asked.push(`${Buffer.from(info).toString("hex")}/${bytes}`);
        return new Uint8Array(bytes);
      },
    };
    noiseRow({ ...known, noise });
    expect(asked).toEqual([`${vector.info}/32`]);
  });
});

describe("invariant 6", () => {
  test("the same arguments give the same row; any other run, step, contributions or secret an unrelated one", () => {
    const base = request();
    const row = noiseRow(base);
    expect(noiseRow(base)).toEqual(row);
    for (const change of [
      { runId: `${"ab".repeat(15)}ac` },
      { step: 2 },
      { contributionsHash: Uint8Array.of(1, ...new Uint8Array(31)) },
      { noise: createSecretHandle("noise", randomBytes(32)) },
    ]) {
      const other = noiseRow({ ...base, ...change });
      expect(Math.abs(correlation(row, other))).toBeLessThan(Z / Math.sqrt(LENGTH));
    }
  });
});

describe("distribution", () => {
  /** How far the variance is from that of the standard deviation, in its own standard deviations. */
  const zOfVariance = (row: Float64Array, standardDeviation: number) => {
    const mean = row.reduce((sum, value) => sum + (value / standardDeviation) ** 2, 0) / row.length;
    return (mean - 1) / Math.sqrt(2 / row.length);
  };

  test("accepts the standard deviation, rejects two thirds and three halves of it", () => {
    const row = noiseRow(request());
    expect(Math.abs(zOfVariance(row, STANDARD_DEVIATION))).toBeLessThan(Z);
    const weak = noiseRow(request({ standardDeviation: (STANDARD_DEVIATION * 2) / 3 }));
    expect(zOfVariance(weak, STANDARD_DEVIATION)).toBeLessThan(-40);
    const strong = noiseRow(request({ standardDeviation: (STANDARD_DEVIATION * 3) / 2 }));
    expect(zOfVariance(strong, STANDARD_DEVIATION)).toBeGreaterThan(40);
  });

  test("has no mean and no memory", () => {
    const row = noiseRow(request());
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    expect(Math.abs(mean / STANDARD_DEVIATION)).toBeLessThan(Z / Math.sqrt(LENGTH));
    for (const lag of [1, 2]) {
      const shifted = correlation(row.slice(lag), row.slice(0, -lag));
      expect(Math.abs(shifted)).toBeLessThan(Z / Math.sqrt(LENGTH - lag));
    }
  });

  test("is Gaussian, both halves of each pair", () => {
    const row = noiseRow(request());
    for (const half of [0, 1]) {
      const values = [...row].filter((_, i) => i % 2 === half).sort((a, b) => a - b);
      const n = values.length;
      const distance = values.reduce((most, value, i) => {
        const share = normalCdf(value / STANDARD_DEVIATION);
        return Math.max(most, Math.abs(share - i / n), Math.abs(share - (i + 1) / n));
      }, 0);
      expect(Math.sqrt(n) * distance).toBeLessThan(KS);
    }
  });

  test("lies on the grid, where a small standard deviation shows the rounding", () => {
    const row = noiseRow(request({ standardDeviation: 2 }));
    expect(row.every((value) => Number.isInteger(value))).toBe(true);
    const zeros = row.filter((value) => value === 0).length / row.length;
    const expected = normalCdf(0.25) - normalCdf(-0.25);
    const deviation = Math.sqrt((expected * (1 - expected)) / row.length);
    expect(Math.abs(zeros - expected) / deviation).toBeLessThan(Z);
  });
});

describe("edge cases", () => {
  test("no noise is zeros, no length is empty", () => {
    expect(noiseRow(request({ standardDeviation: 0, length: 5 })).every((v) => v === 0)).toBe(true);
    expect(noiseRow(request({ length: 0 }))).toHaveLength(0);
  });

  test.each([
    { standardDeviation: Number.NaN },
    { standardDeviation: -1 },
    { standardDeviation: Number.POSITIVE_INFINITY },
    { standardDeviation: 2 ** 50 },
    { runId: "ab" },
    { contributionsHash: new Uint8Array(31) },
  ])("%j is refused", (change) => {
    expect(() => noiseRow(request(change))).toThrow(expect.objectContaining({ code: "internal" }));
  });
});

function correlation(a: Float64Array, b: Float64Array): number {
  const dot = a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
  return dot / (a.length * STANDARD_DEVIATION ** 2);
}
