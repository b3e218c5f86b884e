/**
 * Two-sided statistical tests of every mechanism's noise: one row alone, rows of each correlated kind, and their sums.
 *
 * Keys are fixed, so a test passes always or never. Were they random, each statistic would reject the right noise with
 * probability 1e-7 (|z| < 5.33; sqrt(n) D < 2.90 by Kolmogorov's 2 exp(-2 2.9^2); chi-square by Wilson & Hilferty's cube root,
 * good to a tenth of that); the 28 statistics here together about 3e-6 a run. Every test also sees the noise that it must
 * refuse: scaled by 2/3 and by 3/2, and for correlated kinds rows that were not mixed.
 */
import { describe, expect, test } from "vitest";
import { createSecretHandle } from "../../pipeline/crypto/key-handles.ts";
import {
  columnNorm,
  prefixError,
  rowFractionBits,
} from "../../pipeline/privacy/correlation/coefficients.ts";
import { createNoiseMixer } from "../../pipeline/privacy/correlation/mixer.ts";
import { planNoise } from "../../pipeline/privacy/correlation/plan.ts";
import { normalCdf } from "../../pipeline/privacy/gaussian.ts";
import type { LedgerNoise } from "../../pipeline/privacy/ledger-noise.ts";
import { noiseRow } from "../../pipeline/privacy/noise.ts";

const Z = 5.33;
const KS = 2.9;
const LENGTH = 20_000;
const DEVIATION = 1e6;
const UPDATES = 8;

function rowOf(step: number, changes: { standardDeviation?: number; fractionBits?: number } = {}) {
  return noiseRow({
    noise: createSecretHandle("noise", new Uint8Array(32).fill(0x5e)),
    runId: "ab".repeat(16),
    step,
    contributionsHash: new Uint8Array(32).fill(step),
    length: LENGTH,
    standardDeviation: DEVIATION,
    ...changes,
  });
}

const scaled = (row: Float64Array, factor: number) => row.map((value) => value * factor);

describe("a row", () => {
  const row = rowOf(1);

  test("has the variance that was asked for: refused when scaled by 2/3 or 3/2", () => {
    expect(Math.abs(zOfVariance(row, DEVIATION))).toBeLessThan(Z);
    expect(zOfVariance(scaled(row, 2 / 3), DEVIATION)).toBeLessThan(-40);
    expect(zOfVariance(scaled(row, 3 / 2), DEVIATION)).toBeGreaterThan(40);
    const weak = rowOf(2, { standardDeviation: (DEVIATION * 2) / 3 });
    expect(zOfVariance(weak, DEVIATION)).toBeLessThan(-40);
  });

  test("has no mean and no memory", () => {
    const mean = row.reduce((sum, value) => sum + value, 0) / LENGTH;
    expect(Math.abs(mean / DEVIATION) * Math.sqrt(LENGTH)).toBeLessThan(Z);
    for (const lag of [1, 2, 3]) {
      const dot = row.slice(lag).reduce((sum, value, i) => sum + value * (row[i] ?? 0), 0);
      expect(Math.abs(dot / DEVIATION ** 2) / Math.sqrt(LENGTH - lag)).toBeLessThan(Z);
    }
  });

  test("is Gaussian by Kolmogorov and Smirnov, and by chi-square in 64 cells", () => {
    for (const fractionBits of [0, 16]) {
      const values = rowOf(3, { fractionBits });
      expect(distance(values, DEVIATION)).toBeLessThan(KS);
      expect(Math.abs(zOfCells(values, DEVIATION))).toBeLessThan(Z);
      for (const factor of [2 / 3, 3 / 2]) {
        expect(distance(scaled(values, factor), DEVIATION)).toBeGreaterThan(4 * KS);
        expect(zOfCells(scaled(values, factor), DEVIATION)).toBeGreaterThan(5 * Z);
      }
    }
  });

  test("lies on its grid with the probabilities of rounded reals, where few multiples show it", () => {
    const deviation = 0.75;
    const few = rowOf(4, { standardDeviation: deviation });
    expect(few.every((value) => Number.isInteger(value))).toBe(true);
    for (const n of [0, 1, -1, 2, -2]) {
      const p = normalCdf((n + 0.5) / deviation) - normalCdf((n - 0.5) / deviation);
      const seen = few.filter((value) => value === n).length;
      expect(Math.abs(seen - LENGTH * p) / Math.sqrt(LENGTH * p * (1 - p))).toBeLessThan(Z);
    }
  });
});

const kinds: [string, LedgerNoise][] = [
  ["toeplitz", planNoise({ kind: "toeplitz", updates: UPDATES })],
  ["banded", planNoise({ kind: "banded", updates: UPDATES, bands: 3 })],
  ["blt", planNoise({ kind: "blt", updates: UPDATES, buffers: 2 })],
];

