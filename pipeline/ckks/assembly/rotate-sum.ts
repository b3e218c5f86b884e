/**
 * Sums of rotations with the mod-down of the first polynomial put off: a round is ct + sum over s of rotation_s(ct).
 *
 * The first polynomial is kept times P over all primes and P (extended), so that the key switch's sums go straight onto
 * it; only the second, which the next round takes digits of, is brought down in each round, and its digits are taken once
 * for all rotations of the round. In a chain of rounds of one rotation each, at two limbs, that is 9 transforms a round
 * instead of 12. Everything is exact modulo every prime; the result differs from rotating one by one in what the
 * roundings of the mod-downs add to the noise, and there are fewer of those. Bounds: inner-product.ts.
 */
import { reduce } from "./arithmetic";
import { gather } from "./galois";
import { gatheredInnerProduct } from "./inner-product";
import { extendedModulus, keyLimb, modDownPoly, scaleByKeyPrime, takeDigits } from "./key-switch";
import { limbBytes, modulusAt, primeInverses, primes, scratch } from "./layout";
import { forward } from "./transform";

/** Limb by limb: to + from + from moved, reduced; `to` within 4 q. */
function addWithMoved(from: usize, table: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16, table += 8) {
    const moved = gather(from, load<u32>(table), load<u32>(table, 4));
    const sum = f64x2.add(f64x2.add(v128.load(to + x), v128.load(from + x)), moved);
    v128.store(to + x, reduce(sum, q, i));
  }
}

/** to + from moved, reduced. */
function addMoved(from: usize, table: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16, table += 8) {
    const moved = gather(from, load<u32>(table), load<u32>(table, 4));
    v128.store(to + x, reduce(f64x2.add(v128.load(to + x), moved), q, i));
  }
}

/** A polynomial times P, extended: limbs + 1 limbs at `to`. */
export function extend(from: usize, limbs: i32, to: usize): void {
  for (let i: i32 = 0; i < limbs; i++) {
    const offset = <usize>i * limbBytes;
    scaleByKeyPrime(from + offset, to + offset, modulusAt(<usize>i), false);
  }
  memory.fill(to + <usize>limbs * limbBytes, 0, limbBytes);
}

/** An extended polynomial brought down to `limbs` limbs. Scratch: 3 limbs. */
export function modDownExtended(from: usize, limbs: i32, to: usize): void {
  modDownPoly(from, limbs, 0, to, scratch);
}

/**
 * One round, in place.
 * @param extended the first polynomial, extended; must not lie in the first 3 limbs + 3 limbs of scratch
 * @param second the second polynomial, `limbs` limbs
 * @param rotations `count` pairs of u32: address of the key, address of the table; count >= 1
 */
export function sumRound(extended: usize, second: usize, limbs: i32, rotations: usize, count: i32): void {
  const polyBytes = <usize>limbs * limbBytes;
  const coefficients = scratch, work = scratch + polyBytes, digits = work + limbBytes;
  const sum = digits + polyBytes, sums = sum + limbBytes;
  takeDigits(second, limbs, coefficients, work, false);
  for (let i: i32 = 0; i <= limbs; i++) {
    const modulus = extendedModulus(i, limbs);
    for (let j: i32 = 0; j < limbs; j++) {
      const offset = <usize>j * limbBytes;
      if (j != i) forward(coefficients + offset, digits + offset, modulus);
    }
    const offset = <usize>i * limbBytes;
    const own = i == limbs ? -1 : i;
    for (let s: i32 = 0; s < count; s++) {
      const key = <usize>load<u32>(rotations + (<usize>s << 3)), table = <usize>load<u32>(rotations + (<usize>s << 3), 4);
      gatheredInnerProduct(
        limbs, digits, limbBytes, own, second + offset, table, keyLimb(key, i, limbs), sum, sums + offset, modulus, s > 0,
      );
      if (s == 0) addWithMoved(extended + offset, table, sum, modulus);
      else addMoved(extended + offset, table, sum, modulus);
    }
    memory.copy(extended + offset, sum, limbBytes);
  }
  modDownPoly(sums, limbs, second, second, scratch);
}
