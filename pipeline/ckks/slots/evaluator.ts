/**
 * Evaluates a planned model on one ciphertext whose slots hold the features of a few records.
 *
 * A step: products with the matrix's diagonals (baby turns share one decomposition, giant turns one mod-down), perhaps a
 * rescale, fold stages (all turns of a stage share a decomposition; c0 is brought down once at the end), mask, rescale,
 * bias, and square with relinearization merged into its rescale. Where each happens is the plan's (`scales.ts`). With an
 * encrypted model a product has three polynomials; they are added up first and relinearized once a sum.
 * Guarantees: takes its memory when it is made, none while it evaluates; digits are balanced everywhere, because results
 * need not be SEAL's bit for bit and have less noise so. In the secret and encrypted modes a result is rescaled last,
 * masked, and re-randomised by a fresh encryption of zero that the caller brings. Must hold no secret key and make no
 * randomness. Inputs have been checked by who wrote them to {@link SlotEvaluator.input}.
 */
import { SealstreamError } from "../../errors.ts";
import type { RingGaloisKeys, RingRelinKeys } from "../evaluation-keys.ts";
import type { Ring } from "../ring.ts";
import type { LoadedModel } from "./model.ts";
import type { SlotPlan } from "./plan.ts";
import type { SlotMatrix } from "./program.ts";

const POLYS = 2;
/** Polynomials of a product of two ciphertexts. */
const PRODUCT_POLYS = 3;

export interface SlotKeys {
  /** null only when the plan neither squares nor has an encrypted model. */
  readonly relin: RingRelinKeys | null;
  readonly galois: RingGaloisKeys;
}

export interface SlotEvaluatorOptions {
  readonly plan: SlotPlan;
  readonly model: LoadedModel;
  readonly keys: SlotKeys;
  /** Called at the end of each phase, for profiles. */
  readonly phase?: (name: string) => void;
}

export interface SlotEvaluator {
  /** Where the fresh ciphertext goes: [2][inputLimbs][N]. */
  readonly input: number;
  /** Limbs of the ciphertext at `input`: those of the fresh one that the plan uses. */
  readonly inputLimbs: number;
  /**
   * @param records records in the ciphertext, 1..recordsPerCiphertext
   * @param zero address of a fresh encryption of zero, [2][outputLimbs][N]; needed unless the mode is shared
   * @returns address of the result, [2][outputLimbs][N], until the next call
   */
  evaluate(records: number, zero?: number): number;
}

/** A ciphertext in memory. */
interface Held {
  readonly at: number;
  readonly limbs: number;
}

/** Work memory, one area for each use. */
interface Areas {
  /** A source brought to fewer limbs. */
  readonly dropped: number;
  readonly babies: number;
  readonly hoisted: number;
  readonly inner: number;
  readonly product: number;
  readonly terms: number;
  readonly part: number;
  readonly extended: number;
  readonly squared: number;
}

interface Toolbox {
  readonly ring: Ring;
  readonly plan: SlotPlan;
  readonly model: LoadedModel;
  readonly keys: SlotKeys;
  readonly areas: Areas;
  readonly phase: (name: string) => void;
}

/**
 * @throws limit-exceeded when the ring's memory does not hold the work areas
 * @throws key-missing when a rotation of the plan has no key
 */
export function createSlotEvaluator(ring: Ring, options: SlotEvaluatorOptions): SlotEvaluator {
  const { plan, model, keys, phase = () => undefined } = options;
  requireKeys(plan, keys);
  const limbs = plan.scales.structure.limbs;
  const inputLimbs = limbs;
  const bytes = ring.shapeBytes({ polys: POLYS, limbs });
  const productBytes = ring.shapeBytes({ polys: PRODUCT_POLYS, limbs });
  const input = ring.take(bytes);
  const babyTurns = Math.max(
    ...plan.program.steps.flatMap(({ matrices }) => matrices.map(mostBaby)),
  );
  const areas: Areas = {
    dropped: ring.take(bytes),
    babies: ring.take(Math.max(1, babyTurns) * bytes),
    hoisted: ring.take(ring.hoistedBytes(limbs)),
    inner: ring.take(productBytes),
    product: ring.take(productBytes),
    terms: ring.take(productBytes),
    part: ring.take(bytes),
    extended: ring.take(ring.extendedBytes(limbs)),
    squared: ring.take(productBytes),
  };
  const results = plan.scales.steps.map(() => ring.take(bytes));
  const tools: Toolbox = { ring, plan, model, keys, areas, phase };
  return {
    input,
    inputLimbs,
    evaluate(records, zero) {
      if (!(Number.isInteger(records) && records >= 1 && records <= plan.recordsPerCiphertext)) {
        throw new SealstreamError("internal", "A slots pack has another number of records.");
      }
      if ((zero === undefined) !== (plan.mode === "shared")) {
        throw new SealstreamError("internal", "An encryption of zero is missing, or one too many.");
      }
      const vectors: Held[] = [{ at: input, limbs: inputLimbs }];
      for (const [index, to] of results.entries()) {
        vectors.push({ at: to, limbs: runStep(tools, vectors, { index, records, to }) });
        phase(`step ${index}`);
      }
      return finish(tools, vectors.at(-1) ?? { at: input, limbs: inputLimbs }, zero);
    },
  };
}

