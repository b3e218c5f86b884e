/**
 * What the host lays out in memory, and the ring that the kernels work on.
 *
 * A limb is `degree` f64 in ring form: place 2 i holds index i of SEAL's NTT order, place 2 i + 1 index i + N / 2, so that
 * one vector holds the same index of both halves and only the outermost pass of a transform shuffles. |x| <= q.
 * A polynomial is its limbs one behind the other, a ciphertext its polynomials. pipeline/ckks/moduli.ts writes the records.
 */

/** Ring degree N: a power of two, 4096 to 32768. */
export let degree: usize = 0;
/** Bytes of a limb: 8 N. */
export let limbBytes: usize = 0;
/** First modulus record; the key prime's is the last. */
export let moduli: usize = 0;
/** All primes, the key prime included. */
export let primeCount: usize = 0;
/** [dropped limb][limb] f64: the inverse of the dropped prime modulo the other. */
export let dropInverses: usize = 0;
/** Room of its own for the kernels; each says how many limbs it uses. */
export let scratch: usize = 0;

export const MODULUS_BYTES: usize = 128;

/** Called once, before every other kernel. */
export function configure(
  ringDegree: usize, firstModulus: usize, primes: usize, dropTable: usize, scratchAt: usize,
): void {
  degree = ringDegree;
  limbBytes = ringDegree << 3;
  moduli = firstModulus;
  primeCount = primes;
  dropInverses = dropTable;
  scratch = scratchAt;
}

// @ts-ignore: decorator
@inline
export function modulusAt(limb: usize): usize {
  return moduli + limb * MODULUS_BYTES;
}

/** The key prime's record. */
// @ts-ignore: decorator
@inline
export function keyModulus(): usize {
  return moduli + (primeCount - 1) * MODULUS_BYTES;
}

// @ts-ignore: decorator
@inline
export function primeOf(modulus: usize): f64 {
  return load<f64>(modulus);
}

// @ts-ignore: decorator
@inline
export function primes(modulus: usize): v128 {
  return v128.load_splat<f64>(modulus, 0);
}

// @ts-ignore: decorator
@inline
export function primeInverses(modulus: usize): v128 {
  return v128.load_splat<f64>(modulus, 8);
}

/** Powers of the root for the first pass forward: entries 1, 2, 3 of the bit-reversed table. */
export const FORWARD_FIRST: usize = 16;
export const FORWARD_SECOND: usize = 24;
export const FORWARD_THIRD: usize = 32;
/** For the last pass inverse: 1 / N, entry 1 times 1 / N, entries 2 and 3. */
export const DEGREE_INVERSE: usize = 40;
export const INVERSE_FIRST: usize = 48;
export const INVERSE_SECOND: usize = 56;
export const INVERSE_THIRD: usize = 64;
/** Inverse of the key prime; the key prime itself, reduced. */
export const KEY_PRIME_INVERSE: usize = 72;
export const KEY_PRIME: usize = 80;
/** u32: the tables of both transforms, N f64 each: vector h + k is entries (2 h + k, 3 h + k), for h = 1, 2, 4 .. N / 4. */
const FORWARD_TABLE: usize = 96;
const INVERSE_TABLE: usize = 100;

// @ts-ignore: decorator
@inline
export function forwardTable(modulus: usize): usize {
  return <usize>load<u32>(modulus, FORWARD_TABLE);
}

// @ts-ignore: decorator
@inline
export function inverseTable(modulus: usize): usize {
  return <usize>load<u32>(modulus, INVERSE_TABLE);
}
