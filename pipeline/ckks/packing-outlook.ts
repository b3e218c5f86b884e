/**
 * What one packing under one parameter set would do for a network: records, bytes, milliseconds, precision, keys.
 *
 * `batch` and `slots` each take a circuit and say what a whole pack costs, or why it cannot be. Numbers are predictions
 * from counts of operations. Pure; must not load the library.
 */
import type { Circuit, CircuitStep } from "../network/circuit.ts";
import {
  CIPHERTEXT_HEADER_BYTES,
  type CkksParameters,
  dataLimbs,
  type ModelMode,
  modulusBits,
  type Packing,
  publicKeyBytes,
  slotCount,
} from "./parameters.ts";
import {
  accumulateMs,
  keySwitchMs,
  productMs,
  reRandomizeMs,
  rescaleMs,
  wireBytes,
  wireMs,
} from "./predict-cost.ts";

/** Where the evaluation stands after one affine step. */
export interface LevelOutlook {
  /** Primes left. */
  readonly limbs: number;
  /** log2 of the scale of its results. */
  readonly scaleBits: number;
}

export interface PackingOutlook {
  readonly packing: Packing;
  /** Records that one pack holds at most. */
  readonly packRecords: number;
  readonly ciphertextsIn: number;
  readonly ciphertextsOut: number;
  /** Data primes that an input is encrypted under. */
  readonly inputLimbs: number;
  /** log2 of the scale of an input. */
  readonly inputScaleBits: number;
  /** Bytes of a pack and of its results, however few records are in it. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Of one pack, on one core. */
  readonly ms: number;
  /** Right bits behind the binary point of every logit. */
  readonly precisionBits: number;
  /** Whether products of ciphertexts are relinearised. */
  readonly needsRelin: boolean;
  /** Rotations that need a key of their own, rising. */
  readonly rotationSteps: readonly number[];
  readonly evaluationKeyBytes: number;
  /** Working memory of one worker, beside the process itself. */
  readonly memoryBytes: number;
  readonly levels: readonly LevelOutlook[];
}

export type PackingVerdict =
  | { readonly status: "ok"; readonly outlook: PackingOutlook }
  /** `reason` is the end of a sentence, without a full stop. */
  | { readonly status: "refused"; readonly reason: string };

/** Bytes of a ciphertext's own header on the wire. */
const WIRE_HEADER_BYTES = 32;
/** Bytes of one residue in the evaluator's memory: a float64. */
const RING_RESIDUE_BYTES = 8;
/** Header of seeded evaluation keys, and of the seed of each of them. */
const SEED_BYTES = 81;

/** Squares that a step's activation takes one after the other. */
function squaresOf({ activation }: CircuitStep): number {
  return activation === null ? 0 : Math.ceil(Math.log2(Math.max(2, activation.length - 1)));
}

/** Products of ciphertexts that follow each other from the features to the logits. */
export function squareDepth(circuit: Circuit): number {
  return circuit.steps.reduce((sum, step) => sum + squaresOf(step), 0);
}

function tooDeep(circuit: Circuit, parameters: CkksParameters): string | null {
  const needed = squareDepth(circuit) + 1;
  const limbs = dataLimbs(parameters);
  if (needed <= limbs) return null;
  return `${needed - 1} products one after the other need ${needed} data primes, it has ${limbs}`;
}

/** Bytes of published evaluation keys: relinearisation and one key a step, seeded. */
export function evaluationKeyBytes(
  parameters: CkksParameters,
  { relin, steps }: { readonly relin: boolean; readonly steps: number },
): number {
  const key = (publicKeyBytes(parameters) + CIPHERTEXT_HEADER_BYTES) / 2 + SEED_BYTES;
  const keys = (relin ? 1 : 0) + steps;
  const places = steps > 0 ? parameters.polyModulusDegree * RING_RESIDUE_BYTES : 0;
  return Math.ceil(keys * dataLimbs(parameters) * key + places);
}

/** Fewest data primes with room for `depth` squares at the scale of inputs, or null when there are not as many. */
function limbsFor({ coeffModulusBits, scaleBits }: CkksParameters, depth: number): number | null {
  const wanted = depth === 0 ? scaleBits + 24 : 2 * (scaleBits + 10) + 24;
  let bits = 0;
  for (const [index, each] of coeffModulusBits.slice(0, -1).entries()) {
    bits += each;
    if (bits >= wanted + Math.max(0, depth - 1) * 48 && index >= depth) return index + 1;
  }
  return null;
}

