/**
 * How a run begins: the weights before the first update.
 *
 * This file must not draw randomness of its own: the source is handed in and must be a CSPRNG, because initial weights
 * are part of what a run's ledger commits to.
 */
import { SealstreamError } from "../errors.ts";
import { type Activation, activationPolynomial, polynomialSlope } from "./activation.ts";
import type { Network } from "./definition.ts";
import { isPool, isRecurrent, type NetworkLayer, type RecurrentLayer, unitsOf } from "./layers.ts";
import { layerProducts, weightSizes } from "./products.ts";
import type { LayerWeights, Weights } from "./weights.ts";

/** `he`: sized for the activations (below); `glorot`: by fan-in and fan-out alone; `zeros`: every kernel 0. */
export type Initialization = "he" | "glorot" | "zeros";
type Random = (bytes: number) => Uint8Array;

/** Bytes of one draw: 32 uniform bits give a float32 all the resolution it has. */
const DRAW_BYTES = 4;
/** 2^32, the number of values of one draw. */
const DRAW_VALUES = 4_294_967_296;

/** Mean square of a feature in [0, 1] that the first kernel is sized for: between a sparse one's 0 and a uniform one's 1/3. */
const FEATURE_MEAN_SQUARE = 1 / 4;
/** Mean square that a layer of logits is given that reads features: as behind a square, so that logits begin small. */
const LOGIT_MEAN_SQUARE = 3;
/** Mean square of the state behind such a layer: measured, 4 to 100 steps of 3 to 28 features, .34 to .38 and .12 to .15. */
const GATED_MEAN_SQUARE = { gru: 3 / 8, lstm: 1 / 8 };

/** One over the variance that a recurrent layer's input, and its state, may give. */
const RECURRENT_CARE = 8;

/** E[f(z)^2] and E[f'(z)^2] over a standard normal z, by numerical integration; a test repeats it. */
const FUNCTION_MEAN_SQUARES = {
  relu: [0.5, 0.5],
  tanh: [0.394294, 0.464403],
  sigmoid: [0.293379, 0.044836],
  softplus: [0.921246, 0.293379],
} as const;

/**
 * Weights a run begins with; biases are zero, but for a 1 at an lstm's forget gate (Jozefowicz et al. 2015), and gains 1.
 *
 * Derivation of `he`. A kernel entry of variance v over `in` inputs of mean square q gives a pre-activation z of mean 0
 * and variance v q in. Every layer aims at variance 1: the slope of the activation neither vanishes (z = 0 is a saddle
 * of the square) nor explodes, z stays where a minimax polynomial is near its function, and a CKKS plaintext stays
 * small. So v = 1 / (q in), with q = 1/4 for features in [0, 1], and behind an activation p the mean E[p(z)^2] over a
 * standard normal z (3 for the square; 1/2 for relu, which gives He's v = 2 / in). A pool leaves q as it is: its inputs
 * are neighbours, nearly equal. Behind a layerNorm q is that of its activation, 1 without one; an embedding's table is
 * drawn with q = 1/4, as features. A layer of logits that reads features wants small logits: it takes q = 3. A uniform
 * draw from +-a has variance a^2 / 3, hence a = sqrt(3 / (q in)); unlike a normal draw it bounds every z:
 * |z| <= sqrt(12 in) in the first layer, for any x.
 *
 * A simple recurrent layer feeds on what it made, and a polynomial has no bound: a state that leaves the place where it
 * is tame grows doubly exponentially with the steps. So it aims lower, at variance 1/8 from the input, v = 1 / (8 q in),
 * and at most as much from the state. A change of the state is multiplied by U diag(p'(z)), in the mean square by
 * v units E[p'(z)^2], so Uh has v = 1 / (8 units max(E[p^2], E[p'^2])). Tried on 9,000 draws of 8 to 29 steps: none ran
 * away; at variance 1/2 from each, one in twenty did. Where tanh bounds the state (rnn with tanh, gru, lstm) the input
 * aims at variance 1 and U is orthogonal, as in Keras: a change then keeps its size over the steps but for the gates.
 *
 * `glorot` (Glorot & Bengio 2010) is uniform with a = sqrt(6 / (in + out)), whatever the activation; U as above.
 *
 * @param random gives that many bytes of a CSPRNG
 * @returns new buffers, owned by the caller
 */
export function initialWeights(
  network: Network,
  random: Random,
  initialization: Initialization = "he",
): Weights {
  let inputs = network.inputs;
  let meanSquare: number | null = null;
  const layers = network.layers.map((layer) => {
    const whenFeatures = layer.activation === "none" ? LOGIT_MEAN_SQUARE : FEATURE_MEAN_SQUARE;
    const kernel = initialKernel(layer, inputs, {
      ...{ random, initialization },
      meanSquare: meanSquare ?? whenFeatures,
    });
    const own = { kernel, bias: initialBias(layer, inputs) };
    inputs = layer.outputs;
    meanSquare = meanSquareBehind(layer, meanSquare);
    return own;
  });
  return { layers };
}

function meanSquareBehind(layer: NetworkLayer, before: number | null): number | null {
  if (isPool(layer)) return before;
  if (layer.kind === "gru" || layer.kind === "lstm") return GATED_MEAN_SQUARE[layer.kind];
  if (layer.kind === "embedding") return FEATURE_MEAN_SQUARE;
  // Without an activation: a norm gives variance 1, as what aims at it does.
  return layer.activation === "none" ? 1 : meanSquares(layer.activation)[0];
}

function initialBias(layer: NetworkLayer, inputs: number): LayerWeights["bias"] {
  const bias = new Float32Array(weightSizes(layerProducts(layer, inputs)).bias);
  return layer.kind === "lstm" ? bias.fill(1, unitsOf(layer), 2 * unitsOf(layer)) : bias;
}

