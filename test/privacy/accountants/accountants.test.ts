/**
 * The accountants against dp-accounting 0.6.0 and Opacus 1.6.0 (golden-epsilon.json, six decimals), against quadrature and
 * against gaussian.ts.
 */
import { describe, expect, test } from "vitest";
import { transform } from "../../../pipeline/privacy/accountants/fft.ts";
import {
  gaussianHockeyStick,
  logNormalCdf,
} from "../../../pipeline/privacy/accountants/normal-tails.ts";
import { pldEpsilon } from "../../../pipeline/privacy/accountants/pld.ts";
import {
  DP_ACCOUNTING,
  OPACUS,
  rdpEpsilon,
  renyi,
} from "../../../pipeline/privacy/accountants/rdp.ts";
import { treeHeight, treeNoiseMultiplier } from "../../../pipeline/privacy/accountants/tree.ts";
import {
  analyticGaussianEpsilon,
  gaussianDelta,
  kFoldNoiseMultiplier,
} from "../../../pipeline/privacy/gaussian.ts";
import golden from "../../vectors/golden-epsilon.json" with { type: "json" };
import mpmath from "../../vectors/normal-mpmath.json" with { type: "json" };

const relative = (actual: number, expected = Number.NaN) => Math.abs(actual / expected - 1);
const refused = expect.objectContaining({ code: "internal" });

describe("golden values", () => {
  const poisson = golden.tuples.filter(({ kind }) => kind === "poisson_subsampled_gaussian");
  test.each(poisson)("Poisson: sigma $sigma, rate $q, $steps steps", (tuple) => {
    const { sigma = 0, q = 0, steps = 0, delta } = tuple;
    const releases = { noiseMultiplier: sigma, samplingRate: q, count: steps };
    const theirs = rdpEpsilon([releases], delta);
    expect(relative(theirs.epsilon, tuple.eps_rdp_dp_accounting)).toBeLessThan(1e-6);
    expect(theirs.order).toBeCloseTo(tuple.rdp_order ?? 0, 12);
    const opacus = rdpEpsilon([releases], delta, OPACUS);
    expect(relative(opacus.epsilon, tuple.eps_rdp_opacus)).toBeLessThan(1e-6);
    const pld = pldEpsilon(releases, delta);
    expect(pld).toBeCloseTo(tuple.eps_pld_dp_accounting ?? 0, 5);
    expect(relative(pld, tuple.eps_pld_dp_accounting)).toBeLessThan(1e-3);
    // PRV's upper bound is its own estimate and 0.01.
    expect(pld).toBeLessThan(tuple.eps_prv_opacus ?? 0);
    expect(pld).toBeGreaterThan((tuple.eps_prv_opacus ?? 0) - 0.02);
  });

  const folds = golden.tuples.filter(({ kind }) => kind === "gaussian_k_fold");
  test.each(folds)("k-fold: sigma $sigma, $epochs releases", (tuple) => {
    const { sigma = 0, epochs = 0, delta } = tuple;
    const releases = { noiseMultiplier: sigma, samplingRate: 1, count: epochs };
    const rdp = rdpEpsilon([releases], delta);
    expect(relative(rdp.epsilon, tuple.eps_rdp_dp_accounting)).toBeLessThan(1e-6);
    expect(rdp.order).toBeCloseTo(tuple.rdp_order ?? 0, 12);
    expect(pldEpsilon(releases, delta)).toBeCloseTo(tuple.eps_pld_dp_accounting ?? 0, 5);
  });

  const trees = golden.tuples.filter(({ kind }) => kind === "tree_aggregation_dp_ftrl");
  test.each(trees)("tree: sigma $sigma, $steps steps, $tree_restarts restarts", (tuple) => {
    const { sigma = 0, steps = 0, tree_restarts: restarts = 0, delta } = tuple;
    const height = treeHeight(steps);
    expect(height).toBe(tuple.tree_height_ceil_log2_steps_plus_1);
    const nodes = { noiseMultiplier: sigma, samplingRate: 1, count: height * restarts };
    const rdp = rdpEpsilon([nodes], delta);
    expect(relative(rdp.epsilon, tuple.eps_rdp_dp_accounting)).toBeLessThan(1e-6);
    const exact = analyticGaussianEpsilon(treeNoiseMultiplier(sigma, steps, restarts), delta);
    expect(relative(exact, tuple.eps_analytic_height_fold_gaussian)).toBeLessThan(1e-6);
  });

  test("there are as many as the file says", () => {
    expect([poisson.length, folds.length, trees.length]).toEqual([6, 6, 3]);
  });
});

