/**
 * The forward pass on TensorFlow.js, with taps: what per-example gradients are made of.
 *
 * Every layer with weights multiplies, scales or picks with a kernel: once (dense), at every position (convolution, by
 * im2col; norm) or at every time step (recurrent, embedding). Behind each such product a tap is added (tfjs-taps.ts): its
 * gradient is the delta of that product, and the input of the product is kept beside it. Only operations are used that
 * have a gradient on every backend.
 *
 * Must not sum over examples: row r of every tensor depends on example r alone, also when a feature is NaN.
 */
import type { Network, NetworkLayer } from "../../network/definition.ts";
import { type EmbeddingLayer, isPool, type LayerNormLayer } from "../../network/layers.ts";
import { type LayerProduct, layerProducts, weightSizes } from "../../network/products.ts";
import { tokenTolerance } from "../../network/token.ts";
import type { LayerWeights, Weights } from "../../network/weights.ts";
import { tf } from "./tfjs.ts";
import { activate } from "./tfjs-activations.ts";
import { recur } from "./tfjs-recurrent.ts";
import { at, type TappedProduct, type Taps } from "./tfjs-taps.ts";
import { convolve, pool } from "./tfjs-windows.ts";

export interface TensorLayer {
  readonly layer: NetworkLayer;
  /** In the order in which the layer asks for their taps: all taps of one product, then all of the next. */
  readonly products: readonly TappedProduct[];
}

const NO_WEIGHTS: LayerWeights = { kernel: new Float32Array(), bias: new Float32Array() };

/** Weights as tensors. @param rows examples of a pass */
export function tensorLayers(network: Network, weights: Weights, rows: number): TensorLayer[] {
  let inputs = network.inputs;
  return network.layers.map((layer, index) => {
    const own = weights.layers[index] ?? NO_WEIGHTS;
    const used = { kernel: 0, bias: 0 };
    const products = layerProducts(layer, inputs).map((product) => {
      const size = weightSizes([product]);
      const kernel = own.kernel.subarray(used.kernel, used.kernel + size.kernel);
      const bias = own.bias.subarray(used.bias, used.bias + size.bias);
      used.kernel += size.kernel;
      used.bias += size.bias;
      return {
        ...product,
        kernel: tf.tensor2d(kernel, [product.rows, product.columns]),
        bias: tf.tensor1d(bias),
        taps: tapShapes(product, rows),
      };
    });
    inputs = layer.outputs;
    return { layer, products };
  });
}

function tapShapes(product: LayerProduct, rows: number): number[][] {
  const { form, columns, applications, inTurn } = product;
  if (form === "outer") return [[rows, columns]];
  return inTurn
    ? Array.from({ length: applications }, () => [rows, columns])
    : [[rows, applications, columns]];
}

/** Logits, [rows][classes]. @param input [rows][features] */
export function tappedLogits(
  layers: readonly TensorLayer[],
  input: tf.Tensor2D,
  taps: Taps,
): tf.Tensor2D {
  let values = input;
  for (const own of layers) values = applyLayer(own, values, taps);
  const first = layers[0]?.layer;
  // Of a NaN and a number the maximum is the number: the record must stay unusable.
  return first !== undefined && isPool(first)
    ? tf.add(values, tf.sum(tf.mul(input, 0), 1, true))
    : values;
}

function applyLayer(
  { layer, products }: TensorLayer,
  values: tf.Tensor2D,
  taps: Taps,
): tf.Tensor2D {
  switch (layer.kind) {
    case "conv2d":
      return convolve(layer, at(products, 0), values, taps);
    case "averagePool2d":
    case "maxPool2d":
      return pool(layer, values);
    case "rnn":
    case "gru":
    case "lstm":
      return recur(layer, products, values, taps);
    case "embedding":
      return embed(layer, at(products, 0), values, taps);
    case "layerNorm":
      return normalize(layer, at(products, 0), values, taps);
    default: {
      const { kernel, bias } = at(products, 0);
      const sums = tf.add(tf.matMul(values, kernel), bias);
      return activate(layer.activation, tf.add(sums, taps.next(values)));
    }
  }
}

/** Rows of the table; NaN in a row of `values` that holds something else than tokens (network/token.ts). */
function embed(
  { vocabulary, outputs }: EmbeddingLayer,
  { kernel, columns }: TappedProduct,
  values: tf.Tensor2D,
  taps: Taps,
): tf.Tensor2D {
  const [rows, steps] = values.shape;
  const scaled = tf.mul(values, vocabulary - 1);
  const nearest = tf.round(scaled);
  const isToken = [
    tf.lessEqual(tf.abs(tf.sub(scaled, nearest)), tokenTolerance(vocabulary)),
    tf.greaterEqual(nearest, 0),
    tf.lessEqual(nearest, vocabulary - 1),
  ].reduce((left, right) => tf.logicalAnd(left, right));
  const zeros = tf.zerosLike(scaled);
  const tokens = tf.where(isToken, nearest, zeros);
  const picked = tf.gather(kernel, tf.cast(tf.reshape(tokens, [rows * steps]), "int32"));
  const refused = tf.where(isToken, zeros, tf.fill([rows, steps], Number.NaN));
  const found = tf.add(tf.reshape(picked, [rows, steps, columns]), tf.expandDims(refused, 2));
  return tf.reshape(tf.add(found, taps.next(tokens)), [rows, outputs]);
}

function normalize(
  layer: LayerNormLayer,
  { kernel, bias }: TappedProduct,
  values: tf.Tensor2D,
  taps: Taps,
): tf.Tensor2D {
  const rows = values.shape[0];
  const own = tf.reshape(values, [rows, ...layer.input]);
  const centred = tf.sub(own, tf.mean(own, 2, true));
  const variance = tf.mean(tf.square(centred), 2, true);
  const unit = tf.mul(centred, tf.rsqrt(tf.add(variance, layer.epsilon)));
  const scaled = tf.add(tf.add(tf.mul(unit, kernel), bias), taps.next(unit));
  return tf.reshape(activate(layer.activation, scaled), [rows, layer.outputs]);
}
