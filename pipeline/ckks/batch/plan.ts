/**
 * From a circuit in floats to the integers, scales and levels of its evaluation on ciphertexts, one per feature.
 *
 * The choice. All rows in front of an activation get one scale 2^s: they are computed at 2^s times the prime that their
 * rescale divides by, and their weights are rounded at whatever is missing between the scale of what they read and that.
 * A large s leaves little for the weights behind it and less room below the modulus, a small one rounds the weights in
 * front of it away; so every s is tried and the one with the smallest predicted error (`noise.ts`) is taken. Results get
 * the largest 2^t that the first prime has room for. Primes that are not needed are dropped before the first step, which
 * costs nothing; more are kept, or rows rescaled by two primes at once so that their weights keep more digits, where a value
 * would wrap around otherwise or the precision that was asked for is not reached.
 *
 * Guarantees: nothing can wrap around for features in [0, 1], or in [-1, 1] where it is asked for (`draft.ts`); a model that does not fit is refused with a
 * sentence, never computed wrongly. Must not load the library.
 */
import { SealstreamError } from "../../errors.ts";
import type { Circuit, CircuitStep } from "../../network/circuit.ts";
import type { CkksParameters } from "../parameters.ts";
import { dataLimbs, RESIDUE_BYTES } from "../parameters.ts";
import { powerDepth, powerForm } from "./activation.ts";
import { addCiphertext, ciphertextOf, type Draft, Overflow } from "./draft.ts";
import {
  featureEstimate,
  type LowestFeature,
  noiseModel,
  precisionOf,
  totalError,
} from "./noise.ts";
import { type OutputForm, outputForm } from "./outputs.ts";
import { placeCiphertexts } from "./placement.ts";
import type { BatchLevel, BatchMode, BatchOutput, BatchPlan } from "./program.ts";
import type { Wire } from "./rows.ts";
import { isRescaled, writeStep } from "./steps.ts";
import { tileProgram } from "./tiles.ts";

/** Bits that the scale of rows may lie above the inputs': their first weights. */
const LEAST_WEIGHT_BITS = 4;
const MOST_WEIGHT_BITS = 24;
/** Below this a logit's error is as large as the logit: such a plan is refused. */
const MIN_PRECISION_BITS = 0;
/** What is good enough where nothing is asked for. */
const USUAL_PRECISION_BITS = 8;
/** Primes kept beyond those that are divided by, for room. */
const MOST_SPARE_LIMBS = 2;
/** What working memory may take before layers are taken apart: a worker holds keys and a pack's bits beside it. */
const MOST_PLACE_BYTES = 96 * 1024 * 1024;
/** Scales are tried in steps of this many bits, then around the best. */
const COARSE_BITS = 2;

export interface BatchRequest {
  readonly circuit: Circuit;
  readonly parameters: CkksParameters;
  /** In order, the key prime last. */
  readonly primes: readonly bigint[];
  readonly mode: BatchMode;
  /** -log2 of the error that is wanted: the cheapest way that promises it is taken, else the most precise. */
  readonly precisionBits?: number;
  /** Bytes of working memory above which wide layers are evaluated in groups (`tiles.ts`). */
  readonly mostPlaceBytes?: number;
  /** Limbs that inputs carry, 1 up to all data primes, which is what they carry unless said. */
  readonly wireLimbs?: number;
  /** Of any record that owners pack; 0 unless said. */
  readonly lowest?: LowestFeature | undefined;
}

interface Attempt {
  readonly draft: Draft;
  readonly wires: readonly Wire[];
  readonly levels: readonly BatchLevel[];
  readonly inputLimbs: number;
  readonly output: OutputForm;
  readonly error: number;
}

/**
 * Plans one model.
 * @throws limit-exceeded with a sentence when the circuit is too deep for the parameters, a value could wrap around, or
 *   nothing of a logit would be left
 * @throws checkpoint-invalid when a number of the circuit is not finite
 */
export function planBatch(request: BatchRequest): BatchPlan {
  const { parameters, mode } = request;
  checkNumbers(request.circuit);
  const circuit = withLinearEnd(request.circuit);
  const most = request.wireLimbs ?? dataLimbs(parameters);
  if (!(Number.isInteger(most) && most >= 1 && most <= dataLimbs(parameters))) {
    throw new RangeError("inputs of limbs that the parameters do not have");
  }
  const isCut = most < dataLimbs(parameters);
  const least = leastLimbs(request.circuit, mode);
  if (least > most) {
    throw tooMuch(
      isCut
        ? `this network needs ${least} data primes (mode ${mode}), packs carry ${most}; let encrypt and predict use the same pipeline file`
        : `this network needs ${least} data primes (mode ${mode}), ${parameters.id} has ${most}; take a larger parameter set or a flatter network`,
    );
  }
  const under = isCut ? `the first ${most} primes of ${parameters.id}` : parameters.id;
  const goal = request.precisionBits ?? USUAL_PRECISION_BITS;
  let best: Attempt | null = null;
  let fault = "";
  for (const way of waysOf(circuit, mode, most)) {
    const found = bestAttempt({ ...request, circuit }, way);
    if (typeof found === "string") fault ||= found;
    else if (best === null || found.error < best.error) best = found;
    if (best !== null && precisionOf(best.error) >= goal) break;
  }
  if (best === null) {
    throw tooMuch(`${fault} under ${under}; train with smaller weights or take larger primes`);
  }
  if (!(precisionOf(best.error) >= MIN_PRECISION_BITS)) {
    throw tooMuch(
      `the logits of this model would drown in rounding and noise under ${under}; take larger or more primes`,
    );
  }
  return finishPlan(request, best);
}

