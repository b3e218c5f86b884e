/**
 * Writes the operations of one step of a circuit into a draft: rows, activation, the wires that come out.
 *
 * Levels. A row over anything but fresh features is rescaled once, behind its weights, so that D affine steps with
 * products between them need D primes. Products of two polynomials have three; they are relinearised where their rows
 * are, which a row does for all that it reads at once. Under `shared` the last step is left at three polynomials unless keys are needed before; under
 * `secret` it is relinearised and always rescaled, which drowns what the weights did to the noise.
 */
import type { CircuitStep } from "../../network/circuit.ts";
import { type PowerForm, polynomialAt, powerForm, powerSplit } from "./activation.ts";
import {
  addCiphertext,
  ciphertextOf,
  type Draft,
  finish,
  multiply,
  Overflow,
  primeAt,
} from "./draft.ts";
import {
  boundOf,
  type Estimate,
  type Probe,
  powerSize,
  scaled,
  sizeOf,
  totalError,
} from "./noise.ts";
import type { BatchLevel, BatchMode } from "./program.ts";
import {
  chooseFactors,
  type Factors,
  type FloatRows,
  multiplyOut,
  roundRows,
  type Wire,
} from "./rows.ts";

export interface StepRequest {
  readonly step: CircuitStep;
  readonly wires: readonly Wire[];
  readonly features: number;
  readonly mode: BatchMode;
  readonly isLast: boolean;
  /** Scale of the rows before the activation. */
  readonly scale: number;
  /** Primes that rows are rescaled by, where they are at all. */
  readonly rescales: number;
}

export interface StepResult {
  /** One per output. */
  readonly wires: readonly Wire[];
  readonly level: BatchLevel;
}

const ONCE_MORE = { boostBits: 0, relinearize: false, rescale: true };

/** Whether rows over these inputs are rescaled; see the head of this file. */
export function isRescaled(
  inputs: Uint32Array,
  { features, mode, isLast }: Pick<StepRequest, "features" | "mode" | "isLast">,
): boolean {
  return inputs.some((input) => input >= features) || (isLast && mode === "secret");
}

/** @throws Overflow when something could wrap around */
export function writeStep(draft: Draft, request: StepRequest): StepResult {
  const { step, wires, isLast, mode, scale } = request;
  const form = powerForm(step.activation);
  const float = multiplyOut(step, wires, form.shift);
  const sources = Array.from(float.inputs, (id) => ciphertextOf(draft, id));
  // A step over constants alone reads no ciphertext.
  const limbs = sources.reduce((least, s) => Math.min(least, s.limbs), draft.primes.length - 1);
  const rescales = isRescaled(float.inputs, request) ? request.rescales : 0;
  if (rescales >= limbs) throw new Overflow("too many primes are needed: a value");
  let target = scale;
  for (let at = 0; at < rescales; at += 1) target *= primeAt(draft, limbs - at);
  const factors = chooseFactors(
    float,
    Float64Array.from(sources, (s) => s.scale),
    target,
  );
  const rowScale = target / 2 ** factors.outputBoostBits;
  const integers = roundRows(float, factors, rowScale);
  const estimates = estimateRows(draft, float, factors);
  const polys = sources.some((source) => source.polys === 3) ? 3 : 2;
  const relinearizes = !(isLast && mode === "shared") || hasKeys(draft);
  const raw = writeRows(draft, { float, factors, integers, estimates, limbs, polys, rowScale });
  const out = Array.from(integers.live, (live, row): Wire => {
    const id = raw[live];
    if (id === undefined) {
      const constant = (float.constants[row] ?? 0) - form.shift;
      const estimate = estimates[row];
      return constantWire(step.activation, constant, estimate ? totalError(estimate) : 0);
    }
    const relinearize = relinearizes && draft.ciphertexts[id]?.polys === 3;
    const asked = { boostBits: factors.outputBoostBits, relinearize, rescale: rescales > 0 };
    let done = finish(draft, id, asked);
    for (let at = 1; at < rescales; at += 1) done = finish(draft, done, ONCE_MORE);
    return writePowers(draft, done, form, scale);
  });
  return { wires: out, level: levelOf(draft, { scale, limbs, factors, raw }) };
}

