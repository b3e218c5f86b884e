/**
 * Mixes noise rows: from rows z_1, z_2, ... of a block, the integers n_t that are added to the sums of its updates.
 *
 *   n_t = round(z_t - s_t),   s_t = c_1 n_(t-1) + c_2 n_(t-2) + ...  (within the block)
 *
 * That is C^-1 z with the rounding fed back. Why not round C^-1 z at the end: the proof below would only be nearly true.
 *
 * Claim. Let G_t be the integer sums (grid units) and y_t = G_t + n_t what is released. If each z_t is N(0, sigma^2) exactly
 * rounded to multiples of h = 2^-16 (noise.ts), then y is post-processing of the Gaussian mechanism C G + Z with Z
 * continuous, so its privacy is exactly that of a Gaussian with sigma over columnNorm times the sensitivity of G.
 * Proof for toeplitz and banded. n_(t-j) = y_(t-j) - G_(t-j), so by linearity z_t + G_t - s_t = z_t + (C G)_t - sum_j c_j
 * y_(t-j). Coefficients are multiples of h and G is integer: (C G)_t is a multiple of h, and adding it commutes with rounding
 * to multiples of h. Hence y_t = round(m_t - sum_j c_j y_(t-j)), m_t = round_h((C G)_t + Z_t): a function of C G + Z and of
 * what was released before. This needs s_t exact: every partial sum is a multiple of 2^-16 and below 2^37, so doubles
 * add them without error. checkMixing keeps the standard deviation so low that one would have to be 16 of its own standard
 * deviations (probability below 1e-56; a block has fewer than 2^42 of them).
 * Proof for blt. Buffers of doubles give s_t + e_t with |e_t| <= eta, e_t a function of the n before (the bound is in
 * mixingError). Given what was released, y_t is post-processing of a Gaussian with mean (C G)_t - e_t - known: two
 * neighbours differ by at most |C (G - G')| + 2 eta sqrt(updates x length) over a block, and adaptive Gaussian releases
 * compose by the sum of those squares (Dong, Roth & Su 2022, Corollary 3.3). columnNorm charges 2^-16 for it, relatively;
 * checkMixing refuses what needs more.
 * The rounding adds a variance of 1/12 to a sigma of 2^20 and more: no loss of accuracy.
 *
 * Memory: toeplitz all rows of the block so far, banded its bands, blt its buffers; 8 bytes a value. Every n_t depends on
 * all z before it in its block, banded too (the inverse of a band is no band): a restart feeds the rows of the block again,
 * and gets the same integers bit for bit, since a mixer depends on nothing but noise, length, steps and rows.
 * Must not be shared by two runs, keep rows beyond its own life, or be fed out of order (it throws `internal`).
 */
import { SealstreamError } from "../../errors.ts";
import type { LedgerNoise } from "../ledger-noise.ts";
import {
  BUFFER_SLACK,
  type CorrelatedNoise,
  columnNorm,
  ROW_FRACTION_BITS,
  solveBuffered,
  solveToeplitz,
  strategyCoefficients,
  sumOfSquares,
} from "./coefficients.ts";
import type { NoisePlan } from "./plan.ts";

export interface NoiseMixer {
  /** Bytes that this noise and length need at most, in the mixer alone. */
  readonly memoryBytes: number;
  /**
   * The noise of a step, in integers of the grid.
   * @param step number of the update in its run, from 1; the first of a block, or one more than the last
   * @param row `length` values, multiples of 2^-rowFractionBits(noise); not written
   * @returns a new buffer
   * @throws internal when the step is out of order or the row of another length
   */
  mix(step: number, row: Float64Array): Float64Array;
  /** First step whose row must be mixed again before `step` can be: the step itself for independent noise. */
  firstNeeded(step: number): number;
}

