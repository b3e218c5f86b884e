/**
 * From a network in floats to the integers, scales and levels of its evaluation on ciphertexts.
 *
 * A constant over all slots needs no encoding: it is the integer round(w * weightScale), the same for every residue. So
 * a dense layer is an integer combination of ciphertexts. One rescale follows each square and one the last layer
 * (it drowns what the weights did to the noise before a result leaves). For D dense layers that is D rescales, hence
 * D + 1 data primes; primes beyond that are dropped before the first layer, which costs nothing.
 *
 * Scales, in bits, with dx the input's, w the hidden weights', p the prime a rescale divides by:
 *   z = s + w;  after square and rescale s' = 2 z - p;  last: out = s + last + boost - p.
 * `out` is chosen as large as the last prime allows for the largest logit the model can give on inputs in [-1, 1], and
 * the last layer's weight scale such that `out` is exactly a power of two. So nothing can wrap around: a model that
 * does not fit is refused, never computed wrongly. `boost` is a free exact multiplication by 2^boost where the weights
 * alone cannot fill the scale (their integers are bounded by the kernel in `dense.ts`).
 * Must not load the library.
 */
import { SealstreamError } from "../errors.ts";
import type { Network } from "../network/definition.ts";
import { type Weights, weightsFault } from "../network/weights.ts";
import { OUTPUT_SCALE_BITS } from "./blob.ts";
import { MAX_WEIGHT } from "./dense.ts";
import { type CkksParameters, dataLimbs } from "./parameters.ts";

/** Bits kept free between the largest value and half the modulus, for noise. */
const MARGIN_BITS = 1;
/** A weight of fewer bits changes predictions (measured: 2^7 rounds a 64-32-10 network away). */
const MIN_WEIGHT_BITS = 10;
/** Beyond this the encryption noise of the inputs, 2^-15 at the default scale, is all that is left. */
const MOST_WEIGHT_BITS = 20;
/** Below this a logit has fewer good bits than argmax needs. */
const MIN_OUTPUT_BITS = 30;
/** Fraction bits with which a bias is rounded before it is brought to its scale. */
const BIAS_FRACTION_BITS = 40;

/** One dense layer in integers. Rows and inputs that rounding made constant are gone. */
export interface PlannedLayer {
  /** Primes at which the layer is computed. */
  readonly limbs: number;
  /** Rows: ciphertexts this layer makes. */
  readonly rows: number;
  /** Inputs: ciphertexts of the layer before. */
  readonly inputs: number;
  /** [rows][inputs] */
  readonly weights: Int32Array;
  /** [rows], at `scale`. */
  readonly biases: readonly bigint[];
  /** Scale of the layer's result before square and rescale. */
  readonly scale: number;
}

/** Where a class's result comes from: a row of the last layer, or a plain number when no weight survived rounding. */
export type PlannedOutput = { readonly row: number } | { readonly constant: number };

export interface EvaluationPlan {
  readonly layers: readonly PlannedLayer[];
  /** One per class. */
  readonly outputs: readonly PlannedOutput[];
  /** log2 of the exact multiplication before the last rescale; 0: none. */
  readonly boostBits: number;
  /** log2 of the scale of every result. */
  readonly outputScaleBits: number;
}

/** Sentence about why a network cannot run under a parameter set at all, or null. Weights may still be too large. */
export function depthFault(network: Network, parameters: CkksParameters): string | null {
  const deepest = dataLimbs(parameters) - 1;
  const isPlain = network.layers.every(
    ({ kind, activation }) => kind === undefined && typeof activation === "string",
  );
  if (!isPlain) return "only dense layers with square or none can be evaluated so far";
  return network.layers.length <= deepest
    ? null
    : `a network of ${network.layers.length} dense layers needs ${network.layers.length + 1} data primes, ${parameters.id} has ${deepest + 1}`;
}

/**
 * Plans one model.
 * @param primes the set's primes in order, the key prime last
 * @throws checkpoint-invalid when weights do not fit the network
 * @throws limit-exceeded when the network is too deep for the parameters or a logit could wrap around
 */
export function planEvaluation(
  network: Network,
  weights: Weights,
  parameters: CkksParameters,
  primes: readonly bigint[],
): EvaluationPlan {
  const fault = weightsFault(network, weights);
  if (fault !== null) {
    throw new SealstreamError("checkpoint-invalid", `The model cannot be evaluated: ${fault}.`);
  }
  const tooDeep = depthFault(network, parameters);
  if (tooDeep !== null) throw new SealstreamError("limit-exceeded", `CKKS: ${tooDeep}.`);
  const bounds = valueBounds(weights);
  const scales = chooseScales({ weights, bounds, parameters, primes });
  return quantize(weights, scales);
}

/** Largest |value| of each layer before its activation, for inputs in [-1, 1]. */
function valueBounds(weights: Weights): number[] {
  let inputBounds: number[] | null = null;
  return weights.layers.map(({ kernel, bias }) => {
    const before = inputBounds;
    const units = Array.from(bias, (b, unit) => {
      let bound = Math.abs(b);
      for (let input = 0; input < kernel.length / bias.length; input += 1) {
        const weight = Math.abs(kernel[input * bias.length + unit] ?? 0);
        bound += weight * (before === null ? 1 : (before[input] ?? 0));
      }
      return bound;
    });
    inputBounds = units.map((bound) => bound * bound);
    return Math.max(...units);
  });
}

interface Scales {
  readonly layers: readonly { limbs: number; weightScale: number; scale: number }[];
  readonly boostBits: number;
  readonly outputScaleBits: number;
}

