/**
 * The naive way, as an oracle: one example at a time, its whole gradient in double precision, clipped, added.
 *
 * Written from the textbook's backward pass and on purpose without anything the backends use.
 */
import type { Network } from "../../../pipeline/network/definition.ts";
import type { Weights } from "../../../pipeline/network/weights.ts";

export interface OracleBatch {
  readonly network: Network;
  readonly weights: Weights;
  readonly inputs: Float32Array;
  readonly labels: Int32Array;
  readonly clip: number;
}

/** Loss of one example: softmax cross-entropy. */
export function exampleLoss(
  network: Network,
  parameters: ArrayLike<number>,
  x: ArrayLike<number>,
  label: number,
): number {
  const { logits } = run(network, parameters, x);
  const most = Math.max(...logits);
  const logSum = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  return logSum - logits[label]!;
}

function run(network: Network, parameters: ArrayLike<number>, x: ArrayLike<number>) {
  const inputs: number[][] = [];
  const sums: number[][] = [];
  let values = Array.from(x);
  let at = 0;
  for (const { outputs, activation } of network.layers) {
    inputs.push(values);
    const z = Array.from({ length: outputs }, (_, column) => {
      const bias = parameters[at + values.length * outputs + column]!;
      return values.reduce(
        (sum, value, row) => sum + value * parameters[at + row * outputs + column]!,
        bias,
      );
    });
    sums.push(z);
    at += (values.length + 1) * outputs;
    values = activation === "square" ? z.map((value) => value ** 2) : z;
  }
  return { inputs, sums, logits: values };
}

/** Gradient of one example in the flat order. */
export function exampleGradient(
  network: Network,
  parameters: ArrayLike<number>,
  x: ArrayLike<number>,
  label: number,
): Float64Array {
  const { inputs, sums, logits } = run(network, parameters, x);
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  let delta = powers.map((power, index) => power / total - (index === label ? 1 : 0));
  const gradient = new Float64Array(parameters.length);
  let end = parameters.length;
  for (let layer = network.layers.length - 1; layer >= 0; layer -= 1) {
    const a = inputs[layer]!;
    const outputs = delta.length;
    const at = end - (a.length + 1) * outputs;
    for (let column = 0; column < outputs; column += 1) {
      for (const [row, value] of a.entries()) {
        gradient[at + row * outputs + column] = value * delta[column]!;
      }
      gradient[at + a.length * outputs + column] = delta[column]!;
    }
    if (layer > 0) {
      const before = sums[layer - 1]!;
      const current = delta;
      delta = before.map((z, row) =>
        current.reduce(
          (sum, d, column) => sum + 2 * z * parameters[at + row * outputs + column]! * d,
          0,
        ),
      );
    }
    end = at;
  }
  return gradient;
}

/** Sum of the clipped gradients; rows with a negative label are skipped. */
export function naiveClippedSum(batch: OracleBatch): {
  sum: Float64Array;
  clippedRows: number;
  lossSum: number;
} {
  const { network, weights, inputs, labels, clip } = batch;
  const parameters = weights.layers.flatMap(({ kernel, bias }) => [...kernel, ...bias]);
  const sum = new Float64Array(parameters.length);
  let clippedRows = 0;
  let lossSum = 0;
  for (const [row, label] of labels.entries()) {
    if (label < 0) continue;
    const x = inputs.subarray(row * network.inputs, (row + 1) * network.inputs);
    const gradient = exampleGradient(network, parameters, x, label);
    const norm = l2(gradient);
    const scale = norm > clip ? clip / norm : 1;
    if (norm > clip) clippedRows += 1;
    lossSum += exampleLoss(network, parameters, x, label);
    for (const [index, value] of gradient.entries()) sum[index]! += value * scale;
  }
  return { sum, clippedRows, lossSum };
}

export function l2(values: ArrayLike<number>): number {
  return Math.hypot(...Array.from(values));
}

/**
 * Softmax minus one-hot loses digits when an example is all but learned: float32 then leaves an absolute error of some
 * 2^-24, however little is left. Below this norm errors are taken relative to it.
 */
const SMALL_NORM = 0.1;

/** |left - right| / |right| in L2. */
export function relativeError(left: ArrayLike<number>, right: ArrayLike<number>): number {
  const difference = Array.from(left, (value, index) => value - right[index]!);
  return l2(difference) / Math.max(l2(right), SMALL_NORM);
}
