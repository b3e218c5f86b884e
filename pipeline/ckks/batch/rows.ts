/**
 * One step of a circuit as integer rows over ciphertexts.
 *
 * A wire of the circuit is a sum of powers of earlier rows and a constant (`activation.ts`), so that a step's matrix is
 * first multiplied out over the ciphertexts that hold those powers. Then every entry w becomes round(w target / scale),
 * with the scale of the ciphertext it belongs to: wires of different scales and levels meet in one row. A row whose
 * integers are all zero is a constant and no ciphertext: it would be transparent.
 * Must not load the library.
 */
import type { CircuitStep } from "../../network/circuit.ts";
import { Overflow } from "./draft.ts";

/** Most sum of |w| over a row of integers, less one for the bias: the bound of assembly/multiply-accumulate.ts. */
export const MAX_ROW_WEIGHT: number = 2 ** 27 - 2;
/** Beyond this a weight says nothing more: it is as good as the noise of the inputs. */
const MOST_WEIGHT_BITS = 26;

/** A number of a record as what the program has of it: sum of coefficient x ciphertext, plus a constant. */
export interface Wire {
  readonly constant: number;
  /** What is wrong with the constant, one standard deviation: weights that rounded to zero. */
  readonly constantError: number;
  readonly terms: readonly { readonly ciphertext: number; readonly coefficient: number }[];
}

const NOTHING: Wire = { constant: 0, constantError: 0, terms: [] };

/** A step over ciphertexts, in floats. */
export interface FloatRows {
  /** Ciphertexts that are read, rising. */
  readonly inputs: Uint32Array;
  readonly rowStarts: Uint32Array;
  /** Places in `inputs`. */
  readonly columns: Uint32Array;
  readonly values: Float64Array;
  /** [rows] bias, constants of wires included. */
  readonly constants: Float64Array;
  /** [rows] */
  readonly constantErrors: Float64Array;
}

/** Multiplies a step's matrix out over the ciphertexts behind its wires. */
export function multiplyOut(step: CircuitStep, wires: readonly Wire[], shift: number): FloatRows {
  const read = Array.from(step.inputs, (wire) => wires[wire] ?? NOTHING);
  const inputs = Uint32Array.from(
    new Set(read.flatMap(({ terms }) => terms.map(({ ciphertext }) => ciphertext))),
  ).sort();
  const places = new Map(Array.from(inputs, (ciphertext, place) => [ciphertext, place]));
  const rowStarts = new Uint32Array(step.outputs + 1);
  const entries = step.columns.reduce((sum, at) => sum + (read[at]?.terms.length ?? 0), 0);
  const columns = new Uint32Array(entries);
  const values = new Float64Array(entries);
  let filled = 0;
  const constants = Float64Array.from(step.bias, (bias) => bias + shift);
  const constantErrors = new Float64Array(step.outputs);
  for (let row = 0; row < step.outputs; row += 1) {
    const to = step.rowStarts[row + 1] ?? 0;
    for (let entry = step.rowStarts[row] ?? 0; entry < to; entry += 1) {
      const value = step.values[entry] ?? 0;
      const wire = read[step.columns[entry] ?? 0];
      if (wire === undefined) continue;
      constants[row] = (constants[row] ?? 0) + value * wire.constant;
      // Most wires are exact, and a root for each weight would be half the work of planning a wide network.
      if (wire.constantError !== 0) {
        constantErrors[row] = Math.hypot(constantErrors[row] ?? 0, value * wire.constantError);
      }
      for (const { ciphertext, coefficient } of wire.terms) {
        columns[filled] = places.get(ciphertext) ?? 0;
        values[filled] = value * coefficient;
        filled += 1;
      }
    }
    rowStarts[row + 1] = filled;
  }
  return {
    inputs,
    rowStarts,
    columns: columns.subarray(0, filled),
    values: values.subarray(0, filled),
    constants,
    constantErrors,
  };
}

/** How the target scale is reached from each input's: target = scale x factor x 2^boost x 2^outputBoost. */
export interface Factors {
  /** Exact multiplication of every row afterwards. */
  readonly outputBoostBits: number;
  /** [inputs] exact multiplication before, in bits. */
  readonly boostBits: Uint8Array;
  /** [inputs] scale at which weights are rounded. */
  readonly weightScales: Float64Array;
}

