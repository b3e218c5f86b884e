/**
 * The noise of a run as a ledger entry names it: independent rows, or a public combination of rows (DP-FTRL).
 *
 * The entry holds the numbers that the noise was made with, not what the file asked for: an optimiser's result may
 * differ between machines, and a reader must recompute the claim from the entry alone. With C lower triangular and
 * Toeplitz, c_0 = 1, the mechanism releases C G + Z, where the rows of G are the updates' sums; correlation begins anew
 * every `updates` updates. What C may be and what it does is correlation/; this file only says it and reads it.
 */
import { z } from "zod";

export type LedgerNoise =
  | { readonly kind: "independent" }
  /** c_k of the square root of the lower triangle of ones, (2k choose k) / 4^k, to the nearest multiple of 2^-16. */
  | { readonly kind: "toeplitz"; readonly updates: number }
  /** c_0 = 1, c_1, ..., multiples of 2^-16; zero behind the last. */
  | {
      readonly kind: "banded";
      readonly updates: number;
      readonly coefficients: readonly number[];
    }
  /** c_k = sum_i weight_i decay_i^(k - 1) for k >= 1. */
  | {
      readonly kind: "blt";
      readonly updates: number;
      readonly decay: readonly number[];
      readonly weight: readonly number[];
    };

/** Rows that are independent of each other: what entries of versions 1 and 2 mean. */
export const INDEPENDENT: LedgerNoise = { kind: "independent" };

/** Updates after which correlation begins anew: the norm of a column is a sum over so many numbers. */
export const MAX_CORRELATED_UPDATES = 1_048_576;
/** Numbers of a banded or buffered matrix: an entry with them still fits one message. */
const MAX_COEFFICIENTS = 4_096;
const MAX_BUFFERS = 32;

const updates = z.int().min(1).max(MAX_CORRELATED_UPDATES);
// Larger ones would have a norm that is no double.
const coefficient = z.number().min(-1e6).max(1e6);
/** Of a band: multiples of 2^-16, as correlation/ needs them for its noise to be exact. */
const gridCoefficient = coefficient.refine((value) => Number.isInteger(value * 65_536));

export const ledgerNoiseSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("independent") }),
  z.strictObject({ kind: z.literal("toeplitz"), updates }),
  z
    .strictObject({
      kind: z.literal("banded"),
      updates,
      coefficients: z.array(gridCoefficient).min(1).max(MAX_COEFFICIENTS),
    })
    .refine((noise) => noise.coefficients[0] === 1 && noise.coefficients.length <= noise.updates),
  z
    .strictObject({
      kind: z.literal("blt"),
      updates,
      decay: z.array(z.number().min(0).lt(1)).min(1).max(MAX_BUFFERS),
      weight: z.array(coefficient).min(1).max(MAX_BUFFERS),
    })
    .refine(({ decay, weight }) => decay.length === weight.length),
]);

/** First step of the block that a step is in; the step itself where rows are independent. @param step from 1 */
export function blockStart(noise: LedgerNoise, step: number): number {
  return noise.kind === "independent" ? step : step - ((step - 1) % noise.updates);
}
