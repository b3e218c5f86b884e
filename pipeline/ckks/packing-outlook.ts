/**
 * What one packing under one parameter set would do for a network: records, bytes, milliseconds, precision, keys.
 *
 * The plans that the evaluators run (`batch/plan.ts`, `slots/plan.ts`) are made for the assumed weights and their
 * operations counted; what they refuse is refused here with their words. Milliseconds are predictions
 * (`predict-cost.ts`). Pure; must not load the library.
 */
import { isSealstreamError } from "../errors.ts";
import type { Circuit, CircuitStep } from "../network/circuit.ts";
import { affineBytes } from "./batch/affine.ts";
import type { LowestFeature } from "./batch/noise.ts";
import { planBatch } from "./batch/plan.ts";
import type { BatchOp, BatchPlan } from "./batch/program.ts";
import {
  CIPHERTEXT_HEADER_BYTES,
  CIPHERTEXT_POLYS,
  type CkksParameters,
  dataLimbs,
  type ModelMode,
  type Packing,
  publicKeyBytes,
  RESIDUE_BYTES,
  slotCount,
} from "./parameters.ts";
import {
  accumulateMs,
  keySwitchMs,
  productMs,
  reRandomizeMs,
  rescaleMs,
  transformMs,
  wireMs,
} from "./predict-cost.ts";
import { primesOf } from "./primes.ts";
import { slotLayout } from "./slots/layout.ts";
import { planSlots, type SlotPlan } from "./slots/plan.ts";
import { rotationSteps, slotProgramFault } from "./slots/program.ts";
import { wireCiphertextBytes } from "./wire-ciphertext.ts";

/** Where the evaluation stands at one affine step. */
export interface LevelOutlook {
  /** Primes left. */
  readonly limbs: number;
  /** log2 of the scale of its values. */
  readonly scaleBits: number;
}