const DOUBLE_BYTES = 8;
/** Multiples of 2^-16 below this are doubles. */
const EXACT_BELOW = 2 ** (53 - ROW_FRACTION_BITS);
/** Standard deviations that nothing ever leaves: P(|N| > 16) < 1e-56. */
const NEVER = 16;
/** Unit roundoff of a double. */
const ROUNDOFF = 2 ** -53;
/** Sum of |coefficients of the inverse|: at most 2 for the square root (Kaluza 1928), 2.024 rounded, up to 2^20 updates. */
const SQUARE_ROOT_GAIN = 2.03;

/** @param length values in a row */
export function createNoiseMixer(noise: LedgerNoise, length: number): NoiseMixer {
  const memoryBytes = mixerMemoryBytes(noise, length);
  if (noise.kind === "independent") {
    return { memoryBytes, mix: (_step, row) => rounded(row), firstNeeded: (step) => step };
  }
  const block = createBlock(noise, length);
  let next: number | null = null;
  return {
    memoryBytes,
    firstNeeded: (step) => step - ((step - 1) % noise.updates),
    mix(step, row) {
      const isFirst = Number.isSafeInteger(step) && step >= 1 && (step - 1) % noise.updates === 0;
      if (!(isFirst || step === next) || row.length !== length) {
        throw new SealstreamError(
          "internal",
          "Noise rows must be mixed in order, from the first of a block, all of one length.",
        );
      }
      if (isFirst) block.begin();
      next = step + 1;
      return block.next(row);
    },
  };
}

interface Block {
  begin(): void;
  next(row: Float64Array): Float64Array;
}

function createBlock(noise: CorrelatedNoise, length: number): Block {
  return noise.kind === "blt"
    ? bufferedBlock(noise, length)
    : rowsBlock(strategyCoefficients(noise), length);
}

/** Keeps as many rows as there are coefficients behind c_0, made as they are needed. */
function rowsBlock(coefficients: Float64Array, length: number): Block {
  const kept = coefficients.length - 1;
  const rows: Float64Array[] = [];
  let at = 0;
  return {
    begin() {
      at = 0;
    },
    next(row) {
      const mixed = new Float64Array(length);
      for (let j = 1; j <= Math.min(kept, at); j += 1) {
        const past = rows[(at - j) % kept];
        if (past !== undefined) addScaled(mixed, past, coefficients[j] ?? 0);
      }
      roundDifference(mixed, row);
      if (kept > 0) {
        const own = rows[at % kept] ?? new Float64Array(length);
        own.set(mixed);
        rows[at % kept] = own;
      }
      at += 1;
      return mixed;
    },
  };
}

function bufferedBlock(noise: CorrelatedNoise & { kind: "blt" }, length: number): Block {
  const buffers = noise.decay.map(() => new Float64Array(length));
  return {
    begin() {
      for (const buffer of buffers) buffer.fill(0);
    },
    next(row) {
      const mixed = new Float64Array(length);
      for (const [i, buffer] of buffers.entries()) addScaled(mixed, buffer, noise.weight[i] ?? 0);
      const unit = 2 ** ROW_FRACTION_BITS;
      for (let k = 0; k < length; k += 1) mixed[k] = Math.round((mixed[k] ?? 0) * unit) / unit;
      roundDifference(mixed, row);
      for (const [i, buffer] of buffers.entries()) decayAndAdd(buffer, mixed, noise.decay[i] ?? 0);
      return mixed;
    },
  };
}

function addScaled(target: Float64Array, source: Float64Array, scale: number): void {
  for (let k = 0; k < target.length; k += 1) {
    target[k] = (target[k] ?? 0) + scale * (source[k] ?? 0);
  }
}

function decayAndAdd(buffer: Float64Array, input: Float64Array, decay: number): void {
  for (let k = 0; k < buffer.length; k += 1) {
    buffer[k] = decay * (buffer[k] ?? 0) + (input[k] ?? 0);
  }
}

/** target = round(row - target). */
function roundDifference(target: Float64Array, row: Float64Array): void {
  for (let k = 0; k < target.length; k += 1) {
    // `+ 0` makes -0 a 0.
    target[k] = Math.round((row[k] ?? 0) - (target[k] ?? 0)) + 0;
  }
}