function requireKeys(
  { rotationSteps, program, mode }: SlotPlan,
  { relin, galois }: SlotKeys,
): void {
  const missing = rotationSteps.find((step) => galois.key(step) === null);
  const needsRelin = mode === "encrypted" || program.steps.some(({ square }) => square);
  if (missing !== undefined || (needsRelin && relin === null)) {
    throw new SealstreamError(
      "key-missing",
      "The consumer's evaluation keys lack what the slots packing of this network needs; run sealstream keys create for the consumer zone anew.",
    );
  }
}

function mostBaby({ groups }: SlotMatrix): number {
  return Math.max(0, ...groups.flatMap(({ terms }) => terms.map(({ baby }) => baby)));
}

interface StepJob {
  readonly index: number;
  readonly records: number;
  /** Where the result goes. */
  readonly to: number;
}

/** @returns limbs of the result */
function runStep(
  tools: Toolbox,
  vectors: readonly Held[],
  { index, records, to }: StepJob,
): number {
  const { ring, plan, model } = tools;
  const step = plan.program.steps[index];
  const scales = plan.scales.steps[index];
  const structure = plan.scales.structure.steps[index];
  if (step === undefined || scales === undefined || structure === undefined) {
    throw new SealstreamError("internal", "A slots plan lacks a step of its program.");
  }
  const { foldLimbs, sumLimbs, outLimbs } = scales;
  for (const [matrix, { source }] of step.matrices.entries()) {
    const target = matrix === 0 ? to : tools.areas.part;
    const held = dropLimbs(tools, vectors[source], scales.limbs);
    runMatrix(tools, { index, matrix, held, foldLimbs, to: target });
    if (matrix > 0) ring.add(to, target, { polys: POLYS, limbs: foldLimbs }, to);
  }
  const isLast = index === plan.program.steps.length - 1;
  const mask = isLast ? model.mask(records) : null;
  if (mask !== null) ring.multiplyPlain(to, mask, { polys: POLYS, limbs: foldLimbs }, to);
  if (sumLimbs < foldLimbs) ring.rescale(to, { polys: POLYS, limbs: foldLimbs }, to);
  const bias = model.bias(index, records);
  if (model.encrypted) ring.add(to, bias, { polys: POLYS, limbs: sumLimbs }, to);
  else ring.addPlain(to, bias, { polys: POLYS, limbs: sumLimbs }, to);
  if (!step.square) return sumLimbs;
  const by = { keys: relinKeys(tools), digits: "balanced" } as const;
  ring.square(to, sumLimbs, tools.areas.squared);
  if (outLimbs < sumLimbs) ring.relinearizeRescale(tools.areas.squared, sumLimbs, by, to);
  else ring.relinearize(tools.areas.squared, sumLimbs, by, to);
  return outLimbs;
}

function relinKeys({ keys }: Toolbox): RingRelinKeys {
  if (keys.relin === null)
    throw new SealstreamError("internal", "Relinearization keys are missing.");
  return keys.relin;
}

/** A ciphertext over its first `limbs` limbs, in place when it has no more. */
function dropLimbs({ ring, areas }: Toolbox, held: Held | undefined, limbs: number): Held {
  if (held === undefined) throw new SealstreamError("internal", "A slots program reads no vector.");
  if (held.limbs === limbs) return held;
  copyLimbs(ring, held, limbs, areas.dropped);
  return { at: areas.dropped, limbs };
}

function copyLimbs(ring: Ring, { at, limbs: held }: Held, limbs: number, to: number): void {
  const count = limbs * ring.degree;
  for (let poly = 0; poly < POLYS; poly += 1) {
    const from = at + poly * held * ring.limbBytes;
    ring.floats(to + poly * limbs * ring.limbBytes, count).set(ring.floats(from, count));
  }
}

interface MatrixJob {
  readonly index: number;
  readonly matrix: number;
  readonly held: Held;
  readonly foldLimbs: number;
  readonly to: number;
}

