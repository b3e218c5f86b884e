/**
 * The forward pass on TensorFlow.js, with taps: what per-example gradients are made of.
 *
 * Every layer with weights multiplies a matrix of inputs with its kernel, once (dense), at every position (conv2d, by
 * im2col) or at every time step (rnn). To each product a tap is added, a tensor of zeros: its gradient is the delta
 * of that product, and the input of the product is kept beside it. Windows are cut out with pad, reshape and slice
 * only, because those have gradients on every backend; gather and strided slices do not.
 *
 * Must not sum over examples: row r of every tensor depends on example r alone, also when a feature is NaN.
 */
import { SealstreamError } from "../../errors.ts";
import { activationPolynomial } from "../../network/activation.ts";
import type { Activation, Network, NetworkLayer } from "../../network/definition.ts";
import {
  type AveragePool2dLayer,
  applications,
  type Conv2dLayer,
  kernelMatrix,
  type RnnLayer,
  windowsOf,
} from "../../network/layers.ts";
import { type LayerProduct, layerProducts } from "../../network/products.ts";
import type { Weights } from "../../network/weights.ts";
import { tf } from "./tfjs.ts";

/** A product of a layer (network/products.ts) in a pass over several examples. */
export interface TappedProduct extends LayerProduct {
  /**
   * Shapes of its taps, in order: one of [rows][columns] for `outer`, one of [rows][T][columns] for the other forms, or
   * T of [rows][columns] where one application needs the one before (recurrent). The input kept beside a tap has the
   * same shape with what went in for `columns`; of `scatter` it is [rows][T], whole numbers as float32.
   */
  readonly taps: readonly (readonly number[])[];
}

export interface TensorLayer {
  readonly layer: NetworkLayer;
  /** In the order in which the layer asks for their taps: all taps of one product, then all of the next. */
  readonly products: readonly TappedProduct[];
  /** [rows of the kernel][columns] */
  readonly kernel: tf.Tensor2D;
  readonly bias: tf.Tensor1D;
}

/** Weights as tensors. @param rows examples of a pass */
export function tensorLayers(network: Network, weights: Weights, rows: number): TensorLayer[] {
  let inputs = network.inputs;
  return network.layers.map((layer, index) => {
    const own = weights.layers[index];
    const [height, width] = kernelMatrix(layer, inputs);
    const products = layerProducts(layer, inputs).map((product) => ({
      ...product,
      taps: tapShapes(layer, product, rows),
    }));
    inputs = layer.outputs;
    return {
      layer,
      products,
      kernel: tf.tensor2d(own?.kernel ?? [], [height, width]),
      bias: tf.tensor1d(own?.bias ?? []),
    };
  });
}

function tapShapes(layer: NetworkLayer, product: LayerProduct, rows: number): number[][] {
  const { form, columns, applications } = product;
  if (form === "outer") return [[rows, columns]];
  if (layer.kind !== "rnn") return [[rows, applications, columns]];
  return Array.from({ length: applications }, () => [rows, columns]);
}

/** Hands out one tap after the other, and keeps the input of the product that it is added to. */
export interface Taps {
  next(input: tf.Tensor): tf.Tensor;
}

/** Logits, [rows][classes]. @param input [rows][features] */
export function tappedLogits(
  layers: readonly TensorLayer[],
  input: tf.Tensor2D,
  taps: Taps,
): tf.Tensor2D {
  let values = input;
  for (const own of layers) values = applyLayer(own, values, taps);
  return values;
}

function applyLayer(own: TensorLayer, values: tf.Tensor2D, taps: Taps): tf.Tensor2D {
  const { layer } = own;
  switch (layer.kind) {
    case "conv2d":
      return convolve(layer, own, values, taps);
    case "averagePool2d":
      return pool(layer, values);
    case "rnn":
      return recur(layer, own, values, taps);
    default:
      return activate(layer.activation, product(own, values, taps));
  }
}

/** values x kernel + bias + tap */
function product({ kernel, bias }: TensorLayer, values: tf.Tensor2D, taps: Taps): tf.Tensor2D {
  return tf.add(tf.add(tf.matMul(values, kernel), bias), taps.next(values));
}

