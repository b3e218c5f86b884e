/**
 * Plans the noise matrix of a run: runs the optimiser that a pipeline file's `privacy.noise` asks for.
 *
 * What is minimised is the squared error of the sums of all gradients so far, times the squared column norm (the loss of
 * Choquette-Choo et al. 2023 and of google-deepmind/jax_privacy, single participation), as its logarithm:
 *   log sum_t v_t b_t^2 + log sum_k c_k^2,    C b = (1, 1, ...): b is the first column of A C^-1,
 * v_t = N - t for the mean over the N sums (sum t counts b_0..b_t), v_t = 1 for the largest, which is the last. Gradients by
 * the adjoint: with C^T y = dL/db, dL/dc_j = -sum_t y_t b_(t-j); through the buffers the same by running them backwards.
 *
 * Deterministic: fixed starts, fixed steps, no randomness; another machine's exp or log may differ in the last digit, so a
 * run takes its matrix from the ledger and not from here. Must not be trusted for privacy: coefficients.ts recomputes
 * norms from whatever came out. The optimisers' results are compared with jax_privacy 2.0.0 in test/vectors/.
 */
import { SealstreamError } from "../../errors.ts";
import type { LedgerNoise } from "../ledger-noise.ts";
import { onGrid, solveToeplitz, squareRootCoefficients, sumOfSquares } from "./coefficients.ts";
import { minimize, type Objective } from "./lbfgs.ts";

/** `privacy.noise` of a pipeline file. */
export type NoisePlan =
  | { readonly kind: "independent" }
  | { readonly kind: "toeplitz"; readonly updates: number }
  | { readonly kind: "banded"; readonly updates: number; readonly bands: number }
  | { readonly kind: "blt"; readonly updates: number; readonly buffers: number };

/** Which of the sums' errors: their mean square, or the largest, which is what later blocks start from. */
export type ErrorObjective = "mean" | "max";

export const MAX_UPDATES = 2 ** 20;
export const MAX_BANDS = 1_024;
/** More have never helped by a thousandth, and slow down the search. */
export const MAX_BUFFERS = 10;

/** Most updates times bands or buffers: the search takes some ten seconds of a core then, and aggregate waits for it. */
export const MAX_SEARCH = 2 ** 22;

const MAX_ITERATIONS = 500;
const TOLERANCE = 1e-7;
/** Digits of a decay or weight in the ledger. */
const DIGITS = 12;

/**
 * The noise matrix of a run, to be written into its ledger; deterministic on one machine.
 * Takes about `updates` times `bands` (or `buffers`) times a thousand operations.
 * @throws limit-exceeded when updates, bands or buffers are out of range, or the search would be too long
 */
export function planNoise(plan: NoisePlan): LedgerNoise {
  if (plan.kind === "independent") return { kind: "independent" };
  requireCount("updates", plan.updates, MAX_UPDATES);
  const fault = searchFault(plan);
  if (fault !== null) throw new SealstreamError("limit-exceeded", `privacy.noise: ${fault}.`);
  switch (plan.kind) {
    case "toeplitz":
      return { kind: "toeplitz", updates: plan.updates };
    case "banded":
      requireCount("bands", plan.bands, MAX_BANDS);
      return {
        kind: "banded",
        updates: plan.updates,
        coefficients: [...optimizeBanded(plan.updates, plan.bands, "mean").map(onGrid)],
      };
    case "blt":
      requireCount("buffers", plan.buffers, MAX_BUFFERS);
      return {
        kind: "blt",
        updates: plan.updates,
        ...optimizeBuffered(plan.updates, plan.buffers, "mean"),
      };
  }
}

/** Updates times bands or buffers: what the search for a matrix takes; 0 where there is none. */
export function searchSize(plan: NoisePlan): number {
  if (plan.kind === "banded") return plan.updates * plan.bands;
  return plan.kind === "blt" ? plan.updates * plan.buffers : 0;
}

/** Why the search for a matrix would take too long, as the end of a sentence; null where it does not. */
export function searchFault(plan: NoisePlan): string | null {
  if (plan.kind === "independent" || searchSize(plan) <= MAX_SEARCH) return null;
  const name = plan.kind === "banded" ? "bands" : "buffers";
  const most = Math.floor(MAX_SEARCH / plan.updates);
  return `the search for its numbers would take minutes: expected at most ${most} ${name} for ${plan.updates} updates, found ${searchSize(plan) / plan.updates}`;
}

