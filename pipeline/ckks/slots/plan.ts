/**
 * Plans the evaluation of one model in slots: scales, levels, what it costs and how precise it will be.
 *
 * The plan of a model needs its weights; the scale of a fresh ciphertext must not, because the owner has none. It is
 * chosen for a nominal model of the same shape ({@link slotInputScaleBits}) and then taken as given.
 * Guarantees that nothing can wrap around for inputs in [-1, 1]: a model that does not fit is refused, never computed
 * wrongly. `precisionBits` = -log2 of the predicted largest error of a logit, {@link ERROR_DEVIATIONS} deviations of the
 * model in `noise.ts`. Must not load the library.
 */
import { SealstreamError } from "../../errors.ts";
import type { Circuit } from "../../network/circuit.ts";
import { CIPHERTEXT_POLYS, type CkksParameters } from "../parameters.ts";
import { type SlotCost, slotCost } from "./cost.ts";
import { type SlotLayout, type SlotPacking, slotLayout } from "./layout.ts";
import { slotStatistics, slotVariances } from "./noise.ts";
import { programTurns, type SlotProgram, slotProgram } from "./program.ts";
import type { StepScales } from "./scale-chain.ts";
import {
  bestScales,
  ERROR_DEVIATIONS,
  type ScaleProblem,
  type SlotScales,
  structures,
} from "./scales.ts";

/** shared: the consumer may learn the model. secret: unused slots masked, rescaled last, re-randomised. encrypted: the matrices are ciphertexts too, for the consumer's key. */
export type SlotMode = "shared" | "secret" | "encrypted";

export interface SlotPlanOptions {
  readonly mode: SlotMode;
  /** Bits of a logit that must be right; the cheapest plan that has them is taken. Default {@link GOAL_BITS}. */
  readonly precisionBits?: number;
  /** log2 of the scale of fresh ciphertexts; default {@link slotInputScaleBits}. */
  readonly inputScaleBits?: number;
  readonly prefer?: SlotPacking;
}

export interface SlotPlan {
  readonly mode: SlotMode;
  readonly parameters: CkksParameters;
  readonly layout: SlotLayout;
  readonly program: SlotProgram;
  readonly scales: Omit<SlotScales, "variance">;
  readonly inputScaleBits: number;
  /** Limbs of a fresh ciphertext: all data primes; `scales.structure.limbs` of them are used. */
  readonly inputLimbs: number;
  readonly outputPolys: number;
  readonly outputLimbs: number;
  /** log2 of the results' scale, whole. */
  readonly outputScaleBits: number;
  readonly recordsPerCiphertext: number;
  /** Rotations in slots, rising. */
  readonly rotationSteps: readonly number[];
  readonly levels: readonly { readonly limbs: number; readonly scaleBits: number }[];
  readonly precisionBits: number;
  readonly cost: SlotCost;
}

/** Bits asked for when nobody says: an error of a sixteenth leaves an argmax alone. */
export const GOAL_BITS = 4;

/**
 * Plans one model.
 * @param primes the set's primes in order, the key prime last, below 2^49
 * @throws limit-exceeded with the reason, when the packing, the depth or the modulus does not hold the model
 */
export function planSlots(
  circuit: Circuit,
  parameters: CkksParameters,
  primes: readonly bigint[],
  options: SlotPlanOptions,
): SlotPlan {
  const layout = layoutOrRefuse(circuit, parameters, options.prefer);
  const inputScaleBits =
    options.inputScaleBits ?? slotInputScaleBits(circuit, parameters, primes, options);
  const program = slotProgram(circuit, layout);
  const { mode, precisionBits: goal = GOAL_BITS } = options;
  const problem = problemOf({ program, primes, parameters, mode, inputScaleBits });
  const scales = chooseScales(problem, goal);
  if (scales === null) {
    throw new SealstreamError(
      "limit-exceeded",
      `The slots packing cannot hold this model under ${parameters.id}: its values do not fit the primes, or drown in noise; take more or larger primes, or predict.packing: batch.`,
    );
  }
  const last = scales.steps.at(-1);
  const outputLimbs = last === undefined ? 1 : keptLimbs(last, problem.statistics.logit, primes);
  return describePlan({
    mode,
    parameters,
    primes,
    layout,
    program,
    scales,
    outputLimbs,
    precisionBits: predictedBits(scales),
  });
}

/**
 * log2 of the scale at which an owner encrypts for a circuit of this shape, whatever its weights will be.
 * @throws limit-exceeded when no model of this shape fits
 */
export function slotInputScaleBits(
  circuit: Circuit,
  parameters: CkksParameters,
  primes: readonly bigint[],
  options: Omit<SlotPlanOptions, "inputScaleBits">,
): number {
  const layout = layoutOrRefuse(circuit, parameters, options.prefer);
  const program = slotProgram(nominalCircuit(circuit), layout);
  const { mode, precisionBits = GOAL_BITS } = options;
  const problem = problemOf({ program, primes, parameters, mode, inputScaleBits: null });
  const scales = chooseScales(problem, precisionBits);
  if (scales === null) {
    throw new SealstreamError(
      "limit-exceeded",
      `The slots packing cannot hold a network of this shape under ${parameters.id}; take more or larger primes, or predict.packing: batch.`,
    );
  }
  return scales.bits.input;
}

