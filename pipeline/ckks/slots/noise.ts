/**
 * How much noise reaches the logits of a slots program: gains that do not depend on scales, and the variances they multiply.
 *
 * Model. Every disturbance is an independent random number per slot. Its variance, in units of the message, is known
 * where it arises; the program carries it to the logits: a product with w multiplies a variance by w^2, a turn moves it,
 * a fold adds variances, a square multiplies by (2 z)^2. So the variance of a logit is sum over sources of variance x
 * gain, and the gain of a source is one run of the program on variances. Values that multiply a disturbance (z in a
 * square, x at a rounded weight) are taken by their mean square, for independent features of mean square 1, the largest
 * that features in [-1, 1] can have; a square's is 3 E(z^2)^2, as for a Gaussian z. A record all of whose features are 1 is
 * followed beside it, and the larger of both is taken.
 * Variances per real slot value, for coefficients of variance v and degree N: v N / 2.
 *   rounding a plaintext          N / 48, see `encode.ts`
 *   rescale, mod-down, encrypting (1 + 2 N / 3) / 12: c0's and c1's rounding, the latter times a ternary secret. The
 *                                 library encrypts over the key prime and divides by it, which leaves just this
 *   key switch over l limbs       N sigma^2 / P^2 x sum over l limbs of q^2 / 12 (balanced digits), sigma = 3.2, plus a
 *                                 mod-down
 * What is not in it: the difference between a square and its first derivative, f64's own rounding (2^-45).
 * test/ckks/slots compares predictions with measured errors.
 */
import { encodingVariance } from "./encode.ts";
import {
  runFold,
  runMatrix,
  runProgram,
  type SlotMatrix,
  type SlotProgram,
  type SlotStep,
} from "./program.ts";

/** Standard deviation of SEAL's error distribution. */
const ERROR_DEVIATION = 3.2;
/** E(z^4) / E(z^2)^2 of a Gaussian. */
const KURTOSIS = 3;

/** Variances of a slot, before they are divided by a squared scale. */
export interface SlotVariances {
  readonly encode: number;
  readonly rescale: number;
  readonly encrypt: number;
  /** Of a key switch over so many limbs, of `turns` of them added up before one mod-down. */
  keySwitch(limbs: number, turns?: number): number;
}

export function slotVariances(degree: number, primes: readonly bigint[]): SlotVariances {
  const perSlot = degree / 2;
  const rounding = (perSlot * (1 + (2 * degree) / 3)) / 12;
  const special = Number(primes.at(-1) ?? 1n);
  return {
    encode: encodingVariance(degree),
    rescale: rounding,
    encrypt: rounding,
    keySwitch(limbs, turns = 1) {
      const digits = primes
        .slice(0, limbs)
        .reduce((sum, prime) => sum + (Number(prime) / special) ** 2 / 12, 0);
      return perSlot * degree * ERROR_DEVIATION ** 2 * digits * turns + rounding;
    },
  };
}

/** Gains of one matrix's disturbances to the logits; the worst logit of each. */
export interface MatrixGains {
  /** Of the rounding of its values. */
  readonly values: number;
  /** Of a key switch of each turned source (before the product). */
  readonly babies: number;
  /** Of a key switch of each group, and of whatever disturbs the sum before the folds. */
  readonly giants: number;
  readonly beforeFolds: number;
  /** Per fold stage, of one key switch there. */
  readonly folds: readonly number[];
}

export interface StepGains {
  readonly matrices: readonly MatrixGains[];
  /** Of what disturbs the sum (bias, rescale). */
  readonly sum: number;
  /** Of what disturbs the square. */
  readonly square: number;
}

/** All that scale and level choices need to know of a program. */
export interface SlotStatistics {
  readonly steps: readonly StepGains[];
  /** Gain of the features' own noise. */
  readonly features: number;
  /** Per step: bound of the products, of the sum (after folds and bias). */
  readonly bounds: readonly { readonly product: number; readonly sum: number }[];
  /** Per step and matrix the largest |value|. */
  readonly largest: readonly (readonly number[])[];
  /** Bound of the logits in places that are let through, and their mean square. */
  readonly logit: number;
  readonly logitSquare: number;
}

const square = (value: number): number => value * value;

/** Carries a variance that arises in one vector to the logits; the worst logit. */
type Carry = (vector: number, variance: Float64Array) => number;

/** Per step the mean square of its sum, and per vector (0 the features) of its values. */
interface MeanSquares {
  readonly sums: readonly Float64Array[];
  readonly vectors: readonly Float64Array[];
}

function meanSquares(program: SlotProgram, features: Float64Array): MeanSquares {
  const { steps } = program;
  const vectors = [features];
  // A record all of whose features are 1: where weights add up, values are larger than for independent features.
  const probe = runProgram(program, features);
  const sums = steps.map((step, index) => {
    const sum = step.bias.map(square);
    for (const matrix of step.matrices) {
      const input = vectors[matrix.source] ?? sum;
      const part = runMatrix(matrix, input, (weight, value) => weight * weight * value);
      for (const [place, value] of part.entries()) sum[place] = (sum[place] ?? 0) + value;
    }
    const ones = probe[index + 1] ?? sum;
    const most = sum.map((value, place) => {
      const one = ones[place] ?? 0;
      return Math.max(value, step.square ? one : square(one));
    });
    const squares = sum.map((value, place) =>
      Math.max(KURTOSIS * square(value), square(ones[place] ?? 0)),
    );
    vectors.push(step.square ? squares : most);
    return most;
  });
  return { sums, vectors };
}

