/**
 * What a checkpoint holds beside the published weights, so that training goes on from it: tensors named `trainer.<name>`.
 *
 * All of it is made from noisy sums (post-processing), so a reader of the model may see it; readers that only evaluate
 * pass it over. Here are the names, the bounds and the part of the grammar of safetensors.ts that is theirs. What each
 * tensor means, and how long it must be for a run, is the business of who wrote it (stages/aggregate/update-rule.ts):
 * this file takes any length that the bounds allow. Must not know an optimizer.
 *
 *   trainer tensor = "trainer.<name>":{"dtype":"F32" / "F64","shape":[length],"data_offsets":[begin,end]}
 *   name           = a letter, then letters, digits and `-`; at most 32; never integer-like
 */
import { MAX_PARAMETERS } from "./definition.ts";
import { allFinite } from "./weights.ts";

/** By name, without the prefix. */
export type TrainerTensors = Readonly<Record<string, Float32Array | Float64Array>>;

/** What a header says of one tensor. */
export interface TrainerClaim {
  readonly name: string;
  readonly dtype: "F32" | "F64";
  readonly length: number;
}

/** The weights that gradients are taken at, flat, where they are not the published ones. */
export const ITERATE = "iterate";
export const TRAINER_PREFIX = "trainer.";
const NAME = /^[A-Za-z][A-Za-z0-9-]{0,31}$/;
/** Iterate, average, two moments, sums, and room for one that nobody has thought of. */
const MAX_TENSORS = 6;
/** Numbers of one: as many as the largest network has parameters. */
const MAX_LENGTH = MAX_PARAMETERS;
const BYTES = { F32: 4, F64: 8 } as const;

/** Largest total of a checkpoint's trainer tensors, in bytes: 32 MiB. */
export const MAX_TRAINER_BYTES = 2 * MAX_PARAMETERS * BYTES.F32;

/** Sorted by name: those of doubles first, because readers that map the file want them aligned to 8 bytes. */
export function claimsOf(tensors: TrainerTensors): TrainerClaim[] {
  return ordered(
    Object.entries(tensors).map(([name, values]) => ({
      name,
      dtype: values instanceof Float64Array ? ("F64" as const) : ("F32" as const),
      length: values.length,
    })),
  );
}

export function bytesOf({ dtype, length }: TrainerClaim): number {
  return length * BYTES[dtype];
}

function ordered(claims: readonly TrainerClaim[]): TrainerClaim[] {
  return claims.toSorted((left, right) => {
    if (left.dtype !== right.dtype) return left.dtype === "F64" ? -1 : 1;
    return left.name < right.name ? -1 : 1;
  });
}

/**
 * The trainer tensors that a header claims, in their order, offsets unchecked (the canonical spelling checks them).
 * @returns null when one is not of the grammar
 */
export function readClaims(header: Readonly<Record<string, unknown>>): TrainerClaim[] | null {
  const claims: TrainerClaim[] = [];
  for (const [key, tensor] of Object.entries(header)) {
    if (!key.startsWith(TRAINER_PREFIX)) continue;
    if (typeof tensor !== "object" || tensor === null) return null;
    const { dtype, shape } = tensor as { readonly dtype?: unknown; readonly shape?: unknown };
    if ((dtype !== "F32" && dtype !== "F64") || !Array.isArray(shape) || shape.length !== 1) {
      return null;
    }
    const [length]: unknown[] = shape;
    if (typeof length !== "number") return null;
    claims.push({ name: key.slice(TRAINER_PREFIX.length), dtype, length });
  }
  return ordered(claims);
}

/** What is wrong with the trainer tensors of a checkpoint, as the end of a sentence, or null. */
export function claimsFault(claims: readonly TrainerClaim[]): string | null {
  if (claims.length > MAX_TENSORS) return "it has too many trainer tensors";
  if (!claims.every(({ name }) => NAME.test(name))) return "a trainer tensor's name is not allowed";
  const fits = ({ length }: TrainerClaim) =>
    Number.isSafeInteger(length) && length >= 1 && length <= MAX_LENGTH;
  if (!claims.every(fits)) return "a trainer tensor has a length that is not allowed";
  const bytes = claims.reduce((sum, claim) => sum + bytesOf(claim), 0);
  return bytes > MAX_TRAINER_BYTES ? "its trainer tensors are too large" : null;
}

/** What is wrong with their numbers, as the end of a sentence, or null. */
export function numbersFault(tensors: TrainerTensors): string | null {
  const finite = Object.values(tensors).every((values) => allFinite(values));
  return finite ? null : "a trainer tensor holds a number that is not finite";
}