/** Whether keys are needed already: then results are relinearised too, since three polynomials are rescaled with far more noise. */
function hasKeys({ ops }: Draft): boolean {
  return ops.some((op) => op.kind === "finish" && op.relinearize);
}

/** A row whose weights all rounded to zero: its activation's value, and how far that may be off. */
function constantWire(
  activation: CircuitStep["activation"],
  constant: number,
  error: number,
): Wire {
  const at = (z: number): number => polynomialAt(activation, z);
  const value = at(constant);
  const off = Math.max(
    Math.abs(at(constant + error) - value),
    Math.abs(at(constant - error) - value),
  );
  return { constant: value, constantError: off, terms: [] };
}

/** Bounds, sizes and errors of every row, before rescale. */
function estimateRows(draft: Draft, float: FloatRows, factors: Factors): Estimate[] {
  const inputs = Array.from(float.inputs, (id) => ciphertextOf(draft, id).estimate);
  return Array.from(float.constants, (constant, row) => {
    let low = constant;
    let high = constant;
    let size = constant ** 2;
    let error = (float.constantErrors[row] ?? 0) ** 2;
    const to = float.rowStarts[row + 1] ?? 0;
    for (let at = float.rowStarts[row] ?? 0; at < to; at += 1) {
      const place = float.columns[at] ?? 0;
      const input = inputs[place];
      if (input === undefined) continue;
      const weight = Math.abs(float.values[at] ?? 0);
      const rounding = 1 / (factors.weightScales[place] ?? 1) / Math.sqrt(12);
      const part = scaled(input, float.values[at] ?? 0);
      // Rounding moves a weight by half a unit of its scale at most: less than twice its deviation.
      const moved = 2 * rounding * boundOf(input);
      low += part.low - moved;
      high += part.high + moved;
      size += (weight * input.rms) ** 2;
      error += (weight * input.error) ** 2 + (rounding * sizeOf(input)) ** 2;
    }
    const probes = [0, 1].map((at) => probeRow({ float, factors, row }, inputs, at));
    const rms = Math.min(boundOf({ low, high }), Math.sqrt(size));
    return { low, high, rms, error: Math.sqrt(error), probes };
  });
}

/** A row on one of the two records that are followed, with the weights that it really gets. */
function probeRow(
  {
    float,
    factors,
    row,
  }: { readonly float: FloatRows; readonly factors: Factors; readonly row: number },
  inputs: readonly Estimate[],
  probe: number,
): Probe {
  let value = float.constants[row] ?? 0;
  let drift = 0;
  let common = 0;
  const to = float.rowStarts[row + 1] ?? 0;
  for (let at = float.rowStarts[row] ?? 0; at < to; at += 1) {
    const place = float.columns[at] ?? 0;
    const input = inputs[place]?.probes[probe];
    if (input === undefined) continue;
    const weight = float.values[at] ?? 0;
    const scale = factors.weightScales[place] ?? 1;
    const rounded = Math.round(weight * scale) / scale;
    value += weight * input.value;
    drift += rounded * (input.value + input.drift) - weight * input.value;
    common += weight * input.common;
  }
  return { value, drift, common };
}

interface RowsToWrite {
  readonly float: FloatRows;
  readonly factors: Factors;
  readonly integers: ReturnType<typeof roundRows>;
  readonly estimates: readonly Estimate[];
  readonly limbs: number;
  readonly polys: 2 | 3;
  readonly rowScale: number;
}

