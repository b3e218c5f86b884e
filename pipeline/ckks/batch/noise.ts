/**
 * The error model of the batch path: how far a decrypted logit may be from the plain network's.
 *
 * All values are per slot and in units of the value (divided by the scale). Four numbers follow every ciphertext:
 *   low, high  what the value cannot pass for features in [0, 1], or [-1, 1] where they may be negative, signs followed through sums and an even power never below
 *          0: nothing may wrap around, so that these two are a proof (interval arithmetic);
 *   rms    its size when inputs are of unit size and signs are independent: features 1, a row sqrt(b^2 + sum (w rms)^2),
 *          a power k of it sqrt((2k - 1)!!) rms^k (moments of a normal distribution), never above what low and high allow;
 *   error  one standard deviation of what is wrong with it.
 * Error sources: encryption under a public key, brought down by the key prime P (coefficient variance
 * s^2 (4N/3 + 1) / P^2 + (1 + 2N/3) / 12, s = 3.2, ternary secret); rounding of weights, uniform, half a unit of their
 * scale; rescale (coefficient variance (1 + 2N/3) / 12, with a third polynomial (4/9 N^2) / 12 more); key switch
 * (limbs N q^2 s^2 / (12 P^2), before the rescale behind it). A coefficient variance v is a slot variance v N / 2 (real
 * part of N terms of unit size). Most of it is multiplied by the secret's value at the slot, whose size is another for
 * every slot (its square is exponential): over slots the noise is a Laplace variable, and its deviation counts TAIL times
 * so that SPREAD of them are as rare as for a normal one. A product of a and b has error rms(a) error(b) + rms(b) error(a): they are not
 * independent. What a logit should not pass is SPREAD standard deviations.
 * Sources: SEAL's `encrypt_zero_asymmetric`, `divide_and_round_q_last_ntt`; Cheon et al., CKKS (2017), section 3.
 * Features of one sign and weights that add up make values, their noise and the rounding of equal weights add up too,
 * where independent ones would not. So two records, all features 1 and all at their lowest, are followed beside them (`Probe`): a value
 * counts what it is there, if that is more than its rms, and a logit what is wrong there. Any other record in which things
 * happen to add up may be worse: the model is no proof.
 */

/** Standard deviation of SEAL's error distribution. */
const SIGMA = 3.2;
/** What a Laplace variable's deviation counts: 12 of them are passed once in 2 x 10^7, 6 normal ones in 5 x 10^8. */
const TAIL = 2;
/** Standard deviations that the largest of a pack's logits stays within (4,096 records, 10 classes: 4.4 expected). */
const SPREAD = 6;

/** What a value lies between. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** What happens to one record, all of whose features are alike. */
export interface Probe {
  readonly value: number;
  /** By how much rounded weights change it. */
  readonly drift: number;
  /** One standard deviation of what the part of the inputs' noise makes of it that all features have in common. */
  readonly common: number;
}

export interface Estimate extends Interval {
  readonly rms: number;
  readonly error: number;
  readonly probes: readonly Probe[];
}

/** What is counted for the size of a value: its rms, or what it is in a probe. */
export function sizeOf({ rms, probes }: Pick<Estimate, "rms" | "probes">): number {
  return probes.reduce((most, { value }) => Math.max(most, Math.abs(value)), rms);
}

/** One standard deviation of all that is wrong with a result: a drift is no deviation, it just must not pass the limit. */
export function totalError({ error, probes }: Estimate): number {
  return probes.reduce(
    (most, { drift, common }) => Math.max(most, Math.hypot(error, drift / SPREAD, common)),
    error,
  );
}

/** The largest |value| that may come about, errors included. */
export function reach(estimate: Estimate): number {
  return boundOf(estimate) + SPREAD * totalError(estimate);
}

/** Deviations in a slot, TAIL included, in units of a ciphertext's integers. */
export interface NoiseModel {
  readonly encryption: number;
  /** By polynomials of what is rescaled. */
  readonly rescale: { readonly 2: number; readonly 3: number };
  /** @param limbs at which the switch happens */
  keySwitch(limbs: number): number;
}

/** @param primes in order, the key prime last */
export function noiseModel(degree: number, primes: readonly bigint[]): NoiseModel {
  const slot = (variance: number): number => TAIL * Math.sqrt((variance * degree) / 2);
  const keyPrime = Number(primes.at(-1) ?? 1n);
  const rounding = (1 + (2 * degree) / 3) / 12;
  const fresh = (SIGMA ** 2 * ((4 * degree) / 3 + 1)) / keyPrime ** 2;
  return {
    encryption: slot(fresh + rounding),
    rescale: { 2: slot(rounding), 3: slot(rounding + (4 * degree ** 2) / 9 / 12) },
    keySwitch(limbs) {
      const largest = Math.max(...primes.slice(0, limbs).map(Number));
      return slot((limbs * degree * (largest * SIGMA) ** 2) / (12 * keyPrime ** 2));
    },
  };
}

/** The least that a feature may be: 0, or -1 where feature maps give negative numbers. The most is 1. */
export type LowestFeature = 0 | -1;

/** A fresh feature at a scale, one of so many. */
export function featureEstimate(
  noise: NoiseModel,
  { scale, features, lowest }: { scale: number; features: number; lowest: LowestFeature },
): Estimate {
  const error = noise.encryption / scale;
  const common = error / Math.sqrt(features);
  const probes = [1, lowest].map((value) => ({ value, drift: 0, common }));
  return { low: lowest, high: 1, rms: 1, error, probes };
}

/** What |value| cannot pass. */
export function boundOf({ low, high }: Interval): number {
  return Math.max(-low, high);
}

/** A factor times a value. */
export function scaled({ low, high }: Interval, factor: number): Interval {
  return factor < 0
    ? { low: factor * high, high: factor * low }
    : { low: factor * low, high: factor * high };
}

/** The k-th power of an estimate's value, without its error. */
export function powerSize(value: Estimate, power: number): Omit<Estimate, "error"> {
  const { low, high, rms } = value;
  let moment = 1;
  for (let odd = 3; odd < 2 * power; odd += 2) moment *= odd;
  const most = boundOf(value) ** power;
  const size = Math.min(most, Math.sqrt(moment) * rms ** power);
  const probes = value.probes.map((probe) => probePower(probe, power));
  if (power % 2 === 1) return { low: low ** power, high: high ** power, rms: size, probes };
  const crossesZero = low <= 0 && high >= 0;
  const least = crossesZero ? 0 : Math.min(Math.abs(low), Math.abs(high)) ** power;
  return { low: least, high: most, rms: size, probes };
}

function probePower({ value, drift, common }: Probe, power: number): Probe {
  return {
    value: value ** power,
    drift: (value + drift) ** power - value ** power,
    common: power * value ** (power - 1) * common,
  };
}

/** Error of a product. */
export function productError(left: Estimate, right: Estimate): number {
  return sizeOf(left) * right.error + sizeOf(right) * left.error + left.error * right.error;
}

/** Several independent errors at once. */
export function together(...errors: readonly number[]): number {
  return Math.hypot(...errors);
}

/** -log2 of the error that should not be passed. */
export function precisionOf(error: number): number {
  return -Math.log2(SPREAD * error);
}
