/**
 * The network in the clear, one example at a time, in double precision.
 *
 * The reference that the encrypted evaluation and the training backends are compared with, and what validation uses.
 * Must not be fast at the price of being unclear.
 */
import { SealstreamError } from "../errors.ts";
import { type Activation, activationPolynomial, evaluatePolynomial } from "./activation.ts";
import type { Network } from "./definition.ts";
import {
  type AveragePool2dLayer,
  type Conv2dLayer,
  kernelMatrix,
  type NetworkLayer,
  type RnnLayer,
  windowsOf,
} from "./layers.ts";
import type { LayerWeights, Weights } from "./weights.ts";

/**
 * Logits of one example.
 * @param input `network.inputs` features
 * @returns new array, one logit per output of the last layer; NaN and infinities pass through as IEEE 754 says
 * @throws internal when input or weights do not have the network's shape
 */
export function forward(
  network: Network,
  weights: Weights,
  input: ArrayLike<number>,
): Float64Array {
  if (input.length !== network.inputs) {
    throw new SealstreamError(
      "internal",
      `The network takes ${network.inputs} features, ${input.length} were given.`,
    );
  }
  let values = Float64Array.from(input);
  for (const [index, layer] of network.layers.entries()) {
    const own = weights.layers[index];
    const [rows, columns] = kernelMatrix(layer, values.length);
    if (own?.kernel.length !== rows * columns || own.bias.length !== columns) {
      throw new SealstreamError("internal", `The weights of layer ${index} have another shape.`);
    }
    values = applyLayer(layer, own, values);
  }
  return values;
}

function applyLayer(
  layer: NetworkLayer,
  weights: LayerWeights,
  values: Float64Array,
): Float64Array<ArrayBuffer> {
  switch (layer.kind) {
    case "conv2d":
      return activate(layer.activation, convolve(layer, weights, values));
    case "averagePool2d":
      return pool(layer, values);
    case "rnn":
      return recur(layer, weights, values);
    default:
      return activate(layer.activation, affine(weights, values));
  }
}

function activate(activation: Activation, values: Float64Array): Float64Array<ArrayBuffer> {
  const polynomial = activationPolynomial(activation);
  if (polynomial === null) return Float64Array.from(values);
  if (activation === "square") return values.map((z) => z * z);
  return values.map((z) => evaluatePolynomial(polynomial, z));
}

// `?? 0` is never taken below: shapes are checked above; it satisfies noUncheckedIndexedAccess.

/** values x kernel + bias */
function affine({ kernel, bias }: LayerWeights, values: Float64Array): Float64Array<ArrayBuffer> {
  const next = Float64Array.from(bias);
  for (const [row, value] of values.entries()) {
    for (let column = 0; column < next.length; column += 1) {
      next[column] = (next[column] ?? 0) + value * (kernel[row * next.length + column] ?? 0);
    }
  }
  return next;
}

/** The window at an output position, zeros outside: [height][width][channels]. */
function windowAt(
  layer: Conv2dLayer | AveragePool2dLayer,
  values: Float64Array,
  row: number,
  column: number,
): Float64Array {
  const [height, width, channels] = layer.input;
  const [high, wide] = layer.kind === "conv2d" ? layer.kernelSize : layer.poolSize;
  const { top, left } = windowsOf(layer);
  const window = new Float64Array(high * wide * channels);
  for (let y = 0; y < high; y += 1) {
    for (let x = 0; x < wide; x += 1) {
      const inY = row * layer.strides[0] + y - top;
      const inX = column * layer.strides[1] + x - left;
      if (inY < 0 || inY >= height || inX < 0 || inX >= width) continue;
      const from = (inY * width + inX) * channels;
      window.set(values.subarray(from, from + channels), (y * wide + x) * channels);
    }
  }
  return window;
}

function convolve(
  layer: Conv2dLayer,
  weights: LayerWeights,
  values: Float64Array,
): Float64Array<ArrayBuffer> {
  const next = new Float64Array(layer.outputs);
  const { rows, columns } = windowsOf(layer);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const sums = affine(weights, windowAt(layer, values, row, column));
      next.set(sums, (row * columns + column) * layer.filters);
    }
  }
  return next;
}

function pool(layer: AveragePool2dLayer, values: Float64Array): Float64Array<ArrayBuffer> {
  const next = new Float64Array(layer.outputs);
  const { rows, columns } = windowsOf(layer);
  const channels = layer.input[2];
  const count = layer.poolSize[0] * layer.poolSize[1];
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      for (const [index, value] of windowAt(layer, values, row, column).entries()) {
        const at = (row * columns + column) * channels + (index % channels);
        next[at] = (next[at] ?? 0) + value / count;
      }
    }
  }
  return next;
}

function recur(
  layer: RnnLayer,
  weights: LayerWeights,
  values: Float64Array,
): Float64Array<ArrayBuffer> {
  const [steps, features] = layer.input;
  let state = new Float64Array(layer.outputs);
  for (let step = 0; step < steps; step += 1) {
    const read = new Float64Array(features + layer.outputs);
    read.set(values.subarray(step * features, (step + 1) * features));
    read.set(state, features);
    state = activate(layer.activation, affine(weights, read));
  }
  return state;
}

/** Index of the largest value, the first of equals; -1 for an empty array. NaN is never the largest. */
export function argmax(values: ArrayLike<number>): number {
  let best = -1;
  let bestValue = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index] ?? Number.NaN;
    if (value > bestValue || (best === -1 && value === bestValue)) {
      best = index;
      bestValue = value;
    }
  }
  return best;
}
