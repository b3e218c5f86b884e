/**
 * Gradients of any network the slowest way: one number after the other in double precision, on a tape.
 *
 * Layers are written from the textbook's formulas, on purpose without anything of `pipeline/` but the types.
 */
import type { Activation, Network, NetworkLayer } from "../../../pipeline/network/definition.ts";
import type {
  Conv2dLayer,
  LayerNormLayer,
  RecurrentLayer,
} from "../../../pipeline/network/layers.ts";
import { flatten } from "../../../pipeline/network/weights.ts";
import { l2, type OracleBatch } from "./oracle.ts";

/** Sums and products with their slopes; a value is its place on the tape. */
class Tape {
  readonly values: number[] = [];
  readonly #left: number[] = [];
  readonly #right: number[] = [];
  readonly #slopes: [number, number][] = [];

  leaf(value: number): number {
    return this.#push(value, -1, -1, [0, 0]);
  }
  add(left: number, right: number): number {
    return this.#push(this.values[left]! + this.values[right]!, left, right, [1, 1]);
  }
  multiply(left: number, right: number): number {
    const [a, b] = [this.values[left]!, this.values[right]!];
    return this.#push(a * b, left, right, [b, a]);
  }
  /** A function of one value, with its slope there. */
  apply(place: number, value: number, slope: number): number {
    return this.#push(value, place, -1, [slope, 0]);
  }
  #push(value: number, left: number, right: number, slopes: [number, number]): number {
    this.#left.push(left);
    this.#right.push(right);
    this.#slopes.push(slopes);
    return this.values.push(value) - 1;
  }
  /** Slopes of sum(seeds * values) by every value. */
  backward(seeds: ReadonlyMap<number, number>): Float64Array {
    const slopes = new Float64Array(this.values.length);
    for (const [place, seed] of seeds) slopes[place]! += seed;
    for (let place = slopes.length - 1; place >= 0; place -= 1) {
      if (this.#left[place] === -1) continue;
      slopes[this.#left[place]!]! += slopes[place]! * this.#slopes[place]![0];
      if (this.#right[place] === -1) continue;
      slopes[this.#right[place]!]! += slopes[place]! * this.#slopes[place]![1];
    }
    return slopes;
  }
}

/** Loss (softmax cross-entropy), logits, and gradient in the flat order, of one example. */
export function exampleSlopes(
  network: Network,
  parameters: ArrayLike<number>,
  x: ArrayLike<number>,
  label: number,
) {
  const tape = new Tape();
  const leaves = Array.from(parameters, (value) => tape.leaf(value));
  let values = Array.from(x, (value) => tape.leaf(value));
  let used = 0;
  const take = (count: number) => {
    used += count;
    return leaves.slice(used - count, used);
  };
  for (const layer of network.layers) values = apply(tape, layer, values, take);
  const logits = values.map((place) => tape.values[place]!);
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  const seeds = new Map(
    values.map((place, index) => [place, powers[index]! / total - (index === label ? 1 : 0)]),
  );
  const slopes = tape.backward(seeds);
  const loss = most + Math.log(total) - logits[label]!;
  return { loss, logits, gradient: Float64Array.from(leaves, (leaf) => slopes[leaf]!) };
}

type Take = (count: number) => number[];

function apply(tape: Tape, layer: NetworkLayer, values: number[], take: Take): number[] {
  if (layer.kind === "conv2d") return convolve(tape, layer, values, take);
  if (layer.kind === "averagePool2d") {
    const [high, wide] = layer.poolSize;
    const share = tape.leaf(1 / (high * wide));
    const { input, strides } = layer;
    return windows(input, [high, wide], strides, false).flatMap((places) =>
      Array.from({ length: input[2] }, (_, channel) => {
        const sum = places.map((from) => values[from! * input[2] + channel]!);
        return tape.multiply(
          share,
          sum.reduce((left, right) => tape.add(left, right)),
        );
      }),
    );
  }
  if (layer.kind === "maxPool2d") {
    const channels = layer.input[2];
    return windows(layer.input, layer.poolSize, layer.strides, false).flatMap((places) =>
      Array.from({ length: channels }, (_, channel) =>
        places
          .map((from) => values[from! * channels + channel]!)
          .reduce((most, place) => (tape.values[place]! > tape.values[most]! ? place : most)),
      ),
    );
  }
  if (layer.kind === "embedding") {
    const width = layer.outputs / layer.input[0];
    const table = take(layer.vocabulary * width);
    return values.flatMap((place) => {
      const token = Math.round(tape.values[place]! * (layer.vocabulary - 1));
      return table.slice(token * width, (token + 1) * width);
    });
  }
  if (layer.kind === "layerNorm") return normalize(tape, layer, values, take);
  if (layer.kind === "rnn" || layer.kind === "gru" || layer.kind === "lstm") {
    return recur(tape, layer, values, take);
  }
  const units = layer.outputs;
  const kernel = take(values.length * units);
  const z = affine(tape, values, kernel, take(units));
  return z.map((place) => activate(tape, layer.activation, place));
}

function normalize(tape: Tape, layer: LayerNormLayer, values: number[], take: Take): number[] {
  const [positions, features] = layer.input;
  const gain = take(features);
  const bias = take(features);
  const share = tape.leaf(1 / features);
  const mean = (places: number[]) =>
    tape.multiply(
      share,
      places.reduce((left, right) => tape.add(left, right)),
    );
  return Array.from({ length: positions }, (_, position) => {
    const own = values.slice(position * features, (position + 1) * features);
    const minus = tape.multiply(tape.leaf(-1), mean(own));
    const centred = own.map((place) => tape.add(place, minus));
    const variance = mean(centred.map((place) => tape.multiply(place, place)));
    const v = tape.values[variance]! + layer.epsilon;
    const scale = tape.apply(variance, v ** -0.5, -0.5 * v ** -1.5);
    return centred.map((place, feature) => {
      const unit = tape.multiply(place, scale);
      const z = tape.add(tape.multiply(unit, gain[feature]!), bias[feature]!);
      return activate(tape, layer.activation, z);
    });
  }).flat();
}

function recur(tape: Tape, layer: RecurrentLayer, values: number[], take: Take): number[] {
  const [steps, features] = layer.input;
  const units = layer.sequences ? layer.outputs / steps : layer.outputs;
  const gates = { rnn: 1, gru: 3, lstm: 4 }[layer.kind];
  const w = take(features * gates * units);
  const u = take(units * gates * units);
  const bias = take(gates * units);
  const stateBias = layer.kind === "gru" ? take(gates * units) : [];
  let hidden = Array.from({ length: units }, () => tape.leaf(0));
  let cell = hidden;
  const part = (all: number[], gate: number) => all.slice(gate * units, (gate + 1) * units);
  const sum = (left: number[], right: number[]) => left.map((l, i) => tape.add(l, right[i]!));
  const times = (left: number[], right: number[]) =>
    left.map((l, i) => tape.multiply(l, right[i]!));
  const each = (activation: Activation, all: number[]) =>
    all.map((place) => activate(tape, activation, place));
  const states: number[] = [];
  for (let step = 0; step < steps; step += 1) {
    const x = affine(tape, values.slice(step * features, (step + 1) * features), w, bias);
    if (layer.kind === "rnn") hidden = each(layer.activation, affine(tape, hidden, u, x));
    if (layer.kind === "gru") {
      const h = affine(tape, hidden, u, stateBias);
      const [z, r] = [0, 1].map((gate) => each("sigmoid", sum(part(x, gate), part(h, gate))));
      const c = each("tanh", sum(part(x, 2), times(r!, part(h, 2))));
      const rest = z!.map((place) => tape.add(tape.leaf(1), tape.multiply(tape.leaf(-1), place)));
      hidden = sum(times(z!, hidden), times(rest, c));
    }
    if (layer.kind === "lstm") {
      const sums = affine(tape, hidden, u, x);
      const [i, f, o] = [0, 1, 3].map((gate) => each("sigmoid", part(sums, gate)));
      cell = sum(times(f!, cell), times(i!, each("tanh", part(sums, 2))));
      hidden = times(o!, each("tanh", cell));
    }
    states.push(...hidden);
  }
  return layer.sequences ? states : hidden;
}

function affine(tape: Tape, values: number[], kernel: number[], bias: number[]): number[] {
  return bias.map((start, column) =>
    values.reduce(
      (sum, value, row) => tape.add(sum, tape.multiply(value, kernel[row * bias.length + column]!)),
      start,
    ),
  );
}

function activate(tape: Tape, activation: Activation, z: number): number {
  if (activation === "none") return z;
  if (activation === "square") return tape.multiply(z, z);
  if (typeof activation === "string") {
    const value = tape.values[z]!;
    const sigmoid = 1 / (1 + Math.exp(-value));
    const tanh = Math.tanh(value);
    if (activation === "relu") return tape.apply(z, Math.max(0, value), value > 0 ? 1 : 0);
    if (activation === "tanh") return tape.apply(z, tanh, 1 - tanh ** 2);
    if (activation === "sigmoid") return tape.apply(z, sigmoid, sigmoid * (1 - sigmoid));
    return tape.apply(z, Math.log(1 + Math.exp(value)), sigmoid);
  }
  let sum = tape.leaf(0);
  let power = tape.leaf(1);
  for (const coefficient of activation.polynomial) {
    sum = tape.add(sum, tape.multiply(tape.leaf(coefficient), power));
    power = tape.multiply(power, z);
  }
  return sum;
}

/** Per position the places (y * width + x) of its window; null outside. */
function windows(
  [height, width]: readonly [number, number, number],
  [high, wide]: readonly [number, number],
  [down, across]: readonly [number, number],
  same: boolean,
): (number | null)[][] {
  const axis = (length: number, size: number, stride: number) => {
    const count = same ? Math.ceil(length / stride) : Math.ceil((length - size + 1) / stride);
    const total = same ? Math.max((count - 1) * stride + size - length, 0) : 0;
    return { count, before: Math.floor(total / 2) };
  };
  const rows = axis(height, high, down);
  const columns = axis(width, wide, across);
  const all: (number | null)[][] = [];
  for (let row = 0; row < rows.count; row += 1) {
    for (let column = 0; column < columns.count; column += 1) {
      const places: (number | null)[] = [];
      for (let y = row * down - rows.before; y < row * down - rows.before + high; y += 1) {
        const begin = column * across - columns.before;
        for (let x = begin; x < begin + wide; x += 1) {
          const inside = y >= 0 && y < height && x >= 0 && x < width;
          places.push(inside ? y * width + x : null);
        }
      }
      all.push(places);
    }
  }
  return all;
}

function convolve(tape: Tape, layer: Conv2dLayer, values: number[], take: Take): number[] {
  const { input, filters, kernelSize, strides, padding } = layer;
  const channels = input[2];
  const kernel = take(kernelSize[0] * kernelSize[1] * channels * filters);
  const bias = take(filters);
  return windows(input, kernelSize, strides, padding === "same").flatMap((places) =>
    bias.map((start, filter) => {
      let sum = start;
      for (const [place, from] of places.entries()) {
        if (from === null) continue;
        for (let channel = 0; channel < channels; channel += 1) {
          const weight = kernel[(place * channels + channel) * filters + filter]!;
          sum = tape.add(sum, tape.multiply(values[from * channels + channel]!, weight));
        }
      }
      return activate(tape, layer.activation, sum);
    }),
  );
}

/** Sum of the clipped gradients; rows with a negative label are skipped. */
export function naiveSum({ network, weights, inputs, labels, clip }: OracleBatch) {
  const parameters = flatten(weights);
  const sum = new Float64Array(parameters.length);
  let clippedRows = 0;
  let lossSum = 0;
  for (const [row, label] of labels.entries()) {
    if (label < 0) continue;
    const x = inputs.subarray(row * network.inputs, (row + 1) * network.inputs);
    const { loss, gradient } = exampleSlopes(network, parameters, x, label);
    const norm = l2(gradient);
    const scale = norm > clip ? clip / norm : 1;
    if (norm > clip) clippedRows += 1;
    lossSum += loss;
    for (const [index, value] of gradient.entries()) sum[index]! += value * scale;
  }
  return { sum, clippedRows, lossSum };
}
