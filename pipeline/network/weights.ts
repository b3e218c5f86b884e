/**
 * Weights of a network: their memory layout, their flat form, and how a new run begins.
 *
 * The flat form is the one order of parameters that contributions, noise rows and updates share: layer by layer, the
 * kernel row-major ([in][out]), then the bias. This file must not draw randomness of its own: the source is handed in
 * and must be a CSPRNG, because initial weights are part of what a run's ledger commits to.
 */
import { SealstreamError } from "../errors.ts";
import { type Network, parameterCount } from "./definition.ts";

export interface LayerWeights {
  /** [in][out], row-major. */
  readonly kernel: Float32Array;
  /** [out] */
  readonly bias: Float32Array;
}

export interface Weights {
  readonly layers: readonly LayerWeights[];
}

/** Bytes of one draw: 32 uniform bits give a float32 all the resolution it has. */
const DRAW_BYTES = 4;
/** 2^32, the number of values of one draw. */
const DRAW_VALUES = 4_294_967_296;

/** Mean square of a feature in [0, 1] that the first kernel is sized for: between a sparse one's 0 and a uniform one's 1/3. */
const FEATURE_MEAN_SQUARE = 1 / 4;
/** E[z^4] of a standard normal z: the mean square of a square activation's output. */
const SQUARE_MEAN_SQUARE = 3;

/**
 * Weights a run begins with: kernels uniform around zero, biases zero.
 *
 * Derivation. A kernel entry of variance v over `in` inputs of mean square q gives a pre-activation z of mean 0 and
 * variance v q in. Every layer aims at a z that the square suits: variance 1, so that E[z^2] = 1, the slope 2z neither
 * vanishes (z = 0 is a saddle) nor explodes, and a CKKS plaintext stays small. So v = 1 / (q in), with q = 1/4 for
 * features in [0, 1] and q = 3 after a square. The layer of a network without hidden layers reads features but wants
 * small logits, not a square's input: it takes q = 3 as well. A uniform draw from +-a has variance a^2 / 3, hence
 * a = sqrt(3 / (q in)); unlike a normal draw it bounds every z: |z| <= sqrt(12 in) in the first layer, for any x.
 *
 * @param random gives that many bytes of a CSPRNG
 * @returns new buffers, owned by the caller
 */
export function initialWeights(network: Network, random: (bytes: number) => Uint8Array): Weights {
  let inputs = network.inputs;
  const layers = network.layers.map(({ outputs, activation }, index) => {
    const readsFeatures = index === 0 && activation === "square";
    const meanSquare = readsFeatures ? FEATURE_MEAN_SQUARE : SQUARE_MEAN_SQUARE;
    const kernel = uniform(inputs * outputs, Math.sqrt(3 / (meanSquare * inputs)), random);
    inputs = outputs;
    return { kernel, bias: new Float32Array(outputs) };
  });
  return { layers };
}

function uniform(
  length: number,
  limit: number,
  random: (bytes: number) => Uint8Array,
): Float32Array {
  const bytes = random(length * DRAW_BYTES);
  if (bytes.length !== length * DRAW_BYTES) {
    throw new SealstreamError("internal", "The random source gave another number of bytes.");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(length);
  for (let index = 0; index < length; index += 1) {
    // + 0.5 centres the 2^32 values on zero: the mean is exactly 0.
    const share = (view.getUint32(index * DRAW_BYTES, true) + 0.5) / DRAW_VALUES;
    values[index] = (2 * share - 1) * limit;
  }
  return values;
}

/** All parameters in the flat order; a new buffer. */
export function flatten(weights: Weights): Float32Array {
  const length = weights.layers.reduce(
    (sum, { kernel, bias }) => sum + kernel.length + bias.length,
    0,
  );
  const flat = new Float32Array(length);
  let at = 0;
  for (const { kernel, bias } of weights.layers) {
    flat.set(kernel, at);
    flat.set(bias, at + kernel.length);
    at += kernel.length + bias.length;
  }
  return flat;
}

/**
 * Weights from the flat order; new buffers.
 * @throws checkpoint-invalid when `flat` is not exactly as long as the network has parameters
 */
export function unflatten(network: Network, flat: ArrayLike<number>): Weights {
  if (flat.length !== parameterCount(network)) {
    throw new SealstreamError(
      "checkpoint-invalid",
      `The network has ${parameterCount(network)} parameters, ${flat.length} were given.`,
    );
  }
  let inputs = network.inputs;
  let at = 0;
  const take = (length: number): Float32Array => {
    const values = Float32Array.from({ length }, (_, index) => flat[at + index] ?? 0);
    at += length;
    return values;
  };
  const layers: LayerWeights[] = [];
  for (const { outputs } of network.layers) {
    const kernel = take(inputs * outputs);
    layers.push({ kernel, bias: take(outputs) });
    inputs = outputs;
  }
  return { layers };
}

/** What does not fit between a network and weights, as the end of a sentence, or null. */
export function weightsFault(network: Network, weights: Weights): string | null {
  if (weights.layers.length !== network.layers.length) return "the number of layers differs";
  let inputs = network.inputs;
  for (const [index, { outputs }] of network.layers.entries()) {
    const layer = weights.layers[index];
    if (layer?.kernel.length !== inputs * outputs || layer.bias.length !== outputs) {
      return `layer ${index} has another shape`;
    }
    if (!layer.kernel.every(Number.isFinite) || !layer.bias.every(Number.isFinite)) {
      return `layer ${index} holds a number that is not finite`;
    }
    inputs = outputs;
  }
  return null;
}