/** How the primes of a set are spent. */
interface Way {
  readonly inputLimbs: number;
  /** Steps from this one on are rescaled by two primes: their weights keep more digits. */
  readonly doubleFrom: number;
  /** Primes that results keep. */
  readonly outputLimbs: 1 | 2;
}

/** Ways to spend up to `most` primes, the cheapest first. */
function waysOf(circuit: Circuit, mode: BatchMode, most: number): Way[] {
  const ways: Way[] = [];
  // Of one product, no logit is so large that one prime were too small for it.
  const isDeep = rescaleDepth(circuit, mode) > 1;
  let before = 0;
  for (let doubleFrom = circuit.steps.length; doubleFrom >= 0; doubleFrom -= 1) {
    const least = rescaleDepth(circuit, mode, doubleFrom) + 1;
    // A step that is not rescaled at all changes nothing.
    if (least === before) continue;
    before = least;
    for (
      let inputLimbs = least;
      inputLimbs <= Math.min(most, least + MOST_SPARE_LIMBS);
      inputLimbs += 1
    ) {
      ways.push({ inputLimbs, doubleFrom, outputLimbs: 1 });
      if (isDeep && inputLimbs > least) ways.push({ inputLimbs, doubleFrom, outputLimbs: 2 });
    }
  }
  return ways.sort((a, b) => a.inputLimbs - b.inputLimbs);
}

function tooMuch(reason: string): SealstreamError {
  return new SealstreamError("limit-exceeded", `CKKS: ${reason}.`);
}

function checkNumbers({ steps }: Circuit): void {
  const finite = steps.every(
    ({ values, bias, activation }) =>
      values.every(Number.isFinite) &&
      bias.every(Number.isFinite) &&
      (activation ?? []).every(Number.isFinite),
  );
  if (!finite) {
    throw new SealstreamError("checkpoint-invalid", "The model holds a number that is not finite.");
  }
}

/** A circuit that ends in an activation gets a step that copies it: results are rows. */
function withLinearEnd(circuit: Circuit): Circuit {
  const last = circuit.steps.at(-1);
  if (last === undefined || last.activation === null) return circuit;
  const { outputs } = last;
  const wires = circuit.steps.reduce((sum, step) => sum + step.outputs, circuit.features);
  const copy: CircuitStep = {
    inputs: Uint32Array.from({ length: outputs }, (_, index) => wires - outputs + index),
    outputs,
    rowStarts: Uint32Array.from({ length: outputs + 1 }, (_, index) => index),
    columns: Uint32Array.from({ length: outputs }, (_, index) => index),
    values: new Float64Array(outputs).fill(1),
    bias: new Float64Array(outputs),
    activation: null,
  };
  return { ...circuit, steps: [...circuit.steps, copy] };
}

/** Fewest limbs of an input under which any model of this shape could be evaluated, whatever its weights are. */
export function leastLimbs(circuit: Circuit, mode: BatchMode): number {
  return rescaleDepth(withLinearEnd(circuit), mode) + 1;
}

/** Rescales on the longest way from a feature to a result. */
export function rescaleDepth(
  { features, steps }: Circuit,
  mode: BatchMode,
  doubleFrom: number = steps.length,
): number {
  const depths: number[] = new Array<number>(features).fill(0);
  for (const [index, { inputs, outputs, activation }] of steps.entries()) {
    const isDeep = inputs.some((wire) => wire >= features);
    const isHidden = index === steps.length - 1 && mode === "secret";
    const before = inputs.reduce((most, wire) => Math.max(most, depths[wire] ?? 0), 0);
    const rescales = isDeep || isHidden ? (index < doubleFrom ? 1 : 2) : 0;
    const depth = before + rescales + powerDepth(powerForm(activation));
    for (let output = 0; output < outputs; output += 1) depths.push(depth);
  }
  return depths.at(-1) ?? 0;
}

/** The attempt with the smallest error over all scales, or why there is none. */
function bestAttempt(request: BatchRequest, way: Way): Attempt | string {
  const { scaleBits } = request.parameters;
  let best: (Attempt & { readonly bits: number }) | null = null;
  let fault = "a value";
  const range: number[] = [];
  for (let bits = LEAST_WEIGHT_BITS; bits <= MOST_WEIGHT_BITS; bits += COARSE_BITS)
    range.push(bits);
  const tried = new Set<number>();
  const tryBits = (bits: number): boolean => {
    tried.add(bits);
    const found = attempt(request, way, scaleBits + bits);
    if (typeof found === "string") {
      fault = found;
      return false;
    }
    if (best === null || found.error < best.error) best = { ...found, bits };
    return true;
  };
  // Larger scales overflow all the more.
  for (const bits of range) if (!tryBits(bits)) break;
  const coarse = (best as (Attempt & { bits: number }) | null)?.bits ?? LEAST_WEIGHT_BITS;
  for (const bits of [coarse - 1, coarse + 1]) if (!tried.has(bits)) tryBits(bits);
  return best ?? fault;
}

