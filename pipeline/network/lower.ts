/**
 * From a network of layers to a circuit: what is computed, without how it was written down.
 *
 * A dense layer is one step, a convolution one step with sparse rows, a recurrent layer one step per time step that
 * reads the features of that time and the state before. An average pool is linear and has no step: it is multiplied
 * into the affine map behind it, or becomes a step without activation where nothing is behind it. Outputs that nothing
 * reads (the edge that a pool leaves out) are not computed at all. The circuit gives what `forward` gives, but for the
 * order of sums. Must not know parameters of any encryption.
 */
import { SealstreamError } from "../errors.ts";
import { activationPolynomial, evaluatePolynomial } from "./activation.ts";
import type { Circuit, CircuitStep } from "./circuit.ts";
import { encryptedFault, type Network, networkFault } from "./definition.ts";
import {
  type Conv2dLayer,
  type NetworkLayer,
  type PoolLayer,
  type RnnLayer,
  unitsOf,
  type WindowLayer,
  windowSize,
  windowsOf,
} from "./layers.ts";
import { type LayerWeights, type Weights, weightsFault } from "./weights.ts";

/** One value as a sum of wires times factors. */
interface Mix {
  readonly wires: readonly number[];
  readonly factors: readonly number[];
}

/** The rows of one step before its wires are numbered by place. */
interface Draft {
  readonly rows: readonly Mix[];
  readonly bias: Float64Array;
  readonly activation: readonly number[] | null;
}

/**
 * The circuit of a network.
 * @throws checkpoint-invalid when network or weights are not valid or do not fit each other
 */
export function lowerNetwork(network: Network, weights: Weights): Circuit {
  const fault = networkFault(network) ?? encryptedFault(network) ?? weightsFault(network, weights);
  if (fault !== null) {
    throw new SealstreamError("checkpoint-invalid", `The model cannot be evaluated: ${fault}.`);
  }
  const drafts: Draft[] = [];
  let nextWire = network.inputs;
  const append = (draft: Draft): Mix[] => {
    drafts.push(draft);
    nextWire += draft.rows.length;
    return wires(nextWire - draft.rows.length, draft.rows.length);
  };
  let values = wires(0, network.inputs);
  for (const [index, layer] of network.layers.entries()) {
    const own = weights.layers[index] ?? { kernel: new Float32Array(), bias: new Float32Array() };
    values = lowerLayer(layer, own, values, append);
  }
  if (network.layers.at(-1)?.kind === "averagePool2d") {
    append({ rows: values, bias: new Float64Array(values.length), activation: null });
  }
  return toCircuit(network.inputs, drafts);
}

function wires(first: number, count: number): Mix[] {
  return Array.from({ length: count }, (_, index) => ({ wires: [first + index], factors: [1] }));
}

function lowerLayer(
  layer: NetworkLayer,
  weights: LayerWeights,
  values: readonly Mix[],
  append: (draft: Draft) => Mix[],
): Mix[] {
  switch (layer.kind) {
    case "conv2d": {
      const rows = convolutionRows(layer, weights, values);
      const bias = Float64Array.from(rows, (_, row) => weights.bias[row % layer.filters] ?? 0);
      return append({ rows, ...ends(layer, bias) });
    }
    case "averagePool2d":
      return poolRows(layer, values);
    case "rnn":
      return recurrentSteps(layer, weights, values, append);
    case undefined: {
      const rows = columnsOf(weights, layer.outputs).map((column) => combine(values, column));
      return append({ rows, ...ends(layer, weights.bias) });
    }
    default:
      throw new SealstreamError("internal", `A layer of kind ${layer.kind} has no circuit.`);
  }
}

function ends({ activation }: NetworkLayer, bias: ArrayLike<number>) {
  return { bias: Float64Array.from(bias), activation: activationPolynomial(activation) };
}

