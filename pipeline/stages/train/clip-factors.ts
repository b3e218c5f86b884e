/**
 * From the squared norms of a block's gradients to the factor of each: the three ways of clipping.
 *
 * Guarantee: factor times norm is at most what is allowed, by double precision, for every example and way; an empty
 * place and an unusable example have factor 0. With `perLayer` norms n_1..n_L and targets C / sqrt(L) the whole
 * contribution is at most sqrt(L (C / sqrt(L))^2) = C. Must not know TensorFlow.js, nor choose the target
 * (clip-margin.ts does).
 */
import { SealstreamError } from "../../errors.ts";
import type { TrainSpec } from "../../spec/training-spec.ts";

export type Clipping = TrainSpec["clipping"];

/** An example with a larger |a|^2 before a layer is a row of zeros: 2^40, see clip-margin.ts, "Edge cases". */
export const MAX_SQUARED_ACTIVATION = 2 ** 40;
/** An example with a larger squared norm of one layer's gradient is a row of zeros: absurd, and sums stay finite. */
export const MAX_SQUARED_NORM = 2 ** 100;
/** Bu et al. 2023, "Automatic Clipping: Differentially Private Deep Learning Made Easier and Stronger", section 5. */
export const AUTOMATIC_STABILITY = 0.01;

/** What a pass found out about the examples of a block: one number for each row of everything. */
export interface RowFacts {
  readonly losses: ArrayLike<number>;
  /** For each layer with weights, the squared norm of the example's gradient. */
  readonly norms2: readonly ArrayLike<number>[];
  /** Sums of squares of what went into layers with weights. */
  readonly inputs2: readonly ArrayLike<number>[];
  /** Sums of squares of the slopes by what came out of them, where a pass knows them apart from the norms. */
  readonly deltas2?: readonly ArrayLike<number>[] | undefined;
}

export interface ClipFactors {
  /** For each layer with weights, [rows]. The same array for all layers but with `per-layer`. */
  readonly factors: readonly Float32Array[];
  /** Whether the row's tensors may hold what is not finite: they must then be selected away, because 0 * NaN is NaN. */
  readonly spoiled: readonly boolean[];
  readonly anySpoiled: boolean;
  /** Examples that were scaled down, that were unusable, and the losses of those that were not. */
  readonly clippedRows: number;
  readonly unusableRows: number;
  readonly lossSum: number;
}

/**
 * @param labels negative: an empty place, whose factor is 0
 * @param target the norm of a whole example (`per-layer`: shared out evenly)
 */
export function clipFactors(
  facts: RowFacts,
  labels: Int32Array,
  clipping: Clipping,
  target: number,
): ClipFactors {
  const rows = labels.length;
  const layers = facts.norms2.length;
  const own = clipping === "per-layer" ? layers : 1;
  const factors = Array.from({ length: own }, () => new Float32Array(rows));
  const spoiled = new Array<boolean>(rows).fill(false);
  const counts = { clippedRows: 0, unusableRows: 0, lossSum: 0 };
  for (let row = 0; row < rows; row += 1) {
    const usable = isUsable(facts, row);
    spoiled[row] = !usable;
    if ((labels[row] ?? -1) < 0) continue;
    if (!usable) {
      counts.unusableRows += 1;
      continue;
    }
    let clipped = false;
    for (const [index, factor] of factors.entries()) {
      const norms2 = own === 1 ? facts.norms2 : [facts.norms2[index] ?? []];
      const norm = Math.sqrt(norms2.reduce((sum, squares) => sum + (squares[row] ?? 0), 0));
      const allowed = target / Math.sqrt(own);
      factor[row] = factorOf(norm, allowed, clipping);
      clipped ||= norm > allowed;
    }
    if (clipped) counts.clippedRows += 1;
    counts.lossSum += facts.losses[row] ?? 0;
  }
  const shared = factors[0];
  if (shared === undefined) throw new SealstreamError("internal", "A network has no weights.");
  return {
    factors: Array.from({ length: layers }, (_, layer) => factors[layer] ?? shared),
    spoiled,
    anySpoiled: spoiled.includes(true),
    ...counts,
  };
}

/** Where the norm is at most the target, the factor is exactly 1; a norm of 0 divides nothing. */
function factorOf(norm: number, target: number, clipping: Clipping): number {
  if (clipping === "automatic") return target / (norm + AUTOMATIC_STABILITY);
  return norm > target ? target / norm : 1;
}

/** Whether a row's norms, and what they are made of, are finite and not absurd. */
function isUsable(facts: RowFacts, row: number): boolean {
  return (
    isFine(facts, row) && facts.norms2.every((squares) => upTo(squares[row], MAX_SQUARED_NORM))
  );
}

/** Whether what the gradients of a row are made of is finite and not absurd. */
export function isFine({ losses, inputs2, deltas2 = [] }: RowFacts, row: number): boolean {
  return (
    upTo(Math.abs(losses[row] ?? Number.NaN), Number.MAX_VALUE) &&
    inputs2.every((squares) => upTo(squares[row], MAX_SQUARED_ACTIVATION)) &&
    deltas2.every((squares) => upTo(squares[row], MAX_SQUARED_NORM))
  );
}

/** False for NaN too. */
function upTo(value: number | undefined, limit: number): boolean {
  return (value ?? Number.NaN) <= limit;
}
