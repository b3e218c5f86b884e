/**
 * Convolutions and pools on TensorFlow.js: windows cut out with pad, reshape and slice only.
 *
 * Those have gradients on every backend; gather, strided slices and the library's own convolutions and pools do not.
 * Must not sum over examples (tfjs-layers.ts).
 */
import {
  applications,
  type Conv2dLayer,
  type PoolLayer,
  type WindowLayer,
  windowSize,
  windowsOf,
} from "../../network/layers.ts";
import { tf } from "./tfjs.ts";
import { activate } from "./tfjs-activations.ts";
import type { TappedProduct, Taps } from "./tfjs-taps.ts";

export function convolve(
  layer: Conv2dLayer,
  { kernel, bias }: TappedProduct,
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

export function pool(layer: PoolLayer, values: tf.Tensor2D): tf.Tensor2D {
  const slices = windowSlices(layer, values);
  const pooled =
    layer.kind === "maxPool2d"
      ? slices.reduce((most, slice) => tf.maximum<tf.Tensor3D>(most, slice))
      : tf.mul(tf.addN(slices), 1 / slices.length);
  return tf.reshape(pooled, [values.shape[0], layer.outputs]);
}

/**
 * One tensor [rows][positions][channels] for each place of the window, row by row: what lies there at every position.
 *
 * The place y of a window at position p is p * stride + y. Cutting the axis into pieces of length `stride` makes that
 * piece p + floor(y / stride), place y mod stride: a slice without strides, of rank 4 at most.
 */
export function windowSlices(layer: WindowLayer, values: tf.Tensor2D): tf.Tensor3D[] {
  const [height, width, channels] = layer.input;
  const [high, wide] = windowSize(layer);
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