/** The columns of a kernel: what each output multiplies its inputs with. */
function columnsOf({ kernel }: LayerWeights, columns: number): Float64Array[] {
  const rows = kernel.length / columns;
  return Array.from({ length: columns }, (_, column) =>
    Float64Array.from({ length: rows }, (_, row) => kernel[row * columns + column] ?? 0),
  );
}

/** The sum of values times weights, as a sum over wires. */
function combine(values: readonly Mix[], weights: ArrayLike<number>): Mix {
  // Of single wires in rising order, the usual case, the sum is already in order.
  if (values.every((value) => value.wires.length === 1)) {
    return {
      wires: values.map((value) => value.wires[0] ?? 0),
      factors: values.map((value, index) => (value.factors[0] ?? 0) * (weights[index] ?? 0)),
    };
  }
  const sums = new Map<number, number>();
  for (const [index, value] of values.entries()) {
    for (const [place, wire] of value.wires.entries()) {
      const term = (value.factors[place] ?? 0) * (weights[index] ?? 0);
      sums.set(wire, (sums.get(wire) ?? 0) + term);
    }
  }
  return { wires: [...sums.keys()], factors: [...sums.values()] };
}

/** Places of the input inside the window at an output position, with their place in the window; without channels. */
function placesAt(
  layer: WindowLayer,
  row: number,
  column: number,
): { readonly from: number; readonly to: number }[] {
  const [height, width] = layer.input;
  const [high, wide] = windowSize(layer);
  const { top, left } = windowsOf(layer);
  const places: { from: number; to: number }[] = [];
  for (let place = 0; place < high * wide; place += 1) {
    const y = row * layer.strides[0] - top + Math.floor(place / wide);
    const x = column * layer.strides[1] - left + (place % wide);
    if (y >= 0 && y < height && x >= 0 && x < width)
      places.push({ from: y * width + x, to: place });
  }
  return places;
}

function positions(layer: WindowLayer): (readonly [number, number])[] {
  const { rows, columns } = windowsOf(layer);
  return Array.from({ length: rows * columns }, (_, index) => [
    Math.floor(index / columns),
    index % columns,
  ]);
}

function convolutionRows(layer: Conv2dLayer, weights: LayerWeights, values: readonly Mix[]): Mix[] {
  const channels = layer.input[2];
  const kernels = columnsOf(weights, layer.filters);
  return positions(layer).flatMap(([row, column]) => {
    const places = placesAt(layer, row, column);
    const read = places.flatMap(({ from }) => values.slice(from * channels, (from + 1) * channels));
    return kernels.map((kernel) => {
      const factors = places.flatMap(({ to }) => [
        ...kernel.subarray(to * channels, (to + 1) * channels),
      ]);
      return combine(read, factors);
    });
  });
}

function poolRows(layer: PoolLayer, values: readonly Mix[]): Mix[] {
  const channels = layer.input[2];
  const share = 1 / (layer.poolSize[0] * layer.poolSize[1]);
  return positions(layer).flatMap(([row, column]) => {
    const places = placesAt(layer, row, column);
    const shares = places.map(() => share);
    return Array.from({ length: channels }, (_, channel) =>
      combine(
        places.map(({ from }) => at(values, from * channels + channel)),
        shares,
      ),
    );
  });
}

function recurrentSteps(
  layer: RnnLayer,
  weights: LayerWeights,
  values: readonly Mix[],
  append: (draft: Draft) => Mix[],
): Mix[] {
  const [steps, features] = layer.input;
  const kernels = columnsOf(weights, unitsOf(layer));
  const states: Mix[] = [];
  let state: Mix[] = [];
  for (let step = 0; step < steps; step += 1) {
    // At the first step there is no state, and a column's rows of Uh go unused.
    const read = [...values.slice(step * features, (step + 1) * features), ...state];
    const rows = kernels.map((kernel) => combine(read, kernel));
    state = append({ rows, ...ends(layer, weights.bias) });
    states.push(...state);
  }
  return layer.sequences === true ? states : state;
}

