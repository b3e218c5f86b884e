/**
 * `method: statistics`: the noisy sums of squares of all updates so far, and the linear model that they ask for.
 *
 *   M, b  = mean of x x^T and of x y^T over the places of the run so far, noise included (network/linear-statistics.ts)
 *   floor = -2 times M's least eigenvalue where that is below 0, else 0
 *   W     = (M + (ridge + floor) I)^-1 b: the last row is the bias
 *
 * Without noise M has no eigenvalue below 0, so the least one of the noisy M says how far noise moves it: with twice that
 * added, no eigenvalue is below the noise. It follows from what was released, whatever kind of noise it was; at epsilon 3 it
 * was within half a point of the best multiple on pixels, and too strong for breast cancer's random features. (Wang 2018
 * asks the same of the known deviation.)
 * No gradient, no rate; everything here is post-processing. Must not know a contribution, a key, or how noise was made.
 */
import { SealstreamError } from "../../errors.ts";
import { classCount, type Network, parameterCount } from "../../network/definition.ts";
import { statisticsCoordinates, triangleRow } from "../../network/linear-statistics.ts";
import type { TrainSpec } from "../../spec/training-spec.ts";
import { leastEigenvalue, solveRidge } from "./ridge.ts";
import { requireTensors, type UpdateRule } from "./trainer-state.ts";

/** Name of the sums among a checkpoint's trainer tensors: means of the updates, added up. */
const SUMS = "sums";
/** How often the noise's own reach is added. */
const FLOOR_FACTOR = 2;
/** Of the mean of the diagonal: the least ridge that is tried where there is no noise and a feature is always 0. */
const LEAST_SHARE = 2 ** -40;
/** Tries, each with twice the ridge: the first is enough but for rounding. */
const MAX_TRIES = 64;

export function createStatisticsRule(
  { ridge }: Pick<TrainSpec, "ridge">,
  network: Network,
): UpdateRule {
  const classes = classCount(network);
  const d = network.inputs + 1;
  const coordinates = statisticsCoordinates(network.inputs, classes);
  const expected = { [SUMS]: { double: true, length: coordinates } };
  return {
    coordinates,
    initial() {
      const published = new Float32Array(parameterCount(network));
      return { published, iterate: published, extras: { [SUMS]: new Float64Array(coordinates) } };
    },
    restore: (published, trainer) => ({
      published,
      iterate: published,
      extras: requireTensors(trainer, expected),
    }),
    step({ extras }, { sum, divisor }, step) {
      const before = extras[SUMS];
      const sums = sum.map((value, index) => (before?.[index] ?? 0) + value / divisor);
      const { matrix, right } = meansOf(sums, step, { d, classes });
      const floor = Math.max(0, -FLOOR_FACTOR * leastEigenvalue(matrix, d));
      const solution = solve(matrix, right, { d, classes, ridge: ridge + floor });
      // [d][classes] is the flat order of one dense layer: the kernel's rows, then the bias.
      const published = Float32Array.from(solution);
      if (!published.every(Number.isFinite)) throw unsolved();
      return { published, iterate: published, extras: { [SUMS]: sums } };
    },
    stored: ({ extras }) => extras,
  };
}

/** The full matrix and the right side, for each place. */
function meansOf(
  sums: Float64Array,
  step: number,
  { d, classes }: { readonly d: number; readonly classes: number },
) {
  const matrix = new Float64Array(d * d);
  for (let i = 0; i < d; i += 1) {
    const row = triangleRow(d, i);
    matrix[i * d + i] = (sums[row] ?? 0) / step;
    for (let j = i + 1; j < d; j += 1) {
      const value = (sums[row + j - i] ?? 0) / (Math.SQRT2 * step);
      matrix[i * d + j] = value;
      matrix[j * d + i] = value;
    }
  }
  const products = triangleRow(d, d);
  const right = sums.slice(products, products + d * classes).map((value) => value / step);
  return { matrix, right };
}

function solve(
  matrix: Float64Array,
  right: Float64Array,
  { d, classes, ridge }: { readonly d: number; readonly classes: number; readonly ridge: number },
): Float64Array {
  let trace = 0;
  for (let i = 0; i < d; i += 1) trace += Math.abs(matrix[i * d + i] ?? 0);
  let added = ridge;
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const solution = solveRidge(matrix, right, { n: d, columns: classes, ridge: added });
    if (solution !== null) return solution;
    added = Math.max(2 * added, (trace / d) * LEAST_SHARE, Number.MIN_VALUE);
  }
  throw unsolved();
}

function unsolved(): SealstreamError {
  return new SealstreamError(
    "limit-exceeded",
    "The private sums have no linear model in the range of float32: raise train.ridge, or scale the features under features.maps. The ledger stays as it is.",
  );
}