/** The network with one ciphertext per feature. */
export function batchOutlook(
  circuit: Circuit,
  parameters: CkksParameters,
  mode: ModelMode,
): PackingVerdict {
  const fault = tooDeep(circuit, parameters);
  if (fault !== null) return { status: "refused", reason: fault };
  const degree = parameters.polyModulusDegree;
  const depth = squareDepth(circuit);
  const inputLimbs = limbsFor(parameters, depth);
  if (inputLimbs === null) {
    const reason = `scales of ${parameters.scaleBits} bits need more bits than its data primes have`;
    return { status: "refused", reason };
  }
  const needsRelin = depth > 1 || (depth === 1 && mode !== "shared");
  const keyFault = keyPrimeFault(parameters, needsRelin);
  if (keyFault !== null) return { status: "refused", reason: keyFault };
  const outPolys = depth > 0 && !needsRelin ? 3 : 2;
  let limbs = inputLimbs;
  let ms = wireMs(2 * circuit.features * limbs, degree);
  let widest = 0;
  const levels: LevelOutlook[] = [];
  for (const [index, step] of circuit.steps.entries()) {
    const isLast = index === circuit.steps.length - 1;
    const polys = isLast ? outPolys : 2;
    ms += accumulateMs(polys * limbs * step.values.length, degree);
    widest = Math.max(widest, step.outputs + step.inputs.length);
    const squares = squaresOf(step);
    for (let round = 0; round < squares; round += 1) {
      ms += step.outputs * productMs(3 * limbs, degree);
      if (needsRelin) ms += step.outputs * keySwitchMs(degree, limbs);
      if (needsRelin || depth > 1) {
        ms += step.outputs * rescaleMs(degree, limbs, 2);
        limbs -= 1;
      }
    }
    levels.push({ limbs, scaleBits: parameters.scaleBits });
  }
  const classes = circuit.steps.at(-1)?.outputs ?? 0;
  ms += classes * rescaleMs(degree, limbs, outPolys);
  if (mode !== "shared") ms += classes * reRandomizeMs(degree, 1);
  const packRecords = slotCount(parameters);
  return {
    status: "ok",
    outlook: {
      packing: "batch",
      packRecords,
      ciphertextsIn: circuit.features,
      ciphertextsOut: classes,
      inputLimbs,
      inputScaleBits: parameters.scaleBits,
      bytesIn: circuit.features * (wireBytes(parameters, inputLimbs, 2) + WIRE_HEADER_BYTES),
      bytesOut: classes * (wireBytes(parameters, 1, outPolys) + WIRE_HEADER_BYTES),
      ms,
      // Fresh noise is 2^15 to 2^16 in a slot; weights and squares take about four bits more.
      precisionBits: parameters.scaleBits - 19,
      needsRelin,
      rotationSteps: [],
      evaluationKeyBytes: evaluationKeyBytes(parameters, { relin: needsRelin, steps: 0 }),
      memoryBytes: widest * 3 * inputLimbs * degree * RING_RESIDUE_BYTES,
      levels,
    },
  };
}

/** A key switch under a small key prime adds more noise than a result has bits. */
function keyPrimeFault(parameters: CkksParameters, needsKeySwitch: boolean): string | null {
  const { coeffModulusBits } = parameters;
  const key = coeffModulusBits.at(-1) ?? 0;
  const largest = Math.max(...coeffModulusBits.slice(0, -1));
  if (!needsKeySwitch || key >= largest - 4) return null;
  return `its key prime of ${key} bits is too small to switch keys under primes of ${largest} bits`;
}

function powerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, value)));
}

/** The network with a record's features in the slots of one ciphertext. */
export function slotsOutlook(
  circuit: Circuit,
  parameters: CkksParameters,
  mode: ModelMode,
): PackingVerdict {
  const fault = tooDeep(circuit, parameters) ?? keyPrimeFault(parameters, true);
  if (fault !== null) return { status: "refused", reason: fault };
  const degree = parameters.polyModulusDegree;
  const slots = slotCount(parameters);
  const widths = [circuit.features, ...circuit.steps.map(({ outputs }) => outputs)];
  const places = powerOfTwo(widths[0] ?? 1) * powerOfTwo(widths[1] ?? 1);
  const replicated = circuit.steps.length <= 2 && places <= slots;
  const needed = replicated ? places : powerOfTwo(Math.max(...widths));
  if (needed > slots) {
    return { status: "refused", reason: `a record takes ${needed} slots, it has ${slots}` };
  }
  const packRecords = slots / needed;
  const steps = new Set<number>();
  let ms = wireMs(2 * dataLimbs(parameters), degree);
  let limbs = dataLimbs(parameters);
  const levels: LevelOutlook[] = [];
  for (const [index, step] of circuit.steps.entries()) {
    const before = powerOfTwo(widths[index] ?? 1);
    const after = powerOfTwo(step.outputs);
    const rotations = replicated
      ? Math.log2(before)
      : 2 * Math.ceil(Math.sqrt(Math.min(before, after)));
    for (let turn = 0; turn < rotations; turn += 1)
      steps.add((index * 64 + turn + 1) * packRecords);
    ms += rotations * keySwitchMs(degree, limbs);
    ms += productMs((replicated ? 1 : Math.max(before, after)) * 2 * limbs, degree);
    const squares = squaresOf(step);
    for (let round = 0; round < squares; round += 1) {
      ms += productMs(3 * limbs, degree) + keySwitchMs(degree, limbs) + rescaleMs(degree, limbs, 2);
      limbs -= 1;
    }
    levels.push({ limbs, scaleBits: parameters.scaleBits });
  }
  if (mode !== "shared") ms += reRandomizeMs(degree, 1);
  const keys = evaluationKeyBytes(parameters, { relin: true, steps: steps.size });
  const spare = modulusBits(parameters) - (parameters.coeffModulusBits.at(-1) ?? 0);
  return {
    status: "ok",
    outlook: {
      packing: "slots",
      packRecords,
      ciphertextsIn: 1,
      ciphertextsOut: 1,
      inputLimbs: dataLimbs(parameters),
      inputScaleBits: parameters.scaleBits,
      bytesIn: wireBytes(parameters, dataLimbs(parameters), 2) + WIRE_HEADER_BYTES,
      bytesOut: wireBytes(parameters, 1, 2) + WIRE_HEADER_BYTES,
      ms,
      // 92 bits of data primes gave 1.4 bits, 120 gave 8: a third of each bit beyond goes into precision.
      precisionBits: Math.min(20, (spare - 88) / 4 - 4 * Math.max(0, squareDepth(circuit) - 1)),
      needsRelin: true,
      rotationSteps: [...steps].sort((a, b) => a - b),
      evaluationKeyBytes: keys,
      memoryBytes: 2 * keys + 64 * 2 * dataLimbs(parameters) * degree * RING_RESIDUE_BYTES,
      levels,
    },
  };
}