function layoutOrRefuse(
  circuit: Circuit,
  parameters: CkksParameters,
  prefer: SlotPacking | undefined,
): SlotLayout {
  const outcome = slotLayout(circuit, parameters, prefer);
  if (outcome.status === "ok") return outcome.layout;
  throw new SealstreamError(
    "limit-exceeded",
    `The slots packing cannot hold this network: ${outcome.reason}; use predict.packing: batch.`,
  );
}

/** Weights of a trained network's size: +-sqrt(3 / fan-in) / sqrt(3), signs by a fixed pattern; square activations. */
function nominalCircuit({ features, steps }: Circuit): Circuit {
  return {
    features,
    steps: steps.map((step) => {
      const values = new Float64Array(step.values.length);
      for (let row = 0; row < step.outputs; row += 1) {
        const from = step.rowStarts[row] ?? 0;
        const to = step.rowStarts[row + 1] ?? 0;
        for (let at = from; at < to; at += 1) values[at] = 1 / Math.sqrt(to - from);
      }
      const bias = new Float64Array(step.outputs).fill(0.5);
      return { ...step, values, bias, activation: step.activation === null ? null : [0, 0, 1] };
    }),
  };
}

interface ProblemParts {
  readonly program: SlotProgram;
  readonly primes: readonly bigint[];
  readonly parameters: CkksParameters;
  readonly mode: SlotMode;
  readonly inputScaleBits: number | null;
}

function problemOf({
  program,
  primes,
  parameters,
  mode,
  inputScaleBits,
}: ProblemParts): ScaleProblem {
  return {
    program,
    primes,
    inputScaleBits,
    statistics: slotStatistics(program),
    variances: slotVariances(parameters.polyModulusDegree, primes),
    secret: mode !== "shared",
    encrypted: mode === "encrypted",
  };
}

function predictedBits({ variance }: SlotScales): number {
  return -Math.log2(ERROR_DEVIATIONS * Math.sqrt(variance));
}

/** Standard deviations of the error that a logit must be larger than. */
const DROWNED_DEVIATIONS = 5;

/** Whether errors are as large as logits: weights round away, and what is left is a constant. Never a plan. */
function drowned({ statistics }: ScaleProblem, { variance }: SlotScales): boolean {
  return variance * DROWNED_DEVIATIONS ** 2 > statistics.logitSquare;
}

/** Structures from the cheapest on: the first that has the bits, else the most precise of all. */
function chooseScales(problem: ScaleProblem, goal: number): SlotScales | null {
  const { program, encrypted } = problem;
  const ordered = structures(problem)
    .map((structure) => ({ structure, cost: slotCost(program, structure, encrypted).transforms }))
    .sort((a, b) => a.cost - b.cost);
  let best: SlotScales | null = null;
  for (const { structure } of ordered) {
    const scales = bestScales(problem, structure);
    if (scales === null || drowned(problem, scales)) continue;
    if (best !== null && best.variance <= scales.variance) continue;
    best = scales;
    if (predictedBits(best) >= goal) break;
  }
  return best;
}

interface PlanParts {
  readonly mode: SlotMode;
  readonly parameters: CkksParameters;
  readonly primes: readonly bigint[];
  readonly layout: SlotLayout;
  readonly program: SlotProgram;
  readonly scales: Omit<SlotScales, "variance">;
  readonly outputLimbs: number;
  readonly precisionBits: number;
}

/** A plan from what was chosen. */
export function describePlan(parts: PlanParts): SlotPlan {
  const { mode, parameters, primes, layout, program, scales, outputLimbs, precisionBits } = parts;
  const { steps, structure, bits } = scales;
  return {
    mode,
    parameters,
    layout,
    program,
    scales,
    outputLimbs,
    precisionBits,
    inputScaleBits: bits.input,
    inputLimbs: primes.length - 1,
    outputPolys: CIPHERTEXT_POLYS,
    outputScaleBits: bits.sums.at(-1) ?? 0,
    recordsPerCiphertext: layout.recordsPerPack,
    rotationSteps: programTurns(program).map((turn) => turn * layout.recordsPerPack),
    levels: steps.flatMap(({ limbs, productScale, sumLimbs, sumScale }) => [
      { limbs, scaleBits: Math.log2(productScale) },
      { limbs: sumLimbs, scaleBits: Math.log2(sumScale) },
    ]),
    cost: slotCost(program, structure, mode === "encrypted"),
  };
}

/** Fewest limbs that still hold a logit: the others are dropped before the result is written. */
function keptLimbs(
  { outLimbs, outScale }: StepScales,
  logit: number,
  primes: readonly bigint[],
): number {
  const needed = Math.log2(outScale) + Math.max(0, Math.log2(logit)) + 2;
  let held = 0;
  for (let limbs = 1; limbs < outLimbs; limbs += 1) {
    held += Math.log2(Number(primes[limbs - 1] ?? 1n));
    if (held >= needed) return limbs;
  }
  return outLimbs;
}
