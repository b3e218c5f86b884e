/**
 * Rescaling: a polynomial over l primes divided by the last, rounded, over l - 1; alone, or in one with relinearization.
 *
 * rescale: (c_i - [c_last]) / q_last with the balanced residue, which is SEAL's (`RNSTool::divide_and_round_q_last_ntt_
 * inplace`: half added before, subtracted behind), bit for bit.
 *
 * relinearizeRescale gives the bits of the two one after the other with 4 transforms less at two limbs (12, not 16). With
 * S the key switch's sums, t = [S_P] balanced and c the ciphertext, relinearizing is y_i = (S_i - t) / P + c_i, and
 * rescaling (y_i - s) / q_last with s = [y_last] balanced. Since s = [INTT(S_last / P + c_last) - t / P] modulo q_last can
 * be had from coefficients, and transforms are linear, y_i - s = S_i / P + c_i - NTT(t / P + s): one transform instead of
 * two for each limb and none at all for y_last's way back.
 * Bounds: in units of its own q, |S_last / P + c_last| <= 0.81 + 1 (inverse takes 4), and the coefficient y - t / P is
 * within 0.5 + 0.6, so one reduction makes it THE balanced residue. t / P + s <= 0.6 * 2^49 + 2^48, so the transform starts
 * within 1.1 * 2^49 and ends within 11.8 * 2^49 (15.5 * 2^48 for q < 2^48); with |S_i / P + c_i| <= 1.81 q that stays below
 * 2^53.
 */
import { multiply, reduce } from "./arithmetic";
import { switchSums } from "./key-switch";
import {
  KEY_PRIME_INVERSE, dropInverses, keyModulus, limbBytes, modulusAt, primeCount, primeInverses, primes, scratch,
} from "./layout";
import { forward, inverse } from "./transform";

/** 1 / q_last modulo the prime of limb i. */
// @ts-ignore: decorator
@inline
function dropInverse(last: i32, i: i32): v128 {
  return v128.load_splat<f64>(dropInverses + ((<usize>last * primeCount + <usize>i) << 3));
}

/** One polynomial; `to` may be `from` or before it. Scratch: 3 limbs. */
export function rescale(from: usize, limbs: i32, to: usize): void {
  const coefficients = scratch, work = scratch + limbBytes, lifted = work + limbBytes;
  const last = limbs - 1;
  const lastModulus = modulusAt(<usize>last);
  inverse(from + <usize>last * limbBytes, work, coefficients, lastModulus, false);
  for (let i: i32 = 0; i < last; i++) {
    const modulus = modulusAt(<usize>i);
    forward(coefficients, lifted, modulus);
    const q = primes(modulus), inverseQ = primeInverses(modulus), factor = dropInverse(last, i);
    const source = from + <usize>i * limbBytes, target = to + <usize>i * limbBytes;
    for (let x: usize = 0; x < limbBytes; x += 16) {
      const rest = f64x2.sub(v128.load(source + x), v128.load(lifted + x));
      v128.store(target + x, reduce(multiply(rest, factor, q, inverseQ), q, inverseQ));
    }
  }
}

/** S_last / P + c_last, in ring form. */
function dividedLast(sum: usize, addend: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const inverseP = v128.load_splat<f64>(modulus, KEY_PRIME_INVERSE);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    v128.store(to + x, f64x2.add(multiply(v128.load(sum + x), inverseP, q, i), v128.load(addend + x)));
  }
}

/** In place: coefficients of `dividedLast` to s, the balanced coefficients of y_last. */
function takeAwaySpecial(coefficients: usize, special: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const inverseP = v128.load_splat<f64>(modulus, KEY_PRIME_INVERSE);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    const part = multiply(v128.load(special + x), inverseP, q, i);
    v128.store(coefficients + x, reduce(f64x2.sub(v128.load(coefficients + x), part), q, i));
  }
}

/** t / P + s modulo the prime of another limb. */
function joinCorrections(special: usize, dropped: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const inverseP = v128.load_splat<f64>(modulus, KEY_PRIME_INVERSE);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    const part = multiply(v128.load(special + x), inverseP, q, i);
    v128.store(to + x, f64x2.add(part, v128.load(dropped + x)));
  }
}

/** One polynomial of relinearizeRescale. `room`: 4 limbs. */
function finishPoly(sums: usize, addend: usize, limbs: i32, to: usize, room: usize): void {
  const special = room, dropped = special + limbBytes, work = dropped + limbBytes, lifted = work + limbBytes;
  const last = limbs - 1;
  const lastModulus = modulusAt(<usize>last), lastOffset = <usize>last * limbBytes;
  inverse(sums + <usize>limbs * limbBytes, work, special, keyModulus(), false);
  dividedLast(sums + lastOffset, addend + lastOffset, lifted, lastModulus);
  inverse(lifted, work, dropped, lastModulus, false);
  takeAwaySpecial(dropped, special, lastModulus);
  for (let i: i32 = 0; i < last; i++) {
    const modulus = modulusAt(<usize>i), offset = <usize>i * limbBytes;
    joinCorrections(special, dropped, work, modulus);
    forward(work, lifted, modulus);
    const q = primes(modulus), inverseQ = primeInverses(modulus), factor = dropInverse(last, i);
    const inverseP = v128.load_splat<f64>(modulus, KEY_PRIME_INVERSE);
    for (let x: usize = 0; x < limbBytes; x += 16) {
      const divided = multiply(v128.load(sums + offset + x), inverseP, q, inverseQ);
      const rest = f64x2.sub(f64x2.add(divided, v128.load(addend + offset + x)), v128.load(lifted + x));
      v128.store(to + offset + x, reduce(multiply(rest, factor, q, inverseQ), q, inverseQ));
    }
  }
}

/** Three polynomials over `limbs` >= 2 primes to two over one less. `to` may be `from`. Scratch: 4 limbs + 5. */
export function relinearizeRescale(from: usize, limbs: i32, key: usize, to: usize, isPositive: bool): void {
  const polyBytes = <usize>limbs * limbBytes;
  const room = scratch, sums = scratch + (2 * <usize>limbs + 3) * limbBytes;
  switchSums(from + 2 * polyBytes, limbs, key, sums, room, isPositive);
  finishPoly(sums, from, limbs, to, room);
  finishPoly(sums + polyBytes + limbBytes, from + polyBytes, limbs, to + polyBytes - limbBytes, room);
}
