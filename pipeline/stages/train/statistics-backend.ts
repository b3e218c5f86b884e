/**
 * `method: statistics`: clipped sums of squares instead of gradients, in double precision and plain TypeScript.
 *
 * Every example's vector v (network/linear-statistics.ts) is scaled to a norm of at most `statisticsTarget`, whatever its
 * features are: all of v by one factor f, so that the sums stay those of examples with weights f. The model takes no part
 * in it. Must not add noise, see a record id, or keep anything of a micro-batch.
 *
 * Guarantee. Let S and S' be the sums of two micro-batches that differ in one place, where the other has nothing. Then
 * |S - S'| <= l2ClipNorm as real numbers. Derivation (u = 2^-53, g(n) = n u / (1 - n u); Higham, as in clip-margin.ts):
 * 1. The norm. |v|^2 = q (q + 1) for q = |x|^2, a sum of d positive terms: q is within 1 +- g(d), the root within
 *    1 +- g(d + 3), the factor within 1 +- g(d + 4). A number of v is then made by at most three more products, one of
 *    them with the rounded sqrt 2, which is within 1 +- u: g(d + 8) in all.
 * 2. The sum. Each coordinate is a sum of R terms in one fixed order, with zeros for empty places, and then at most one
 *    product: off by at most g(R) times the sum of magnitudes, so the vector by g(R) R C for S and as much for S'.
 */
import { SealstreamError } from "../../errors.ts";
import { classCount } from "../../network/definition.ts";
import { statisticsCoordinates, triangleRow } from "../../network/linear-statistics.ts";
import {
  type ClippedSum,
  EMPTY_PLACE,
  type GradientRequest,
  type TrainBackend,
} from "./backend.ts";
import { MAX_CLIP, MAX_ROWS, MIN_CLIP } from "./clip-margin.ts";

const UNIT_ROUNDOFF = 2 ** -53;
/** Roundings of the norm's root, the factor and the products, beside the d of |x|^2. */
const ELEMENTARY_ROUNDINGS = 8;
/** Examples whose products are added in one pass over the triangle, which is larger than a cache. */
const ROWS_AT_ONCE = 4;

/**
 * The norm to scale each example's vector to.
 * @throws limit-exceeded when clip or rows are outside what the derivation covers
 */
export function statisticsTarget(inputs: number, rows: number, l2ClipNorm: number): number {
  if (!(l2ClipNorm >= MIN_CLIP && l2ClipNorm <= MAX_CLIP)) {
    throw new SealstreamError(
      "limit-exceeded",
      `train.l2ClipNorm must be ${MIN_CLIP} to ${MAX_CLIP}.`,
    );
  }
  if (!(Number.isSafeInteger(rows) && rows >= 1 && rows <= MAX_ROWS)) {
    throw new SealstreamError(
      "limit-exceeded",
      `train.microBatchRecords must be 1 to ${MAX_ROWS}.`,
    );
  }
  const norm = gamma(inputs + 1 + ELEMENTARY_ROUNDINGS);
  return l2ClipNorm / (1 + norm + 2 * gamma(rows) * rows);
}

function gamma(terms: number): number {
  return (terms * UNIT_ROUNDOFF) / (1 - terms * UNIT_ROUNDOFF);
}

/** What trains by statistics: `clippedGradientSum` gives the sums of squares. There is nothing to load. */
export function createStatisticsBackend(): TrainBackend {
  return {
    name: "cpu",
    load: async () => undefined,
    clippedGradientSum: async (request) => statisticsSum(request),
    liveTensors: () => 0,
  };
}