interface Draw {
  readonly random: Random;
  readonly initialization: Initialization;
  /** Of what the layer reads. */
  readonly meanSquare: number;
}

function initialKernel(layer: NetworkLayer, inputs: number, draw: Draw): Float32Array {
  const products = layerProducts(layer, inputs);
  const [product] = products;
  if (product === undefined) return new Float32Array();
  if (layer.kind === "layerNorm") return new Float32Array(product.columns).fill(1);
  if (draw.initialization === "zeros") return new Float32Array(weightSizes(products).kernel);
  if (isRecurrent(layer)) return recurrentKernel(layer, product.columns, draw);
  const { rows, columns } = product;
  if (layer.kind === "embedding") {
    return uniform(rows * columns, Math.sqrt(3 * FEATURE_MEAN_SQUARE), draw.random);
  }
  const fanOut =
    layer.kind === "conv2d" ? layer.kernelSize[0] * layer.kernelSize[1] * columns : columns;
  return uniform(rows * columns, limit(rows, fanOut, 1, draw), draw.random);
}

/** Half the width of a uniform draw. @param care one over the variance that the product may give */
function limit(
  fanIn: number,
  fanOut: number,
  care: number,
  { initialization, meanSquare }: Draw,
): number {
  return initialization === "glorot"
    ? Math.sqrt(6 / (fanIn + fanOut))
    : Math.sqrt(3 / (care * meanSquare * fanIn));
}

function recurrentKernel(layer: RecurrentLayer, columns: number, draw: Draw): Float32Array {
  const [, features] = layer.input;
  const units = unitsOf(layer);
  const isBounded = layer.activation === "tanh";
  const care = isBounded ? 1 : RECURRENT_CARE;
  const input = uniform(features * columns, limit(features, columns, care, draw), draw.random);
  const state = isBounded
    ? orthonormalRows(units, columns, draw.random)
    : uniform(units * units, stateLimit(layer.activation, units), draw.random);
  const kernel = new Float32Array(input.length + state.length);
  kernel.set(input);
  kernel.set(state, input.length);
  return kernel;
}

function stateLimit(activation: Activation, units: number): number {
  return Math.sqrt(3 / (RECURRENT_CARE * Math.max(...meanSquares(activation)) * units));
}

/** E[f(z)^2] and E[f'(z)^2] over a standard normal z. */
export function meanSquares(activation: Activation): readonly [number, number] {
  if (typeof activation === "string" && activation in FUNCTION_MEAN_SQUARES) {
    // Because `in` has just said that it is one of them.
    return FUNCTION_MEAN_SQUARES[activation as keyof typeof FUNCTION_MEAN_SQUARES];
  }
  const polynomial = activationPolynomial(activation) ?? [];
  return [normalMeanSquare(polynomial), normalMeanSquare(polynomialSlope(polynomial))];
}

/** E[p(z)^2] over a standard normal z, whose even moments are E[z^2k] = 1 3 5 ... (2k - 1). */
function normalMeanSquare(polynomial: readonly number[]): number {
  let sum = 0;
  for (const [i, left] of polynomial.entries()) {
    for (const [j, right] of polynomial.entries()) {
      if ((i + j) % 2 === 1) continue;
      let moment = 1;
      for (let factor = i + j - 1; factor > 1; factor -= 2) moment *= factor;
      sum += left * right * moment;
    }
  }
  return sum;
}

/** `rows` orthonormal rows of at least as many columns, of uniformly random direction: Gram-Schmidt, done twice. */
function orthonormalRows(rows: number, columns: number, random: Random): Float32Array {
  const matrix = normal(rows * columns, random);
  for (let row = 0; row < rows; row += 1) {
    const own = matrix.subarray(row * columns, (row + 1) * columns);
    // Twice is enough (Giraud et al. 2005): the second pass takes away what rounding left of the rows before.
    for (let pass = 0; pass < 2; pass += 1) {
      for (let before = 0; before < row; before += 1) {
        const other = matrix.subarray(before * columns, (before + 1) * columns);
        const shared = dot(own, other);
        for (let at = 0; at < columns; at += 1)
          own[at] = (own[at] ?? 0) - shared * (other[at] ?? 0);
      }
    }
    const length = Math.sqrt(dot(own, own));
    for (let at = 0; at < columns; at += 1) own[at] = (own[at] ?? 0) / length;
  }
  return Float32Array.from(matrix);
}

function dot(left: Float64Array, right: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < left.length; at += 1) sum += (left[at] ?? 0) * (right[at] ?? 0);
  return sum;
}

/** Standard normal numbers for directions, not for noise: Box-Muller of 32 bits each. */
function normal(length: number, random: Random): Float64Array {
  const shares = uniformShares(2 * length, random);
  return Float64Array.from({ length }, (_, index) => {
    const [radius, angle] = [shares[2 * index] ?? 0, shares[2 * index + 1] ?? 0];
    return Math.sqrt(-2 * Math.log(radius)) * Math.cos(2 * Math.PI * angle);
  });
}

function uniform(length: number, half: number, random: Random): Float32Array {
  return Float32Array.from(uniformShares(length, random), (share) => (2 * share - 1) * half);
}

/** Numbers in (0, 1). */
function uniformShares(length: number, random: Random): Float64Array {
  const bytes = random(length * DRAW_BYTES);
  if (bytes.length !== length * DRAW_BYTES) {
    throw new SealstreamError("internal", "The random source gave another number of bytes.");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // + 0.5 centres the 2^32 values between 0 and 1: the mean of a uniform draw is exactly 0.
  return Float64Array.from(
    { length },
    (_, index) => (view.getUint32(index * DRAW_BYTES, true) + 0.5) / DRAW_VALUES,
  );
}