function requireCount(name: string, value: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= 1 && value <= most) return;
  throw new SealstreamError("limit-exceeded", `privacy.noise.${name} must be 1 to ${most}.`);
}

/**
 * Coefficients of the banded Toeplitz matrix with the least error for its norm (Choquette-Choo et al. 2023, section 4;
 * jax_privacy's toeplitz.optimize_banded_toeplitz).
 * @returns c_0 = 1, ..., c_{min(bands, updates) - 1}
 */
export function optimizeBanded(
  updates: number,
  bands: number,
  objective: ErrorObjective,
): Float64Array {
  const length = Math.min(bands, updates);
  const start = squareRootCoefficients(length).subarray(1);
  const free = minimize(bandedLoss(updates, objective), {
    start,
    maxIterations: MAX_ITERATIONS,
    tolerance: TOLERANCE,
  });
  return Float64Array.of(1, ...free);
}

/** The loss above of c_1, c_2, ... */
export function bandedLoss(updates: number, objective: ErrorObjective): Objective {
  const ones = new Float64Array(updates).fill(1);
  return (free, gradient) => {
    const sums = solveToeplitz(Float64Array.of(1, ...free), ones);
    const error = weightedSquares(sums, objective);
    const norm = 1 + sumOfSquares(free);
    const slopes = sums.map((b, t) => (2 * weightAt(t, updates, objective) * b) / error);
    // C^T is C with time reversed.
    const adjoint = solveToeplitz(Float64Array.of(1, ...free), slopes.reverse()).reverse();
    for (let j = 1; j <= free.length; j += 1) {
      let value = (2 * (free[j - 1] ?? 0)) / norm;
      for (let t = j; t < updates; t += 1) value -= (adjoint[t] ?? 0) * (sums[t - j] ?? 0);
      gradient[j - 1] = value;
    }
    return Math.log(error) + Math.log(norm);
  };
}

/**
 * Decays and weights of the buffered linear Toeplitz matrix with the least error for its norm (Dvijotham et al. 2024;
 * McMahan, Xu & Zhang, A Hassle-free Algorithm for Strong Differential Privacy in Federated Learning, 2024; jax_privacy's
 * buffered_toeplitz.optimize with a fixed number of buffers).
 * @returns decays in (0, 1), falling, and a weight above 0 each
 */
export function optimizeBuffered(
  updates: number,
  buffers: number,
  objective: ErrorObjective,
): { readonly decay: readonly number[]; readonly weight: readonly number[] } {
  const best = minimize(bufferedLoss(updates, objective), {
    start: bufferedStart(updates, buffers),
    maxIterations: MAX_ITERATIONS,
    tolerance: TOLERANCE,
  });
  const pairs = Array.from({ length: buffers }, (_, i) => ({
    decay: rounded(decayOf(best[i] ?? 0)),
    weight: rounded(Math.exp(best[buffers + i] ?? 0)),
  })).sort((a, b) => b.decay - a.decay);
  return { decay: pairs.map(({ decay }) => decay), weight: pairs.map(({ weight }) => weight) };
}

/**
 * Time constants 1 / (1 - decay) in geometric steps from 1.5 to N, and weights of a sum of exponentials that follows
 * 1 / sqrt(pi k): integral of e^(-k s) s^(-1/2) / pi ds over the steps of log s.
 */
function bufferedStart(updates: number, buffers: number): Float64Array {
  const start = new Float64Array(2 * buffers);
  const longest = Math.max(2, updates);
  const step = Math.log(longest / 1.5) / buffers;
  for (let i = 0; i < buffers; i += 1) {
    const rate = Math.exp(-(i + 0.5) * step) / 1.5;
    start[i] = Math.log((1 - rate) / rate);
    start[buffers + i] = Math.log((step * Math.sqrt(rate)) / Math.PI);
  }
  return start;
}

