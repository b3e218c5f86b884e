/**
 * Per-example gradients out of inputs and deltas, on the device: the squares that norms are made of, and clipped sums.
 *
 * A dense layer multiplies once: an example's gradient is the outer product of its input a (with a 1 for the bias) and
 * its delta d, so its squared norm is (|a|^2 + 1) |d|^2 and the clipped sum over examples is one product a^T (c d).
 * Nothing of the gradient's size is made. (Goodfellow 2015, "Efficient per-example gradient computations"; Li et al.
 * 2022, "Large language models can be strong differentially private learners", section 4.)
 *
 * Every other product is applied T times: its gradient G is made for every example, [rows][numbers], and norm and sum
 * are taken of what was made. A norm out of T^2 products of positions would have terms of both signs: float32 could lose
 * it in their cancellation, and with it the bound; of numbers that are there the sum of squares loses nothing
 * (clip-margin.ts, step 1). Of a table (embedding) G is made for the rows that were picked, each once, where it was
 * picked first.
 *
 * Must not choose a factor (clip-factors.ts). Traps: on wasm a matMul with `transposeA` is 3.5 times slower than an
 * explicit transpose (findings/training.md); 0 * NaN is NaN, so a spoiled row is selected away on both sides of a product.
 */
import type { LayerProduct } from "../../network/products.ts";
import type { ClipFactors, RowFacts } from "./clip-factors.ts";
import { tf } from "./tfjs.ts";
import type { TensorLayer } from "./tfjs-layers.ts";
import { at, type TappedProduct } from "./tfjs-taps.ts";

/** What a pass left behind: one input and one delta for every tap, in the order of the taps. */
export interface Passed {
  readonly layers: readonly TensorLayer[];
  readonly inputs: readonly tf.Tensor[];
  readonly deltas: readonly tf.Tensor[];
}

/** What is kept of one product between its norms and its sum. */
export interface KeptProduct {
  readonly product: LayerProduct;
  /** Of `outer` input and delta; of `scatter` the picked rows and [rows][T][columns]; else kernel and bias, if any. */
  readonly tensors: readonly tf.Tensor[];
}

/** Products layer by layer, and their squares in the same order. Inside a tidy. */
export function keptProducts({ layers, inputs, deltas }: Passed): {
  readonly layers: KeptProduct[][];
  /** [rows] each: |input|^2, |delta|^2; but for `outer` then |kernel|^2 and, where there is one, |bias|^2. */
  readonly squares: tf.Tensor[];
} {
  let tap = 0;
  const squares: tf.Tensor[] = [];
  const kept = layers.map(({ products }) =>
    products.map((product) => {
      const first = tap;
      tap += product.taps.length;
      const input = whole(product, inputs, first);
      const delta = whole(product, deltas, first);
      const tensors = keep(product, input, delta);
      const made = { outer: [], scatter: tensors.slice(1), summed: tensors, elementwise: tensors };
      squares.push(...[input, delta, ...made[product.form]].map(rowSquares));
      return { product: plainProduct(product), tensors };
    }),
  );
  return { layers: kept, squares };
}

/** Without its tensors, which end with the pass. */
function plainProduct({ form, rows, columns, ...rest }: TappedProduct): LayerProduct {
  const { hasBias, applications, inTurn } = rest;
  return { form, rows, columns, hasBias, applications, inTurn };
}

/** Taps of one application each become one tensor [rows][T][...]. */
function whole({ form, taps }: TappedProduct, all: readonly tf.Tensor[], first: number): tf.Tensor {
  const parts = all.slice(first, first + taps.length);
  return form !== "outer" && at(taps, 0).length === 2 ? tf.stack(parts, 1) : at(parts, 0);
}

function keep(product: TappedProduct, input: tf.Tensor, delta: tf.Tensor): tf.Tensor[] {
  if (product.form === "outer") return [input, delta];
  if (product.form === "scatter") return [input, pickedGradients(input, delta)];
  const kernel =
    product.form === "summed"
      ? tf.matMul(tf.transpose(input, [0, 2, 1]), delta)
      : tf.sum(tf.mul(input, delta), 1);
  return product.hasBias ? [kernel, tf.sum(delta, 1)] : [kernel];
}

/** Sum of squares over all axes but the first; one axis after the other keeps the rounding small. */
function rowSquares(values: tf.Tensor): tf.Tensor {
  let sums = tf.square(values);
  while (sums.rank > 1) sums = tf.sum(sums, sums.rank - 1);
  return sums;
}

/**
 * [rows][T][columns]: at the first step that picks a row of the table, the sum of the deltas of all steps that do; zeros
 * at the others. So what is squared is what is added, and no term meets another sign.
 */
function pickedGradients(picks: tf.Tensor, delta: tf.Tensor): tf.Tensor {
  const equal = tf.cast(tf.equal(tf.expandDims(picks, 2), tf.expandDims(picks, 1)), "float32");
  const steps = picks.shape[1] ?? 0;
  const earlier = Float32Array.from({ length: steps * steps }, (_, index) =>
    index % steps < Math.floor(index / steps) ? 1 : 0,
  );
  const repeats = tf.sum(tf.mul(equal, tf.tensor2d(earlier, [steps, steps])), 2);
  const first = tf.cast(tf.equal(repeats, 0), "float32");
  return tf.mul(tf.matMul(equal, delta), tf.expandDims(first, 2));
}