function attempt(request: BatchRequest, way: Way, rowBits: number): Attempt | string {
  try {
    return draftProgram(request, way, rowBits);
  } catch (error) {
    if (error instanceof Overflow) return error.message;
    throw error;
  }
}

function draftProgram(
  request: BatchRequest,
  { inputLimbs, doubleFrom, outputLimbs }: Way,
  rowBits: number,
): Attempt {
  const { circuit, parameters, primes, mode } = request;
  const noise = noiseModel(parameters.polyModulusDegree, primes);
  const draft: Draft = { primes, noise, ciphertexts: [], ops: [] };
  const { features, steps } = circuit;
  const wires: Wire[] = [];
  const inputScale = 2 ** parameters.scaleBits;
  const { lowest = 0 } = request;
  const estimate = featureEstimate(noise, { scale: inputScale, features, lowest });
  for (let feature = 0; feature < features; feature += 1) {
    const made = {
      limbs: inputLimbs,
      polys: 2,
      scale: inputScale,
      estimate,
      place: "wire",
    } as const;
    wires.push({
      constant: 0,
      constantError: 0,
      terms: [{ ciphertext: addCiphertext(draft, made, "a feature"), coefficient: 1 }],
    });
  }
  const levels: BatchLevel[] = [];
  let outputs: readonly Wire[] = [];
  let output: OutputForm = { bits: 0, limbs: 1 };
  for (const [index, step] of steps.entries()) {
    const isLast = index === steps.length - 1;
    const rescales = index < doubleFrom ? 1 : 2;
    if (isLast) {
      const isDivided = isRescaled(step.inputs, { features, mode, isLast });
      const divided = isDivided ? rescales : 0;
      output = outputForm(draft, { step, wires, limbs: outputLimbs, rescales: divided });
    }
    const scale = 2 ** (isLast ? output.bits : rowBits);
    const result = writeStep(draft, {
      ...{ step, wires, features, mode, isLast, scale },
      rescales,
    });
    for (const wire of result.wires) wires.push(wire);
    levels.push(result.level);
    outputs = result.wires;
  }
  const errors = outputs.map(({ terms, constantError }) =>
    terms.reduce(
      (sum, { ciphertext }) => sum + totalError(ciphertextOf(draft, ciphertext).estimate),
      constantError,
    ),
  );
  // Where all is constant nothing is wrong but the noise of a fresh zero.
  const error = errors.reduce((most, e) => Math.max(most, e), noise.encryption / 2 ** output.bits);
  return { draft, wires: outputs, levels, inputLimbs, output, error };
}

function finishPlan(request: BatchRequest, found: Attempt): BatchPlan {
  const { parameters, mode, circuit, mostPlaceBytes = MOST_PLACE_BYTES } = request;
  const { wireLimbs = dataLimbs(parameters) } = request;
  const { draft, wires } = found;
  const outputs = wires.map(({ constant, terms }): BatchOutput => {
    const [term] = terms;
    return term === undefined ? { constant } : { ciphertext: term.ciphertext };
  });
  const kept = outputs.flatMap((output) => ("ciphertext" in output ? [output.ciphertext] : []));
  const sizes = Uint32Array.from(draft.ciphertexts, ({ limbs, polys }) => limbs * polys);
  const keeps = new Set(kept);
  const mostLimbs = Math.floor(mostPlaceBytes / (parameters.polyModulusDegree * RESIDUE_BYTES));
  const ops = tileProgram({ ops: draft.ops, sizes, kept: keeps, mostLimbs });
  const { places, limbs: placeLimbs } = placeCiphertexts(ops, sizes, keeps);
  const result = kept.map((id) => ciphertextOf(draft, id).polys);
  return {
    mode,
    parameters: parameters.id,
    features: circuit.features,
    inputScaleBits: parameters.scaleBits,
    inputLimbs: found.inputLimbs,
    wireLimbs,
    ciphertexts: draft.ciphertexts.map(({ limbs, polys, scale }, id) => ({
      limbs,
      polys,
      scale,
      place: places[id] ?? -1,
    })),
    ops,
    outputs,
    outputScale: 2 ** found.output.bits,
    outputPolys: result.includes(3) ? 3 : 2,
    outputLimbs: found.output.limbs,
    needsRelinKeys: draft.ops.some((op) => op.kind === "finish" && op.relinearize),
    needsPublicKey: mode === "secret" || kept.length < outputs.length,
    precisionBits: precisionOf(found.error),
    levels: found.levels,
    placeLimbs,
  };
}