describe("Renyi divergence", () => {
  /** Simpson's rule over +-40 sigma of the definition. */
  function byQuadrature(q: number, sigma: number, alpha: number): number {
    const steps = 40_000;
    const width = (80 * sigma) / steps;
    let sum = 0;
    for (let i = 0; i <= steps; i += 1) {
      const z = -40 * sigma + i * width;
      const log = Math.log(1 - q + q * Math.exp((2 * z - 1) / (2 * sigma * sigma)));
      const weight = i === 0 || i === steps ? 1 : 2 + 2 * (i % 2);
      sum += weight * Math.exp(alpha * log - (z * z) / (2 * sigma * sigma));
    }
    return Math.log((sum * width) / 3 / (sigma * Math.sqrt(2 * Math.PI))) / (alpha - 1);
  }

  test.each([
    [0.01, 1.1, 9.6],
    [0.05, 0.8, 2.9],
    [0.25, 4, 3.7],
    [0.1, 2, 7],
    [0.3, 1, 3.3],
    [0.9, 1, 2.5],
  ])("of rate %d, sigma %d, order %d is the integral's", (samplingRate, noiseMultiplier, order) => {
    const release = { samplingRate, noiseMultiplier };
    const integral = byQuadrature(samplingRate, noiseMultiplier, order);
    expect(relative(renyi(release, order, true), integral)).toBeLessThan(1e-8);
    expect(renyi(release, order, false)).toBeGreaterThanOrEqual(integral * (1 - 1e-8));
  });

  test("edge cases", () => {
    expect(renyi({ samplingRate: 0, noiseMultiplier: 1 }, 2, true)).toBe(0);
    expect(renyi({ samplingRate: 1, noiseMultiplier: 2 }, 8, true)).toBe(1);
    // The terms of small orders fall as a power of i: an order whose series does not end proves nothing.
    expect(renyi({ samplingRate: 0.5, noiseMultiplier: 1 }, 1.1, true)).toBe(Infinity);
    expect(rdpEpsilon([], 1e-5).epsilon).toBe(0);
    const one = { noiseMultiplier: 1, samplingRate: 1, count: 1 };
    expect(rdpEpsilon([one], 0).epsilon).toBe(Number.POSITIVE_INFINITY);
    expect(rdpEpsilon([one], 1).epsilon).toBe(0);
    // Two kinds add up: four releases of 2 are one of 1.
    const four = { noiseMultiplier: 2, samplingRate: 1, count: 2 };
    expect(rdpEpsilon([four, four], 1e-5)).toEqual(rdpEpsilon([one], 1e-5));
    for (const wrong of [
      { ...one, noiseMultiplier: 0 },
      { ...one, samplingRate: 1.1 },
      { ...one, noiseMultiplier: Number.NaN },
    ]) {
      expect(() => rdpEpsilon([wrong], 1e-5, DP_ACCOUNTING)).toThrow(refused);
    }
    expect(() => rdpEpsilon([one], Number.NaN)).toThrow(refused);
  });
});