export interface PackingOutlook {
  readonly packing: Packing;
  /** Records that one pack holds at most. */
  readonly packRecords: number;
  readonly ciphertextsIn: number;
  readonly ciphertextsOut: number;
  /** Primes of an input that are read; owners send no others in batch packs. */
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
  /** `keys`: the evaluation keys are too large; `reason` is the end of a sentence, without a full stop. */
  | { readonly status: "refused"; readonly kind: "fit" | "keys"; readonly reason: string };

/** What a verdict is asked about. */
export interface PackingQuestion {
  readonly circuit: Circuit;
  readonly parameters: CkksParameters;
  readonly mode: ModelMode;
  /** Right bits that are wanted: slots take the cheapest plan that has them. */
  readonly precisionBits: number;
  readonly lowest: LowestFeature;
}

/** Bytes of the seed that stands for the second polynomial of a key (`key-blob.ts`). */
const SEED_BYTES = 81;
/** Largest difference between the key prime and a data prime that keeps a key switch below a rescale's noise. */
const KEY_PRIME_SLACK_BITS = 4;
/** Owners encrypt at a scale chosen before there is a model: bits kept for one that is less gentle than assumed. */
const SLOTS_RESERVE_BITS = 3;
/** Largest published evaluation keys: a blob of topic `keys` (`crypto/key-payload.ts`). */
const MAX_EVALUATION_KEY_BYTES = 64 * 1024 * 1024;
const MIB = 1024 * 1024;
/** Most memory of a worker's kernels. */
const MOST_WORKER_BYTES = 384 * MIB;
/** Most rotation steps of one key set (`key-blob.ts`). */
const MAX_ROTATION_STEPS = 256;
/** Ciphertexts that a slots evaluation holds at a time, generously. */
const SLOTS_CIPHERTEXTS = 64;

/** Squares that a step's activation takes one after the other. */
function squaresOf({ activation }: CircuitStep): number {
  return activation === null ? 0 : Math.ceil(Math.log2(Math.max(2, activation.length - 1)));
}

/** Products of ciphertexts that follow each other from the features to the logits. */
export function squareDepth({ features, steps }: Circuit): number {
  const depths = new Array<number>(features).fill(0);
  for (const step of steps) {
    const before = step.inputs.reduce((most, wire) => Math.max(most, depths[wire] ?? 0), 0);
    const depth = before + squaresOf(step);
    for (let output = 0; output < step.outputs; output += 1) depths.push(depth);
  }
  return depths.at(-1) ?? 0;
}

/** Whether the slots packing can hold a circuit like this under some set. */
export function hasSlots(circuit: Circuit): boolean {
  return slotProgramFault(circuit) === null;
}

/** Bytes of published evaluation keys: relinearisation and one key a step, seeded. */
export function evaluationKeyBytes(
  parameters: CkksParameters,
  { relin, steps }: { readonly relin: boolean; readonly steps: number },
): number {
  const key = (publicKeyBytes(parameters) + CIPHERTEXT_HEADER_BYTES) / CIPHERTEXT_POLYS;
  const keys = (relin ? 1 : 0) + steps;
  const places = steps > 0 ? parameters.polyModulusDegree * RESIDUE_BYTES : 0;
  return Math.ceil(keys * dataLimbs(parameters) * (key + SEED_BYTES) + places);
}

/** The network in this packing, or why it cannot be. */
export function packingVerdict(packing: Packing, question: PackingQuestion): PackingVerdict {
  try {
    return packing === "batch" ? batchVerdict(question) : slotsVerdict(question);
  } catch (error) {
    if (!isSealstreamError(error, "limit-exceeded")) throw error;
    const reason = endOfSentence(error.message).replace(` under ${question.parameters.id}`, "");
    return { status: "refused", kind: "fit", reason };
  }
}

function batchVerdict(question: PackingQuestion): PackingVerdict {
  if (question.mode === "encrypted") {
    return { status: "refused", kind: "fit", reason: "encrypted models are evaluated in slots" };
  }
  const outlook = batchOutlook(question, question.mode);
  return keysRefusal(question.parameters, outlook) ?? withinMemory(outlook);
}

/** Keys are judged before scales are searched for: they depend on the shape alone. */
function slotsVerdict(question: PackingQuestion): PackingVerdict {
  const { circuit, parameters } = question;
  const found = slotLayout(circuit, parameters);
  if (found.status === "refused") return { status: "refused", kind: "fit", reason: found.reason };
  const needsRelin = squareDepth(circuit) > 0;
  const steps = rotationSteps(circuit, found.layout);
  const keys = evaluationKeyBytes(parameters, { relin: needsRelin, steps: steps.length });
  const form = { needsRelin, rotationSteps: steps, evaluationKeyBytes: keys };
  return keysRefusal(parameters, form) ?? withinMemory(slotsOutlook(question));
}

/** A worker's kernels have a bound of their own (`wire-engine.ts`). */
function withinMemory(outlook: PackingOutlook): PackingVerdict {
  if (outlook.memoryBytes <= MOST_WORKER_BYTES) return { status: "ok", outlook };
  const reason = `it needs ${Math.ceil(outlook.memoryBytes / MIB)} MiB of working memory, more than the ${MOST_WORKER_BYTES / MIB} of a worker`;
  return { status: "refused", kind: "fit", reason };
}

/** The planners refuse in whole sentences, with advice behind a semicolon. */
function endOfSentence(message: string): string {
  return message.replace(/^CKKS: /, "").replace(/(?:;.*)?\.$/, "");
}

type KeyForm = Pick<PackingOutlook, "needsRelin" | "rotationSteps" | "evaluationKeyBytes">;

/** Key switches need a key prime as large as the data primes, and keys must fit what topic `keys` carries. */
function keysRefusal(
  { coeffModulusBits }: CkksParameters,
  { needsRelin, rotationSteps: steps, evaluationKeyBytes: bytes }: KeyForm,
): PackingVerdict | null {
  if (!needsRelin && steps.length === 0) return null;
  const key = coeffModulusBits.at(-1) ?? 0;
  const largest = Math.max(...coeffModulusBits.slice(0, -1));
  if (key < largest - KEY_PRIME_SLACK_BITS) {
    const reason = `its key prime of ${key} bits is too small to switch keys under primes of ${largest} bits`;
    return { status: "refused", kind: "fit", reason };
  }
  if (steps.length > MAX_ROTATION_STEPS) {
    const reason = `${steps.length} rotation keys are more than the ${MAX_ROTATION_STEPS} that a key set holds`;
    return { status: "refused", kind: "keys", reason };
  }
  if (bytes <= MAX_EVALUATION_KEY_BYTES) return null;
  const reason = `evaluation keys of ${Math.ceil(bytes / MIB)} MiB are more than the ${MAX_EVALUATION_KEY_BYTES / MIB} that are published`;
  return { status: "refused", kind: "keys", reason };
}

function batchOutlook(question: PackingQuestion, mode: "shared" | "secret"): PackingOutlook {
  const { parameters } = question;
  const plan = planBatch({ ...question, primes: primesOf(parameters), mode });
  const classes = plan.outputs.length;
  const degree = parameters.polyModulusDegree;
  const inBytes = wireCiphertextBytes(parameters, CIPHERTEXT_POLYS, plan.inputLimbs);
  const keys = { relin: plan.needsRelinKeys, steps: 0 };
  return {
    packing: "batch",
    packRecords: slotCount(parameters),
    ciphertextsIn: plan.features,
    ciphertextsOut: classes,
    inputLimbs: plan.inputLimbs,
    inputScaleBits: plan.inputScaleBits,
    bytesIn: plan.features * inBytes,
    bytesOut: classes * wireCiphertextBytes(parameters, plan.outputPolys, plan.outputLimbs),
    ms: batchMs(plan, parameters),
    precisionBits: plan.precisionBits,
    needsRelin: plan.needsRelinKeys,
    rotationSteps: [],
    evaluationKeyBytes: plan.needsRelinKeys ? evaluationKeyBytes(parameters, keys) : 0,
    // Published keys are seeded: expanded, they are twice as large.
    memoryBytes:
      plan.placeLimbs * degree * RESIDUE_BYTES +
      affineBytes(parameters, plan) +
      (plan.needsRelinKeys ? 2 * evaluationKeyBytes(parameters, keys) : 0),
    levels: plan.levels.map(({ limbs, scaleBits }) => ({ limbs, scaleBits })),
  };
}

function batchMs(plan: BatchPlan, parameters: CkksParameters): number {
  const { polyModulusDegree: degree, coeffModulusBits } = parameters;
  const read = CIPHERTEXT_POLYS * plan.features * plan.inputLimbs;
  const written = plan.outputs.length * plan.outputPolys * plan.outputLimbs;
  const work = plan.ops.reduce((sum, op) => sum + opMs(plan, op, degree), 0);
  const fresh =
    plan.mode === "secret"
      ? plan.outputs.length * reRandomizeMs(degree, coeffModulusBits.length)
      : 0;
  return wireMs(read + written, degree) + work + fresh;
}

function opMs({ ciphertexts }: BatchPlan, op: BatchOp, degree: number): number {
  if (op.kind === "affine") return accumulateMs(op.polys * op.limbs * op.columns.length, degree);
  const { limbs = 1, polys = CIPHERTEXT_POLYS } = ciphertexts[op.output] ?? {};
  if (op.kind === "unpack") return 0;
  if (op.kind === "product") return productMs(4 * limbs, degree);
  const from = ciphertexts[op.input]?.limbs ?? limbs;
  return (
    (op.relinearize ? keySwitchMs(degree, from) : 0) +
    (op.rescale ? rescaleMs(degree, from, polys) : 0)
  );
}

function slotsOutlook(question: PackingQuestion): PackingOutlook {
  const { circuit, parameters, mode, precisionBits } = question;
  const plan = planSlots(circuit, parameters, primesOf(parameters), {
    mode,
    precisionBits: precisionBits + SLOTS_RESERVE_BITS,
  });
  const degree = parameters.polyModulusDegree;
  const bytesIn = wireCiphertextBytes(parameters, CIPHERTEXT_POLYS, plan.inputLimbs);
  const needsRelin = squareDepth(circuit) > 0;
  const keys = evaluationKeyBytes(parameters, {
    relin: needsRelin,
    steps: plan.rotationSteps.length,
  });
  return {
    packing: "slots",
    packRecords: plan.recordsPerCiphertext,
    ciphertextsIn: 1,
    ciphertextsOut: 1,
    inputLimbs: plan.scales.structure.limbs,
    inputScaleBits: plan.inputScaleBits,
    bytesIn,
    bytesOut: wireCiphertextBytes(parameters, plan.outputPolys, plan.outputLimbs),
    ms: slotsMs(plan),
    precisionBits: plan.precisionBits,
    needsRelin,
    rotationSteps: plan.rotationSteps,
    evaluationKeyBytes: keys,
    memoryBytes:
      2 * keys + SLOTS_CIPHERTEXTS * CIPHERTEXT_POLYS * plan.inputLimbs * degree * RESIDUE_BYTES,
    levels: plan.levels,
  };
}

function slotsMs({ cost, mode, inputLimbs, outputLimbs, parameters }: SlotPlan): number {
  const degree = parameters.polyModulusDegree;
  const wires = CIPHERTEXT_POLYS * (inputLimbs + outputLimbs);
  const fresh = mode === "shared" ? 0 : reRandomizeMs(degree, inputLimbs + 1);
  return (
    wireMs(wires, degree) +
    cost.transforms * transformMs(degree) +
    productMs(cost.multiplies, degree) +
    fresh
  );
}
