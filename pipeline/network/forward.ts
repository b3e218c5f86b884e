/**
 * The network in the clear, one example at a time, in double precision.
 *
 * The reference that the encrypted evaluation and the training backends are compared with, and what validation uses.
 * Must not be fast at the price of being unclear.
 */
import { SealstreamError } from "../errors.ts";
import type { Network } from "./definition.ts";
import type { Weights } from "./weights.ts";

/**
 * Logits of one example.
 * @param input `network.inputs` features
 * @returns new array, one logit per output of the last layer; NaN and infinities pass through as IEEE 754 says
 * @throws internal when input or weights do not have the network's shape
 */
export function forward(
  network: Network,
  weights: Weights,
  input: ArrayLike<number>,
): Float64Array {
  if (input.length !== network.inputs) {
    throw new SealstreamError(
      "internal",
      `The network takes ${network.inputs} features, ${input.length} were given.`,
    );
  }
  let values = Float64Array.from(input);
  for (const [index, { outputs, activation }] of network.layers.entries()) {
    const layer = weights.layers[index];
    if (layer?.kernel.length !== values.length * outputs || layer.bias.length !== outputs) {
      throw new SealstreamError("internal", `The weights of layer ${index} have another shape.`);
    }
    const next = Float64Array.from(layer.bias);
    for (const [row, value] of values.entries()) {
      for (let column = 0; column < outputs; column += 1) {
        // `?? 0` is never taken: the shape was checked above; it satisfies noUncheckedIndexedAccess.
        next[column] = (next[column] ?? 0) + value * (layer.kernel[row * outputs + column] ?? 0);
      }
    }
    values = activation === "square" ? next.map((value) => value * value) : next;
  }
  return values;
}

/** Index of the largest value, the first of equals; -1 for an empty array. NaN is never the largest. */
export function argmax(values: ArrayLike<number>): number {
  let best = -1;
  let bestValue = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < values.length; index += 1) {
    const value = values[index] ?? Number.NaN;
    if (value > bestValue || (best === -1 && value === bestValue)) {
      best = index;
      bestValue = value;
    }
  }
  return best;
}
