/**
 * The accountant by privacy loss distributions: Gaussian releases and Poisson-subsampled ones, on a pinned grid.
 *
 * What it is true of: as rdp.ts; tighter, and as slow as a Fourier transform. Neighbours add or remove one record, each way
 * has a distribution of its own and the larger epsilon counts. With P the releases with the record and Q without:
 *   remove: H(e) = q G(log((e^e - 1 + q) / q)) for e > log(1 - q), else 1 - e^e
 *   add:    H(e) = (1 - e^e (1 - q)) G(log(q / (e^-e - 1 + q))) for e < -log(1 - q), else 0
 * with G the hockey-stick divergence of N(1 / sigma, 1) from N(0, 1) (Zhu, Dong & Wang 2022; q = 1 is the Gaussian).
 * Discretised pessimistically at multiples of 1e-4 by connecting the dots of H (Doroshenko, Ghazi, Kamath, Kumar & Manurangsi,
 * Connect the Dots, PoPETs 2022, Algorithm 1), composed k-fold by FFT, cut to where all but 1e-15 of the mass lies (Chernoff
 * bound; the cut mass counts as an infinite loss). That is what dp-accounting 0.6.0 does by default.
 *
 * Must not be rounded down: what is left out of the grid is infinite loss. Float error of the transform is about 1e-12 of delta
 * and not charged, so delta below 1e-10 is refused; a bound that has to be exact comes from gaussian.ts.
 */
import { SealstreamError } from "../../errors.ts";
import { transform } from "./fft.ts";
import { gaussianHockeyStick } from "./normal-tails.ts";
import type { Releases } from "./rdp.ts";

/** Losses are multiples of this. */
export const LOSS_GRID = 1e-4;
const TAIL_MASS = 1e-15;
const LEAST_DELTA = 1e-10;
/** Outcomes farther out have probability 2e-23: infinite loss. */
const STANDARD_DEVIATIONS = 10;
/** Largest transform: 2^24 losses span 1,677. */
const MAX_LENGTH = 2 ** 24;
/** Orders of the Chernoff bound. */
const ORDERS = Array.from({ length: 24 }, (_, i) => 0.05 * 1.4 ** i);

/** P(loss = (first + i) LOSS_GRID) = mass[i], and the rest. */
interface LossDistribution {
  readonly first: number;
  readonly mass: Float64Array;
  readonly infinite: number;
}

/**
 * Smallest epsilon at `delta` that the grid proves for one kind of release, composed with itself.
 * @param delta 1e-10..1
 * @returns 0..Infinity; Infinity when infinite losses alone are more than delta
 * @throws internal on arguments out of range; limit-exceeded when the losses span more than 2^24 grid units
 */
export function pldEpsilon(releases: Releases, delta: number): number {
  const { noiseMultiplier, samplingRate, count } = releases;
  const isRate = samplingRate >= 0 && samplingRate <= 1;
  const isCount = Number.isSafeInteger(count) && count >= 0;
  if (!(noiseMultiplier > 0 && isRate && isCount && delta >= LEAST_DELTA && delta <= 1)) {
    throw new SealstreamError(
      "internal",
      "Privacy accounting was given a number out of its range.",
    );
  }
  if (count === 0 || samplingRate === 0) return 0;
  // Gaussians compose to a Gaussian, exactly.
  const folds = samplingRate === 1 ? 1 : count;
  const mu = (samplingRate === 1 ? Math.sqrt(count) : 1) / noiseMultiplier;
  const ways = samplingRate === 1 ? (["remove"] as const) : (["remove", "add"] as const);
  return Math.max(
    ...ways.map((way) => epsilonOf(compose(discretized(mu, samplingRate, way), folds), delta)),
  );
}

/** Connects the dots of H at the grid's losses between the outcomes that are looked at. */
function discretized(mu: number, q: number, way: "add" | "remove"): LossDistribution {
  const logRatio = (x: number) => {
    const exponent = mu * x - (mu * mu) / 2;
    const log =
      exponent > 0
        ? exponent + Math.log(q + (1 - q) * Math.exp(-exponent))
        : Math.log1p(q * Math.expm1(exponent));
    return way === "remove" ? log : -log;
  };
  const reach = STANDARD_DEVIATIONS + (way === "remove" ? mu : 0);
  const ends = [logRatio(-STANDARD_DEVIATIONS), logRatio(reach)];
  const first = Math.floor(Math.min(...ends) / LOSS_GRID);
  const last = Math.ceil(Math.max(...ends) / LOSS_GRID);
  const length = last - first + 1;
  if (length > MAX_LENGTH) throw tooLong();
  const divergence = way === "remove" ? removal : addition;
  let falling = 1;
  const deltas = new Float64Array(length).map((_, i) => {
    falling = Math.max(0, Math.min(falling, divergence(mu, q, (first + i) * LOSS_GRID)));
    return falling;
  });
  const step = Math.expm1(LOSS_GRID);
  const at = (i: number) => deltas[i] ?? 0;
  const mass = new Float64Array(length).map((_, i) => {
    const rise = at(i + 1) - at(i);
    const before = at(i) - at(i - 1);
    if (i === 0) return 1 - at(0) + rise / step;
    if (i === length - 1) return Math.max(0, before / Math.expm1(-LOSS_GRID));
    return Math.max(0, (rise - (1 + step) * before) / step);
  });
  return { first, mass, infinite: at(length - 1) };
}