describe("privacy loss distributions", () => {
  test.each([
    [1, 1, 1e-5],
    [4, 10, 1e-6],
    [20, 3, 1e-8],
    [0.5, 1, 1e-3],
  ])(
    "of Gaussians are never below the exact epsilon, and near: sigma %d, %d times",
    (sigma, count, delta) => {
      const exact = analyticGaussianEpsilon(kFoldNoiseMultiplier(sigma, count), delta);
      const pld = pldEpsilon({ noiseMultiplier: sigma, samplingRate: 1, count }, delta);
      expect(pld).toBeGreaterThan(exact - 1e-9);
      expect(pld).toBeLessThan(exact + 1e-5);
    },
  );

  test("are at least a single release's exact epsilon by subsampling, and below RDP", () => {
    const [q, sigma, delta] = [0.2, 1.5, 1e-5];
    const releases = { noiseMultiplier: sigma, samplingRate: q, count: 1 };
    const pld = pldEpsilon(releases, delta);
    // Removing one record: H(e) = q G(log((e^e - 1 + q) / q)).
    const at = (e: number) => q * gaussianDelta(1 / sigma, Math.log((Math.exp(e) - 1 + q) / q));
    expect(at(pld)).toBeLessThanOrEqual(delta * (1 + 1e-9));
    expect(at(pld - 2e-4)).toBeGreaterThan(delta);
    const many = { noiseMultiplier: 1.1, samplingRate: 0.01, count: 100 };
    expect(pldEpsilon(many, delta)).toBeLessThan(rdpEpsilon([many], delta, OPACUS).epsilon);
  });

  test("edge cases", () => {
    const one = { noiseMultiplier: 1, samplingRate: 0.5, count: 1 };
    expect(pldEpsilon({ ...one, count: 0 }, 1e-5)).toBe(0);
    expect(pldEpsilon({ ...one, samplingRate: 0 }, 1e-5)).toBe(0);
    expect(pldEpsilon({ ...one, noiseMultiplier: 1e4 }, 0.5)).toBe(0);
    for (const [wrong, delta] of [
      [{ ...one, noiseMultiplier: 0 }, 1e-5],
      [{ ...one, count: 1.5 }, 1e-5],
      [one, 1e-11],
      [one, Number.NaN],
    ] as const) {
      expect(() => pldEpsilon(wrong, delta)).toThrow(refused);
    }
    expect(() => pldEpsilon({ ...one, noiseMultiplier: 0.01 }, 1e-5)).toThrow(
      expect.objectContaining({ code: "limit-exceeded" }),
    );
  });
});

describe("trees", () => {
  test("have the height of the updates' binary digits", () => {
    expect([1, 2, 3, 4, 7, 8, 127, 128].map(treeHeight)).toEqual([1, 2, 2, 3, 3, 4, 7, 8]);
    for (const wrong of [0, 1.5, 2 ** 31]) expect(() => treeHeight(wrong)).toThrow(refused);
  });
});

describe("the parts", () => {
  test("the logarithm of the distribution function", () => {
    for (const [x, expected] of mpmath.cdf) {
      const log = Math.log(Number(expected));
      // Doubles below 1e-300 lose digits themselves.
      if (!(Number(expected) > 1e-300)) continue;
      expect(Math.abs(logNormalCdf(Number(x)) - log)).toBeLessThan(1e-13 * Math.max(1, -log));
    }
    // Beyond doubles: log Phi(-x) = -x^2/2 - log(x sqrt(2 pi)) - 1/x^2 + ...
    expect(logNormalCdf(-100)).toBeCloseTo(
      -5000 - Math.log(100 * Math.sqrt(2 * Math.PI)) - 1e-4,
      7,
    );
  });

  test("the divergence below zero is the swapped one's", () => {
    for (const [mu, e] of [
      [1, 0.5],
      [0.3, 2],
      [2, 1],
    ] as const) {
      const swapped = 1 - Math.exp(-e) * (1 - gaussianDelta(mu, e));
      expect(gaussianHockeyStick(mu, -e)).toBeCloseTo(swapped, 14);
    }
    const ends = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    expect(ends.map((e) => gaussianHockeyStick(1, e))).toEqual([0, 1]);
  });

  test("the transform is the sum of its definition, and its inverse leads back", () => {
    const n = 16;
    const values = Array.from({ length: n }, (_, i) => [Math.sin(i * i), Math.cos(3 * i)] as const);
    const real = Float64Array.from(values, ([re]) => re);
    const imaginary = Float64Array.from(values, ([, im]) => im);
    transform(real, imaginary);
    for (let k = 0; k < n; k += 1) {
      let re = 0;
      let im = 0;
      for (const [i, [a, b]] of values.entries()) {
        const angle = (-2 * Math.PI * i * k) / n;
        re += a * Math.cos(angle) - b * Math.sin(angle);
        im += a * Math.sin(angle) + b * Math.cos(angle);
      }
      expect(real[k]).toBeCloseTo(re, 12);
      expect(imaginary[k]).toBeCloseTo(im, 12);
    }
    transform(real, imaginary, true);
    for (const [i, [re, im]] of values.entries()) {
      expect(real[i]).toBeCloseTo(re, 14);
      expect(imaginary[i]).toBeCloseTo(im, 14);
    }
  });
});
