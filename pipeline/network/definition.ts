/**
 * The definition of a network: a chain of layers, what makes one sound, and what of it cannot be evaluated encrypted.
 *
 * Train, aggregate and predict share it, so that they cannot disagree about shapes. This file must not know where
 * weights come from, how they are trained, or how they are encrypted, nor a pipeline file (`from-spec.ts` does).
 */
import { activationFault, isFunction } from "./activation.ts";
import {
  applications,
  type EmbeddingLayer,
  impliedOutputs,
  isPool,
  isRecurrent,
  isWindowed,
  type LayerNormLayer,
  type NetworkLayer,
  plainLayer,
  type RecurrentLayer,
  type ShapedLayer,
  windowSize,
} from "./layers.ts";
import { chainProducts, layerProducts, productCount, weightSizes } from "./products.ts";

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

/** Rows of an embedding: a feature is float32, whose 24 bits must tell neighbours apart with room. */
export const MAX_VOCABULARY = 65_536;
/** Tokens of a record: clipping compares all of them in pairs, 64 MiB at a time. */
export const MAX_TOKENS = 4_096;

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
    const fault = layerFault(layer, before) ?? placeFault(layers, index);
    if (fault !== null) return `layer ${index} ${fault}`;
    const own = layerProducts(layer, before);
    const { kernel, bias } = weightSizes(own);
    parameters += kernel + bias;
    products += productCount(own);
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

function shapeFault(layer: ShapedLayer, inputs: number): string | null {
  const sizes = [
    ...layer.input,
    ...(isWindowed(layer) ? [...windowSize(layer), ...layer.strides] : []),
    ...(layer.kind === "conv2d" ? [layer.filters] : []),
  ];
  if (!sizes.every(isWidth)) return `has a size that is not 1 to ${MAX_WIDTH}`;
  if (layer.input.reduce((product: number, size) => product * size, 1) !== inputs) {
    return `reads the shape ${layer.input.join(" x ")}, before it come ${inputs} values`;
  }
  if (isWindowed(layer) && applications(layer) < 1) {
    return "has a window larger than what it reads";
  }
  const implied = impliedOutputs(layer);
  if (implied !== null && implied !== layer.outputs) return `must have ${implied} outputs`;
  if (layer.kind === "embedding") return embeddingFault(layer);
  if (layer.kind === "layerNorm") return normFault(layer);
  return isRecurrent(layer) ? sequenceFault(layer) : null;
}

function embeddingFault({ input, vocabulary, outputs }: EmbeddingLayer): string | null {
  if (!(Number.isSafeInteger(vocabulary) && vocabulary >= 2 && vocabulary <= MAX_VOCABULARY)) {
    return `must have a vocabulary of 2 to ${MAX_VOCABULARY}`;
  }
  if (input[0] > MAX_TOKENS) return `reads ${input[0]} tokens, at most ${MAX_TOKENS} are allowed`;
  return outputs % input[0] === 0 ? null : "must have as many outputs at each step";
}

function normFault({ epsilon }: LayerNormLayer): string | null {
  return epsilon > 0 && epsilon <= 1 ? null : "must have an epsilon above 0, at most 1";
}

function sequenceFault({ input, sequences, outputs }: RecurrentLayer): string | null {
  const fits = sequences !== true || outputs % input[0] === 0;
  return fits ? null : "must have as many outputs at each step";
}

/** What is wrong with a layer at its place of the chain. */
function placeFault(layers: readonly NetworkLayer[], index: number): string | null {
  const layer = layers[index];
  const next = layers[index + 1];
  if (layer === undefined || isPool(layer)) return null;
  if (layer.kind === "embedding" && index > 0) {
    return "is an embedding: it reads the features, so it must be the first";
  }
  if (next === undefined) {
    if (isRecurrent(layer)) return `is the last: a dense layer must follow an ${layer.kind}`;
    if (layer.kind === "embedding") return "is the last: a dense layer must follow an embedding";
    return layer.activation === "none" ? null : "is the last: it must have activation none";
  }
  if (layer.kind === "embedding" || layer.kind === "layerNorm") return null;
  return layer.activation === "none" && next.kind !== "layerNorm"
    ? "has activation none: two linear layers in a row are one, give it an activation"
    : null;
}

/**
 * What of a network cannot be evaluated on CKKS ciphertexts, which are added and multiplied only, as the end of a
 * sentence about the first such layer; null: nothing.
 */
export function encryptedFault({ layers }: Network): string | null {
  for (const [index, { kind, activation }] of layers.entries()) {
    const isPolynomial = kind === undefined || kind === "conv2d" || kind === "rnn";
    if (!isPolynomial && kind !== "averagePool2d") return `layer ${index} is of kind ${kind}`;
    if (isFunction(activation)) return `layer ${index} has activation ${activation}`;
  }
  return null;
}

/** Numbers in all kernels and biases. */
export function parameterCount(network: Network): number {
  return chainProducts(network.inputs, network.layers).reduce((sum, products) => {
    const { kernel, bias } = weightSizes(products);
    return sum + kernel + bias;
  }, 0);
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