function bitsOf(value: number): number {
  return Math.max(0, Math.log2(value));
}

/** What the choice of scales depends on. */
interface Model {
  readonly weights: Weights;
  /** Per layer, from `valueBounds`. */
  readonly bounds: readonly number[];
  readonly parameters: CkksParameters;
  readonly primes: readonly bigint[];
}

function chooseScales(model: Model): Scales {
  const { bounds, parameters, primes } = model;
  const primeBits = primes.map((prime) => Math.log2(Number(prime)));
  const logitBits = Math.ceil(bitsOf(bounds.at(-1) ?? 1));
  const room = Math.floor(primeBits[0] ?? 0) - 1 - MARGIN_BITS - logitBits;
  const outputScaleBits = Math.min(room, OUTPUT_SCALE_BITS.most);
  if (outputScaleBits >= MIN_OUTPUT_BITS) {
    for (let bits = MOST_WEIGHT_BITS; bits >= MIN_WEIGHT_BITS; bits -= 1) {
      const scales = tryScales(model, bits, outputScaleBits);
      if (scales !== null) return scales;
    }
  }
  throw new SealstreamError(
    "limit-exceeded",
    `CKKS: a logit of this model could reach 2^${logitBits}, too large for ${parameters.id}; train with smaller weights or take larger primes.`,
  );
}

/** The scales with `bits` for hidden weights, or null when something would wrap around or the last layer gets fewer. */
function tryScales(model: Model, bits: number, outputScaleBits: number): Scales | null {
  const { weights, bounds, parameters, primes } = model;
  const depth = weights.layers.length;
  const layers: { limbs: number; weightScale: number; scale: number }[] = [];
  let scale = 2 ** parameters.scaleBits;
  let boostBits = 0;
  for (const [index, { kernel }] of weights.layers.entries()) {
    const limbs = depth + 1 - index;
    const prime = Number(primes[limbs - 1] ?? 0n);
    const modulusBits = primes
      .slice(0, limbs)
      .reduce((sum, value) => sum + Math.log2(Number(value)), 0);
    const most = bitsOf(MAX_WEIGHT) - Math.log2(Math.max(maxAbsolute(kernel), Number.MIN_VALUE));
    const valueBits = bitsOf(bounds[index] ?? 1);
    if (index < depth - 1) {
      const zScale = scale * 2 ** bits;
      const squareBits = 2 * (Math.log2(zScale) + valueBits);
      if (bits > most || squareBits + 1 + MARGIN_BITS > modulusBits) return null;
      layers.push({ limbs, weightScale: 2 ** bits, scale: zScale });
      scale = zScale ** 2 / prime;
      continue;
    }
    const needed = outputScaleBits + Math.log2(prime) - Math.log2(scale);
    boostBits = Math.max(0, Math.ceil(needed - Math.min(most, MOST_WEIGHT_BITS)));
    if (needed - boostBits < Math.min(bits, MOST_WEIGHT_BITS - 1)) return null;
    const weightScale = (2 ** (outputScaleBits - boostBits) * prime) / scale;
    layers.push({ limbs, weightScale, scale: scale * weightScale });
  }
  return { layers, boostBits, outputScaleBits };
}

function maxAbsolute(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/**
 * Rounds weights. A hidden unit whose weights all round to zero would be a transparent ciphertext: it is the constant
 * bias^2 and moves, in floats, into the biases behind it.
 */
function quantize(weights: Weights, scales: Scales): EvaluationPlan {
  const layers: PlannedLayer[] = [];
  let outputs: PlannedOutput[] = [];
  let live: number[] | null = null;
  let constants = new Map<number, number>();
  for (const [index, { kernel, bias }] of weights.layers.entries()) {
    const { limbs, weightScale, scale } = scales.layers[index] ?? {
      limbs: 1,
      weightScale: 1,
      scale: 1,
    };
    const width = bias.length;
    const inputs: readonly number[] =
      live ?? Array.from({ length: kernel.length / width }, (_, i) => i);
    const rows: Int32Array[] = [];
    const biases: bigint[] = [];
    const nextLive: number[] = [];
    const nextConstants = new Map<number, number>();
    outputs = [];
    for (let unit = 0; unit < width; unit += 1) {
      let offset = bias[unit] ?? 0;
      for (const [input, value] of constants) offset += value * (kernel[input * width + unit] ?? 0);
      const row = Int32Array.from(inputs, (input) =>
        Math.round((kernel[input * width + unit] ?? 0) * weightScale),
      );
      if (row.some((weight) => weight !== 0)) {
        outputs.push({ row: rows.length });
        nextLive.push(unit);
        rows.push(row);
        biases.push(fixedPoint(offset, scale));
      } else {
        outputs.push({ constant: offset });
        nextConstants.set(unit, offset * offset);
      }
    }
    layers.push({
      limbs,
      rows: rows.length,
      inputs: inputs.length,
      weights: concat(rows),
      biases,
      scale,
    });
    live = nextLive;
    constants = nextConstants;
  }
  return { layers, outputs, boostBits: scales.boostBits, outputScaleBits: scales.outputScaleBits };
}

function concat(rows: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(rows.reduce((sum, row) => sum + row.length, 0));
  let at = 0;
  for (const row of rows) {
    all.set(row, at);
    at += row.length;
  }
  return all;
}

function fixedPoint(value: number, scale: number): bigint {
  const fraction = BigInt(Math.round(value * 2 ** BIAS_FRACTION_BITS));
  return (fraction * BigInt(Math.round(scale))) >> BigInt(BIAS_FRACTION_BITS);
}
