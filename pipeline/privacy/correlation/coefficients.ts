/**
 * What a run's noise matrix is and how much one record moves it: coefficients, column norm, sensitivity, error.
 *
 * A block of `updates` = N updates has a strategy C: N x N, lower triangular, Toeplitz with coefficients c_0 = 1, c_1, ...
 * The mechanism is C G + Z (rows of G: the sums of the updates), G + C^-1 Z is what is used of it (mixer.ts). Later blocks
 * begin anew, so a run's matrix is block diagonal. What C is, by kind:
 *   toeplitz  c_k = (2k choose k) / 4^k, rounded to a multiple of 2^-16: the square root of the lower triangle of ones, best
 *             of all Toeplitz matrices for the largest error (Fichtenberger, Henzinger & Upadhyay, Constant Matters, ICML
 *             2023; Dvijotham, McMahan, Pillutla, Steinke & Thakurta, Efficient and Near-Optimal Noise Generation for
 *             Streaming Differential Privacy, 2024)
 *   banded    c_0..c_{bands-1} as the ledger names them, zero behind (Choquette-Choo et al., (Amplified) Banded Matrix
 *             Factorization, NeurIPS 2023); multiples of 2^-16 too
 *   blt       c_k = sum_i weight_i decay_i^(k-1), as the ledger names them (Dvijotham et al. 2024; McMahan, Xu & Zhang 2024)
 * Everything here is recomputed from the ledger's value alone. With C G + Z the Gaussian mechanism is private against
 * gradients that depend on what was released before (Denisov, McMahan, Rush, Smith & Thakurta, NeurIPS 2022, Theorem 2.1).
 *
 * Must not optimise (plan.ts), draw noise (noise.ts) or trust a coefficient to have a sign or an order: where a theorem
 * asks for one, a majorant that has it is used.
 */
import { SealstreamError } from "../../errors.ts";
import type { LedgerNoise } from "../ledger-noise.ts";

/** A noise whose rows hang together. */
export type CorrelatedNoise = Exclude<LedgerNoise, { readonly kind: "independent" }>;

/** Rows that are mixed are multiples of 2^-16 grid units, and so are the coefficients of C that are not buffered. */
export const ROW_FRACTION_BITS = 16;
const COEFFICIENT_UNIT = 2 ** ROW_FRACTION_BITS;
/** Charged to the norm of a buffered matrix for the float error of its buffers (mixer.ts); checkMixing holds it to that. */
export const BUFFER_SLACK = 2 ** -16;
/** Twice the unit roundoff of a double: the second half is room for the rounding of the bound itself. */
const DOUBLE_SPACING = 2 ** -52;
/** Sensitivity of more participations is refused: its search takes their square. */
const MAX_PARTICIPATIONS = 4_096;

/** Fraction bits that a noise row must have before it is mixed: 0 for independent noise. */
export function rowFractionBits(noise: LedgerNoise): number {
  return noise.kind === "independent" ? 0 : ROW_FRACTION_BITS;
}

/**
 * The coefficients of C that are not zero.
 * @returns c_0..c_{m-1}, a new buffer: m = updates, or the bands
 * @throws ledger-invalid when a banded coefficient is no multiple of 2^-16, or c_0 is not 1
 */
export function strategyCoefficients(noise: CorrelatedNoise): Float64Array {
  switch (noise.kind) {
    case "toeplitz":
      return squareRootCoefficients(noise.updates).map(onGrid);
    case "banded": {
      const coefficients = Float64Array.from(noise.coefficients).subarray(0, noise.updates);
      if (coefficients[0] === 1 && coefficients.every((c) => c === onGrid(c))) return coefficients;
      throw new SealstreamError(
        "ledger-invalid",
        "A banded noise matrix begins with 1 and its coefficients are multiples of 2^-16; plan the run's noise again.",
      );
    }
    case "blt":
      return bufferedCoefficients(noise);
  }
}

/** (2k choose k) / 4^k for k = 0..length-1: coefficients of (1 - x)^(-1/2). */
export function squareRootCoefficients(length: number): Float64Array {
  const coefficients = new Float64Array(length);
  let value = 1;
  for (let k = 0; k < length; k += 1) {
    if (k > 0) value *= (2 * k - 1) / (2 * k);
    coefficients[k] = value;
  }
  return coefficients;
}

/** The nearest multiple of 2^-16. */
export function onGrid(coefficient: number): number {
  return Math.round(coefficient * COEFFICIENT_UNIT) / COEFFICIENT_UNIT;
}