/** Reads the squares of a block, downloaded in the order of the products. */
export function rowFacts(
  layers: readonly (readonly KeptProduct[])[],
  losses: Float32Array,
  squares: Float32Array,
): RowFacts {
  const rows = losses.length;
  const inputs2: Float32Array[] = [];
  const deltas2: Float32Array[] = [];
  let from = 0;
  const next = (): Float32Array => {
    from += rows;
    return squares.subarray(from - rows, from);
  };
  const norms2 = layers.filter(hasWeights).map((products) => {
    const norm2 = new Float64Array(rows);
    for (const { product } of products) {
      const [input2, delta2] = [next(), next()];
      if (product.form !== "scatter") inputs2.push(input2);
      deltas2.push(delta2);
      const isOuter = product.form === "outer";
      const kernel2 = isOuter ? delta2 : next();
      const bias2 = !isOuter && product.hasBias ? next() : new Float32Array(rows);
      addSquares(norm2, product, input2, [kernel2, bias2]);
    }
    return norm2;
  });
  return { losses, norms2, inputs2, deltas2 };
}

/** Adds a product's squared norms: (|a|^2 + 1) |d|^2 of `outer`, else the squares of kernel and bias. */
function addSquares(
  norm2: Float64Array,
  { form, hasBias }: LayerProduct,
  input2: Float32Array,
  [first, second]: readonly [Float32Array, Float32Array],
): void {
  for (let row = 0; row < norm2.length; row += 1) {
    const times = form === "outer" ? (input2[row] ?? 0) + (hasBias ? 1 : 0) : 1;
    norm2[row] = (norm2[row] ?? 0) + times * (first[row] ?? 0) + (second[row] ?? 0);
  }
}

function hasWeights(products: readonly KeptProduct[]): boolean {
  return products.length > 0;
}

/** A part of the flat sum that the device has made. */
export interface SumPart {
  /** Place in the flat order. */
  readonly offset: number;
  /**
   * Flat sums; for a table (`scatter`) the sums of each step, [rows][T][columns], which the host adds to the rows that
   * `picks` names.
   */
  readonly values: tf.Tensor;
  readonly picks: tf.Tensor | null;
}

/** Sums of factor times gradient. Inside a tidy. */
export function clippedSums(
  layers: readonly (readonly KeptProduct[])[],
  clip: ClipFactors,
): SumPart[] {
  const parts: SumPart[] = [];
  const usable = tf.tensor1d(
    clip.spoiled.map((is) => !is),
    "bool",
  );
  const clean = (values: tf.Tensor): tf.Tensor => {
    if (!clip.anySpoiled) return values;
    const shape = values.shape.map((size, axis) => (axis === 0 ? size : 1));
    return tf.where(tf.reshape(usable, shape), values, tf.zerosLike(values));
  };
  let offset = 0;
  for (const [index, products] of layers.filter(hasWeights).entries()) {
    const factor = tf.tensor1d(at(clip.factors, index));
    let biases = offset + sum(products.map(({ product }) => product.rows * product.columns));
    for (const kept of products) {
      const { rows, columns, hasBias } = kept.product;
      const [kernel, biasSum] = productSums(kept, factor, clean);
      const picks = kept.product.form === "scatter" ? at(kept.tensors, 0).clone() : null;
      parts.push({ offset, values: kernel, picks });
      offset += rows * columns;
      if (hasBias && biasSum !== null) {
        parts.push({ offset: biases, values: biasSum, picks: null });
        biases += columns;
      }
    }
    offset = biases;
  }
  return parts;
}

function productSums(
  { product, tensors }: KeptProduct,
  factor: tf.Tensor1D,
  clean: (values: tf.Tensor) => tf.Tensor,
): [tf.Tensor, tf.Tensor | null] {
  const rows = factor.shape[0];
  const times = (values: tf.Tensor): tf.Tensor =>
    tf.mul(clean(values), tf.reshape(factor, [rows, ...values.shape.slice(1).map(() => 1)]));
  if (product.form === "scatter") return [times(at(tensors, 1)), null];
  if (product.form === "outer") {
    const scaled = times(at(tensors, 1));
    const kernel = tf.matMul(tf.transpose(clean(at(tensors, 0))), scaled);
    return [kernel, product.hasBias ? tf.sum(scaled, 0) : null];
  }
  const weights = tf.reshape(factor, [1, rows]);
  const weighted = (values: tf.Tensor): tf.Tensor =>
    tf.matMul(weights, clean(tf.reshape(values, [rows, values.size / rows])));
  return [weighted(at(tensors, 0)), product.hasBias ? weighted(at(tensors, 1)) : null];
}

function sum(values: readonly number[]): number {
  return values.reduce((left, right) => left + right, 0);
}