/** @param scales [inputs] */
export function chooseFactors(rows: FloatRows, scales: Float64Array, target: number): Factors {
  const most = mostWeightBits(rows);
  const wanted = scales.map((scale) => Math.max(0, Math.ceil(Math.log2(target / scale) - most)));
  const outputBoostBits = wanted.reduce((least, bits) => Math.min(least, bits), 255);
  const boostBits = Uint8Array.from(wanted, (bits) => bits - outputBoostBits);
  const weightScales = scales.map(
    (scale, place) => target / (scale * 2 ** ((boostBits[place] ?? 0) + outputBoostBits)),
  );
  return { outputBoostBits, boostBits, weightScales };
}

/** log2 of the largest weight scale at which no row of integers passes MAX_ROW_WEIGHT, half a unit each for rounding. */
function mostWeightBits({ rowStarts, values }: FloatRows): number {
  let bits = MOST_WEIGHT_BITS;
  for (let row = 0; row + 1 < rowStarts.length; row += 1) {
    const from = rowStarts[row] ?? 0;
    const to = rowStarts[row + 1] ?? 0;
    let sum = Number.MIN_VALUE;
    for (let at = from; at < to; at += 1) sum += Math.abs(values[at] ?? 0);
    bits = Math.min(bits, Math.log2((MAX_ROW_WEIGHT - (to - from)) / sum));
  }
  return bits;
}

export interface IntegerRows {
  readonly rowStarts: Uint32Array;
  readonly columns: Uint32Array;
  readonly weights: Float64Array;
  readonly biases: readonly bigint[];
  /** For each row of the step its row here, or -1: a constant. */
  readonly live: Int32Array;
}

/** Rounds every entry; rows without a weight fall out. Zeros between others stay, so that rows keep equal columns. */
export function roundRows(rows: FloatRows, factors: Factors, biasScale: number): IntegerRows {
  const live = new Int32Array(rows.constants.length).fill(-1);
  const rounded = rows.values.map((value, at) =>
    Math.round(value * (factors.weightScales[rows.columns[at] ?? 0] ?? 0)),
  );
  const starts = [0];
  const kept: (readonly [number, number])[] = [];
  const biases: bigint[] = [];
  for (const [row, constant] of rows.constants.entries()) {
    const from = rows.rowStarts[row] ?? 0;
    const to = rows.rowStarts[row + 1] ?? 0;
    if (rounded.subarray(from, to).every((weight) => weight === 0)) continue;
    // By `chooseFactors` this cannot be: what the kernel cannot add up exactly must not reach it whatever was chosen.
    const sum = rounded.subarray(from, to).reduce((total, weight) => total + Math.abs(weight), 0);
    if (!(sum <= MAX_ROW_WEIGHT)) throw new Overflow("a sum of weights");
    live[row] = biases.length;
    kept.push([from, to]);
    starts.push((starts.at(-1) ?? 0) + to - from);
    biases.push(fixedPoint(constant, biasScale));
  }
  const columns = new Uint32Array(starts.at(-1) ?? 0);
  const weights = new Float64Array(columns.length);
  for (const [row, [from, to]] of kept.entries()) {
    columns.set(rows.columns.subarray(from, to), starts[row]);
    weights.set(rounded.subarray(from, to), starts[row]);
  }
  return { rowStarts: Uint32Array.from(starts), columns, weights, biases, live };
}

/** value x scale rounded, exactly: scales may pass 2^53 or be no integers, a bias may be far from 1. */
function fixedPoint(value: number, scale: number): bigint {
  if (!Number.isFinite(value)) throw new Overflow("a bias");
  const [left, leftBits] = integerOf(value);
  const [right, rightBits] = integerOf(scale);
  const bits = BigInt(leftBits + rightBits);
  const half = bits > 0n ? 1n << (bits - 1n) : 0n;
  return (left * right + half) >> bits;
}

/** A finite number as an integer divided by 2^bits. */
function integerOf(value: number): readonly [bigint, number] {
  let whole = value;
  let bits = 0;
  for (; !Number.isInteger(whole); bits += 1) whole *= 2;
  return [BigInt(whole), bits];
}
