/**
 * The network in the clear, one example at a time, in double precision.
 *
 * The reference that the encrypted evaluation and the training backends are compared with, and what validation uses.
 * Must not be fast at the price of being unclear.
 */
import { SealstreamError } from "../errors.ts";
import { type Activation, activationValue } from "./activation.ts";
import type { Network } from "./definition.ts";
import { affine, read, recur } from "./forward-recurrent.ts";
import {
  type Conv2dLayer,
  type EmbeddingLayer,
  type LayerNormLayer,
  type NetworkLayer,
  type PoolLayer,
  type WindowLayer,
  windowSize,
  windowsOf,
} from "./layers.ts";
import { layerProducts, weightSizes } from "./products.ts";
import { tokenOf } from "./token.ts";
import type { LayerWeights, Weights } from "./weights.ts";

type Values = Float64Array<ArrayBuffer>;

/**
 * Logits of one example.
 * @param input `network.inputs` features
 * @returns new array, one logit per output of the last layer; NaN and infinities pass through as IEEE 754 says, and a
 * feature that is no token of an embedding makes all of them NaN
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
    const { kernel, bias } = weightSizes(layerProducts(layer, values.length));
    if (own?.kernel.length !== kernel || own.bias.length !== bias) {
      throw new SealstreamError("internal", `The weights of layer ${index} have another shape.`);
    }
    values = applyLayer(layer, own, values);
  }
  return values;
}

function applyLayer(layer: NetworkLayer, weights: LayerWeights, values: Values): Values {
  switch (layer.kind) {
    case "conv2d":
      return activate(layer.activation, convolve(layer, weights, values));
    case "averagePool2d":
    case "maxPool2d":
      return pool(layer, values);
    case "rnn":
    case "gru":
    case "lstm":
      return recur(layer, weights, values);
    case "embedding":
      return embed(layer, weights, values);
    case "layerNorm":
      return activate(layer.activation, normalize(layer, weights, values));
    default:
      return activate(layer.activation, affine(weights, values));
  }
}

function activate(activation: Activation, values: Values): Values {
  return values.map((z) => activationValue(activation, z));
}

/** The window at an output position, zeros outside: [height][width][channels]. */
function windowAt(
  layer: WindowLayer,
  values: Float64Array,
  row: number,
  column: number,
): Float64Array {
  const [height, width, channels] = layer.input;
  const [high, wide] = windowSize(layer);
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

/** What is made of every window, position after position. */
function overWindows(
  layer: WindowLayer,
  values: Float64Array,
  make: (window: Float64Array) => ArrayLike<number>,
): Values {
  const next = new Float64Array(layer.outputs);
  const { rows, columns } = windowsOf(layer);
  const width = layer.outputs / (rows * columns);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      next.set(make(windowAt(layer, values, row, column)), (row * columns + column) * width);
    }
  }
  return next;
}

function convolve(layer: Conv2dLayer, weights: LayerWeights, values: Float64Array): Values {
  return overWindows(layer, values, (window) => affine(weights, window));
}

function pool(layer: PoolLayer, values: Float64Array): Values {
  const channels = layer.input[2];
  const count = layer.poolSize[0] * layer.poolSize[1];
  return overWindows(layer, values, (window) =>
    Array.from({ length: channels }, (_, channel) => {
      const own = Array.from({ length: count }, (_, place) => {
        return read(window, place * channels + channel);
      });
      return layer.kind === "maxPool2d"
        ? Math.max(...own)
        : own.reduce((sum, value) => sum + value / count, 0);
    }),
  );
}

function embed(layer: EmbeddingLayer, { kernel }: LayerWeights, values: Values): Values {
  const width = layer.outputs / layer.input[0];
  const next = new Float64Array(layer.outputs);
  for (const [step, value] of values.entries()) {
    const token = tokenOf(value, layer.vocabulary);
    if (token === null) return next.fill(Number.NaN);
    next.set(kernel.subarray(token * width, (token + 1) * width), step * width);
  }
  return next;
}

function normalize(layer: LayerNormLayer, { kernel, bias }: LayerWeights, values: Values): Values {
  const [positions, features] = layer.input;
  const next = new Float64Array(layer.outputs);
  for (let position = 0; position < positions; position += 1) {
    const own = values.slice(position * features, (position + 1) * features);
    const mean = own.reduce((sum, value) => sum + value, 0) / features;
    const variance = own.reduce((sum, value) => sum + (value - mean) ** 2, 0) / features;
    const scaled = own.map((value, feature) => {
      const unit = (value - mean) / Math.sqrt(variance + layer.epsilon);
      return unit * read(kernel, feature) + read(bias, feature);
    });
    next.set(scaled, position * features);
  }
  return next;
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
