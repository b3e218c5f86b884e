/**
 * Taps: tensors of zeros added behind every product of a layer, whose gradients are the slopes of that product.
 *
 * What clipping makes gradients of: per product the form (network/products.ts), its taps, and what was kept beside them.
 */
import { SealstreamError } from "../../errors.ts";
import type { LayerProduct } from "../../network/products.ts";
import type { tf } from "./tfjs.ts";

/** A product of a layer in a pass over several examples. */
export interface TappedProduct extends LayerProduct {
  /** [rows of the kernel][columns] */
  readonly kernel: tf.Tensor2D;
  /** [columns]; empty without a bias. */
  readonly bias: tf.Tensor1D;
  /**
   * Shapes of its taps, in order: one of [rows][columns] for `outer`, one of [rows][T][columns] for the other forms, or
   * T of [rows][columns] where one application needs the one before (recurrent). The input kept beside a tap has the
   * same shape with what went in for `columns`; of `scatter` it is [rows][T], whole numbers as float32.
   */
  readonly taps: readonly (readonly number[])[];
}

/** Hands out one tap after the other, and keeps the input of the product that it is added to. */
export interface Taps {
  next(input: tf.Tensor): tf.Tensor;
}

/** The item at a place that is known to be there. @throws internal when it is not */
export function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new SealstreamError("internal", "A layer has no tensor.");
  return item;
}
