/**
 * Weights of a network: their memory layout, their flat form, and how a new run begins.
 *
 * The flat form is the one order of parameters that contributions, noise rows and updates share: layer by layer, the
 * kernel row-major, then the bias. This file must not draw randomness of its own: the source is handed in
 * and must be a CSPRNG, because initial weights are part of what a run's ledger commits to.
 */
import { SealstreamError } from "../errors.ts";
import { activationPolynomial, polynomialSlope } from "./activation.ts";
import { kernelMatrices, type Network, parameterCount } from "./definition.ts";
import { kernelMatrix, type NetworkLayer } from "./layers.ts";

export interface LayerWeights {
  /**
   * Row-major: dense [in][out]; conv2d [height][width][channels][filters]; rnn [features + units][units], the rows of
   * Wx and then those of Uh; averagePool2d empty.
   */
  readonly kernel: Float32Array;
  /** [out], [filters], [units] or empty. */
  readonly bias: Float32Array;
}

export interface Weights {
  readonly layers: readonly LayerWeights[];
}

/** Bytes of one draw: 32 uniform bits give a float32 all the resolution it has. */
const DRAW_BYTES = 4;
/** 2^32, the number of values of one draw. */
const DRAW_VALUES = 4_294_967_296;

/** Mean square of a feature in [0, 1] that the first kernel is sized for: between a sparse one's 0 and a uniform one's 1/3. */
const FEATURE_MEAN_SQUARE = 1 / 4;
/** Mean square that a layer of logits is given that reads features: as behind a square, so that logits begin small. */
const LOGIT_MEAN_SQUARE = 3;

/** One over the variance that a recurrent layer's input, and its state, may give. */
const RECURRENT_CARE = 8;

/**
 * Weights a run begins with: kernels uniform around zero, biases zero.
 *
 * Derivation. A kernel entry of variance v over `in` inputs of mean square q gives a pre-activation z of mean 0 and
 * variance v q in. Every layer aims at variance 1: the slope of the activation neither vanishes (z = 0 is a saddle of
 * the square) nor explodes, z stays where a minimax polynomial is near its function, and a CKKS plaintext stays small.
 * So v = 1 / (q in), with q = 1/4 for features in [0, 1], and behind an activation p the mean E[p(z)^2] over a standard
 * normal z (3 for the square). A pool leaves q as it is: its inputs are neighbours, nearly equal. A layer of logits that
 * reads features wants small logits: it takes q = 3. A uniform draw from +-a has variance a^2 / 3, hence
 * a = sqrt(3 / (q in)); unlike a normal draw it bounds every z: |z| <= sqrt(12 in) in the first layer, for any x.
 *
 * A recurrent layer feeds on what it made, and a polynomial has no bound: a state that leaves the place where it is
 * tame grows doubly exponentially with the steps. So it aims lower, at variance 1/8 from the input, v = 1 / (8 q in), and
 * at most as much from the state. A change of the state is multiplied by U diag(p'(z)), in the mean square by
 * v units E[p'(z)^2], so Uh has v = 1 / (8 units max(E[p^2], E[p'^2])). Tried on 9,000 draws of 8 to 29 steps: none ran
 * away; at variance 1/2 from each, one in twenty did.
 *
 * @param random gives that many bytes of a CSPRNG
 * @returns new buffers, owned by the caller
 */
export function initialWeights(network: Network, random: (bytes: number) => Uint8Array): Weights {
  let inputs = network.inputs;
  let meanSquare: number | null = null;
  const layers = network.layers.map((layer) => {
    const { activation } = layer;
    const whenFeatures = activation === "none" ? LOGIT_MEAN_SQUARE : FEATURE_MEAN_SQUARE;
    const kernel = initialKernel(layer, inputs, meanSquare ?? whenFeatures, random);
    const [, columns] = kernelMatrix(layer, inputs);
    inputs = layer.outputs;
    if (activation !== "none")
      meanSquare = normalMeanSquare(activationPolynomial(activation) ?? []);
    return { kernel, bias: new Float32Array(columns) };
  });
  return { layers };
}

