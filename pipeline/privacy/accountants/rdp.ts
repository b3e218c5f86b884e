/**
 * The accountant by Renyi differential privacy: Gaussian releases and Poisson-subsampled ones, at pinned orders.
 *
 * What it is true of: as gaussian.ts; with a sampling rate q < 1, every record is in each release independently with
 * probability q, by the trainer's own secret coin: never a stream in arrival order (DESIGN.md, invariant 5). Neighbours add or
 * remove one record. Orders are pinned, because the result is a minimum over them: other orders, another epsilon.
 *   Gaussian             rdp(alpha) = alpha / (2 sigma^2)                                      (Mironov 2017, Corollary 3)
 *   Poisson-subsampled   rdp(alpha) = log A_alpha / (alpha - 1), A_alpha = E_(z ~ N(0, sigma^2))[((1-q) + q e^((2z-1)/(2 sigma^2)))^alpha]
 *                        (Mironov, Talwar & Zhang, Renyi Differential Privacy of the Sampled Gaussian Mechanism, 2019):
 *                        a binomial sum for integers (section 3.3), two series for fractions (the same, equations 6 and 7)
 *   composition          adds up at every order
 *   epsilon(delta)       min over alpha of rdp + log(1 - 1/alpha) - (log delta + log alpha) / (alpha - 1)
 *                        (Canonne, Kamath & Steinke 2020, Proposition 12), 0 when delta^2 >= 1 - e^(-rdp)
 * The binomials of a fractional order alternate in sign beyond alpha. Opacus adds and subtracts them, which is the value; dp-accounting
 * adds their sizes, which is never below it and up to a few thousandths more in epsilon. Both are here, as `conventions`: most
 * of the difference between the two libraries is this, not their orders. For one Gaussian or several, gaussian.ts is exact and this is an upper bound. Must not round down.
 * Compared with dp-accounting 0.6.0 and Opacus 1.6.0 in test/vectors/golden-epsilon.json.
 */
import { SealstreamError } from "../../errors.ts";
import { logNormalCdf } from "./normal-tails.ts";

const tenths = Array.from({ length: 99 }, (_, i) => 1 + (i + 1) / 10);
const integers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** What two accountants must agree on to agree. */
export interface RdpConvention {
  /** All above 1. */
  readonly orders: readonly number[];
  /** Whether the terms of a fractional order keep their signs. */
  readonly signed: boolean;
}

/** Defaults of dp-accounting 0.6.0. */
export const DP_ACCOUNTING: RdpConvention = {
  orders: [...tenths, ...integers(11, 63), 128, 256, 512, 1024],
  signed: false,
};
/** Defaults of Opacus 1.6.0. */
export const OPACUS: RdpConvention = { orders: [...tenths, ...integers(12, 63)], signed: true };

const MAX_TERMS = 1_000;
/** A series ends when its terms fall and are below e^-30 of the sum. */
const NEGLIGIBLE = 30;
/** The conversion is not stable below. */
const LEAST_ORDER = 1.01;

/** Releases of one kind that a record may be in. */
export interface Releases {
  /** Standard deviation over sensitivity, > 0. */
  readonly noiseMultiplier: number;
  /** 1: every record is in every release. */
  readonly samplingRate: number;
  /** Integer >= 0. */
  readonly count: number;
}

/**
 * Smallest epsilon that the orders prove, and the order that proves it.
 * @param releases composed, adaptively
 * @param delta 0..1
 * @returns epsilon 0..Infinity; Infinity for delta 0 unless nothing was released
 * @throws internal on arguments out of range or NaN
 */
export function rdpEpsilon(
  releases: readonly Releases[],
  delta: number,
  convention: RdpConvention = DP_ACCOUNTING,
): { readonly epsilon: number; readonly order: number } {
  if (!(delta >= 0 && delta <= 1)) throw outOfRange();
  const { orders, signed } = convention;
  let best = { epsilon: Number.POSITIVE_INFINITY, order: orders[0] ?? 0 };
  for (const order of orders) {
    const rdp = releases.reduce(
      (sum, release) => sum + release.count * renyi(release, order, signed),
      0,
    );
    const epsilon = Math.max(0, epsilonAt(rdp, order, delta));
    if (epsilon < best.epsilon) best = { epsilon, order };
  }
  return best;
}