/** Numbers the wires that are read, from the last step back, and writes the rows compressed. */
function toCircuit(features: number, drafts: readonly Draft[]): Circuit {
  const firstWire = drafts.map(() => 0);
  let end = features;
  for (const [index, draft] of drafts.entries()) {
    firstWire[index] = end;
    end += draft.rows.length;
  }
  const isRead = new Uint8Array(end);
  isRead.fill(1, 0, features);
  isRead.fill(1, at(firstWire, drafts.length - 1), end);
  for (let index = drafts.length - 1; index >= 0; index -= 1) {
    for (const [row, mix] of at(drafts, index).rows.entries()) {
      if (isRead[at(firstWire, index) + row] === 0) continue;
      for (const wire of mix.wires) isRead[wire] = 1;
    }
  }
  /** New number of every wire that is read. */
  const numbers = new Uint32Array(end);
  let number = 0;
  for (const [wire, read] of isRead.entries()) {
    numbers[wire] = number;
    number += read;
  }
  const steps = drafts.map((draft, index) => {
    const kept = (row: number): boolean => isRead[at(firstWire, index) + row] === 1;
    return toStep(
      draft.rows.filter((_, row) => kept(row)),
      draft.bias.filter((_, row) => kept(row)),
      draft.activation,
      numbers,
    );
  });
  return { features, steps };
}

function toStep(
  rows: readonly Mix[],
  bias: Float64Array,
  activation: readonly number[] | null,
  numbers: Uint32Array,
): CircuitStep {
  const read = new Uint8Array(numbers.length);
  for (const row of rows) for (const wire of row.wires) read[numbers[wire] ?? 0] = 1;
  const inputs = Uint32Array.from([...read.keys()].filter((wire) => read[wire] === 1));
  const placeOf = new Uint32Array(numbers.length);
  for (const [place, wire] of inputs.entries()) placeOf[wire] = place;
  const rowStarts = new Uint32Array(rows.length + 1);
  for (const [row, mix] of rows.entries()) {
    rowStarts[row + 1] = (rowStarts[row] ?? 0) + mix.wires.length;
  }
  const columns = new Uint32Array(rowStarts.at(-1) ?? 0);
  const values = new Float64Array(columns.length);
  for (const [row, mix] of rows.entries()) {
    const order = Array.from(mix.wires.keys());
    order.sort((left, right) => at(mix.wires, left) - at(mix.wires, right));
    for (const [index, from] of order.entries()) {
      columns[(rowStarts[row] ?? 0) + index] = placeOf[numbers[at(mix.wires, from)] ?? 0] ?? 0;
      values[(rowStarts[row] ?? 0) + index] = at(mix.factors, from);
    }
  }
  return { inputs, outputs: rows.length, rowStarts, columns, values, bias, activation };
}

/**
 * The logits of one record by its circuit, in double precision.
 * @param features as many as the circuit has
 */
export function evaluateCircuit(circuit: Circuit, features: ArrayLike<number>): Float64Array {
  if (features.length !== circuit.features) {
    throw new SealstreamError(
      "internal",
      `The circuit takes ${circuit.features} features, ${features.length} were given.`,
    );
  }
  const values = Array.from(features);
  let outputs: number[] = [];
  for (const step of circuit.steps) {
    outputs = Array.from({ length: step.outputs }, (_, row) => {
      let sum = step.bias[row] ?? 0;
      for (
        let entry = step.rowStarts[row] ?? 0;
        entry < (step.rowStarts[row + 1] ?? 0);
        entry += 1
      ) {
        const wire = step.inputs[step.columns[entry] ?? 0] ?? 0;
        sum += (step.values[entry] ?? 0) * (values[wire] ?? 0);
      }
      return step.activation === null ? sum : evaluatePolynomial(step.activation, sum);
    });
    values.push(...outputs);
  }
  return Float64Array.from(outputs);
}

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new SealstreamError("internal", "A layer has no values.");
  return item;
}
