/** Circuits for the slots tests: dense chains, one that reads several sources, and the circuit in the clear. */
import type { Circuit, CircuitStep } from "../../../pipeline/network/circuit.ts";
import type { Network } from "../../../pipeline/network/definition.ts";
import type { Weights } from "../../../pipeline/network/weights.ts";

export function denseStep(
  inputs: Uint32Array,
  kernel: ArrayLike<number>,
  bias: ArrayLike<number>,
  activation: readonly number[] | null,
): CircuitStep {
  const outputs = bias.length;
  const width = inputs.length;
  return {
    inputs,
    outputs,
    rowStarts: Uint32Array.from({ length: outputs + 1 }, (_, row) => row * width),
    columns: Uint32Array.from({ length: outputs * width }, (_, at) => at % width),
    values: Float64Array.from(
      { length: outputs * width },
      (_, at) => kernel[(at % width) * outputs + Math.floor(at / width)]!,
    ),
    bias: Float64Array.from(bias),
    activation,
  };
}

/** A dense network whose hidden activation is `activation`. */
export function denseCircuit(
  { inputs, layers }: Network,
  weights: Weights,
  activation: readonly number[] = [0, 0, 1],
): Circuit {
  let first = 0;
  let width = inputs;
  const steps = layers.map(({ outputs }, index) => {
    const wires = Uint32Array.from({ length: width }, (_, wire) => first + wire);
    first += width;
    width = outputs;
    const { kernel, bias } = weights.layers[index]!;
    return denseStep(wires, kernel, bias, index === layers.length - 1 ? null : activation);
  });
  return { features: inputs, steps };
}

/** An unrolled recurrent network: step t reads `width` features of its time and the state before it. */
export function recurrentCircuit(
  { width, times, state, classes }: Record<"width" | "times" | "state" | "classes", number>,
  random: () => number,
): Circuit {
  const features = width * times;
  const weight = (count: number, fan: number) =>
    Float64Array.from({ length: count }, () => (2 * random() - 1) / Math.sqrt(fan));
  const steps: CircuitStep[] = [];
  for (let time = 0; time < times; time += 1) {
    const now = Array.from({ length: width }, (_, i) => time * width + i);
    const before =
      time === 0 ? [] : Array.from({ length: state }, (_, i) => features + (time - 1) * state + i);
    const wires = Uint32Array.from([...now, ...before]);
    steps.push(
      denseStep(
        wires,
        weight(wires.length * state, wires.length),
        weight(state, 4),
        [0.25, 0.5, 0.125],
      ),
    );
  }
  const last = Uint32Array.from({ length: state }, (_, i) => features + (times - 1) * state + i);
  steps.push(denseStep(last, weight(state * classes, state), weight(classes, 4), null));
  return { features, steps };
}

/** Logits of one record in the clear. */
export function runCircuit({ steps }: Circuit, features: ArrayLike<number>): Float64Array {
  const wires = Array.from(features);
  let out = new Float64Array(0);
  for (const { inputs, outputs, rowStarts, columns, values, bias, activation } of steps) {
    out = new Float64Array(outputs);
    for (let row = 0; row < outputs; row += 1) {
      let sum = bias[row]!;
      for (let at = rowStarts[row]!; at < rowStarts[row + 1]!; at += 1)
        sum += values[at]! * wires[inputs[columns[at]!]!]!;
      out[row] = activation === null ? sum : activation.reduce((v, c, k) => v + c * sum ** k, 0);
    }
    wires.push(...out);
  }
  return out;
}
