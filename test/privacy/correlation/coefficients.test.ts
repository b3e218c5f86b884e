/**
 * Noise matrices against jax_privacy 2.0.0 (noise-matrices.json), against all places of small runs, and against theory.
 *
 * Toeplitz coefficients are rounded to 2^-16 here and not there, which moves a norm by less than 2e-5 of itself.
 */
import { describe, expect, test } from "vitest";
import {
  type CorrelatedNoise,
  columnNorm,
  participationNorm,
  prefixError,
  rowFractionBits,
  solveToeplitz,
  squareRootCoefficients,
  strategyCoefficients,
} from "../../../pipeline/privacy/correlation/coefficients.ts";
import type { LedgerNoise } from "../../../pipeline/privacy/ledger-noise.ts";
import golden from "../../vectors/noise-matrices.json" with { type: "json" };

const off = (actual: number, expected: number) => Math.abs(actual / expected - 1);

describe("the square root of all ones", () => {
  test.each(golden.sqrtToeplitz)("of $n updates is jax_privacy's", (expected) => {
    const { n: updates, strategy, noising } = expected;
    const exact = squareRootCoefficients(updates);
    for (const [k, value] of strategy.entries())
      expect(off(exact[k] ?? 0, value)).toBeLessThan(1e-7);
    const impulse = Float64Array.from({ length: updates }, (_, t) => Number(t === 0));
    for (const [k, value] of solveToeplitz(exact, impulse).subarray(0, 10).entries()) {
      expect(off(value, noising[k] ?? 0)).toBeLessThan(2e-7);
    }
    const noise: LedgerNoise = { kind: "toeplitz", updates };
    expect(off(columnNorm(noise), expected.sensitivity)).toBeLessThan(2e-5);
    const { rms, max } = prefixError(noise);
    expect(off(rms ** 2, expected.meanLoss)).toBeLessThan(2e-5);
    expect(off(max ** 2, expected.maxLoss)).toBeLessThan(2e-5);
  });

  test("is a square root, and on the grid after rounding", () => {
    const c = squareRootCoefficients(50);
    for (let t = 0; t < 50; t += 1) {
      const square = c.subarray(0, t + 1).reduce((sum, v, i) => sum + v * (c[t - i] ?? 0), 0);
      expect(square).toBeCloseTo(1, 12);
    }
    for (const [k, v] of strategyCoefficients({ kind: "toeplitz", updates: 50 }).entries()) {
      expect(Number.isInteger(v * 65_536)).toBe(true);
      expect(Math.abs(v - (c[k] ?? 0))).toBeLessThanOrEqual(2 ** -17);
    }
  });
});

test("coefficients of every kind, by hand", () => {
  const blt: LedgerNoise = { kind: "blt", updates: 4, decay: [0.5, 0.25], weight: [0.25, 0.125] };
  expect([...strategyCoefficients(blt)]).toEqual([1, 0.375, 0.15625, 0.0703125]);
  const norm = Math.sqrt(1 + 0.375 ** 2 + 0.15625 ** 2 + 0.0703125 ** 2);
  expect(columnNorm(blt)).toBeCloseTo(norm * (1 + 2 ** -16), 12);
  const banded: LedgerNoise = { kind: "banded", updates: 2, coefficients: [1, 0.5, 0.25] };
  expect([...strategyCoefficients(banded)]).toEqual([1, 0.5]);
  expect(columnNorm(banded)).toBe(Math.sqrt(1.25));
  expect(columnNorm({ kind: "independent" })).toBe(1);
  expect([blt, banded, { kind: "independent" } as const].map(rowFractionBits)).toEqual([16, 16, 0]);
});

test("a buffered matrix whose doubles cancel is not said to be smaller than it is", () => {
  // In doubles both powers fall by one unit a step; in truth one falls twice as fast as the other.
  const [updates, pairs, height] = [2 ** 17, 16, 1.25 * 2 ** 19];
  const decay = Array.from({ length: 2 * pairs }, (_, i) => 1 - 2 ** (i % 2 === 0 ? -53 : -52));
  const weight = decay.map((_, i) => (i % 2 === 0 ? height : -height));
  let squares = 1;
  for (let k = 0; k < updates - 1; k += 1) {
    const [slow, fast] = [2 ** -53, 2 ** -52].map((u) => Math.expm1(k * Math.log1p(-u)));
    squares += (pairs * height * ((slow ?? 0) - (fast ?? 0))) ** 2;
  }
  const noise: LedgerNoise = { kind: "blt", updates, decay, weight };
  expect(Math.sqrt(squares)).toBeGreaterThan(1.0005);
  expect(columnNorm(noise)).toBeGreaterThan(Math.sqrt(squares));
  expect(participationNorm(noise, 2, updates)).toBeGreaterThan(Math.sqrt(2 * squares));
});

test.each([[[1, 0.3]], [[2, 0.5]], [[]]])("banded coefficients %j are refused", (coefficients) => {
  expect(() => columnNorm({ kind: "banded", updates: 9, coefficients })).toThrow(
    expect.objectContaining({ code: "ledger-invalid" }),
  );
});