/** The clipped sum of a micro-batch, [statisticsCoordinates]; a new buffer. @throws internal on shapes that do not fit */
export function statisticsSum(request: GradientRequest): ClippedSum {
  const { network, inputs, labels, rows, l2ClipNorm } = request;
  const features = network.inputs;
  const classes = classCount(network);
  if (inputs.length !== rows * features || labels.length !== rows) {
    throw new SealstreamError("internal", "The micro-batch does not fit the network.");
  }
  const sums: Sums = {
    sum: new Float64Array(statisticsCoordinates(features, classes)),
    d: features + 1,
    classes,
    target: statisticsTarget(features, rows, l2ClipNorm),
    clippedRows: 0,
    unusableRows: 0,
  };
  const block = Array.from({ length: ROWS_AT_ONCE }, () => new Float64Array(sums.d));
  const factors = new Float64Array(ROWS_AT_ONCE);
  for (let begin = 0; begin < rows; begin += ROWS_AT_ONCE) {
    for (const [slot, x] of block.entries()) {
      // Empty and unusable places are factors of 0 over rows of zeros: the additions are the same.
      const row = begin + slot;
      const label = row < rows ? (labels[row] ?? EMPTY_PLACE) : EMPTY_PLACE;
      const own = inputs.subarray(row * features, (row + 1) * features);
      factors[slot] = label < 0 ? empty(x) : place(sums, x, own);
      addClass(sums, x, label, factors[slot] ?? 0);
    }
    addProducts(sums.sum, block, factors);
  }
  const { sum, d, clippedRows, unusableRows } = sums;
  scaleOffDiagonal(sum, d);
  return { sum, clippedRows, unusableRows, lossSum: 0 };
}

/** A micro-batch in the making. */
interface Sums {
  readonly sum: Float64Array;
  readonly d: number;
  readonly classes: number;
  readonly target: number;
  clippedRows: number;
  unusableRows: number;
}

function empty(x: Float64Array): number {
  x.fill(0);
  return 0;
}

/** Writes an example's numbers; returns the factor of its products, 0 for one that cannot be used. */
function place(sums: Sums, x: Float64Array, features: Float32Array): number {
  const bias = x.length - 1;
  let square = 1;
  for (let i = 0; i < bias; i += 1) {
    const value = features[i] ?? 0;
    x[i] = value;
    square += value * value;
  }
  x[bias] = 1;
  // Of finite float32 numbers both are finite: their squares stay below 2^256.
  const norm = Math.sqrt(square * (square + 1));
  if (!Number.isFinite(norm)) {
    sums.unusableRows += 1;
    return empty(x);
  }
  if (norm <= sums.target) return 1;
  sums.clippedRows += 1;
  return sums.target / norm;
}

/** Adds f x_i at the label's class. */
function addClass({ sum, d, classes }: Sums, x: Float64Array, label: number, factor: number) {
  if (label >= classes) {
    throw new SealstreamError("internal", "A label is out of range; refuse it before training.");
  }
  if (label < 0) return;
  const first = triangleRow(d, d) + label;
  for (let i = 0; i < d; i += 1) {
    const at = first + i * classes;
    sum[at] = (sum[at] ?? 0) + factor * (x[i] ?? 0);
  }
}

/** Adds f x_i x_j of the block's examples for all i <= j. */
function addProducts(sum: Float64Array, block: readonly Float64Array[], factors: Float64Array) {
  const [x0, x1, x2, x3] = block;
  if (x0 === undefined || x1 === undefined || x2 === undefined || x3 === undefined) {
    throw new SealstreamError("internal", "A block has four rows.");
  }
  const [f0 = 0, f1 = 0, f2 = 0, f3 = 0] = factors;
  const d = x0.length;
  let at = 0;
  for (let i = 0; i < d; i += 1) {
    const a0 = f0 * (x0[i] ?? 0);
    const a1 = f1 * (x1[i] ?? 0);
    const a2 = f2 * (x2[i] ?? 0);
    const a3 = f3 * (x3[i] ?? 0);
    for (let j = i; j < d; j += 1) {
      const before = sum[at] ?? 0;
      sum[at] =
        before + a0 * (x0[j] ?? 0) + a1 * (x1[j] ?? 0) + a2 * (x2[j] ?? 0) + a3 * (x3[j] ?? 0);
      at += 1;
    }
  }
}

function scaleOffDiagonal(sum: Float64Array, d: number): void {
  for (let i = 0; i < d; i += 1) {
    const row = triangleRow(d, i);
    for (let at = row + 1; at < row + d - i; at += 1) sum[at] = (sum[at] ?? 0) * Math.SQRT2;
  }
}
