/**
 * The definition of a network: a chain of dense layers whose hidden activation is the square.
 *
 * Train, aggregate and predict share it, so that the three cannot disagree about shapes. Hidden activations are `square`
 * only, because a CKKS ciphertext can be multiplied but not compared; the last layer is linear (logits). This file must
 * not know where weights come from, how they are trained, or how they are encrypted. It may import errors only: the
 * parts of the pipeline file it reads are described by structure.
 */
import { SealstreamError } from "../errors.ts";

export type Activation = "square" | "none";

/** One dense layer: outputs = activation(inputs x kernel + bias). */
export interface NetworkLayer {
  readonly outputs: number;
  readonly activation: Activation;
}

/** A chain of dense layers. The last layer's activation is `none`; its outputs are the logits. */
export interface Network {
  readonly inputs: number;
  readonly layers: readonly NetworkLayer[];
}

/** The part of `features` of a pipeline file that fixes the ends of a network. */
export interface NetworkFeatures {
  readonly inputs: readonly { readonly length: number }[];
  readonly label: { readonly classes: number };
}

/** The part of `train` of a pipeline file that fixes the layers between. */
export interface NetworkTraining {
  readonly network: readonly { readonly dense: number; readonly activation: Activation }[];
}

/** Layers of a chain. Every square costs a CKKS level and none of our parameter sets has room for more. */
export const MAX_LAYERS = 16;
/** Width of any layer, and number of inputs: 2^16, far above a CKKS pack's one ciphertext per feature. */
export const MAX_WIDTH = 65_536;
/** Parameters in all: 2^22 floats are 16 MiB, what a checkpoint, a contribution and a noise row can hold in memory. */
export const MAX_PARAMETERS = 4_194_304;

/**
 * The network of a pipeline file.
 * @throws spec-invalid when the layers do not fit the features or the limits
 */
export function networkFromSpec(features: NetworkFeatures, train: NetworkTraining): Network {
  const network: Network = {
    inputs: features.inputs.reduce((sum, input) => sum + input.length, 0),
    layers: train.network.map(({ dense, activation }) => ({ outputs: dense, activation })),
  };
  const fault = networkFault(network);
  if (fault !== null) throw new SealstreamError("spec-invalid", `train.network: ${fault}.`);
  if (classCount(network) !== features.label.classes) {
    throw new SealstreamError(
      "spec-invalid",
      `train.network: the last layer has ${classCount(network)} outputs, features.label.classes is ${features.label.classes}; make them equal.`,
    );
  }
  return network;
}

/** What is wrong with a network, as the end of a sentence, or null. Never throws, whatever the numbers are. */
export function networkFault(network: Network): string | null {
  const { inputs, layers } = network;
  if (!isWidth(inputs)) return `the number of inputs must be 1 to ${MAX_WIDTH}`;
  if (layers.length === 0) return "at least one layer is needed";
  if (layers.length > MAX_LAYERS) return `at most ${MAX_LAYERS} layers are allowed`;
  for (const [index, layer] of layers.entries()) {
    if (!isWidth(layer.outputs)) return `layer ${index} must have 1 to ${MAX_WIDTH} outputs`;
    const expected: Activation = index === layers.length - 1 ? "none" : "square";
    if (layer.activation !== expected) return `layer ${index} must have activation ${expected}`;
  }
  if (parameterCount(network) > MAX_PARAMETERS) return `more than ${MAX_PARAMETERS} parameters`;
  return null;
}

function isWidth(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= MAX_WIDTH;
}

/** Numbers in all kernels and biases. */
export function parameterCount(network: Network): number {
  let inputs = network.inputs;
  let count = 0;
  for (const { outputs } of network.layers) {
    count += (inputs + 1) * outputs;
    inputs = outputs;
  }
  return count;
}

/** Outputs of the last layer. */
export function classCount(network: Network): number {
  return network.layers.at(-1)?.outputs ?? 0;
}

/** Whether two networks have the same inputs, widths and activations. */
export function sameNetwork(left: Network, right: Network): boolean {
  return (
    left.inputs === right.inputs &&
    left.layers.length === right.layers.length &&
    left.layers.every((layer, index) => {
      const other = right.layers[index];
      return layer.outputs === other?.outputs && layer.activation === other.activation;
    })
  );
}
