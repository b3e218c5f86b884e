/**
 * The accountant of the Gaussian mechanism: noise multiplier, epsilon and delta, exactly.
 *
 * What it is true of: a sum to which one record adds a vector of L2 norm at most s (the sensitivity) is released with
 * independent N(0, (sigma s)^2) noise on each coordinate; sigma is the noise multiplier. A stream in arrival order has no
 * amplification by sampling (DESIGN.md, invariant 5), and one pass puts each record into one release, so this is all the
 * accounting there is: everything after the release is post-processing, however long the stream.
 *
 * Theorem (Balle & Wang, Improving the Gaussian Mechanism for Differential Privacy, ICML 2018, Theorem 8), mu = 1/sigma:
 *   the mechanism is (epsilon, delta)-DP exactly when
 *   delta >= Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu).
 * Composition (Dong, Roth & Su, Gaussian Differential Privacy, 2022, Corollary 3.3): releases with mu_1, mu_2, ...,
 * chosen adaptively, are together exactly as private as one with mu^2 = mu_1^2 + mu_2^2 + ...; k releases of the same
 * sigma as one with sigma / sqrt(k).
 *
 * Must not know about streams, clips or keys; must not round in favour of the claim: both searches return the end of
 * their last bracket on which the claim holds. Checked against dp-accounting and Opacus in test/vectors/.
 *
 * Edge cases, for every function: sigma 0 -> epsilon Infinity; sigma Infinity -> epsilon 0; delta 0 -> epsilon Infinity
 * (a Gaussian is never purely private), unless sigma is Infinity; delta >= 1 -> epsilon 0. NaN and negative arguments
 * throw `internal`, because a NaN epsilon would pass every comparison with a budget.
 */
import { SealstreamError } from "../errors.ts";

/** Halvings of a bracket of doubles: 2^-60 of its width is below the spacing of its ends. */
const HALVINGS = 60;
/** The continued fraction below is used from here on; under it the power series has no cancellation to speak of. */
const SERIES_BELOW = 1;
const SQRT_TAU = Math.sqrt(2 * Math.PI);

/**
 * Smallest epsilon for which the Gaussian mechanism is (epsilon, delta)-DP.
 * @param noiseMultiplier standard deviation over sensitivity, 0..Infinity
 * @param delta 0..1
 * @returns 0..Infinity, to about 12 digits, never below the true value by more than float error
 * @throws internal on NaN or a negative argument
 */
