/**
 * The definition of a network: a chain of layers whose activations are polynomials.
 *
 * Train, aggregate and predict share it, so that they cannot disagree about shapes. This file must not know where
 * weights come from, how they are trained, or how they are encrypted, nor a pipeline file (`from-spec.ts` does).
 */
import { activationFault } from "./activation.ts";
import {
  applications,
  type DenseLayer,
  impliedOutputs,
  kernelMatrix,
  type NetworkLayer,
  plainLayer,
} from "./layers.ts";

export type { Activation } from "./activation.ts";
export type { NetworkLayer } from "./layers.ts";

/** A chain of layers. The last layer's activation is `none`; its outputs are the logits. */
export interface Network {
  readonly inputs: number;
  readonly layers: readonly NetworkLayer[];
}

/** Layers of a chain; far more than any parameter set has levels for. */
export const MAX_LAYERS = 16;
/** Width of any layer, and number of inputs: 2^16, far above a CKKS pack's one ciphertext per feature. */
export const MAX_WIDTH = 65_536;
/** Parameters in all: 2^22 floats are 16 MiB, what a checkpoint, a contribution and a noise row can hold in memory. */
export const MAX_PARAMETERS = 4_194_304;
/** Products of a weight and a value in one record: 2^23 entries of a lowered circuit are 100 MB. */
export const MAX_PRODUCTS = 8_388_608;

/** What is wrong with a network, as the end of a sentence, or null. Never throws, whatever the numbers are. */
export function networkFault(network: Network): string | null {
  const { inputs, layers } = network;
  if (!isWidth(inputs)) return `the number of inputs must be 1 to ${MAX_WIDTH}`;
  if (layers.length === 0) return "at least one layer is needed";
  if (layers.length > MAX_LAYERS) return `at most ${MAX_LAYERS} layers are allowed`;
  let before = inputs;
  let parameters = 0;
  let products = 0;
  for (const [index, layer] of layers.entries()) {
    const fault = layerFault(layer, before) ?? placeFault(layer, index === layers.length - 1);
    if (fault !== null) return `layer ${index} ${fault}`;
    const [rows, columns] = kernelMatrix(layer, before);
    parameters += (rows + 1) * columns;
    products += rows * columns * applications(layer);
    before = layer.outputs;
  }
  if (parameters > MAX_PARAMETERS) return `more than ${MAX_PARAMETERS} parameters`;
  return products > MAX_PRODUCTS ? `more than ${MAX_PRODUCTS} products a record` : null;
}

function isWidth(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= MAX_WIDTH;
}

/** What is wrong with a layer by itself, behind so many values. */
function layerFault(layer: NetworkLayer, inputs: number): string | null {
  const fault = activationFault(layer.activation);
  if (fault !== null) return `has an activation that cannot be used: ${fault}`;
  const shape = layer.kind === undefined ? null : shapeFault(layer, inputs);
  if (shape !== null) return shape;
  return isWidth(layer.outputs) ? null : `must have 1 to ${MAX_WIDTH} outputs`;
}

function shapeFault(layer: Exclude<NetworkLayer, DenseLayer>, inputs: number): string | null {
  const sizes = [
    ...layer.input,
    ...(layer.kind === "conv2d" ? [layer.filters, ...layer.kernelSize, ...layer.strides] : []),
    ...(layer.kind === "averagePool2d" ? [...layer.poolSize, ...layer.strides] : []),
  ];
  if (!sizes.every(isWidth)) return `has a size that is not 1 to ${MAX_WIDTH}`;
  if (layer.input.reduce((product, size) => product * size, 1) !== inputs) {
    return `reads the shape ${layer.input.join(" x ")}, before it come ${inputs} values`;
  }
  const implied = impliedOutputs(layer);
  if (layer.kind !== "rnn" && applications(layer) < 1) {
    return "has a window larger than what it reads";
  }
  return implied === null || implied === layer.outputs ? null : `must have ${implied} outputs`;
}

/** What is wrong with a layer at its place of the chain. */
function placeFault({ kind, activation }: NetworkLayer, isLast: boolean): string | null {
  if (kind === "averagePool2d") return null;
  if (kind === "rnn" && isLast) return "is the last: a dense layer must follow an rnn";
  if (isLast) return activation === "none" ? null : "is the last: it must have activation none";
  return activation === "none"
    ? "has activation none: two linear layers in a row are one, give it an activation"
    : null;
}

/** Numbers in all kernels and biases. */
export function parameterCount(network: Network): number {
  return kernelMatrices(network).reduce((sum, [rows, columns]) => sum + (rows + 1) * columns, 0);
}

/** Outputs of the last layer. */
export function classCount(network: Network): number {
  return network.layers.at(-1)?.outputs ?? 0;
}

/** Whether two networks have the same inputs, layers and activations, to the last coefficient. */
export function sameNetwork(left: Network, right: Network): boolean {
  return (
    left.inputs === right.inputs &&
    JSON.stringify(left.layers.map(plainLayer)) === JSON.stringify(right.layers.map(plainLayer))
  );
}

/** [rows, columns] of every layer's weights as one matrix. */
export function kernelMatrices(network: Network): (readonly [number, number])[] {
  let inputs = network.inputs;
  return network.layers.map((layer) => {
    const matrix = kernelMatrix(layer, inputs);
    inputs = layer.outputs;
    return matrix;
  });
}