/** Products, early rescale and folds of one source into `to`. */
function runMatrix(tools: Toolbox, { index, matrix, held, foldLimbs, to }: MatrixJob): void {
  const { ring, plan, model, keys } = tools;
  const part = plan.program.steps[index]?.matrices[matrix];
  const addresses = model.steps[index]?.matrices[matrix];
  if (part === undefined || addresses === undefined) {
    throw new SealstreamError("internal", "A loaded model lacks a matrix of its program.");
  }
  const { limbs } = held;
  const product = multiplyGroups(tools, part, addresses, held);
  if (foldLimbs < limbs) ring.rescale(product, { polys: POLYS, limbs }, product);
  if (part.folds.length > 0) {
    const rounds = part.folds.map((turns) => turns.map((turn) => turn * plan.recordsPerCiphertext));
    ring.rotateAndSum(product, foldLimbs, { keys: keys.galois, rounds }, to);
  } else {
    const count = POLYS * foldLimbs * ring.degree;
    ring.floats(to, count).set(ring.floats(product, count));
  }
}

/** Sum over the groups; the address of its two polynomials. */
function multiplyGroups(
  tools: Toolbox,
  { groups }: SlotMatrix,
  addresses: readonly (readonly number[])[],
  held: Held,
): number {
  const { ring, plan, keys, areas } = tools;
  const { limbs } = held;
  const shape = { polys: POLYS, limbs };
  const babyAt = turnBabies(tools, groups, held);
  let plain = false;
  let turned = false;
  for (const [index, { giant, terms }] of groups.entries()) {
    const to = giant === 0 ? areas.product : areas.inner;
    const factors = terms.map(({ baby }, term) => ({
      source: babyAt(baby),
      weight: addresses[index]?.[term] ?? 0,
    }));
    multiplyTerms(tools, factors, limbs, to);
    if (giant === 0) {
      plain = true;
      continue;
    }
    ring.hoist(to, limbs, areas.hoisted);
    const step = giant * plan.recordsPerCiphertext;
    const by = { step, keys: keys.galois, hoisted: areas.hoisted, add: turned };
    ring.accumulateHoisted(to, limbs, by, areas.extended);
    turned = true;
  }
  if (!turned) return areas.product;
  ring.modDown(areas.extended, limbs, areas.inner);
  if (!plain) return areas.inner;
  ring.add(areas.product, areas.inner, shape, areas.product);
  return areas.product;
}

/** Turns a source by every baby step in use; where each is. */
function turnBabies(
  { ring, plan, keys, areas }: Toolbox,
  groups: SlotMatrix["groups"],
  { at, limbs }: Held,
): (baby: number) => number {
  const bytes = ring.shapeBytes({ polys: POLYS, limbs });
  const babies = new Set(groups.flatMap(({ terms }) => terms.map(({ baby }) => baby)));
  babies.delete(0);
  if (babies.size > 0) ring.hoist(at, limbs, areas.hoisted);
  const place = (baby: number): number => (baby === 0 ? at : areas.babies + (baby - 1) * bytes);
  for (const baby of babies) {
    const step = baby * plan.recordsPerCiphertext;
    ring.rotateHoisted(at, limbs, { step, keys: keys.galois, hoisted: areas.hoisted }, place(baby));
  }
  return place;
}

/** to = sum of source x weight; relinearized once when weights are ciphertexts. */
function multiplyTerms(
  tools: Toolbox,
  factors: readonly { readonly source: number; readonly weight: number }[],
  limbs: number,
  to: number,
): void {
  const { ring, model, areas } = tools;
  const shape = { polys: POLYS, limbs };
  if (!model.encrypted) {
    for (const [index, { source, weight }] of factors.entries()) {
      if (index === 0) ring.multiplyPlain(source, weight, shape, to);
      else ring.multiplyPlainAdd(source, weight, shape, to);
    }
    return;
  }
  for (const [index, { source, weight }] of factors.entries()) {
    ring.multiply(source, weight, limbs, index === 0 ? areas.squared : areas.terms);
    if (index > 0) {
      ring.add(areas.squared, areas.terms, { polys: PRODUCT_POLYS, limbs }, areas.squared);
    }
  }
  ring.relinearize(areas.squared, limbs, { keys: relinKeys(tools), digits: "balanced" }, to);
}

/** Drops limbs that a result does not need and re-randomises it. */
function finish(
  { ring, plan, areas, phase }: Toolbox,
  held: Held,
  zero: number | undefined,
): number {
  const limbs = plan.outputLimbs;
  let { at } = held;
  if (held.limbs > limbs) {
    copyLimbs(ring, held, limbs, areas.product);
    at = areas.product;
  }
  if (zero !== undefined) ring.add(at, zero, { polys: POLYS, limbs }, at);
  phase("finish");
  return at;
}
