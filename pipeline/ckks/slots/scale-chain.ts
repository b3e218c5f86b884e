/**
 * Scales along a slots program, from a structure and whole bits: what plan and recipe share.
 *
 * The sum of every step has a scale of 2^bits exactly. Going backwards from it, a rescale multiplies the scale by its
 * prime and the mask divides it by its own, which gives the scale of the products and with it the scale at which each
 * matrix must be written for its source. So a few small integers say it all, and two zones derive the same scales.
 */
import { type SlotStructure, type StepLimbs, structureLimbs } from "./cost.ts";
import type { SlotProgram } from "./program.ts";

/** The integers that are chosen. */
export interface ScaleBits {
  /** Of fresh ciphertexts. */
  readonly input: number;
  /** Of each step's sum. */
  readonly sums: readonly number[];
  /** Of the last step's mask; null: none. */
  readonly mask: number | null;
}

/** Scales and limbs of one step. */
export interface StepScales extends StepLimbs {
  /** Scale at which each matrix is written; product scale = source's x plain's. */
  readonly plainScales: readonly number[];
  readonly productScale: number;
  /** While folding, behind the early rescale. */
  readonly foldScale: number;
  /** Scale of the mask that multiplies the sum before its rescale; null: none. */
  readonly maskScale: number | null;
  /** Behind the mask, before the late rescale. */
  readonly maskedScale: number;
  /** Of the sum, when the bias is added. */
  readonly sumScale: number;
  /** Of the square, or of the sum where there is none, before its rescale. */
  readonly squareScale: number;
  /** Of the result. */
  readonly outScale: number;
}

/** Scales of every step; null when the structure runs out of primes. */
export function deriveScales(
  program: SlotProgram,
  primes: readonly bigint[],
  structure: SlotStructure,
  bits: ScaleBits,
): StepScales[] | null {
  const prime = (count: number): number => Number(primes[count - 1] ?? 1n);
  const held = [2 ** bits.input];
  const steps: StepScales[] = [];
  const chain = structureLimbs(program, structure);
  for (const [index, limbs] of chain.entries()) {
    const choice = structure.steps[index];
    const step = program.steps[index];
    if (choice === undefined || step === undefined || limbs.outLimbs < 1) return null;
    const maskScale = index === chain.length - 1 && bits.mask !== null ? 2 ** bits.mask : null;
    const sumScale = 2 ** (bits.sums[index] ?? 0);
    const maskedScale = sumScale * (choice.late ? prime(limbs.foldLimbs) : 1);
    const foldScale = maskedScale / (maskScale ?? 1);
    const productScale = foldScale * (choice.early ? prime(limbs.limbs) : 1);
    const squareScale = step.square ? sumScale * sumScale : sumScale;
    const outScale = squareScale / (choice.square ? prime(limbs.sumLimbs) : 1);
    steps.push({
      ...limbs,
      plainScales: step.matrices.map(({ source }) => productScale / (held[source] ?? 1)),
      productScale,
      foldScale,
      maskScale,
      maskedScale,
      sumScale,
      squareScale,
      outScale,
    });
    held.push(outScale);
  }
  return steps;
}
