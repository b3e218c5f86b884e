/**
 * What a number of right and wrong guesses proves about a privacy claim, with stated confidence.
 *
 * A guesser is shown releases with and without its record and says which is which. Whoever claims that the release is
 * mu-GDP (Dong, Roth & Su 2022: at least as hard as telling N(0, 1) from N(mu, 1); what one Gaussian mechanism of noise
 * multiplier 1 / mu is, exactly) claims Phi^-1(1 - fpr) - Phi^-1(fnr) <= mu for every guesser; whoever claims
 * (epsilon, delta)-DP claims tpr <= e^epsilon fpr + delta (Kairouz, Oh & Viswanath 2015). With the Clopper-Pearson ends
 * of both rates the first gives a lower bound on mu and so on epsilon at delta (Nasr et al. 2023, "Tight auditing of
 * differentially private machine learning", section 4), the second one that asks for nothing but is far from tight when
 * rates cannot be told near delta.
 */
import { analyticGaussianEpsilon, normalCdf } from "../../pipeline/privacy/gaussian.ts";

/** Guesses "it was in", with their number: of releases without the record, and with it. */
export interface Guesses {
  readonly falsePositives: number;
  readonly absent: number;
  readonly truePositives: number;
  readonly present: number;
}

const HALVINGS = 60;
const MOST_SIGMA = 40;

/** Sum of P[X = i] for i <= k, X binomial(n, p). */
export function binomialCdf(k: number, n: number, p: number): number {
  if (k >= n) return 1;
  if (k < 0) return 0;
  let logTerm = n * Math.log1p(-p);
  let sum = Math.exp(logTerm);
  for (let i = 1; i <= k; i += 1) {
    logTerm += Math.log((n - i + 1) / i) + Math.log(p) - Math.log1p(-p);
    sum += Math.exp(logTerm);
  }
  return Math.min(1, sum);
}

function bisect(low: number, high: number, isBelow: (value: number) => boolean): [number, number] {
  let [least, most] = [low, high];
  for (let i = 0; i < HALVINGS; i += 1) {
    const middle = (least + most) / 2;
    if (isBelow(middle)) least = middle;
    else most = middle;
  }
  return [least, most];
}

/** Upper Clopper-Pearson end: with probability `confidence` a share is at most this. @param count of `total` */
export function upperShare(count: number, total: number, confidence: number): number {
  if (count >= total) return 1;
  return bisect(0, 1, (p) => binomialCdf(count, total, p) > 1 - confidence)[1];
}

/** z with Phi(z) = p; infinite at 0 and 1. */
export function normalQuantile(p: number): number {
  if (p <= 0) return Number.NEGATIVE_INFINITY;
  if (p >= 1) return Number.POSITIVE_INFINITY;
  return bisect(-MOST_SIGMA, MOST_SIGMA, (z) => normalCdf(z) < p)[0];
}

/** Upper ends of both error rates, together with that confidence. */
function errorRates(guesses: Guesses, confidence: number) {
  const each = 1 - (1 - confidence) / 2;
  const { falsePositives, absent, truePositives, present } = guesses;
  return {
    fpr: upperShare(falsePositives, absent, each),
    fnr: upperShare(present - truePositives, present, each),
  };
}

/** With that confidence the release is mu-GDP for no mu below this. */
export function muLowerBound(guesses: Guesses, confidence: number): number {
  const { fpr, fnr } = errorRates(guesses, confidence);
  return Math.max(0, normalQuantile(1 - fpr) - normalQuantile(fnr));
}

/** The same as epsilon at `delta`. */
export function epsilonLowerBound(guesses: Guesses, confidence: number, delta: number): number {
  const mu = muLowerBound(guesses, confidence);
  return mu === 0 ? 0 : analyticGaussianEpsilon(1 / mu, delta);
}

/** With that confidence the release is (epsilon, delta)-DP for no epsilon below this, whatever it is made of. */
export function plainEpsilonLowerBound(
  guesses: Guesses,
  confidence: number,
  delta: number,
): number {
  const { fpr, fnr } = errorRates(guesses, confidence);
  return Math.max(0, Math.log((1 - fnr - delta) / fpr), Math.log((1 - fpr - delta) / fnr));
}