function bufferedCoefficients(noise: CorrelatedNoise & { kind: "blt" }): Float64Array {
  const coefficients = new Float64Array(noise.updates);
  const powers = Float64Array.from(noise.weight);
  coefficients[0] = 1;
  for (let k = 1; k < noise.updates; k += 1) {
    coefficients[k] = powers.reduce((sum, power) => sum + power, 0);
    for (const [i, decay] of noise.decay.entries()) powers[i] = (powers[i] ?? 0) * decay;
  }
  return coefficients;
}

/** Largest L2 norm of a column of C: how far one record in one release moves C G, over its clip; 1 for independent noise. */
export function columnNorm(noise: LedgerNoise): number {
  if (noise.kind === "independent") return 1;
  const name = JSON.stringify(noise);
  if (known?.name !== name) {
    // The first column is the longest: every other one is the same, cut off at the end of the block.
    const own = Math.sqrt(sumOfSquares(strategyCoefficients(noise)));
    const norm = (own + coefficientRounding(noise)) * slack(noise);
    known = { name, norm };
  }
  return known.norm;
}

/** The last noise that was asked for: it is the same for every entry of a run. */
let known: { readonly name: string; readonly norm: number } | null = null;

/**
 * Bound of the L2 norm of what doubles lose in a column: nothing of multiples of 2^-16; of blt k roundings in the k-th
 * powers and one a buffer in their sum, for the magnitudes, because terms of two signs may cancel to nothing.
 */
function coefficientRounding(noise: CorrelatedNoise): number {
  if (noise.kind !== "blt") return 0;
  const buffers = noise.decay.length;
  const powers = Float64Array.from(noise.weight, Math.abs);
  let squares = 0;
  for (let k = 1; k < noise.updates; k += 1) {
    let magnitude = 0;
    for (let i = 0; i < buffers; i += 1) {
      const power = powers[i] ?? 0;
      magnitude += power;
      powers[i] = power * (noise.decay[i] ?? 0);
    }
    squares += (magnitude * (k + buffers)) ** 2;
  }
  return Math.sqrt(squares) * DOUBLE_SPACING;
}

function slack(noise: CorrelatedNoise): number {
  return noise.kind === "blt" ? 1 + BUFFER_SLACK : 1;
}

/**
 * How far one record moves C G, over its clip, when it takes part in `participations` releases of a run of any length,
 * each at least `separation` updates after the one before (1: anywhere).
 *
 * Within a block, a record at places i_1 < i_2 < ... moves C G by at most the norm of the sum of those columns when C has
 * no negative entry, and by that much when its gradients agree. When c_k also does not increase, the worst k places are 0,
 * b, 2b, ... (Kalinin & Lampert, Banded Square Root Matrix Factorization, NeurIPS 2024, Theorem 2): S(k), squared. Columns
 * of different blocks are orthogonal, so squares add up over blocks; as a run has any number of blocks, and a block may
 * be left out between two, every division of the participations among blocks is possible: the result is the largest sum of
 * S(k_1) + S(k_2) + ... over k_1 + k_2 + ... = p. (All in one block is not always the worst: late columns are cut off.)
 * A matrix with other signs or order is replaced by max_{j >= k} |c_j|, which bounds it entry by entry.
 * With independent noise, and with no more bands than the separation, this is sqrt(p) columnNorm.
 * @throws limit-exceeded for more than 4,096 participations, or less than 1, or a separation below 1
 */
export function participationNorm(
  noise: LedgerNoise,
  participations: number,
  separation = 1,
): number {
  if (!(isCount(participations) && participations <= MAX_PARTICIPATIONS && isCount(separation))) {
    throw new SealstreamError(
      "limit-exceeded",
      `Participations must be 1 to ${MAX_PARTICIPATIONS}, and their separation at least 1 update.`,
    );
  }
  if (noise.kind === "independent" || participations === 1) {
    return Math.sqrt(participations) * columnNorm(noise);
  }
  const coefficients = strategyCoefficients(noise);
  if (coefficients.length <= separation) return Math.sqrt(participations) * columnNorm(noise);
  const inBlock = Math.min(participations, Math.ceil(noise.updates / separation));
  const squares = blockSquares(majorant(coefficients), noise.updates, separation, inBlock);
  const best = new Float64Array(participations + 1);
  for (let p = 1; p <= participations; p += 1) {
    for (let k = 1; k <= Math.min(p, inBlock); k += 1) {
      best[p] = Math.max(best[p] ?? 0, (squares[k] ?? 0) + (best[p - k] ?? 0));
    }
  }
  const lost = participations * coefficientRounding(noise);
  return (Math.sqrt(best[participations] ?? 0) + lost) * slack(noise);
}

