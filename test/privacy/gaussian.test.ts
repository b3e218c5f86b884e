/**
 * The accountant against dp-accounting and Opacus (golden-epsilon.json), against 60-digit arithmetic
 * (normal-mpmath.json), and against itself.
 *
 * Of golden-epsilon.json: the six k-fold tuples' analytic epsilon and the four inverse sigmas, to the 6 digits they
 * have. The Poisson and tree tuples, RDP and PLD are compared in accountants/accountants.test.ts.
 */
import { describe, expect, test } from "vitest";
import {
  analyticGaussianEpsilon,
  analyticGaussianNoiseMultiplier,
  composedNoiseMultiplier,
  gaussianDelta,
  kFoldNoiseMultiplier,
  millsRatio,
  normalCdf,
  remainingNoiseMultiplier,
} from "../../pipeline/privacy/gaussian.ts";
import golden from "../vectors/golden-epsilon.json" with { type: "json" };
import mpmath from "../vectors/normal-mpmath.json" with { type: "json" };

function relativeError(actual: number, expected: number): number {
  return actual === expected ? 0 : Math.abs(actual - expected) / Math.abs(expected);
}

describe("golden values", () => {
  const folds = golden.tuples.filter((tuple) => tuple.kind === "gaussian_k_fold");
  test.each(folds)("sigma $sigma, $epochs releases: $eps_analytic_balle_wang", (tuple) => {
    const { sigma = 0, epochs = 0, delta } = tuple;
    const epsilon = analyticGaussianEpsilon(kFoldNoiseMultiplier(sigma, epochs), delta);
    expect(epsilon.toFixed(6)).toBe(tuple.eps_analytic_balle_wang?.toFixed(6));
  });

  const inverses = golden.tuples.filter(
    (tuple) => tuple.kind === "sigma_for_epsilon_gaussian_k_fold",
  );
  test.each(inverses)("epsilon $epsilon, $epochs releases: sigma $sigma_analytic", (tuple) => {
    const { epsilon = 0, epochs = 0, delta } = tuple;
    const sigma = analyticGaussianNoiseMultiplier(epsilon, delta) * Math.sqrt(epochs);
    expect(sigma.toFixed(6)).toBe(tuple.sigma_analytic?.toFixed(6));
  });

  test("there are as many as the file says", () => {
    expect([folds.length, inverses.length]).toEqual([6, 4]);
  });
});

describe("against 60-digit arithmetic", () => {
  test("Mills ratio to 2e-15", () => {
    for (const [x, expected] of mpmath.mills) {
      expect(relativeError(millsRatio(Number(x)), Number(expected))).toBeLessThan(2e-15);
    }
  });

  test("distribution function to 1e-15, in both tails", () => {
    for (const [x, expected] of mpmath.cdf) {
      expect(relativeError(normalCdf(Number(x)), Number(expected))).toBeLessThan(1e-15);
    }
  });

  test("delta to 1e-11", () => {
    expect(mpmath.delta.length).toBeGreaterThan(70);
    for (const [mu, epsilon, expected] of mpmath.delta) {
      const delta = gaussianDelta(Number(mu), Number(epsilon));
      expect(relativeError(delta, Number(expected))).toBeLessThan(1e-11);
    }
  });

  test("epsilon to 1e-11, and its inverse leads back", () => {
    expect(mpmath.epsilon).toHaveLength(55);
    for (const [sigma, delta, expected] of mpmath.epsilon) {
      const epsilon = analyticGaussianEpsilon(Number(sigma), Number(delta));
      expect(relativeError(epsilon, Number(expected))).toBeLessThan(1e-11);
      if (epsilon === 0) continue;
      const inverse = analyticGaussianNoiseMultiplier(epsilon, Number(delta));
      expect(relativeError(inverse, Number(sigma))).toBeLessThan(1e-11);
    }
  });
});