/** The affine operation and what brings its inputs to its scale; the ciphertexts of the rows that are no constants. */
function writeRows(draft: Draft, rows: RowsToWrite): number[] {
  const { float, factors, integers, estimates, limbs, polys, rowScale } = rows;
  if (integers.biases.length === 0) return [];
  const chosen = Array.from(float.inputs, (id, place) => ({
    id,
    boostBits: factors.boostBits[place] ?? 0,
  }));
  const isFeature = (id: number): boolean => draft.ciphertexts[id]?.place === "wire";
  const fromWire = chosen.every(({ id, boostBits }) => boostBits === 0 && isFeature(id));
  const inputs = Uint32Array.from(chosen, ({ id, boostBits }) => {
    if (fromWire) return id;
    return isFeature(id)
      ? unpack(draft, id, boostBits, limbs)
      : finish(draft, id, { boostBits, relinearize: false, rescale: false });
  });
  // Because a third polynomial that nothing is added to would be all zero, which the consumer refuses.
  const polysOf = (live: number): 2 | 3 => {
    for (
      let at = integers.rowStarts[live] ?? 0;
      at < (integers.rowStarts[live + 1] ?? 0);
      at += 1
    ) {
      const id = inputs[integers.columns[at] ?? 0] ?? -1;
      if (integers.weights[at] !== 0 && draft.ciphertexts[id]?.polys === 3) return 3;
    }
    return 2;
  };
  const outputs: number[] = [];
  for (const [row, live] of integers.live.entries()) {
    const estimate = estimates[row];
    if (live < 0 || estimate === undefined) continue;
    const made = {
      limbs,
      polys: polysOf(live),
      scale: rowScale,
      estimate,
      place: "memory",
    } as const;
    outputs.push(addCiphertext(draft, made, "a sum"));
  }
  const { rowStarts, columns, weights, biases } = integers;
  draft.ops.push({
    kind: "affine",
    inputs,
    fromWire,
    limbs,
    polys,
    rowStarts,
    columns,
    weights,
    biases,
    outputs: Uint32Array.from(outputs),
  });
  return outputs;
}

function unpack(draft: Draft, feature: number, boostBits: number, limbs: number): number {
  const { scale, estimate } = ciphertextOf(draft, feature);
  const made = {
    limbs,
    polys: 2,
    scale: scale * 2 ** boostBits,
    estimate,
    place: "memory",
  } as const;
  const output = addCiphertext(draft, made, "a feature");
  draft.ops.push({ kind: "unpack", feature, boostBits, output });
  return output;
}

/** The powers of a row that an activation needs, as a wire. */
function writePowers(draft: Draft, row: number, form: PowerForm, scale: number): Wire {
  const size = ciphertextOf(draft, row).estimate;
  const products = new Map<number, number>([[1, row]]);
  const ready = new Map<number, number>([[1, row]]);
  const product = (power: number): number => {
    const known = products.get(power);
    if (known !== undefined) return known;
    const [left, right] = powerSplit(power);
    const made = multiply(draft, [operand(left), operand(right)], powerSize(size, power));
    products.set(power, made);
    return made;
  };
  /** A power as a factor of a higher one: two polynomials, at the scale of the rows. */
  const operand = (power: number): number => {
    const known = ready.get(power);
    if (known !== undefined) return known;
    const id = product(power);
    const made = ciphertextOf(draft, id);
    const missing = Math.log2((scale * primeAt(draft, made.limbs)) / made.scale);
    const boostBits = Math.max(0, Math.round(missing));
    const finished = finish(draft, id, { boostBits, relinearize: true, rescale: true });
    ready.set(power, finished);
    return finished;
  };
  // From the highest: a power that was made ready for a higher one is read in that form.
  const terms = form.powers.toReversed().map(({ power, coefficient }) => {
    const made = product(power);
    return { ciphertext: ready.get(power) ?? made, coefficient };
  });
  return { constant: form.constant, constantError: 0, terms };
}

function levelOf(
  draft: Draft,
  {
    scale,
    limbs,
    factors,
    raw,
  }: {
    readonly scale: number;
    readonly limbs: number;
    readonly factors: Factors;
    readonly raw: readonly number[];
  },
): BatchLevel {
  const bounds = raw.map((id) => boundOf(ciphertextOf(draft, id).estimate));
  return {
    limbs,
    scaleBits: Math.log2(scale),
    weightBits: Math.log2(factors.weightScales.reduce((least, s) => Math.min(least, s), 2 ** 64)),
    rows: raw.length,
    valueBits: Math.log2(bounds.reduce((most, bound) => Math.max(most, bound), 0)),
  };
}
