/**
 * Per-example gradients out of inputs and deltas: their norms, and the sum of them clipped.
 *
 * A dense layer multiplies once: an example's gradient is the outer product of its input a (with a 1 for the bias) and
 * its delta d, so its squared norm is (|a|^2 + 1) |d|^2 and the clipped sum over examples is one product a^T (c d).
 * Nothing of the gradient's size is made. (Goodfellow 2015, "Efficient per-example gradient computations"; Li et al.
 * 2022, "Large language models can be strong differentially private learners", section 4.)
 *
 * A convolution and a recurrent layer multiply T times with one kernel: the gradient is the sum over t of a_t^T d_t. It
 * is made for every example, [rows][in][out], and norm and sum are taken of what was made. The other way, the norm as
 * the sum over t, t' of (a_t a_t' + 1)(d_t d_t'), needs T^2 (in + out) products instead of passes over in x out, and its
 * terms have signs: float32 could lose the norm in their cancellation, and with it the bound. Of numbers that are
 * there, the sum of squares loses nothing (clip-margin.ts, step 1).
 *
 * Must not choose a clip. Traps: on wasm a matMul with `transposeA` is 3.5 times slower than an explicit transpose
 * (findings/training.md); 0 * NaN is NaN, so an unusable row is selected away on both sides of a product.
 */
import { MAX_SQUARED_ACTIVATION } from "./clip-margin.ts";
import { tf } from "./tfjs.ts";
import type { TensorLayer } from "./tfjs-layers.ts";
import { at, type TappedProduct } from "./tfjs-taps.ts";

/** Largest finite float32: `x <= FLOAT32_MAX` is false for NaN and infinity. */
const FLOAT32_MAX = 3.4028234663852886e38;

/** What a pass left behind: one input and one delta for every tap, in the order of the taps; the losses, [rows]. */
export interface Passed {
  readonly layers: readonly TensorLayer[];
  readonly inputs: readonly tf.Tensor[];
  readonly deltas: readonly tf.Tensor[];
  readonly losses: tf.Tensor1D;
  /** 1 where a place holds an example. */
  readonly present: tf.Tensor1D;
}

/** The gradients of one product of a layer. */
export interface ProductGradients {
  /** Squared norm of each example's, [rows]. */
  readonly norm2: tf.Tensor;
  /** Sum of squares of everything that was multiplied with the kernel, [rows]. */
  readonly input2: tf.Tensor;
  /** Flat sums of the kernel and, where there is one, the bias, each example's times its factor; unusable examples are left out. */
  sum(select: Select): tf.Tensor[];
}

export interface Select {
  /** [rows][1]; 0 for an unusable example. */
  readonly factor: tf.Tensor2D;
  /** The tensor with zeros in place of unusable examples. */
  keep(values: tf.Tensor): tf.Tensor;
}

/** One tensor: the flat clipped sum, then per row the loss, whether clipped, whether usable. */
export function clipAndSum(passed: Passed, target: number): tf.Tensor {
  const { losses, present } = passed;
  const byLayer = layerGradients(passed);
  const gradients = byLayer.flat();
  const norm2 = tf.addN(gradients.map((layer) => layer.norm2));
  const usable = [
    tf.cast(present, "bool"),
    tf.lessEqual(norm2, FLOAT32_MAX),
    tf.lessEqual(losses, FLOAT32_MAX),
    ...gradients.map(({ input2 }) => tf.lessEqual(input2, MAX_SQUARED_ACTIVATION)),
  ].reduce((left, right) => tf.logicalAnd(left, right));
  const norm = tf.sqrt(norm2);
  // Where the norm is at most `target` the factor is exactly 1; a norm of 0 divides nothing.
  const factor = tf.div(target, tf.maximum(norm, target));
  const select: Select = {
    factor: tf.expandDims(tf.where(usable, factor, tf.zerosLike(factor)), 1),
    keep: (values) => {
      const shape = [values.shape[0] ?? 0, ...values.shape.slice(1).map(() => 1)];
      return tf.where(tf.reshape(usable, shape), values, tf.zerosLike(values));
    },
  };
  // In the flat order: the kernels of a layer, then its biases.
  const parts = byLayer.flatMap((products) => {
    const sums = products.map((product) => product.sum(select));
    return [...sums.map((own) => at(own, 0)), ...sums.flatMap((own) => own.slice(1))];
  });
  const clipped = tf.greater(norm, target);
  return tf.concat([...parts, losses, tf.cast(clipped, "float32"), tf.cast(usable, "float32")]);
}

function layerGradients({ layers, inputs, deltas }: Passed): ProductGradients[][] {
  let tap = 0;
  return layers.map(({ products }) =>
    products.map((product) => {
      const first = tap;
      tap += product.taps.length;
      return productGradients(product, inputs.slice(first, tap), deltas.slice(first, tap));
    }),
  );
}

