/**
 * Recurrent layers for ONNX, unrolled step by step: its own operators know no polynomial activations.
 *
 * The formulas are those of layers.ts. The first state is 0, so its products are left out. Must not know bytes.
 */
import { type RecurrentLayer, unitsOf } from "./layers.ts";
import type { GraphBuilder } from "./onnx.ts";
import type { LayerWeights } from "./weights.ts";

interface State {
  readonly hidden: string;
  /** Of an lstm. */
  readonly cell: string;
}

/** Names of the tensors of one layer: for each gate its kernels and biases. */
interface Gate {
  readonly fromInput: string;
  readonly fromState: string;
  readonly bias: string;
  /** Of a gru, whose state has a bias of its own. */
  readonly stateBias: string | null;
}

/** Every state or the last, flat. @param value [batch, steps features] */
export function unrollRecurrent(
  builder: GraphBuilder,
  layer: RecurrentLayer,
  weights: LayerWeights,
  value: string,
): string {
  const [steps, features] = layer.input;
  const gates = gatesOf(builder, layer, weights);
  const cut = builder.reshape(value, [-1, steps, features]);
  const states: string[] = [];
  let state: State | null = null;
  for (let step = 0; step < steps; step += 1) {
    const picked = builder.node("Gather", [cut, builder.integers([step])], { axis: { i: 1 } });
    const now = builder.reshape(picked, [-1, features]);
    state = next(builder, layer, gates, { now, before: state });
    states.push(state.hidden);
  }
  if (layer.sequences === true) return builder.node("Concat", states, { axis: { i: 1 } });
  return states.at(-1) ?? value;
}

function gatesOf(builder: GraphBuilder, layer: RecurrentLayer, weights: LayerWeights): Gate[] {
  const features = layer.input[1];
  const units = unitsOf(layer);
  const count = { rnn: 1, gru: 3, lstm: 4 }[layer.kind];
  const width = count * units;
  const columns = (from: number, rows: number, gate: number): string => {
    const values = Float32Array.from({ length: rows * units }, (_, at) => {
      const row = Math.floor(at / units);
      return weights.kernel[(from + row) * width + gate * units + (at % units)] ?? 0;
    });
    return builder.floats([rows, units], values);
  };
  const biasAt = (from: number): string =>
    builder.floats([units], weights.bias.subarray(from, from + units));
  return Array.from({ length: count }, (_, gate) => ({
    fromInput: columns(0, features, gate),
    fromState: columns(features, units, gate),
    bias: biasAt(gate * units),
    stateBias: layer.kind === "gru" ? biasAt(width + gate * units) : null,
  }));
}

function next(
  builder: GraphBuilder,
  layer: RecurrentLayer,
  gates: readonly Gate[],
  { now, before }: { readonly now: string; readonly before: State | null },
): State {
  const fromInput = gates.map((gate) => builder.node("Gemm", [now, gate.fromInput, gate.bias]));
  const fromState = gates.map(({ fromState: kernel, stateBias }) => {
    if (before === null) return stateBias;
    return stateBias === null
      ? builder.node("MatMul", [before.hidden, kernel])
      : builder.node("Gemm", [before.hidden, kernel, stateBias]);
  });
  const sum = (gate: number): string => {
    const own = fromInput[gate] ?? "";
    const other = fromState[gate] ?? null;
    return other === null ? own : builder.node("Add", [own, other]);
  };
  const sigmoid = (gate: number): string => builder.node("Sigmoid", [sum(gate)]);
  const product = (left: string, right: string): string => builder.node("Mul", [left, right]);
  if (layer.kind === "rnn") {
    return { hidden: builder.activate(layer.activation, sum(0)), cell: "" };
  }
  if (layer.kind === "lstm") {
    const fresh = product(sigmoid(0), builder.node("Tanh", [sum(2)]));
    const cell =
      before === null ? fresh : builder.node("Add", [product(sigmoid(1), before.cell), fresh]);
    return { hidden: product(sigmoid(3), builder.node("Tanh", [cell])), cell };
  }
  const [update, reset] = [sigmoid(0), sigmoid(1)];
  const remembered = product(reset, fromState[2] ?? "");
  const candidate = builder.node("Tanh", [builder.node("Add", [fromInput[2] ?? "", remembered])]);
  const rest = builder.node("Sub", [builder.floats([], [1]), update]);
  const fresh = product(rest, candidate);
  const hidden =
    before === null ? fresh : builder.node("Add", [product(update, before.hidden), fresh]);
  return { hidden, cell: "" };
}