function removal(mu: number, q: number, epsilon: number): number {
  const rest = Math.expm1(epsilon) + q;
  return rest <= 0 ? -Math.expm1(epsilon) : q * gaussianHockeyStick(mu, Math.log(rest / q));
}

function addition(mu: number, q: number, epsilon: number): number {
  const rest = Math.expm1(-epsilon) + q;
  return rest <= 0 ? 0 : Math.exp(epsilon) * rest * gaussianHockeyStick(mu, Math.log(q / rest));
}

/** The distribution of the sum of `folds` independent losses. */
function compose(one: LossDistribution, folds: number): LossDistribution {
  if (folds === 1) return one;
  const { low, high } = bounds(one, folds);
  const length = 2 ** Math.ceil(Math.log2(Math.max(high - low + 1, one.mass.length)));
  if (length > MAX_LENGTH) throw tooLong();
  const real = new Float64Array(length);
  real.set(one.mass);
  const imaginary = new Float64Array(length);
  transform(real, imaginary);
  for (let k = 0; k < length; k += 1) {
    const re = real[k] ?? 0;
    const im = imaginary[k] ?? 0;
    const size = Math.hypot(re, im) ** folds;
    const angle = Math.atan2(im, re) * folds;
    real[k] = size * Math.cos(angle);
    imaginary[k] = size * Math.sin(angle);
  }
  transform(real, imaginary, true);
  // The transform wraps around: index i of the sum, counted from folds times `first`, is at i modulo its length.
  const mass = new Float64Array(high - low + 1).map((_, i) => {
    return Math.max(0, real[(low + i) % length] ?? 0);
  });
  const infinite = TAIL_MASS - Math.expm1(folds * Math.log1p(-one.infinite));
  return { first: one.first * folds + low, mass, infinite };
}

/** Indices of the sum outside of which there is at most TAIL_MASS (Chernoff). */
function bounds(one: LossDistribution, folds: number): { low: number; high: number } {
  let low = 0;
  let high = (one.mass.length - 1) * folds;
  const slack = Math.log(2 / TAIL_MASS);
  for (const order of ORDERS) {
    const up = (folds * logMoment(one.mass, order * LOSS_GRID) + slack) / (order * LOSS_GRID);
    if (Number.isFinite(up)) high = Math.min(high, Math.ceil(up));
    const down = (folds * logMoment(one.mass, -order * LOSS_GRID) + slack) / (-order * LOSS_GRID);
    if (Number.isFinite(down)) low = Math.max(low, Math.floor(down));
  }
  return { low, high };
}

/** log sum_i mass_i e^(order i), by Horner's rule from the end whose powers are small. */
function logMoment(mass: Float64Array, order: number): number {
  const end = mass.length - 1;
  const ratio = Math.exp(-Math.abs(order));
  let sum = 0;
  for (let i = 0; i <= end; i += 1) sum = sum * ratio + (mass[order > 0 ? i : end - i] ?? 0);
  return Math.log(sum) + Math.max(0, order * end);
}

/**
 * Smallest epsilon >= 0 with infinite + sum over losses l > epsilon of mass (1 - e^(epsilon - l)) <= delta: from the largest
 * loss down, until epsilon = log((mass above + infinite - delta) / (sum of mass e^-l above)) lies above the next loss.
 */
function epsilonOf(losses: LossDistribution, delta: number): number {
  if (losses.infinite > delta) return Number.POSITIVE_INFINITY;
  let above = losses.infinite;
  let lower = 0;
  for (let i = losses.mass.length - 1; i >= 0; i -= 1) {
    const loss = (losses.first + i) * LOSS_GRID;
    if (above > delta && above - delta >= Math.exp(loss) * lower) {
      return Math.max(0, Math.log((above - delta) / lower));
    }
    if (loss < 0) break;
    const value = losses.mass[i] ?? 0;
    above += value;
    lower += value * Math.exp(-loss);
  }
  if (above <= delta + lower) return 0;
  return Math.max(0, Math.log((above - delta) / lower));
}

function tooLong(): SealstreamError {
  return new SealstreamError(
    "limit-exceeded",
    "There is too little noise for a privacy loss distribution; raise the noise multiplier or take the RDP accountant.",
  );
}