describe("properties", () => {
  const sigmas = Array.from({ length: 60 }, (_, i) => 0.05 * 1.18 ** i);
  const deltas = [1e-12, 1e-9, 1e-7, 1e-5, 1e-3, 0.05];

  test("epsilon falls with noise and with delta, and the two sides of the claim are tight", () => {
    for (const delta of deltas) {
      let before = Number.POSITIVE_INFINITY;
      for (const sigma of sigmas) {
        const epsilon = analyticGaussianEpsilon(sigma, delta);
        expect(epsilon).toBeLessThanOrEqual(before);
        expect(epsilon).toBeGreaterThanOrEqual(analyticGaussianEpsilon(sigma, delta * 1.5));
        before = epsilon;
        // It holds at epsilon, and just below it does not.
        expect(gaussianDelta(1 / sigma, epsilon)).toBeLessThanOrEqual(delta);
        if (epsilon > 0)
          expect(gaussianDelta(1 / sigma, epsilon * (1 - 1e-9))).toBeGreaterThan(delta);
      }
    }
  });

  test("the noise for an epsilon is enough, and hardly less is not", () => {
    for (const delta of deltas) {
      for (const epsilon of [0, 0.01, 0.3, 1, 3, 8, 40]) {
        const sigma = analyticGaussianNoiseMultiplier(epsilon, delta);
        expect(gaussianDelta(1 / sigma, epsilon)).toBeLessThanOrEqual(delta);
        expect(gaussianDelta(1 / (sigma * (1 - 1e-9)), epsilon)).toBeGreaterThan(delta);
      }
    }
  });

  test("it is tighter than the classical bound, and not by nothing", () => {
    for (const epsilon of [0.1, 0.5, 0.9]) {
      const classical = Math.sqrt(2 * Math.log(1.25 / 1e-5)) / epsilon;
      const sigma = analyticGaussianNoiseMultiplier(epsilon, 1e-5);
      expect(sigma).toBeLessThan(classical);
      expect(sigma).toBeGreaterThan(classical / 2);
    }
  });

  test("composition: k equal releases, order, and what remains", () => {
    for (const k of [1, 2, 7, 100]) {
      const many = composedNoiseMultiplier(Array.from({ length: k }, () => 1.7));
      expect(relativeError(many, kFoldNoiseMultiplier(1.7, k))).toBeLessThan(1e-14);
    }
    expect(composedNoiseMultiplier([1, 2, 3])).toBeCloseTo(composedNoiseMultiplier([3, 1, 2]), 14);
    const left = remainingNoiseMultiplier(1, [2, 3]);
    expect(composedNoiseMultiplier([2, 3, left ?? 0])).toBeCloseTo(1, 12);
    expect(remainingNoiseMultiplier(1.5, [])).toBe(1.5);
    expect(remainingNoiseMultiplier(1, [1])).toBeNull();
    expect(remainingNoiseMultiplier(1, [2, 1])).toBeNull();
  });
});

describe("edge cases", () => {
  const infinity = Number.POSITIVE_INFINITY;
  test("no noise, all noise, no delta, all delta", () => {
    expect(analyticGaussianEpsilon(0, 1e-5)).toBe(infinity);
    expect(analyticGaussianEpsilon(infinity, 1e-5)).toBe(0);
    expect(analyticGaussianEpsilon(1, 0)).toBe(infinity);
    expect(analyticGaussianEpsilon(infinity, 0)).toBe(0);
    expect(analyticGaussianEpsilon(0, 1)).toBe(0);
    expect(analyticGaussianEpsilon(1, 2)).toBe(0);
    expect(analyticGaussianNoiseMultiplier(infinity, 1e-5)).toBe(0);
    expect(analyticGaussianNoiseMultiplier(3, 0)).toBe(infinity);
    expect(analyticGaussianNoiseMultiplier(3, 1)).toBe(0);
    expect(kFoldNoiseMultiplier(2, 0)).toBe(infinity);
    expect(composedNoiseMultiplier([])).toBe(infinity);
    expect(composedNoiseMultiplier([infinity])).toBe(infinity);
    expect(composedNoiseMultiplier([0, 3])).toBe(0);
  });

  test("epsilon 0 where the distributions are within delta already", () => {
    // 2 Phi(mu / 2) - 1 <= delta.
    expect(analyticGaussianEpsilon(1e6, 1e-5)).toBe(0);
    const sigma = analyticGaussianNoiseMultiplier(0, 1e-5);
    expect(2 * normalCdf(1 / (2 * sigma)) - 1).toBeCloseTo(1e-5, 15);
  });

  test("extremes stay numbers", () => {
    expect(analyticGaussianEpsilon(1e-100, 1e-5)).toBeGreaterThan(1e199);
    expect(analyticGaussianEpsilon(1e-200, 1e-5)).toBe(infinity);
    expect(analyticGaussianEpsilon(1e300, 1e-300)).toBeGreaterThanOrEqual(0);
    expect(analyticGaussianNoiseMultiplier(1e-300, 1e-300)).toBeGreaterThan(0);
  });

  test.each([Number.NaN, -1, -0.1, Number.NEGATIVE_INFINITY])("%d is refused everywhere", (bad) => {
    for (const call of [
      () => analyticGaussianEpsilon(bad, 1e-5),
      () => analyticGaussianEpsilon(1, bad),
      () => analyticGaussianNoiseMultiplier(bad, 1e-5),
      () => analyticGaussianNoiseMultiplier(1, bad),
      () => kFoldNoiseMultiplier(bad, 1),
      () => kFoldNoiseMultiplier(1, bad),
      () => composedNoiseMultiplier([1, bad]),
      () => remainingNoiseMultiplier(bad, []),
      () => remainingNoiseMultiplier(1, [bad]),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: "internal" }));
    }
  });
});
