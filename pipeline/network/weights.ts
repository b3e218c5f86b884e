/**
 * Weights of a network: their memory layout and their flat form.
 *
 * The flat form is the one order of parameters that contributions, noise rows and updates share: layer by layer, the
 * kernels of its products (products.ts) row-major, then their biases. How a run begins says initial-weights.ts.
 */
import { SealstreamError } from "../errors.ts";
import { type Network, parameterCount } from "./definition.ts";
import { chainProducts, weightSizes } from "./products.ts";

export interface LayerWeights {
  /**
   * Row-major: dense [in][out]; conv2d [height][width][channels][filters]; rnn, gru and lstm [features + units][gates
   * times units], the rows of W and then those of U; embedding [vocabulary][width]; layerNorm the gains, [features]; of
   * a pool empty.
   */
  readonly kernel: Float32Array;
  /** [out], [filters], [gates times units], of a gru [2][3 units], layerNorm [features], or empty. */
  readonly bias: Float32Array;
}

export interface Weights {
  readonly layers: readonly LayerWeights[];
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
    const from = at;
    at += length;
    if (flat instanceof Float32Array) return flat.slice(from, at);
    const values = new Float32Array(length);
    for (let index = 0; index < length; index += 1) values[index] = flat[from + index] ?? 0;
    return values;
  };
  return {
    layers: sizes(network).map(({ kernel, bias }) => ({ kernel: take(kernel), bias: take(bias) })),
  };
}

function sizes({ inputs, layers }: Network): { kernel: number; bias: number }[] {
  return chainProducts(inputs, layers).map(weightSizes);
}

/** What does not fit between a network and weights, as the end of a sentence, or null. */
export function weightsFault(network: Network, weights: Weights): string | null {
  if (weights.layers.length !== network.layers.length) return "the number of layers differs";
  for (const [index, { kernel, bias }] of sizes(network).entries()) {
    const layer = weights.layers[index];
    if (layer?.kernel.length !== kernel || layer.bias.length !== bias) {
      return `layer ${index} has another shape`;
    }
    if (!allFinite(layer.kernel) || !allFinite(layer.bias)) {
      return `layer ${index} holds a number that is not finite`;
    }
  }
  return null;
}

/** Asked before every micro-batch: a call for each number would cost as much as a matrix product. */
export function allFinite(values: Float32Array | Float64Array): boolean {
  // Zero times what is not finite is NaN, and NaN stays.
  let sum = 0;
  for (let index = 0; index < values.length; index += 1) sum += 0 * (values[index] ?? 0);
  return sum === 0;
}