/** The loss of (logit of each decay..., logarithm of each weight...). */
export function bufferedLoss(updates: number, objective: ErrorObjective): Objective {
  return (parameters, gradient) => {
    const buffers = parameters.length / 2;
    const decay = parameters.subarray(0, buffers).map(decayOf);
    const weight = parameters.subarray(buffers).map(Math.exp);
    // C b = 1: what is read is subtracted and the difference goes in. Column: what is read of an impulse.
    const sums = runBuffers({ updates, decay, weight, input: (_t, read) => 1 - read });
    const column = runBuffers({ updates, decay, weight, input: (t) => Number(t === 0) });
    const b = sums.reads.map((read) => 1 - read);
    const error = weightedSquares(b, objective);
    const norm = 1 + sumOfSquares(column.reads);
    gradient.fill(0);
    const shared = { decay, weight, gradient };
    addGradient({ ...shared, states: sums.states, sign: -1, feedback: true }, (t) => {
      return (2 * weightAt(t, updates, objective) * (b[t] ?? 0)) / error;
    });
    addGradient({ ...shared, states: column.states, sign: 1, feedback: false }, (t) => {
      return (2 * (column.reads[t] ?? 0)) / norm;
    });
    const value = Math.log(error) + Math.log(norm);
    return Number.isFinite(value) ? value : Number.POSITIVE_INFINITY;
  };
}

/**
 * Runs buffers s_i(t+1) = decay_i s_i(t) + input(t) from zero.
 * @returns states: s_i(t) at t * buffers + i; reads: sum_i weight_i s_i(t)
 */
function runBuffers(run: {
  readonly updates: number;
  readonly decay: Float64Array;
  readonly weight: Float64Array;
  readonly input: (t: number, read: number) => number;
}): { readonly states: Float64Array; readonly reads: Float64Array } {
  const { updates, decay, weight } = run;
  const buffers = decay.length;
  const states = new Float64Array(updates * buffers);
  const reads = new Float64Array(updates);
  for (let t = 0; t < updates; t += 1) {
    const at = t * buffers;
    let read = 0;
    for (let i = 0; i < buffers; i += 1) read += (weight[i] ?? 0) * (states[at + i] ?? 0);
    reads[t] = read;
    const input = run.input(t, read);
    // Past the end it writes nothing: typed arrays ignore that.
    for (let i = 0; i < buffers; i += 1) {
      states[at + buffers + i] = (decay[i] ?? 0) * (states[at + i] ?? 0) + input;
    }
  }
  return { states, reads };
}

/**
 * Adds the gradient of sum_t slope(t) output(t), where output(t) = constant + sign sum_i weight_i s_i(t), and the buffers'
 * input is that output (`feedback`) or given.
 */
function addGradient(
  pass: {
    readonly states: Float64Array;
    readonly decay: Float64Array;
    readonly weight: Float64Array;
    /** Of (logit decay..., log weight...); added to. */
    readonly gradient: Float64Array;
    readonly sign: number;
    readonly feedback: boolean;
  },
  slope: (t: number) => number,
): void {
  const { states, decay, weight, gradient, sign, feedback } = pass;
  const buffers = decay.length;
  // Of buffer i after the update: d loss / d s_i(t + 1).
  const later = new Float64Array(buffers);
  for (let t = states.length / buffers - 1; t >= 0; t -= 1) {
    let output = slope(t);
    if (feedback) for (let i = 0; i < buffers; i += 1) output += later[i] ?? 0;
    for (let i = 0; i < buffers; i += 1) {
      const state = states[t * buffers + i] ?? 0;
      const rate = decay[i] ?? 0;
      const scale = weight[i] ?? 0;
      gradient[i] = (gradient[i] ?? 0) + (later[i] ?? 0) * state * rate * (1 - rate);
      gradient[buffers + i] = (gradient[buffers + i] ?? 0) + sign * output * state * scale;
      later[i] = rate * (later[i] ?? 0) + sign * output * scale;
    }
  }
}

function weightAt(t: number, updates: number, objective: ErrorObjective): number {
  return objective === "mean" ? (updates - t) / updates : 1;
}

function weightedSquares(sums: Float64Array, objective: ErrorObjective): number {
  let total = 0;
  for (let t = 0; t < sums.length; t += 1) {
    total += weightAt(t, sums.length, objective) * (sums[t] ?? 0) ** 2;
  }
  return total;
}

function decayOf(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

function rounded(value: number): number {
  return Number(value.toPrecision(DIGITS));
}