function rounded(row: Float64Array): Float64Array {
  return row.map((value) => Math.round(value) + 0);
}

/**
 * Bytes of a mixer, without making one.
 * @param noise what a file asks for, or what a ledger says
 */
export function mixerMemoryBytes(noise: LedgerNoise | NoisePlan, length: number): number {
  return keptRows(noise) * length * DOUBLE_BYTES;
}

function keptRows(noise: LedgerNoise | NoisePlan): number {
  switch (noise.kind) {
    case "independent":
      return 0;
    case "toeplitz":
      return noise.updates - 1;
    case "banded": {
      const bands = "bands" in noise ? noise.bands : noise.coefficients.length;
      return Math.min(bands, noise.updates) - 1;
    }
    case "blt":
      return "buffers" in noise ? noise.buffers : noise.decay.length;
  }
}

/**
 * Makes sure that the claim above holds for this noise, these rows and this sensitivity.
 * @param options.length values in a row
 * @param options.sensitivity of one update's sum (L2), in grid units
 * @param options.standardDeviation of a row's values, in grid units
 * @throws limit-exceeded when the arithmetic would not be exact, or its error more than what the norm charges
 */
export function checkMixing(
  noise: LedgerNoise,
  options: {
    readonly length: number;
    readonly sensitivity: number;
    readonly standardDeviation: number;
  },
): void {
  if (noise.kind === "independent") return;
  const { length, sensitivity, standardDeviation } = options;
  const norm = columnNorm(noise);
  const isExact = NEVER * norm * inverseGain(noise) * standardDeviation < EXACT_BELOW;
  const shift = 2 * mixingError(noise, standardDeviation) * Math.sqrt(noise.updates * length);
  if (isExact && shift <= BUFFER_SLACK * sensitivity) return;
  throw new SealstreamError(
    "limit-exceeded",
    "Correlated noise cannot be added exactly on this grid: raise train.microBatchRecords, or take a smaller privacy.noise.updates.",
  );
}

/**
 * Bound of |e_t| in the proof for blt: 0 for the others.
 *
 * One update of a buffer rounds twice, so its error is at most 2 u S_i / (1 - decay_i) (and never more than one a step),
 * u = 2^-53 and S_i = 40 standard deviations of the buffer; reading rounds once a buffer and once a sum, then to the grid.
 */
export function mixingError(noise: LedgerNoise, standardDeviation: number): number {
  if (noise.kind !== "blt") return 0;
  const impulse = new Float64Array(noise.updates);
  impulse[0] = 1;
  const inverse = solveBuffered(noise, impulse);
  const error = noise.decay.reduce((sum, decay, i) => {
    const largest = NEVER * standardDeviation * bufferGain(inverse, decay);
    const steps = Math.min(noise.updates, 1 / (1 - decay));
    return sum + Math.abs(noise.weight[i] ?? 0) * largest * (2 * steps + noise.decay.length + 2);
  }, 0);
  return ROUNDOFF * error + 2 ** -(ROW_FRACTION_BITS + 1);
}

/** Standard deviation of a buffer at the end of a block, for rows of 1. */
function bufferGain(inverse: Float64Array, decay: number): number {
  let value = 0;
  return Math.sqrt(
    sumOfSquares(
      inverse.map((input) => {
        value = decay * value + input;
        return value;
      }),
    ),
  );
}

/** Bound of the sum of |coefficients of C^-1|: of how much larger than a row its mixture can be. */
function inverseGain(noise: CorrelatedNoise): number {
  if (noise.kind === "toeplitz") return SQUARE_ROOT_GAIN;
  const impulse = new Float64Array(noise.updates);
  impulse[0] = 1;
  const inverse =
    noise.kind === "blt"
      ? solveBuffered(noise, impulse)
      : solveToeplitz(strategyCoefficients(noise), impulse);
  return inverse.reduce((sum, value) => sum + Math.abs(value), 0);
}
