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
  /** c_k of the square root of the lower triangle of ones: (2k choose k) / 4^k. */
  | { readonly kind: "toeplitz"; readonly updates: number }
  /** c_0 = 1, c_1, ...; zero behind the last. */
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

export const ledgerNoiseSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("independent") }),
  z.strictObject({ kind: z.literal("toeplitz"), updates }),
  z
    .strictObject({
      kind: z.literal("banded"),
      updates,
      coefficients: z.array(coefficient).min(1).max(MAX_COEFFICIENTS),
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

/** The norm of the last noise that was asked for: it is the same for every entry of a run. */
let known: { readonly noise: string; readonly norm: number } | null = null;

/** Largest L2 norm of a column of C over a block: how far one record in one update moves C G, over its clip; >= 1. */
export function columnNorm(noise: LedgerNoise): number {
  if (noise.kind === "independent") return 1;
  const name = JSON.stringify(noise);
  if (known?.noise === name) return known.norm;
  // Columns of a Toeplitz matrix are the first one, cut off: the first is the longest.
  let squares = 0;
  for (const coefficient of columnOf(noise)) squares += coefficient * coefficient;
  known = { noise: name, norm: Math.sqrt(squares) };
  return known.norm;
}

/** c_0, c_1, ... of one block; a band may end before it. */
function* columnOf(noise: Exclude<LedgerNoise, { kind: "independent" }>): Iterable<number> {
  if (noise.kind === "banded") {
    yield* noise.coefficients;
    return;
  }
  yield 1;
  let root = 1;
  const powers = noise.kind === "blt" ? [...noise.weight] : [];
  for (let k = 1; k < noise.updates; k += 1) {
    if (noise.kind === "toeplitz") {
      root *= (2 * k - 1) / (2 * k);
      yield root;
    } else {
      yield powers.reduce((sum, term) => sum + term, 0);
      for (const [index, decay] of noise.decay.entries()) {
        powers[index] = (powers[index] ?? 0) * decay;
      }
    }
  }
}
