/**
 * What a structure of a slots program costs, in operations: the measure by which structures are tried, and what a planner
 * turns into milliseconds. Counts are of this evaluator (`evaluator.ts`): fold stages keep c0's mod-down to the end, baby
 * steps share one decomposition, giant steps one mod-down. Must not know scales.
 */
import type { SlotMatrix, SlotProgram, SlotStep } from "./program.ts";

/** Where a step divides by a prime: products before folding, the sum, its square. */
export interface StepStructure {
  readonly early: boolean;
  readonly late: boolean;
  readonly square: boolean;
}

export interface SlotStructure {
  /** Limbs of the features that are used. */
  readonly limbs: number;
  readonly steps: readonly StepStructure[];
}

/** Limbs along a step. */
export interface StepLimbs {
  /** Of sources and products. */
  readonly limbs: number;
  readonly foldLimbs: number;
  /** Of the sum, when the bias is added. */
  readonly sumLimbs: number;
  readonly outLimbs: number;
}

/** Operations of one evaluation. */
export interface SlotCost {
  /** Decompositions of a ciphertext with a key product and a mod-down, by limbs: rotations, fold stages, relinearizations. */
  readonly keySwitches: readonly { readonly limbs: number; readonly count: number }[];
  /** Further turns that share a decomposition (baby steps, turns of a fold stage), by limbs. */
  readonly hoisted: readonly { readonly limbs: number; readonly count: number }[];
  /** Number-theoretic transforms of one limb. */
  readonly transforms: number;
  /** Products of one limb with one limb. */
  readonly multiplies: number;
}

/** Limbs of every step of a structure; outLimbs < 1 where it runs out of primes. */
export function structureLimbs({ steps }: SlotProgram, structure: SlotStructure): StepLimbs[] {
  const held = [structure.limbs];
  return steps.map(({ matrices }, index) => {
    const choice = structure.steps[index] ?? { early: false, late: false, square: false };
    const limbs = Math.min(...matrices.map(({ source }) => held[source] ?? 0));
    const foldLimbs = limbs - Number(choice.early);
    const sumLimbs = foldLimbs - Number(choice.late);
    const outLimbs = sumLimbs - Number(choice.square);
    held.push(outLimbs);
    return { limbs, foldLimbs, sumLimbs, outLimbs };
  });
}

/** Counts as they add up. */
class Tally {
  readonly keySwitches = new Map<number, number>();
  readonly hoisted = new Map<number, number>();
  transforms = 0;
  multiplies = 0;

  /** One decomposition, `turns` products with keys, `modDowns` polynomials brought down. */
  switchKeys(limbs: number, turns: number, modDowns: number): void {
    this.keySwitches.set(limbs, (this.keySwitches.get(limbs) ?? 0) + 1);
    if (turns > 1) this.hoisted.set(limbs, (this.hoisted.get(limbs) ?? 0) + turns - 1);
    this.transforms += limbs + limbs * limbs + modDowns * (limbs + 1);
    this.multiplies += turns * 2 * limbs * (limbs + 1);
  }

  /** A rescale of two polynomials. */
  rescale(from: number, to: number): void {
    if (to < from) this.transforms += 2 * from;
  }

  cost(): SlotCost {
    const list = (counts: ReadonlyMap<number, number>) =>
      [...counts].map(([limbs, count]) => ({ limbs, count })).sort((a, b) => b.limbs - a.limbs);
    return {
      keySwitches: list(this.keySwitches),
      hoisted: list(this.hoisted),
      transforms: this.transforms,
      multiplies: this.multiplies,
    };
  }
}

/** @param encrypted the matrices are ciphertexts */
export function slotCost(
  program: SlotProgram,
  structure: SlotStructure,
  encrypted: boolean,
): SlotCost {
  const tally = new Tally();
  for (const [index, limbs] of structureLimbs(program, structure).entries()) {
    const step = program.steps[index];
    if (step !== undefined) countStep(tally, step, limbs, encrypted);
  }
  return tally.cost();
}

function countStep(tally: Tally, step: SlotStep, limbs: StepLimbs, encrypted: boolean): void {
  for (const matrix of step.matrices) {
    countProducts(tally, matrix, limbs.limbs, encrypted);
    tally.rescale(limbs.limbs, limbs.foldLimbs);
    for (const stage of matrix.folds) tally.switchKeys(limbs.foldLimbs, stage.length, 1);
    if (matrix.folds.length > 0) tally.transforms += limbs.foldLimbs + 1;
  }
  tally.rescale(limbs.foldLimbs, limbs.sumLimbs);
  if (!step.square) return;
  tally.switchKeys(limbs.sumLimbs, 1, 2);
  tally.multiplies += 3 * limbs.sumLimbs;
  tally.rescale(limbs.sumLimbs, limbs.outLimbs);
}

function countProducts(
  tally: Tally,
  { groups }: SlotMatrix,
  limbs: number,
  encrypted: boolean,
): void {
  const babies = new Set(groups.flatMap(({ terms }) => terms.map(({ baby }) => baby)));
  babies.delete(0);
  if (babies.size > 0) tally.switchKeys(limbs, babies.size, 2 * babies.size);
  let giants = 0;
  for (const { giant, terms } of groups) {
    tally.multiplies += terms.length * (encrypted ? 4 : 2) * limbs;
    if (encrypted) tally.switchKeys(limbs, 1, 2);
    if (giant === 0) continue;
    tally.switchKeys(limbs, 1, 0);
    giants += 1;
  }
  if (giants > 0) tally.transforms += 2 * (limbs + 1);
}
