/**
 * Recurrent layers in the clear, one example at a time, in double precision: a part of the reference in `forward.ts`.
 *
 * The formulas are those of layers.ts, which are Keras'. Must not be fast at the price of being unclear.
 */
import { activationValue } from "./activation.ts";
import { type GatedLayer, type RecurrentLayer, unitsOf } from "./layers.ts";
import type { LayerWeights } from "./weights.ts";

type Values = Float64Array<ArrayBuffer>;

/** Every state or the last. @param values [steps][features] */
export function recur(layer: RecurrentLayer, weights: LayerWeights, values: Values): Values {
  const [steps, features] = layer.input;
  const units = unitsOf(layer);
  const states = new Float64Array(steps * units);
  let state: State = { hidden: new Float64Array(units), cell: new Float64Array(units) };
  for (let step = 0; step < steps; step += 1) {
    const now = values.slice(step * features, (step + 1) * features);
    state = next(layer, weights, now, state);
    states.set(state.hidden, step * units);
  }
  return layer.sequences === true ? states : state.hidden;
}

interface State {
  readonly hidden: Values;
  /** Of an lstm. */
  readonly cell: Values;
}

function next(layer: RecurrentLayer, weights: LayerWeights, now: Values, state: State): State {
  if (layer.kind === "rnn") {
    const sums = affine(weights, concat(now, state.hidden));
    return { ...state, hidden: sums.map((z) => activationValue(layer.activation, z)) };
  }
  return layer.kind === "gru"
    ? nextOfGru(layer, weights, now, state)
    : nextOfLstm(layer, weights, now, state);
}

function nextOfGru(
  layer: GatedLayer,
  { kernel, bias }: LayerWeights,
  now: Values,
  state: State,
): State {
  const units = unitsOf(layer);
  const split = now.length * 3 * units;
  const fromInput = affine(
    { kernel: kernel.subarray(0, split), bias: bias.subarray(0, 3 * units) },
    now,
  );
  const fromState = affine(
    { kernel: kernel.subarray(split), bias: bias.subarray(3 * units) },
    state.hidden,
  );
  const gate = (index: number): number =>
    activationValue("sigmoid", read(fromInput, index) + read(fromState, index));
  const hidden = state.hidden.map((before, unit) => {
    const update = gate(unit);
    const reset = gate(units + unit);
    const place = 2 * units + unit;
    const candidate = Math.tanh(read(fromInput, place) + reset * read(fromState, place));
    return update * before + (1 - update) * candidate;
  });
  return { ...state, hidden };
}

function nextOfLstm(layer: GatedLayer, weights: LayerWeights, now: Values, state: State): State {
  const units = unitsOf(layer);
  const sums = affine(weights, concat(now, state.hidden));
  const gate = (index: number): number => activationValue("sigmoid", read(sums, index));
  const cell = state.cell.map(
    (before, unit) =>
      gate(units + unit) * before + gate(unit) * Math.tanh(read(sums, 2 * units + unit)),
  );
  const hidden = cell.map((value, unit) => gate(3 * units + unit) * Math.tanh(value));
  return { hidden, cell };
}

function concat(left: Values, right: Values): Values {
  const both = new Float64Array(left.length + right.length);
  both.set(left);
  both.set(right, left.length);
  return both;
}

/** values x kernel + bias */
export function affine({ kernel, bias }: LayerWeights, values: Float64Array): Values {
  const sums = Float64Array.from(bias);
  for (const [row, value] of values.entries()) {
    for (let column = 0; column < sums.length; column += 1) {
      sums[column] = read(sums, column) + value * read(kernel, row * sums.length + column);
    }
  }
  return sums;
}

/** A number that is known to be there: `forward` has checked the shapes. */
export function read(values: ArrayLike<number>, index: number): number {
  return values[index] ?? 0;
}
