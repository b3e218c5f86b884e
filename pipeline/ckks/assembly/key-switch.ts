/**
 * Key switching: turns c under another key (s^2, or s moved by an automorphism) into two polynomials under s.
 *
 * SEAL's method (`Evaluator::switch_key_inplace`; the RNS variant of Brakerski-Vaikuntanathan with one special prime P):
 * digit j is c modulo q_j, lifted to the integers; sum over j of digit_j key_j modulo every prime and P; then the mod-down
 * (acc - [acc]_P) / P. Residues are exact at every step, so equal lifts give SEAL's bits:
 *   - digits in 0 .. q_j - 1 are SEAL's;
 *   - balanced digits |d| <= (q_j - 1) / 2 have a quarter of the variance and no mean (28 times less noise, measured), and
 *     since the balanced residues are symmetric they commute with X -> X^g, which only moves and negates coefficients:
 *     so digits may be taken once and moved for each rotation (hoisting), with the same bits as rotating first.
 *   - [acc]_P is the balanced residue: SEAL adds (P - 1) / 2 before and subtracts it behind, which is the same.
 * Scratch, in limbs: see each function; at most 6 limbs + 3. Sources: SEAL 4.1 native/src/seal/evaluator.cpp; Halevi,
 * Shoup 2018, "Faster homomorphic linear transformations in HElib" (hoisting).
 */
import { multiply, reduce } from "./arithmetic";
import { permuteLimb } from "./galois";
import { gatheredInnerProduct, innerProduct } from "./inner-product";
import {
  KEY_PRIME, KEY_PRIME_INVERSE, keyModulus, limbBytes, modulusAt, primeCount, primeInverses, primes, scratch,
} from "./layout";
import { forward, inverse } from "./transform";

/** The modulus of limb i of an extended polynomial over `limbs` primes and P. */
// @ts-ignore: decorator
@inline
export function extendedModulus(i: i32, limbs: i32): usize {
  return i == limbs ? keyModulus() : modulusAt(<usize>i);
}

/** Where that limb lies in a polynomial of a key. */
// @ts-ignore: decorator
@inline
export function keyLimb(key: usize, i: i32, limbs: i32): usize {
  return key + (i == limbs ? primeCount - 1 : <usize>i) * limbBytes;
}

/** Coefficients of every digit of a polynomial. Overwrites one limb of scratch at `work`. */
export function takeDigits(target: usize, limbs: i32, to: usize, work: usize, isPositive: bool): void {
  for (let j: i32 = 0; j < limbs; j++) {
    const offset = <usize>j * limbBytes;
    inverse(target + offset, work, to + offset, modulusAt(<usize>j), isPositive);
  }
}

/**
 * sum over j of digit_j key_j, two extended polynomials: [2][limbs + 1] limbs at `to`.
 * `room`: 2 limbs + 1 limbs; the first `limbs` end as the digits' coefficients.
 */
export function switchSums(target: usize, limbs: i32, key: usize, to: usize, room: usize, isPositive: bool): void {
  const count = <usize>limbs;
  const work = room + count * limbBytes, digits = work + limbBytes;
  takeDigits(target, limbs, room, work, isPositive);
  const polyBytes = (count + 1) * limbBytes;
  for (let i: i32 = 0; i <= limbs; i++) {
    const modulus = extendedModulus(i, limbs);
    for (let j: i32 = 0; j < limbs; j++) {
      const offset = <usize>j * limbBytes;
      // Modulo its own prime a digit is what it was taken from.
      if (j != i) forward(room + offset, digits + offset, modulus);
    }
    const offset = <usize>i * limbBytes;
    const own = i == limbs ? -1 : i;
    const sum = to + offset;
    innerProduct(
      limbs, digits, limbBytes, own, target + offset, keyLimb(key, i, limbs), sum, sum + polyBytes, modulus,
    );
  }
}

/** (sum - transformed) / P + addend, or without an addend; |result| <= q / 2 + 3. */
function finishModDown(sum: usize, lifted: usize, addend: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const inverseP = v128.load_splat<f64>(modulus, KEY_PRIME_INVERSE);
  if (addend == 0) {
    for (let x: usize = 0; x < limbBytes; x += 16) {
      const rest = f64x2.sub(v128.load(sum + x), v128.load(lifted + x));
      v128.store(to + x, reduce(multiply(rest, inverseP, q, i), q, i));
    }
    return;
  }
  for (let x: usize = 0; x < limbBytes; x += 16) {
    const rest = f64x2.sub(v128.load(sum + x), v128.load(lifted + x));
    v128.store(to + x, reduce(f64x2.add(multiply(rest, inverseP, q, i), v128.load(addend + x)), q, i));
  }
}