function initialKernel(
  layer: NetworkLayer,
  inputs: number,
  meanSquare: number,
  random: (bytes: number) => Uint8Array,
): Float32Array {
  const [rows, columns] = kernelMatrix(layer, inputs);
  if (layer.kind === "averagePool2d") return new Float32Array();
  if (layer.kind !== "rnn") {
    return uniform(rows * columns, Math.sqrt(3 / (meanSquare * rows)), random);
  }
  const [, features] = layer.input;
  const units = layer.outputs;
  const polynomial = activationPolynomial(layer.activation) ?? [];
  const growth = Math.max(
    normalMeanSquare(polynomial),
    normalMeanSquare(polynomialSlope(polynomial)),
  );
  return Float32Array.from([
    ...uniform(features * units, Math.sqrt(3 / (RECURRENT_CARE * meanSquare * features)), random),
    ...uniform(units * units, Math.sqrt(3 / (RECURRENT_CARE * growth * units)), random),
  ]);
}

/** E[p(z)^2] over a standard normal z, whose even moments are E[z^2k] = 1 3 5 ... (2k - 1). */
function normalMeanSquare(polynomial: readonly number[]): number {
  let sum = 0;
  for (const [i, left] of polynomial.entries()) {
    for (const [j, right] of polynomial.entries()) {
      if ((i + j) % 2 === 1) continue;
      let moment = 1;
      for (let factor = i + j - 1; factor > 1; factor -= 2) moment *= factor;
      sum += left * right * moment;
    }
  }
  return sum;
}

function uniform(
  length: number,
  limit: number,
  random: (bytes: number) => Uint8Array,
): Float32Array {
  const bytes = random(length * DRAW_BYTES);
  if (bytes.length !== length * DRAW_BYTES) {
    throw new SealstreamError("internal", "The random source gave another number of bytes.");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(length);
  for (let index = 0; index < length; index += 1) {
    // + 0.5 centres the 2^32 values on zero: the mean is exactly 0.
    const share = (view.getUint32(index * DRAW_BYTES, true) + 0.5) / DRAW_VALUES;
    values[index] = (2 * share - 1) * limit;
  }
  return values;
}

/** All parameters in the flat order; a new buffer. */
export function flatten(weights: Weights): Float32Array {
  const length = weights.layers.reduce(
    (sum, { kernel, bias }) => sum + kernel.length + bias.length,
    0,
  );
  const flat = new Float32Array(length);
  let at = 0;
  for (const { kernel, bias } of weights.layers) {
    flat.set(kernel, at);
    flat.set(bias, at + kernel.length);
    at += kernel.length + bias.length;
  }
  return flat;
}

/**
 * Weights from the flat order; new buffers.
 * @throws checkpoint-invalid when `flat` is not exactly as long as the network has parameters
 */
export function unflatten(network: Network, flat: ArrayLike<number>): Weights {
  if (flat.length !== parameterCount(network)) {
    throw new SealstreamError(
      "checkpoint-invalid",
      `The network has ${parameterCount(network)} parameters, ${flat.length} were given.`,
    );
  }
  let at = 0;
  const take = (length: number): Float32Array => {
    const values = Float32Array.from({ length }, (_, index) => flat[at + index] ?? 0);
    at += length;
    return values;
  };
  return {
    layers: kernelMatrices(network).map(([rows, columns]) => ({
      kernel: take(rows * columns),
      bias: take(columns),
    })),
  };
}

/** What does not fit between a network and weights, as the end of a sentence, or null. */
export function weightsFault(network: Network, weights: Weights): string | null {
  if (weights.layers.length !== network.layers.length) return "the number of layers differs";
  for (const [index, [rows, columns]] of kernelMatrices(network).entries()) {
    const layer = weights.layers[index];
    if (layer?.kernel.length !== rows * columns || layer.bias.length !== columns) {
      return `layer ${index} has another shape`;
    }
    if (!allFinite(layer.kernel) || !allFinite(layer.bias)) {
      return `layer ${index} holds a number that is not finite`;
    }
  }
  return null;
}

/** Asked before every micro-batch: a call for each number would cost as much as a matrix product. */
function allFinite(values: Float32Array): boolean {
  // Zero times what is not finite is NaN, and NaN stays.
  let sum = 0;
  for (let index = 0; index < values.length; index += 1) sum += 0 * (values[index] ?? 0);
  return sum === 0;
}