export function analyticGaussianEpsilon(noiseMultiplier: number, delta: number): number {
  requireNotNegative(noiseMultiplier, delta);
  if (noiseMultiplier === Number.POSITIVE_INFINITY || delta >= 1) return 0;
  const mu = 1 / noiseMultiplier;
  if (delta === 0 || mu === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
  return smallestWhere((epsilon) => gaussianDelta(mu, epsilon) <= delta);
}

/**
 * Smallest noise multiplier for which the Gaussian mechanism is (epsilon, delta)-DP.
 * @param epsilon 0..Infinity
 * @param delta 0..1
 * @returns 0..Infinity; 0 when no noise is needed, Infinity when none is enough
 * @throws internal on NaN or a negative argument
 */
export function analyticGaussianNoiseMultiplier(epsilon: number, delta: number): number {
  requireNotNegative(epsilon, delta);
  if (epsilon === Number.POSITIVE_INFINITY || delta >= 1) return 0;
  if (delta === 0) return Number.POSITIVE_INFINITY;
  return smallestWhere((sigma) => sigma > 0 && gaussianDelta(1 / sigma, epsilon) <= delta);
}

/**
 * Noise multiplier of one release that is as private as `releases` releases that one record takes part in.
 * @param releases integer >= 0; 0 -> Infinity
 * @throws internal otherwise
 */
export function kFoldNoiseMultiplier(noiseMultiplier: number, releases: number): number {
  requireNotNegative(noiseMultiplier, releases);
  return releases === 0 ? Number.POSITIVE_INFINITY : noiseMultiplier / Math.sqrt(releases);
}

/**
 * Noise multiplier of one release that is as private as all of these together (mu^2 adds up); none -> Infinity.
 * @throws internal on NaN or a negative argument
 */
export function composedNoiseMultiplier(noiseMultipliers: readonly number[]): number {
  requireNotNegative(...noiseMultipliers);
  const muSquared = noiseMultipliers.reduce((sum, sigma) => sum + 1 / (sigma * sigma), 0);
  return 1 / Math.sqrt(muSquared);
}

/**
 * Noise multiplier that one more release may have, when all together shall be as private as one with `total`.
 * @param spent noise multipliers of the releases before
 * @returns null when nothing is left
 * @throws internal on NaN or a negative argument
 */
export function remainingNoiseMultiplier(total: number, spent: readonly number[]): number | null {
  requireNotNegative(total, ...spent);
  if (spent.length === 0) return total;
  const left = 1 / (total * total) - 1 / composedNoiseMultiplier(spent) ** 2;
  return left > 0 ? 1 / Math.sqrt(left) : null;
}

/**
 * Smallest delta for which N(0, 1) noise on a query of sensitivity `mu` is (epsilon, delta)-DP (the theorem above).
 *
 * With a = epsilon/mu - mu/2 and b = epsilon/mu + mu/2, e^epsilon phi(b) = phi(a), so the theorem's difference of a tiny
 * and an overflowing factor becomes phi(a) (M(a) - M(b)), where M is the Mills ratio; no exponential of epsilon is left.
 * @param mu > 0, finite
 * @param epsilon >= 0, finite
 */
export function gaussianDelta(mu: number, epsilon: number): number {
  const a = epsilon / mu - mu / 2;
  const b = epsilon / mu + mu / 2;
  if (a < 0) return 1 - normalDensity(a) * (millsRatio(-a) + millsRatio(b));
  const density = normalDensity(a);
  return density === 0 ? 0 : density * (millsRatio(a) - millsRatio(b));
}

/** Distribution function of N(0, 1), accurate in both tails; NaN stays NaN. */
export function normalCdf(x: number): number {
  if (x > 0) return 1 - normalDensity(x) * millsRatio(x);
  const density = normalDensity(x);
  return density === 0 ? 0 : density * millsRatio(-x);
}

/**
 * Mills ratio of N(0, 1), (1 - Phi(x)) / phi(x), for x >= 0, to a relative error of about 1e-15.
 *
 * Below 1: Phi(x) = 1/2 + phi(x) (x + x^3/3 + x^5/(3*5) + ...), all terms positive (Abramowitz & Stegun 26.2.11). From 1:
 * Laplace's continued fraction 1/(x + 1/(x + 2/(x + 3/(x + ...)))) (26.2.14), from the inside out. Cut after N terms it
 * is off by about e^(-2 x sqrt(2 N)), relatively: N = 16 + 400/x^2 leaves less than e^-56 everywhere, and 60-digit values agree.
 */
export function millsRatio(x: number): number {
  if (x < SERIES_BELOW) {
    let term = x;
    let sum = x;
    for (let odd = 3; term > sum * Number.EPSILON; odd += 2) {
      term *= (x * x) / odd;
      sum += term;
    }
    return 0.5 / normalDensity(x) - sum;
  }
  let tail = 0;
  for (let k = 16 + Math.ceil(400 / (x * x)); k > 0; k -= 1) tail = k / (x + tail);
  return 1 / (x + tail);
}

function normalDensity(x: number): number {
  return Math.exp((-x * x) / 2) / SQRT_TAU;
}

/** Smallest x >= 0 for which a monotone condition holds, from above; Infinity when it never does below 2^1023. */
function smallestWhere(holds: (x: number) => boolean): number {
  if (holds(0)) return 0;
  let high = 1;
  while (!holds(high)) {
    high *= 2;
    if (high === Number.POSITIVE_INFINITY) return high;
  }
  // Down to the binary order first, so that small results have as many digits as large ones.
  while (high > Number.MIN_VALUE && holds(high / 2)) high /= 2;
  let low = high / 2;
  for (let halving = 0; halving < HALVINGS; halving += 1) {
    const middle = (low + high) / 2;
    if (holds(middle)) high = middle;
    else low = middle;
  }
  return high;
}

function requireNotNegative(...values: readonly number[]): void {
  if (!values.every((value) => value >= 0)) {
    throw new SealstreamError(
      "internal",
      "Privacy accounting was given a negative number or none at all.",
    );
  }
}