function carrier(program: SlotProgram, sums: readonly Float64Array[]): Carry {
  const { steps, mask } = program;
  return (vector, variance) => {
    const vectors = new Map([[vector, variance]]);
    for (let index = vector; index < steps.length; index += 1) {
      const step = steps[index];
      if (step === undefined) break;
      let sum: Float64Array | null = null;
      for (const matrix of step.matrices) {
        const input = vectors.get(matrix.source);
        if (input === undefined) continue;
        const part = runMatrix(matrix, input, (weight, value) => weight * weight * value);
        const before: Float64Array | null = sum;
        sum = before === null ? part : part.map((value, place) => value + (before[place] ?? 0));
      }
      if (sum !== null) vectors.set(index + 1, step.square ? squared(sum, sums[index]) : sum);
    }
    const last = vectors.get(steps.length);
    return Math.max(0, ...(last ?? []).filter((_, place) => mask[place] === 1));
  };
}

/** Variance of a square, from the variance of what is squared and its mean square. */
function squared(variance: Float64Array, meanSquare: Float64Array | undefined): Float64Array {
  return variance.map((value, place) => value * 4 * (meanSquare?.[place] ?? 0));
}

/**
 * Gain of the part of the features' noise that all of them have in common, to first order and for features that are 1: rows
 * with like weights carry it to like errors, which add up where independent ones would not.
 */
function commonGain({ steps, mask }: SlotProgram, ones: Float64Array): number {
  const count = ones.reduce((sum, one) => sum + one, 0);
  const values = [ones];
  const tangents: Float64Array[] = [ones.map((one) => one / Math.sqrt(count))];
  for (const step of steps) {
    const sum = Float64Array.from(step.bias);
    const tangent = new Float64Array(sum.length);
    for (const matrix of step.matrices) {
      const value = runMatrix(matrix, values[matrix.source] ?? sum);
      const moved = runMatrix(matrix, tangents[matrix.source] ?? tangent);
      for (const [place, one] of value.entries()) {
        sum[place] = (sum[place] ?? 0) + one;
        tangent[place] = (tangent[place] ?? 0) + (moved[place] ?? 0);
      }
    }
    values.push(step.square ? sum.map(square) : sum);
    tangents.push(step.square ? tangent.map((one, place) => 2 * (sum[place] ?? 0) * one) : tangent);
  }
  return Math.max(
    0,
    ...(tangents.at(-1) ?? []).filter((_, place) => mask[place] === 1).map(square),
  );
}

/** Bounds by the program on absolute values, gains by the program on variances. */
export function slotStatistics(program: SlotProgram): SlotStatistics {
  const { steps, layout, mask } = program;
  const ones = Float64Array.from(layout.featureAt, (feature) => (feature < 0 ? 0 : 1));
  const vectors = runProgram(program, ones, true);
  const means = meanSquares(program, ones);
  const { sums } = means;
  const carry = carrier(program, sums);
  const everywhere = new Float64Array(layout.places).fill(1);
  const gains = steps.map((step, index): StepGains => {
    const after = (variance: Float64Array): number =>
      carry(index + 1, step.square ? squared(variance, sums[index]) : variance);
    return {
      matrices: step.matrices.map((matrix) =>
        matrixGains(matrix, means.vectors[matrix.source] ?? everywhere, after),
      ),
      sum: after(everywhere),
      square: carry(index + 1, everywhere),
    };
  });
  const largest = steps.map(({ matrices }) => matrices.map(largestValue));
  const bounds = steps.map((step, index) => ({
    product: Math.max(
      ...step.matrices.map((matrix) => productBound(matrix, vectors[matrix.source])),
    ),
    sum: sumBound(step, vectors[index + 1] ?? everywhere),
  }));
  const open = (values: Float64Array | undefined): number =>
    Math.max(...(values ?? everywhere).filter((_, place) => mask[place] === 1));
  return {
    steps: gains,
    features: Math.max(carry(0, everywhere), commonGain(program, ones)),
    bounds,
    largest,
    logit: open(vectors.at(-1)),
    logitSquare: open(means.sums.at(-1)),
  };
}

/** Bound of a step's sum, from that of its result. */
function sumBound({ square: isSquare }: SlotStep, result: Float64Array): number {
  const bound = Math.max(...result);
  return isSquare ? Math.sqrt(bound) : bound;
}

function largestValue({ groups }: SlotMatrix): number {
  return Math.max(
    ...groups.flatMap(({ terms }) => terms.map(({ values }) => Math.max(...values.map(Math.abs)))),
  );
}

/** Bound of the sum of products before the folds. */
function productBound(matrix: SlotMatrix, input: Float64Array | undefined): number {
  const bounds = runMatrix(
    { ...matrix, folds: [] },
    input ?? new Float64Array(1),
    (weight, value) => Math.abs(weight) * value,
  );
  return Math.max(...bounds);
}

function matrixGains(
  matrix: SlotMatrix,
  input: Float64Array,
  after: (variance: Float64Array) => number,
): MatrixGains {
  const { groups, folds } = matrix;
  const foldFrom = (stage: number): number => {
    let variance: Float64Array = new Float64Array(input.length).fill(1);
    for (const turns of folds.slice(stage)) variance = runFold(turns, variance);
    return after(variance);
  };
  const beforeFolds = foldFrom(0);
  return {
    values: after(runMatrix(matrix, input, (_, value) => value)),
    babies: after(
      runMatrix(matrix, input, (weight, _, baby) => (baby === 0 ? 0 : weight * weight)),
    ),
    giants: beforeFolds * groups.filter(({ giant }) => giant !== 0).length,
    beforeFolds,
    folds: folds.map((_, stage) => foldFrom(stage + 1)),
  };
}