describe.each(kinds)("correlated noise, %s", (_, noise) => {
  const fractionBits = rowFractionBits(noise);
  const mixer = createNoiseMixer(noise, LENGTH);
  const mixed = Array.from({ length: UPDATES }, (_, t) =>
    mixer.mix(t + 1, rowOf(t + 1, { fractionBits })),
  );
  const unmixed = Array.from({ length: UPDATES }, (_, t) => rowOf(t + 1));
  const inverse = inverseOf(noise);
  /** First column of A C^-1. */
  const sums = inverse.map((_, t) => inverse.slice(0, t + 1).reduce((sum, v) => sum + v, 0));

  test("single updates have the variance of the inverse's rows", () => {
    for (const [t, row] of mixed.entries()) {
      const deviation = DEVIATION * Math.hypot(...inverse.slice(0, t + 1));
      expect(Math.abs(zOfVariance(row, deviation))).toBeLessThan(Z);
      expect(zOfVariance(scaled(row, 2 / 3), deviation)).toBeLessThan(-40);
    }
    expect(
      distance(mixed.at(-1) ?? unmixed[0] ?? rowOf(1), DEVIATION * Math.hypot(...inverse)),
    ).toBeLessThan(KS);
  });

  test("sums of updates have the covariance of (A C^-1)(A C^-1)^T; scaled or unmixed rows have not", () => {
    expect(Math.abs(zOfCovariance(mixed, sums))).toBeLessThan(Z);
    for (const factor of [2 / 3, 3 / 2]) {
      expect(
        zOfCovariance(
          mixed.map((row) => scaled(row, factor)),
          sums,
        ),
      ).toBeGreaterThan(5 * Z);
    }
    expect(zOfCovariance(unmixed, sums)).toBeGreaterThan(5 * Z);
  });

  test("the last sum has the error that is claimed for it", () => {
    const total = new Float64Array(LENGTH);
    for (const row of mixed)
      for (const [k, value] of row.entries()) total[k] = (total[k] ?? 0) + value;
    const claimed = (DEVIATION * prefixError(noise).max) / columnNorm(noise);
    expect(Math.abs(zOfVariance(total, claimed))).toBeLessThan(Z);
    expect(zOfVariance(scaled(total, 2 / 3), claimed)).toBeLessThan(-40);
  });
});

/** How far the variance is from that of the standard deviation, in its own standard deviations. */
function zOfVariance(row: Float64Array, deviation: number): number {
  const mean = row.reduce((sum, value) => sum + (value / deviation) ** 2, 0) / row.length;
  return (mean - 1) / Math.sqrt(2 / row.length);
}

/** sqrt(n) times the largest distance of the distribution functions. */
function distance(row: Float64Array, deviation: number): number {
  const n = row.length;
  const largest = row.toSorted().reduce((most, value, i) => {
    const share = normalCdf(value / deviation);
    return Math.max(most, Math.abs(share - i / n), Math.abs(share - (i + 1) / n));
  }, 0);
  return Math.sqrt(n) * largest;
}

/** Chi-square of 64 cells of equal probability, as a standard normal. */
function zOfCells(row: Float64Array, deviation: number): number {
  const counts = new Float64Array(64);
  for (const value of row) {
    const cell = Math.min(63, Math.floor(64 * normalCdf(value / deviation)));
    counts[cell] = (counts[cell] ?? 0) + 1;
  }
  const expected = row.length / 64;
  return wilsonHilferty(
    counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0),
    63,
  );
}

/**
 * Whether the prefix sums P of rows have covariance deviation^2 B B^T, B Toeplitz with first column `sums`: W = B^-1 P would be
 * independent rows, so |W W^T / n - I|^2 n / 2, diagonal once and the rest twice, is chi-square with T (T + 1) / 2 degrees.
 */
function zOfCovariance(rows: readonly Float64Array[], sums: readonly number[]): number {
  const white: Float64Array[] = [];
  const prefix = new Float64Array(LENGTH);
  for (const [t, row] of rows.entries()) {
    const own = new Float64Array(LENGTH);
    for (let k = 0; k < LENGTH; k += 1) {
      prefix[k] = (prefix[k] ?? 0) + (row[k] ?? 0) / DEVIATION;
      let value = prefix[k] ?? 0;
      for (let j = 1; j <= t; j += 1) value -= (sums[j] ?? 0) * (white[t - j]?.[k] ?? 0);
      own[k] = value / (sums[0] ?? 1);
    }
    white.push(own);
  }
  let square = 0;
  for (const [i, a] of white.entries()) {
    for (const [j, b] of white.slice(0, i + 1).entries()) {
      const mean = a.reduce((sum, value, k) => sum + value * (b[k] ?? 0), 0) / LENGTH;
      square += i === j ? ((mean - 1) ** 2 * LENGTH) / 2 : mean ** 2 * LENGTH;
    }
  }
  return wilsonHilferty(square, (rows.length * (rows.length + 1)) / 2);
}

function wilsonHilferty(chiSquare: number, degrees: number): number {
  const spread = 2 / (9 * degrees);
  return (Math.cbrt(chiSquare / degrees) - (1 - spread)) / Math.sqrt(spread);
}

/** First column of C^-1, from the definition of each kind in the papers. */
function inverseOf(noise: LedgerNoise): number[] {
  const c = Array.from({ length: UPDATES }, (_, k) => {
    if (noise.kind === "independent" || k === 0) return Number(k === 0);
    if (noise.kind === "banded") return noise.coefficients[k] ?? 0;
    if (noise.kind === "blt") {
      return noise.weight.reduce((sum, w, i) => sum + w * (noise.decay[i] ?? 0) ** (k - 1), 0);
    }
    return Array.from({ length: k }, (_, i) => (2 * i + 1) / (2 * i + 2)).reduce(
      (p, f) => p * f,
      1,
    );
  });
  const inverse: number[] = [];
  for (let t = 0; t < UPDATES; t += 1) {
    const rest = inverse.reduce((sum, d, j) => sum + d * (c[t - j] ?? 0), 0);
    inverse.push(Number(t === 0) - rest);
  }
  return inverse;
}
