/** Logarithm of the normal distribution function and hockey-stick divergence for every sign of epsilon, on gaussian.ts. */
import { gaussianDelta, millsRatio, normalCdf } from "../gaussian.ts";

const LOG_SQRT_TAU = Math.log(2 * Math.PI) / 2;

/** log P(N(0, 1) <= x), accurate where the probability underflows. */
export function logNormalCdf(x: number): number {
  if (x > 0) return Math.log1p(-normalCdf(-x));
  return (-x * x) / 2 - LOG_SQRT_TAU + Math.log(millsRatio(-x));
}

/**
 * Hockey-stick divergence of N(mu, 1) from N(0, 1) at any real epsilon: below 0 by
 * H(-e) = 1 - e^-e + e^-e H(e) (swap the two, which the Gaussian's symmetry undoes).
 */
export function gaussianHockeyStick(mu: number, epsilon: number): number {
  if (epsilon === Number.NEGATIVE_INFINITY) return 1;
  if (epsilon === Number.POSITIVE_INFINITY) return 0;
  if (epsilon >= 0) return gaussianDelta(mu, epsilon);
  return -Math.expm1(epsilon) + Math.exp(epsilon) * gaussianDelta(mu, -epsilon);
}
