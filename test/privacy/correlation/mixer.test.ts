/**
 * The mixer: its claim in exact integer arithmetic, restarts, memory, limits.
 *
 * Rows here are made of Math.sin, not of noise: what is tested holds for every row. Noise is tested in noise.test.ts.
 */
import { describe, expect, test } from "vitest";
import {
  columnNorm,
  strategyCoefficients,
} from "../../../pipeline/privacy/correlation/coefficients.ts";
import {
  checkMixing,
  createNoiseMixer,
  mixerMemoryBytes,
  mixingError,
} from "../../../pipeline/privacy/correlation/mixer.ts";
import { planNoise } from "../../../pipeline/privacy/correlation/plan.ts";
import type { LedgerNoise } from "../../../pipeline/privacy/ledger-noise.ts";

const UPDATES = 12;
const LENGTH = 5;
const SCALE = 2 ** 28;
const correlated = [
  planNoise({ kind: "toeplitz", updates: UPDATES }),
  planNoise({ kind: "banded", updates: UPDATES, bands: 4 }),
  planNoise({ kind: "blt", updates: UPDATES, buffers: 2 }),
];
const kinds = correlated.map((noise): [string, LedgerNoise] => [noise.kind, noise]);

/** Row of a step: multiples of 2^-16 of about SCALE. */
const rowOf = (step: number) =>
  Float64Array.from(
    { length: LENGTH },
    (_, k) => Math.round(Math.sin(step * 78.233 + k * 12.9898) * SCALE * 65_536) / 65_536,
  );
const steps = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("the claim of the header", () => {
  test.each(kinds)("%s: what is released is a function of C G + z and of itself", (_, noise) => {
    const mixer = createNoiseMixer(noise, LENGTH);
    const slack = noise.kind === "blt" ? mixingError(noise, SCALE) + 2 ** -18 : 0;
    const sums = steps(1, UPDATES).map((step) => BigInt(Math.round(1e6 * Math.cos(step))));
    const released: bigint[] = [];
    for (const step of steps(1, UPDATES)) {
      const row = rowOf(step);
      const mean = exactMean({ noise, sums, released, z: row[0] ?? 0 });
      const own = (sums[step - 1] ?? 0n) + BigInt(mixer.mix(step, row)[0] ?? 0);
      const difference = Number(mean - (own << 52n)) / 2 ** 52;
      // Halves go up, as Math.round does.
      expect(difference).toBeGreaterThanOrEqual(-0.5 - slack);
      expect(difference).toBeLessThan(0.5 + slack);
      released.push(own);
    }
  });

  test.each(kinds)("%s: it is the inverse of C, up to the rounding", (_, noise) => {
    if (noise.kind === "independent") return;
    const mixer = createNoiseMixer(noise, LENGTH);
    const c = strategyCoefficients(noise);
    const mixed = steps(1, UPDATES).map((step) => mixer.mix(step, rowOf(step)));
    for (const [t, row] of mixed.entries()) {
      expect(row.every((v) => Number.isInteger(v) && !Object.is(v, -0))).toBe(true);
      for (let k = 0; k < LENGTH; k += 1) {
        const back = steps(0, t).reduce(
          (sum, j) => sum + (c[j] ?? 0) * (mixed[t - j]?.[k] ?? 0),
          0,
        );
        expect(Math.abs(back - (rowOf(t + 1)[k] ?? 0))).toBeLessThanOrEqual(0.5 + 1e-6);
      }
    }
  });
});

describe("restarts", () => {
  test.each(kinds)("%s: rows from firstNeeded on give the same integers", (_, noise) => {
    const live = createNoiseMixer(noise, LENGTH);
    const mixed = steps(1, 30).map((step) => live.mix(step, rowOf(step)));
    for (const restart of [1, 5, UPDATES, UPDATES + 1, 20, 2 * UPDATES + 1, 30]) {
      const again = createNoiseMixer(noise, LENGTH);
      const first = again.firstNeeded(restart);
      expect((first - 1) % UPDATES).toBe(0);
      expect(restart - first).toBeLessThan(UPDATES);
      for (const step of steps(first, 30)) {
        expect(again.mix(step, rowOf(step))).toEqual(mixed[step - 1]);
      }
    }
  });

  test.each(kinds)("%s: a block begins anew", (_, noise) => {
    const mixer = createNoiseMixer(noise, LENGTH);
    const first = steps(1, UPDATES).map((step) => mixer.mix(step, rowOf(step)));
    for (const step of steps(1, UPDATES)) {
      expect(mixer.mix(UPDATES + step, rowOf(step))).toEqual(first[step - 1]);
    }
  });

  test.each(kinds)(
    "%s: rows out of order, of another length or of no step are refused",
    (_, noise) => {
      const refused = expect.objectContaining({ code: "internal" });
      const mixer = createNoiseMixer(noise, LENGTH);
      expect(() => mixer.mix(2, rowOf(2))).toThrow(refused);
      mixer.mix(1, rowOf(1));
      expect(() => mixer.mix(3, rowOf(3))).toThrow(refused);
      expect(() => mixer.mix(2, new Float64Array(LENGTH + 1))).toThrow(refused);
      expect(() => mixer.mix(Number.NaN, rowOf(1))).toThrow(refused);
      mixer.mix(2, rowOf(2));
      expect(() => mixer.mix(2, rowOf(2))).toThrow(refused);
    },
  );

  test("independent rows are rounded, and need nothing of the past", () => {
    const mixer = createNoiseMixer({ kind: "independent" }, 3);
    expect([...mixer.mix(7, Float64Array.of(0.5, -0.25, 3))]).toEqual([1, 0, 3]);
    expect([mixer.firstNeeded(7), mixer.memoryBytes]).toEqual([7, 0]);
  });
});