/** One extended polynomial to `limbs` limbs, plus `addend` (0: nothing), which may be `to`. `room`: 3 limbs. */
export function modDownPoly(sum: usize, limbs: i32, addend: usize, to: usize, room: usize): void {
  const coefficients = room, work = room + limbBytes, lifted = work + limbBytes;
  inverse(sum + <usize>limbs * limbBytes, work, coefficients, keyModulus(), false);
  for (let i: i32 = 0; i < limbs; i++) {
    const modulus = modulusAt(<usize>i);
    const offset = <usize>i * limbBytes;
    forward(coefficients, lifted, modulus);
    finishModDown(sum + offset, lifted, addend == 0 ? 0 : addend + offset, to + offset, modulus);
  }
}

/** Both extended polynomials at `sums` to a ciphertext of `limbs` limbs. */
export function modDown(sums: usize, limbs: i32, to: usize): void {
  const count = <usize>limbs;
  modDownPoly(sums, limbs, 0, to, scratch);
  modDownPoly(sums + (count + 1) * limbBytes, limbs, 0, to + count * limbBytes, scratch);
}

/** Three polynomials to two. Scratch: 4 limbs + 3. `to` may be `from`. */
export function relinearize(from: usize, limbs: i32, key: usize, to: usize, isPositive: bool): void {
  const count = <usize>limbs, polyBytes = count * limbBytes;
  const room = scratch, sums = scratch + (2 * count + 1) * limbBytes;
  switchSums(from + 2 * polyBytes, limbs, key, sums, room, isPositive);
  modDownPoly(sums, limbs, from, to, room);
  modDownPoly(sums + polyBytes + limbBytes, limbs, from + polyBytes, to + polyBytes, room);
}

/** A ciphertext moved by an automorphism. Scratch: 6 limbs + 3. `to` may be `from`. */
export function rotate(from: usize, limbs: i32, key: usize, table: usize, to: usize, isPositive: bool): void {
  const count = <usize>limbs, polyBytes = count * limbBytes;
  const moved = scratch, room = scratch + 2 * polyBytes, sums = room + (2 * count + 1) * limbBytes;
  for (let at: usize = 0; at < 2 * polyBytes; at += limbBytes) permuteLimb(from + at, moved + at, table);
  switchSums(moved + polyBytes, limbs, key, sums, room, isPositive);
  modDownPoly(sums, limbs, moved, to, room);
  modDownPoly(sums + polyBytes + limbBytes, limbs, 0, to + polyBytes, room);
}

/**
 * Balanced digits of a polynomial, transformed: [digit][limbs + 1] limbs at `to`, bounded as transform.ts says.
 * Scratch: 2 limbs.
 */
export function hoist(target: usize, limbs: i32, to: usize): void {
  const coefficients = scratch, work = scratch + limbBytes;
  for (let j: i32 = 0; j < limbs; j++) {
    const source = target + <usize>j * limbBytes;
    inverse(source, work, coefficients, modulusAt(<usize>j), false);
    for (let i: i32 = 0; i <= limbs; i++, to += limbBytes) {
      if (i == j) memory.copy(to, source, limbBytes);
      else forward(coefficients, to, extendedModulus(i, limbs));
    }
  }
}

/** The sums of one rotation from hoisted digits: [2][limbs + 1] limbs at `to`, on top of what is there if `add`. */
export function hoistedSums(digits: usize, limbs: i32, key: usize, table: usize, to: usize, add: bool): void {
  const polyBytes = (<usize>limbs + 1) * limbBytes;
  for (let i: i32 = 0; i <= limbs; i++) {
    const offset = <usize>i * limbBytes;
    const sum = to + offset;
    gatheredInnerProduct(
      limbs, digits + offset, polyBytes, -1, 0, table, keyLimb(key, i, limbs), sum, sum + polyBytes,
      extendedModulus(i, limbs), add,
    );
  }
}

/** `rotate` with balanced digits that are there already. Scratch: 3 limbs + 5. `to` must not be `from`. */
export function rotateHoisted(
  from: usize, digits: usize, limbs: i32, key: usize, table: usize, to: usize,
): void {
  const count = <usize>limbs, polyBytes = count * limbBytes;
  const room = scratch, sums = scratch + 3 * limbBytes;
  hoistedSums(digits, limbs, key, table, sums, false);
  for (let at: usize = 0; at < polyBytes; at += limbBytes) permuteLimb(from + at, to + at, table);
  modDownPoly(sums, limbs, to, to, room);
  modDownPoly(sums + polyBytes + limbBytes, limbs, 0, to + polyBytes, room);
}

/** P times a limb, on top of what is there if `add`. */
export function scaleByKeyPrime(from: usize, to: usize, modulus: usize, add: bool): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const factor = v128.load_splat<f64>(modulus, KEY_PRIME);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    let value = multiply(v128.load(from + x), factor, q, i);
    if (add) value = reduce(f64x2.add(value, v128.load(to + x)), q, i);
    v128.store(to + x, value);
  }
}
