/**
 * One attempt at a program: follows scales, levels, bounds and errors of every ciphertext while operations are written.
 *
 * `plan.ts` tries several scales and keeps the best attempt. Nothing here may wrap around: after every operation the
 * largest possible |value|, with its noise, x scale is below half the modulus with MARGIN_BITS to spare, else the attempt
 * ends with an overflow. Must not load the library.
 */
import { boundOf, type Estimate, type NoiseModel, productError, reach, together } from "./noise.ts";
import type { BatchOp } from "./program.ts";

/** Bits kept free between the largest value and half the modulus. */
export const MARGIN_BITS = 1;

/** Ends an attempt; the message says what was too large. Never leaves this folder. */
export class Overflow extends Error {}

export interface DraftCiphertext {
  readonly limbs: number;
  readonly polys: 2 | 3;
  readonly scale: number;
  readonly estimate: Estimate;
  /** A feature is read from the wire where it is needed; everything else lies in memory. */
  readonly place: "wire" | "memory";
}

export interface Chain {
  readonly primes: readonly bigint[];
  readonly noise: NoiseModel;
}

export interface Draft extends Chain {
  readonly ciphertexts: DraftCiphertext[];
  readonly ops: BatchOp[];
}

/** log2 of the product of the first primes. */
export function modulusBits(primes: readonly bigint[], limbs: number): number {
  return primes.slice(0, limbs).reduce((bits, prime) => bits + Math.log2(Number(prime)), 0);
}

/** log2 of a bound, never below 0: what is smaller than 1 still needs its scale. */
export function boundBits(bound: number): number {
  return Math.max(0, Math.log2(bound));
}

/**
 * Refuses a value that could wrap around.
 * @param what ends the sentence "... could reach 2^x, which wraps around"
 */
function checkRoom(draft: Draft, { limbs, scale, estimate }: DraftCiphertext, what: string): void {
  const bits = Math.log2(scale) + boundBits(reach(estimate));
  const room = modulusBits(draft.primes, limbs) - 1 - MARGIN_BITS;
  if (!(bits <= room)) {
    throw new Overflow(
      `${what} of this model could reach 2^${Math.ceil(boundBits(boundOf(estimate)))} and wrap around`,
    );
  }
}

/** Adds a ciphertext, checked; its number. */
export function addCiphertext(draft: Draft, ciphertext: DraftCiphertext, what: string): number {
  checkRoom(draft, ciphertext, what);
  draft.ciphertexts.push(ciphertext);
  return draft.ciphertexts.length - 1;
}

export function ciphertextOf(draft: Draft, id: number): DraftCiphertext {
  const found = draft.ciphertexts[id];
  if (found === undefined) throw new RangeError("a draft names a ciphertext that it did not make");
  return found;
}

export function primeAt(draft: Chain, limbs: number): number {
  return Number(draft.primes[limbs - 1] ?? 0n);
}

/** The product of two ciphertexts of two polynomials; `size` is what is known of its value. */
export function multiply(
  draft: Draft,
  [left, right]: readonly [number, number],
  size: Omit<Estimate, "error">,
): number {
  const a = ciphertextOf(draft, left);
  const b = ciphertextOf(draft, right);
  const estimate = { ...size, error: productError(a.estimate, b.estimate) };
  const limbs = Math.min(a.limbs, b.limbs);
  const scale = a.scale * b.scale;
  const made = { limbs, polys: 3, scale, estimate, place: "memory" } as const;
  const output = addCiphertext(draft, made, "a product");
  draft.ops.push({ kind: "product", left, right, output });
  return output;
}

export interface Finish {
  readonly boostBits: number;
  readonly relinearize: boolean;
  readonly rescale: boolean;
}

/** Boosts, relinearises and rescales as asked; the number of the result, which is `input` when nothing was asked. */
export function finish(draft: Draft, input: number, asked: Finish): number {
  if (asked.boostBits === 0 && !asked.relinearize && !asked.rescale) return input;
  const before = ciphertextOf(draft, input);
  const { limbs, estimate } = before;
  const boosted = { ...before, scale: before.scale * 2 ** asked.boostBits };
  checkRoom(draft, boosted, "a value");
  const polys = asked.relinearize ? 2 : before.polys;
  const scale = asked.rescale ? boosted.scale / primeAt(draft, limbs) : boosted.scale;
  const error = together(
    estimate.error,
    asked.relinearize ? draft.noise.keySwitch(limbs) / boosted.scale : 0,
    asked.rescale ? draft.noise.rescale[polys] / scale : 0,
  );
  const made: DraftCiphertext = {
    limbs: asked.rescale ? limbs - 1 : limbs,
    polys,
    scale,
    estimate: { ...estimate, error },
    place: "memory",
  };
  const output = addCiphertext(draft, made, "a value");
  draft.ops.push({ kind: "finish", input, output, ...asked });
  return output;
}