function productGradients(
  product: TappedProduct,
  inputs: readonly tf.Tensor[],
  deltas: readonly tf.Tensor[],
): ProductGradients {
  const { form, taps } = product;
  if (form === "outer") return outerGradients(at(inputs, 0), at(deltas, 0));
  // Taps of rank 2 are one a step.
  const whole = (parts: readonly tf.Tensor[]): tf.Tensor =>
    at(taps, 0).length === 2 ? tf.stack([...parts], 1) : at(parts, 0);
  if (form === "elementwise") return gainGradients(at(inputs, 0), at(deltas, 0));
  if (form === "scatter") return tableGradients(product, at(inputs, 0), at(deltas, 0));
  return summedGradients(whole(inputs), whole(deltas));
}

/** Of a layer that multiplies once. @param input [rows][in] @param delta [rows][out] */
function outerGradients(input: tf.Tensor, delta: tf.Tensor): ProductGradients {
  const input2 = tf.sum(tf.square(input), 1);
  return {
    input2,
    norm2: tf.mul(tf.add(input2, 1), tf.sum(tf.square(delta), 1)),
    sum: ({ factor, keep }) => {
      const scaled = keep(tf.mul(delta, factor));
      const kernel = tf.matMul(tf.transpose(keep(input)), scaled);
      return [tf.reshape(kernel, [-1]), tf.sum(scaled, 0)];
    },
  };
}

/** Of a layer that multiplies T times. @param input [rows][T][in] @param delta [rows][T][out] */
function summedGradients(input: tf.Tensor, delta: tf.Tensor): ProductGradients {
  const kernel = tf.matMul(tf.transpose(input, [0, 2, 1]), delta);
  const bias = tf.sum(delta, 1);
  const [rows = 0, height = 0, width = 0] = kernel.shape;
  return {
    input2: tf.sum(tf.sum(tf.square(input), 2), 1),
    // First over one axis, then over the other: that is what keeps the rounding to in + out terms.
    norm2: tf.add(tf.sum(tf.sum(tf.square(kernel), 1), 1), tf.sum(tf.square(bias), 1)),
    sum: ({ factor, keep }) => {
      const weights = tf.transpose(factor);
      const flat = keep(tf.reshape(kernel, [rows, height * width]));
      return [tf.matMul(weights, flat), tf.matMul(weights, keep(bias))].map((sum) =>
        tf.reshape(sum, [-1]),
      );
    },
  };
}

/** Of a gain and bias that scale each of T positions. @param input [rows][T][in] @param delta [rows][T][in] */
function gainGradients(input: tf.Tensor, delta: tf.Tensor): ProductGradients {
  const gain = tf.sum(tf.mul(input, delta), 1);
  const bias = tf.sum(delta, 1);
  return {
    input2: tf.sum(tf.sum(tf.square(input), 2), 1),
    norm2: tf.add(tf.sum(tf.square(gain), 1), tf.sum(tf.square(bias), 1)),
    sum: ({ factor, keep }) => [gain, bias].map((own) => tf.sum(keep(tf.mul(own, factor)), 0)),
  };
}

/**
 * Of a table whose rows are picked T times. The slopes of equal tokens are added first and stand where the token stands
 * first, zeros at its other places: those numbers are the gradient's, and norm and sum are taken of them.
 * @param tokens [rows][T] @param delta [rows][T][columns]
 */
function tableGradients(
  { rows: vocabulary, columns }: TappedProduct,
  tokens: tf.Tensor,
  delta: tf.Tensor,
): ProductGradients {
  const [rows = 0, steps = 0] = tokens.shape;
  const equal = tf.cast(tf.equal(tf.expandDims(tokens, 2), tf.expandDims(tokens, 1)), "float32");
  const before = tf.tensor2d(
    Float32Array.from({ length: steps * steps }, (_, index) =>
      index % steps < Math.floor(index / steps) ? 1 : 0,
    ),
    [steps, steps],
  );
  const isFirst = tf.equal(tf.sum(tf.mul(equal, before), 2), 0);
  const gradient = tf.mul(tf.matMul(equal, delta), tf.expandDims(tf.cast(isFirst, "float32"), 2));
  return {
    input2: tf.zeros([rows]),
    norm2: tf.sum(tf.sum(tf.square(gradient), 2), 1),
    sum: ({ factor, keep }) => {
      const scaled = keep(tf.mul(gradient, tf.expandDims(factor, 2)));
      const places = tf.reshape(tf.cast(tokens, "int32"), [rows * steps]);
      const picked = tf.cast(tf.oneHot(places, vocabulary), "float32");
      const flat = tf.reshape(scaled, [rows * steps, columns]);
      return [tf.reshape(tf.matMul(tf.transpose(picked), flat), [-1])];
    },
  };
}