test("memory: rows of the block, of the bands, of the buffers", () => {
  const length = 1_000;
  const bytes = (noise: Parameters<typeof mixerMemoryBytes>[0]) => mixerMemoryBytes(noise, length);
  expect(bytes({ kind: "independent" })).toBe(0);
  expect(bytes({ kind: "toeplitz", updates: 500 })).toBe(499 * 8_000);
  expect(bytes({ kind: "banded", updates: 500, bands: 32 })).toBe(31 * 8_000);
  expect(bytes({ kind: "banded", updates: 500, coefficients: [1, 0.5] })).toBe(8_000);
  expect(bytes({ kind: "blt", updates: 500, buffers: 3 })).toBe(24_000);
  for (const noise of correlated) {
    expect(createNoiseMixer(noise, length).memoryBytes).toBe(bytes(noise));
  }
});

describe("checkMixing", () => {
  const usual = { length: 200_000, sensitivity: 2 ** 25, standardDeviation: 2 ** 27 };

  test("takes what training does", () => {
    for (const noise of [
      { kind: "independent" } as const,
      planNoise({ kind: "toeplitz", updates: 2_000 }),
      planNoise({ kind: "banded", updates: 2_000, bands: 8 }),
      planNoise({ kind: "blt", updates: 2_000, buffers: 3 }),
    ]) {
      expect(() => checkMixing(noise, usual)).not.toThrow();
    }
  });

  test("takes epsilon 1 on micro-batches of eight, whose grid is fine", () => {
    // 57 updates of breast cancer's forms: noise multiplier 3.73, clip 0.4, 29 fraction bits.
    const noise = planNoise({ kind: "toeplitz", updates: 57 });
    const sensitivity = 0.4 * 2 ** 29;
    const standardDeviation = 3.73 * sensitivity * columnNorm(noise);
    expect(() => checkMixing(noise, { length: 300, sensitivity, standardDeviation })).not.toThrow();
  });

  test("refuses sums that leave the doubles, and error above what the norm charges", () => {
    const refused = expect.objectContaining({ code: "limit-exceeded" });
    for (const noise of correlated) {
      expect(() => checkMixing(noise, { ...usual, standardDeviation: 2 ** 33 })).toThrow(refused);
    }
    const blt = planNoise({ kind: "blt", updates: UPDATES, buffers: 2 });
    expect(() => checkMixing(blt, { ...usual, sensitivity: 2 })).toThrow(refused);
    expect(() =>
      checkMixing(correlated[0] as LedgerNoise, { ...usual, sensitivity: 2 }),
    ).not.toThrow();
  });

  test("the error of buffers is a small part of a grid unit, and nothing without buffers", () => {
    const blt = planNoise({ kind: "blt", updates: 2_000, buffers: 3 });
    expect(mixingError(blt, 2 ** 27)).toBeLessThan(2 ** -9);
    expect(mixingError(blt, 2 ** 27)).toBeGreaterThan(2 ** -17);
    expect(mixingError({ kind: "toeplitz", updates: 9 }, 2 ** 27)).toBe(0);
    expect(columnNorm(blt)).toBeGreaterThan(1);
  });
});

/**
 * m_t - sum_j c_j y_(t-j) in units of 2^-52: m_t = (C G)_t + z_t. Exact, but for the coefficients of blt, which are rounded
 * to those units: an error below 12 steps x 2^28 x 2^-53.
 */
function exactMean(at: {
  readonly noise: LedgerNoise;
  readonly sums: readonly bigint[];
  readonly released: readonly bigint[];
  readonly z: number;
}): bigint {
  const { noise, sums, released, z } = at;
  if (noise.kind === "independent") return 0n;
  const t = released.length;
  const c = [...strategyCoefficients(noise)].map((v) => BigInt(Math.round(v * 2 ** 52)));
  let value = BigInt(z * 65_536) << 36n;
  for (const [j, coefficient] of c.entries()) {
    if (j <= t) value += coefficient * (sums[t - j] ?? 0n);
    if (j >= 1 && j <= t) value -= coefficient * (released[t - j] ?? 0n);
  }
  return value;
}
