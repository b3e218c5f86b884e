/**
 * Recurrent layers on TensorFlow.js, step after step; the formulas are those of network/layers.ts.
 *
 * Every product with a kernel gets a tap: one a step where the product needs the state, else one for all steps. Must not
 * sum over examples (tfjs-layers.ts).
 */
import {
  type GatedLayer,
  type RecurrentLayer,
  type RnnLayer,
  unitsOf,
} from "../../network/layers.ts";
import { tf } from "./tfjs.ts";
import { activate } from "./tfjs-activations.ts";
import { at, type TappedProduct, type Taps } from "./tfjs-taps.ts";

/** Every state, [rows][steps * units], or the last, [rows][units]. @param values [rows][steps * features] */
export function recur(
  layer: RecurrentLayer,
  products: readonly TappedProduct[],
  values: tf.Tensor2D,
  taps: Taps,
): tf.Tensor2D {
  const rows = values.shape[0];
  const states = statesOf(layer, products, tf.reshape(values, [rows, ...layer.input]), taps);
  return layer.sequences === true
    ? tf.reshape(tf.stack(states, 1), [rows, layer.outputs])
    : at(states, states.length - 1);
}

function statesOf(
  layer: RecurrentLayer,
  products: readonly TappedProduct[],
  values: tf.Tensor3D,
  taps: Taps,
): tf.Tensor2D[] {
  switch (layer.kind) {
    case "rnn":
      return simpleStates(layer, at(products, 0), values, taps);
    case "lstm":
      return lstmStates(layer, at(products, 0), values, taps);
    default:
      return gruStates(layer, products, values, taps);
  }
}

/** values x kernel + bias + tap */
function product({ kernel, bias }: TappedProduct, values: tf.Tensor2D, taps: Taps): tf.Tensor2D {
  return tf.add(tf.add(tf.matMul(values, kernel), bias), taps.next(values));
}

/** The values of each step, [rows][features]. */
function stepsOf(values: tf.Tensor3D): tf.Tensor2D[] {
  const [rows, steps, features] = values.shape;
  // Because the library's gradient of unstack fails for a single piece.
  if (steps === 1) return [tf.reshape(values, [rows, features])];
  return tf.unstack(values, 1) as tf.Tensor2D[];
}

function zeroState(layer: RecurrentLayer, values: tf.Tensor3D): tf.Tensor2D {
  return tf.zeros([values.shape[0], unitsOf(layer)]);
}

function simpleStates(
  layer: RnnLayer,
  own: TappedProduct,
  values: tf.Tensor3D,
  taps: Taps,
): tf.Tensor2D[] {
  let state = zeroState(layer, values);
  return stepsOf(values).map((now) => {
    state = activate(layer.activation, product(own, tf.concat([now, state], 1), taps));
    return state;
  });
}

/** Two products: that of the input is made for all steps at once, because it needs no state. */
function gruStates(
  layer: GatedLayer,
  products: readonly TappedProduct[],
  values: tf.Tensor3D,
  taps: Taps,
): tf.Tensor2D[] {
  const [fromInput, fromState] = [at(products, 0), at(products, 1)];
  const [rows, steps, features] = values.shape;
  const units = unitsOf(layer);
  const flat = tf.reshape<tf.Rank.R2>(values, [rows * steps, features]);
  const sums = tf.add(tf.matMul(flat, fromInput.kernel), fromInput.bias);
  const tapped = tf.add<tf.Tensor3D>(tf.reshape(sums, [rows, steps, 3 * units]), taps.next(values));
  let state = zeroState(layer, values);
  return stepsOf(tapped).map((now) => {
    const before = product(fromState, state, taps);
    const [inputGates, inputCandidate] = split(now, [2 * units, units]);
    const [stateGates, stateCandidate] = split(before, [2 * units, units]);
    const [update, reset] = split(tf.sigmoid(tf.add(inputGates, stateGates)), [units, units]);
    const candidate = tf.tanh(tf.add(inputCandidate, tf.mul(reset, stateCandidate)));
    // z h + (1 - z) c
    state = tf.add(candidate, tf.mul(update, tf.sub(state, candidate)));
    return state;
  });
}

function lstmStates(
  layer: GatedLayer,
  own: TappedProduct,
  values: tf.Tensor3D,
  taps: Taps,
): tf.Tensor2D[] {
  const units = unitsOf(layer);
  let state = zeroState(layer, values);
  let cell = zeroState(layer, values);
  return stepsOf(values).map((now) => {
    const sums = product(own, tf.concat([now, state], 1), taps);
    const [early, late] = split(sums, [2 * units, 2 * units]);
    const [input, forget] = split(tf.sigmoid(early), [units, units]);
    const [content, output] = split(late, [units, units]);
    cell = tf.add(tf.mul(forget, cell), tf.mul(input, tf.tanh(content)));
    state = tf.mul(tf.sigmoid(output), tf.tanh(cell));
    return state;
  });
}

/** The columns cut in two. */
function split(values: tf.Tensor2D, widths: [number, number]): readonly [tf.Tensor2D, tf.Tensor2D] {
  const parts: tf.Tensor2D[] = tf.split(values, widths, 1);
  return [at(parts, 0), at(parts, 1)];
}