describe("sensitivity of more participations", () => {
  test.each(golden.minSep)("$participations, $separation apart, in a block of $n", (expected) => {
    const noise: LedgerNoise = { kind: "toeplitz", updates: expected.n };
    const norm = participationNorm(noise, expected.participations, expected.separation);
    expect(off(norm, expected.sensitivity)).toBeLessThan(2e-5);
  });

  const small: [string, CorrelatedNoise][] = [
    ["toeplitz", { kind: "toeplitz", updates: 4 }],
    ["toeplitz of 2", { kind: "toeplitz", updates: 2 }],
    ["banded", { kind: "banded", updates: 5, coefficients: [1, 0.5, 0.375] }],
    ["slow", { kind: "banded", updates: 3, coefficients: [1, 0.0625] }],
  ];
  test.each(small)("%s: the worst of all places of a run of six blocks", (_, noise) => {
    for (const separation of [1, 2, 3, 4]) {
      for (const participations of [1, 2, 3]) {
        const worst = worstOfAllPlaces({ noise, blocks: 6, participations, separation });
        const norm = participationNorm(noise, participations, separation);
        expect(norm).toBeCloseTo(worst, 10);
      }
    }
  });

  test("late columns are cut off, so that a block of its own can be worse", () => {
    // Columns 0 and 4 of one block of 5 meet in c_4 = .273 alone, but the second has lost c_1..c_4.
    const noise: LedgerNoise = { kind: "toeplitz", updates: 5 };
    const inOneBlock = Math.sqrt(columnNorm(noise) ** 2 + 1 + 2 * (35 / 128));
    expect(participationNorm(noise, 2, 4)).toBeCloseTo(Math.SQRT2 * columnNorm(noise), 12);
    expect(participationNorm(noise, 2, 4)).toBeGreaterThan(inOneBlock);
    const worst = worstOfAllPlaces({ noise, blocks: 4, participations: 2, separation: 4 });
    expect(participationNorm(noise, 2, 4)).toBeCloseTo(worst, 10);
  });

  test.each([[[1, -0.5, 0.75, 0.25]], [[1, 0, 0.75]]])(
    "signs and order do not make it too small: %j",
    (coefficients) => {
      const noise = { kind: "banded", updates: 6, coefficients } as const;
      for (const participations of [2, 3]) {
        const worst = worstOfAllPlaces({ noise, blocks: 3, participations, separation: 1 });
        expect(participationNorm(noise, participations)).toBeGreaterThanOrEqual(worst - 1e-12);
      }
    },
  );

  test("is a square root where columns do not meet", () => {
    expect(participationNorm({ kind: "independent" }, 9)).toBe(3);
    const banded: LedgerNoise = { kind: "banded", updates: 100, coefficients: [1, 0.5, 0.25] };
    expect(participationNorm(banded, 4, 3)).toBeCloseTo(2 * columnNorm(banded), 12);
    const toeplitz: LedgerNoise = { kind: "toeplitz", updates: 100 };
    expect(participationNorm(toeplitz, 4, 100)).toBeCloseTo(2 * columnNorm(toeplitz), 12);
    expect(participationNorm(toeplitz, 1)).toBe(columnNorm(toeplitz));
  });

  test.each([[0], [1.5], [4_097], [Number.NaN]])("%d participations are refused", (count) => {
    expect(() => participationNorm({ kind: "independent" }, count)).toThrow(
      expect.objectContaining({ code: "limit-exceeded" }),
    );
  });
});

describe("error of the sums", () => {
  test("independent noise", () => {
    const { rms, max } = prefixError({ kind: "independent" }, 99);
    expect(rms).toBeCloseTo(Math.sqrt(50), 12);
    expect(max).toBeCloseTo(Math.sqrt(99), 12);
  });

  test("the square root grows as the logarithm, near the lower bound of all matrices", () => {
    for (const updates of [100, 1_000, 3_000]) {
      const { max } = prefixError({ kind: "toeplitz", updates });
      // Both factors are sum_k c_k^2 = 1 + (ln T + gamma + ln 16 - ...) / pi; Constant Matters, Theorem 1: <= 1 + ln(4T/5) / pi.
      expect(max).toBeLessThanOrEqual(1 + Math.log((4 * updates) / 5) / Math.PI + 0.3);
      // Matousek, Nikolov & Talwar 2020: no factorisation is below ln(T) / pi.
      expect(max).toBeGreaterThan(Math.log(updates) / Math.PI);
    }
  });

  test("adds up over blocks", () => {
    const noise: LedgerNoise = { kind: "toeplitz", updates: 10 };
    const once = prefixError(noise);
    expect(prefixError(noise, 40).max).toBeCloseTo(2 * once.max, 12);
    expect(prefixError(noise, 20).rms ** 2).toBeCloseTo(once.rms ** 2 + once.max ** 2 / 2, 10);
  });
});

/** Largest norm of a sum of |columns|' inner products over every choice of places, by trying all. */
function worstOfAllPlaces(options: {
  readonly noise: CorrelatedNoise;
  readonly blocks: number;
  readonly participations: number;
  readonly separation: number;
}): number {
  const { noise, blocks, participations, separation } = options;
  const { updates } = noise;
  const c = strategyCoefficients(noise);
  const rows = blocks * updates;
  const column = (place: number) =>
    Float64Array.from({ length: rows }, (_, row) => {
      const sameBlock = Math.floor(row / updates) === Math.floor(place / updates);
      return sameBlock && row >= place ? (c[row - place] ?? 0) : 0;
    });
  const columns = Array.from({ length: rows }, (_, place) => column(place));
  const gram = columns.map((a) =>
    columns.map((b) => Math.abs(a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0))),
  );
  const search = (chosen: readonly number[]): number => {
    const own = chosen.reduce(
      (sum, i) => sum + chosen.reduce((part, j) => part + (gram[i]?.[j] ?? 0), 0),
      0,
    );
    if (chosen.length === participations) return own;
    let worst = own;
    for (let i = (chosen.at(-1) ?? -separation) + separation; i < rows; i += 1) {
      worst = Math.max(worst, search([...chosen, i]));
    }
    return worst;
  };
  return Math.sqrt(search([]));
}