/** A polynomial by Horner's rule; the square as such, which costs one pass. */
function activate<T extends tf.Tensor>(activation: Activation, values: T): T {
  if (activation === "square") return tf.square(values);
  const polynomial = activationPolynomial(activation);
  if (polynomial === null) return values;
  const [highest = 0, ...lower] = polynomial.toReversed();
  // Because of the highest degree above 0 the first product is a tensor of the same shape.
  return lower.reduce<tf.Tensor | number>(
    (sum, coefficient) => tf.add(tf.mul(values, sum), coefficient),
    highest,
  ) as T;
}

function convolve(
  layer: Conv2dLayer,
  { kernel, bias }: TensorLayer,
  values: tf.Tensor2D,
  taps: Taps,
): tf.Tensor2D {
  const rows = values.shape[0];
  const positions = applications(layer);
  const patches = tf.concat(windowSlices(layer, values), 2);
  const flat = tf.reshape(patches, [rows * positions, kernel.shape[0]]);
  const sums = tf.reshape(tf.add(tf.matMul(flat, kernel), bias), [rows, positions, layer.filters]);
  const active = activate(layer.activation, tf.add(sums, taps.next(patches)));
  return tf.reshape(active, [rows, layer.outputs]);
}

function pool(layer: AveragePool2dLayer, values: tf.Tensor2D): tf.Tensor2D {
  const slices = windowSlices(layer, values);
  return tf.reshape(tf.mul(tf.addN(slices), 1 / slices.length), [values.shape[0], layer.outputs]);
}

function recur(layer: RnnLayer, own: TensorLayer, values: tf.Tensor2D, taps: Taps): tf.Tensor2D {
  const rows = values.shape[0];
  const [steps, features] = layer.input;
  let state = tf.zeros<tf.Rank.R2>([rows, layer.outputs]);
  for (let step = 0; step < steps; step += 1) {
    const now = tf.slice2d(values, [0, step * features], [rows, features]);
    state = activate(layer.activation, product(own, tf.concat([now, state], 1), taps));
  }
  return state;
}

/**
 * One tensor [rows][positions][channels] for each place of the window, row by row: what lies there at every position.
 *
 * The place y of a window at position p is p * stride + y. Cutting the axis into pieces of length `stride` makes that
 * piece p + floor(y / stride), place y mod stride: a slice without strides, of rank 4 at most.
 */
function windowSlices(layer: Conv2dLayer | AveragePool2dLayer, values: tf.Tensor2D): tf.Tensor3D[] {
  const [height, width, channels] = layer.input;
  const [high, wide] = layer.kind === "conv2d" ? layer.kernelSize : layer.poolSize;
  const [down, across] = layer.strides;
  const { rows, columns, top, left } = windowsOf(layer);
  const examples = values.shape[0];
  const image = tf.reshape<tf.Rank.R4>(values, [examples, height, width, channels]);
  const tall = (rows + Math.floor((high - 1) / down)) * down;
  const broad = (columns + Math.floor((wide - 1) / across)) * across;
  const padded = padOrCut(image, [top, tall], [left, broad]);
  const pieces = tf.reshape(padded, [examples, tall / down, down, broad * channels]);
  return Array.from({ length: high }, (_, y) => {
    const from = [0, Math.floor(y / down), y % down, 0];
    const line = tf.slice(pieces, from, [examples, rows, 1, broad * channels]);
    const cut = tf.reshape(line, [examples * rows, broad / across, across, channels]);
    return Array.from({ length: wide }, (_, x) => {
      const begin = [0, Math.floor(x / across), x % across, 0];
      const place = tf.slice(cut, begin, [examples * rows, columns, 1, channels]);
      return tf.reshape<tf.Rank.R3>(place, [examples, rows * columns, channels]);
    });
  }).flat();
}

/** Zeros before, then zeros behind or a cut, to the given size of both image axes. */
function padOrCut(
  image: tf.Tensor4D,
  [top, tall]: readonly [number, number],
  [left, broad]: readonly [number, number],
): tf.Tensor4D {
  const [examples, height, width, channels] = image.shape;
  const below = Math.max(0, tall - top - height);
  const right = Math.max(0, broad - left - width);
  const padded =
    top + below + left + right === 0
      ? image
      : tf.pad4d(image, [
          [0, 0],
          [top, below],
          [left, right],
          [0, 0],
        ]);
  if (padded.shape[1] === tall && padded.shape[2] === broad) return padded;
  return tf.slice4d(padded, [0, 0, 0, 0], [examples, tall, broad, channels]);
}

/** The item at a place that is known to be there. @throws internal when it is not */
export function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new SealstreamError("internal", "A layer has no tensor.");
  return item;
}