/** S(0)..S(most): squared norms of the sum of the columns 0, b, ..., (k - 1) b of one block. */
function blockSquares(
  coefficients: Float64Array,
  updates: number,
  separation: number,
  most: number,
): Float64Array {
  const sum = new Float64Array(updates);
  const squares = new Float64Array(most + 1);
  for (let k = 1; k <= most; k += 1) {
    const from = (k - 1) * separation;
    const length = Math.min(coefficients.length, updates - from);
    for (let i = 0; i < length; i += 1) {
      sum[from + i] = (sum[from + i] ?? 0) + (coefficients[i] ?? 0);
    }
    squares[k] = sumOfSquares(sum);
  }
  return squares;
}

/** The smallest non-increasing sequence that bounds the absolute values. */
function majorant(coefficients: Float64Array): Float64Array {
  const bound = coefficients.map(Math.abs);
  for (let k = bound.length - 2; k >= 0; k -= 1) {
    bound[k] = Math.max(bound[k] ?? 0, bound[k + 1] ?? 0);
  }
  return bound;
}

/**
 * Error of the sums of all gradients so far, in standard deviations of the noise that one record's clip asks for: the
 * row norms of A C^-1 (A: lower triangle of ones) times columnNorm. What ranks the kinds, for the same privacy.
 *
 * Independent noise has sqrt((T + 1) / 2) and sqrt(T); the square root has about 1 + (ln(T) + 1.06) / pi at most.
 * Takes the square of a block's length, except for banded (times bands) and blt (times buffers).
 * @param horizon T, updates summed up; a whole block when not given; blocks begin anew and their errors add up
 * @returns rms over the T sums, and the largest
 */
export function prefixError(
  noise: LedgerNoise,
  horizon: number = noise.kind === "independent" ? 1 : noise.updates,
): { readonly rms: number; readonly max: number } {
  const block = noise.kind === "independent" ? 1 : Math.min(noise.updates, horizon);
  const rows = noise.kind === "independent" ? Float64Array.of(1) : sumsOfInverse(noise, block);
  let blocks = 0;
  let inBlock = 0;
  let total = 0;
  for (let t = 0; t < horizon; t += 1) {
    inBlock += (rows[t % block] ?? 0) ** 2;
    total += blocks + inBlock;
    if ((t + 1) % block === 0) {
      blocks += inBlock;
      inBlock = 0;
    }
  }
  const norm = columnNorm(noise);
  return { rms: norm * Math.sqrt(total / horizon), max: norm * Math.sqrt(blocks + inBlock) };
}

/** First column of A C^-1: the sums of the coefficients of C^-1. */
function sumsOfInverse(noise: CorrelatedNoise, length: number): Float64Array {
  const ones = new Float64Array(length).fill(1);
  return noise.kind === "blt"
    ? solveBuffered(noise, ones)
    : solveToeplitz(strategyCoefficients(noise), ones);
}

/** x with C x = rhs, for c_0 = 1. */
export function solveToeplitz(coefficients: Float64Array, rhs: Float64Array): Float64Array {
  const x = rhs.slice();
  for (let t = 0; t < x.length; t += 1) {
    let value = x[t] ?? 0;
    const terms = Math.min(coefficients.length - 1, t);
    for (let j = 1; j <= terms; j += 1) value -= (coefficients[j] ?? 0) * (x[t - j] ?? 0);
    x[t] = value;
  }
  return x;
}

/** The same through the buffers (Dvijotham et al. 2024, Algorithm 1). */
export function solveBuffered(
  noise: { readonly decay: readonly number[]; readonly weight: readonly number[] },
  rhs: Float64Array,
): Float64Array {
  const buffers = new Float64Array(noise.decay.length);
  return rhs.map((value) => {
    const x = noise.weight.reduce((rest, weight, i) => rest - weight * (buffers[i] ?? 0), value);
    for (const [i, decay] of noise.decay.entries()) buffers[i] = decay * (buffers[i] ?? 0) + x;
    return x;
  });
}

export function sumOfSquares(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i += 1) sum += (values[i] ?? 0) ** 2;
  return sum;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1;
}