/** Renyi divergence of order `order` > 1 of one release; Infinity where a series does not end. */
export function renyi(release: Omit<Releases, "count">, order: number, signed: boolean): number {
  const { noiseMultiplier: sigma, samplingRate: q } = release;
  if (!(sigma > 0 && q >= 0 && q <= 1 && order > 1)) throw outOfRange();
  if (q === 0) return 0;
  if (q === 1) return order / (2 * sigma * sigma);
  const logMoment = Number.isInteger(order)
    ? logMomentOfInteger(q, sigma, order)
    : logMomentOfFraction({ q, sigma, alpha: order, signed });
  return Math.max(0, logMoment) / (order - 1);
}

function epsilonAt(rdp: number, order: number, delta: number): number {
  if (delta * delta + Math.expm1(-rdp) > 0 || rdp === 0) return 0;
  if (delta === 0 || order <= LEAST_ORDER) return Number.POSITIVE_INFINITY;
  return rdp + Math.log1p(-1 / order) - Math.log(delta * order) / (order - 1);
}

/** log sum_i (alpha choose i) (1-q)^(alpha-i) q^i e^((i^2 - i) / (2 sigma^2)). */
function logMomentOfInteger(q: number, sigma: number, alpha: number): number {
  let logSum = Number.NEGATIVE_INFINITY;
  let logBinomial = 0;
  for (let i = 0; i <= alpha; i += 1) {
    if (i > 0) logBinomial += Math.log((alpha - i + 1) / i);
    const logWeight = logBinomial + i * Math.log(q) + (alpha - i) * Math.log1p(-q);
    logSum = logAdd(logSum, logWeight + (i * i - i) / (2 * sigma * sigma));
  }
  return logSum;
}

/** Infinity when the series does not end, so that the order counts for nothing. */
function logMomentOfFraction(at: {
  readonly q: number;
  readonly sigma: number;
  readonly alpha: number;
  readonly signed: boolean;
}): number {
  const { q, sigma, alpha, signed } = at;
  const middle = sigma * sigma * Math.log(1 / q - 1) + 0.5;
  const growth = (n: number) => (n * n - n) / (2 * sigma * sigma);
  let logBinomial = 0;
  let isPositive = true;
  let added = Number.NEGATIVE_INFINITY;
  let subtracted = Number.NEGATIVE_INFINITY;
  let last = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < MAX_TERMS; i += 1) {
    if (i > 0) {
      logBinomial += Math.log(Math.abs(alpha - i + 1) / i);
      if (signed && alpha - i + 1 < 0) isPositive = !isPositive;
    }
    const j = alpha - i;
    const logWeight = (n: number) => logBinomial + n * Math.log(q) + (alpha - n) * Math.log1p(-q);
    const below = logWeight(i) + growth(i) + logNormalCdf((middle - i) / sigma);
    const above = logWeight(j) + growth(j) + logNormalCdf((j - middle) / sigma);
    const term = logAdd(below, above);
    if (isPositive) added = logAdd(added, term);
    else subtracted = logAdd(subtracted, term);
    const isFalling = below < (last[0] ?? 0) && above < (last[1] ?? 0);
    if (isFalling && Math.max(below, above) < added - NEGLIGIBLE) {
      return added + Math.log1p(-Math.exp(subtracted - added));
    }
    last = [below, above];
  }
  return Number.POSITIVE_INFINITY;
}

function logAdd(a: number, b: number): number {
  const high = Math.max(a, b);
  if (high === Number.NEGATIVE_INFINITY) return high;
  return high + Math.log1p(Math.exp(Math.min(a, b) - high));
}

function outOfRange(): SealstreamError {
  return new SealstreamError("internal", "Privacy accounting was given a number out of its range.");
}
