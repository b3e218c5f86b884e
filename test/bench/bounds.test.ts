/** What guesses prove: against SciPy, and on releases whose privacy is known. */
import { describe, expect, test } from "vitest";
import {
  binomialCdf,
  epsilonLowerBound,
  muLowerBound,
  normalQuantile,
  plainEpsilonLowerBound,
  upperShare,
} from "../../bench/study/bounds.ts";

describe("against SciPy 1.x", () => {
  // scipy.stats.beta.ppf(c, k + 1, n - k), binom.cdf, norm.ppf
  test.each([
    [0, 100, 0.975, 0.03621669264517641],
    [5, 100, 0.975, 0.11283491110546275],
    [61, 204, 0.975, 0.3669025161051952],
    [2000, 5000, 0.975, 0.41373419057255095],
    [100, 100, 0.975, 1],
  ])("upper Clopper-Pearson end of %i of %i", (count, total, confidence, expected) => {
    expect(upperShare(count, total, confidence)).toBeCloseTo(expected, 9);
  });

  test("binomial and normal", () => {
    expect(binomialCdf(61, 204, 0.3)).toBeCloseTo(0.5223300155056961, 9);
    expect(binomialCdf(1500, 5000, 0.31)).toBeCloseTo(0.06473776237132893, 9);
    expect(normalQuantile(0.975)).toBeCloseTo(1.959963984540054, 9);
    expect(normalQuantile(0.01)).toBeCloseTo(-2.3263478740408408, 9);
  });
});

describe("a guesser at the middle of N(0, 1) and N(mu, 1)", () => {
  const mu = 0.7191;
  // Phi(-mu / 2) = 0.35959: the shares that such a guesser has, to the record.
  const of = (trials: number) => ({
    falsePositives: Math.round(0.35959 * trials),
    absent: trials,
    truePositives: Math.round((1 - 0.35959) * trials),
    present: trials,
  });

  test("proves less than there is, and nearly all of it from many trials", () => {
    expect(muLowerBound(of(500), 0.95)).toBeLessThan(mu);
    expect(muLowerBound(of(500), 0.95)).toBeGreaterThan(0.6 * mu);
    expect(muLowerBound(of(200_000), 0.95)).toBeGreaterThan(0.98 * mu);
    expect(epsilonLowerBound(of(200_000), 0.95, 1e-5)).toBeGreaterThan(2.9);
    expect(epsilonLowerBound(of(200_000), 0.95, 1e-5)).toBeLessThan(3);
  });

  test("proves less when nothing is known of the release", () => {
    const plain = plainEpsilonLowerBound(of(200_000), 0.95, 1e-5);
    // log(0.64041 / 0.35959)
    expect(plain).toBeLessThan(0.5772);
    expect(plain).toBeGreaterThan(0.56);
  });

  test("proves nothing by guessing", () => {
    const blind = { falsePositives: 250, absent: 500, truePositives: 250, present: 500 };
    expect(epsilonLowerBound(blind, 0.95, 1e-5)).toBe(0);
    expect(plainEpsilonLowerBound(blind, 0.95, 1e-5)).toBe(0);
  });
});
