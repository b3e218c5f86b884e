/**
 * The inner product of a key switch: for one limb, both polynomials of sum over j of digit_j key_j.
 *
 * Bounds. A digit is within 2^49 before its transform and within 11.8 * 2^49 (14.8 * 2^48 for q < 2^48: transform.ts)
 * behind it, so a product is within (1/2 + 1.51 * 11.8 / 16) q = 1.62 q (1.20 q): one or two terms stay within 3.3 q and are
 * not reduced; three are within 4.9 q and are; further terms come three at a time on top of a reduced sum, within 5.4 q
 * (8.3 q on top of an unreduced one). So results are within 3.3 q, which an inverse transform (4 q) takes, and with one more
 * transformed limb on top they are within 15.1 * 2^49 < 2^53 (17.3 * 2^48 for q < 2^48).
 */
import { multiply, reduce } from "./arithmetic";
import { gather } from "./galois";
import { limbBytes, primeCount, primeInverses, primes } from "./layout";

/** 1 to 3 terms at once. `table`: gather digits by it, 0: do not. `add`: on top of what is there. */
// @ts-ignore: decorator
@inline
function chunk(
  terms: i32, gathers: bool, add: bool, reduces: bool, d0: usize, d1: usize, d2: usize, table: usize,
  key: usize, to0: usize, to1: usize, modulus: usize,
): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const polyBytes = primeCount * limbBytes;
  const k01 = key + polyBytes;
  const k10 = key + 2 * polyBytes, k11 = k10 + polyBytes;
  const k20 = k10 + 2 * polyBytes, k21 = k20 + polyBytes;
  for (let x: usize = 0; x < limbBytes; x += 16) {
    let first: usize = 0, second: usize = 0;
    if (gathers) {
      first = load<u32>(table);
      second = load<u32>(table, 4);
      table += 8;
    }
    let digit = gathers ? gather(d0, first, second) : v128.load(d0 + x);
    let sum0 = multiply(digit, v128.load(key + x), q, i);
    let sum1 = multiply(digit, v128.load(k01 + x), q, i);
    if (terms > 1) {
      digit = gathers ? gather(d1, first, second) : v128.load(d1 + x);
      sum0 = f64x2.add(sum0, multiply(digit, v128.load(k10 + x), q, i));
      sum1 = f64x2.add(sum1, multiply(digit, v128.load(k11 + x), q, i));
    }
    if (terms > 2) {
      digit = gathers ? gather(d2, first, second) : v128.load(d2 + x);
      sum0 = f64x2.add(sum0, multiply(digit, v128.load(k20 + x), q, i));
      sum1 = f64x2.add(sum1, multiply(digit, v128.load(k21 + x), q, i));
    }
    if (add) {
      sum0 = f64x2.add(sum0, v128.load(to0 + x));
      sum1 = f64x2.add(sum1, v128.load(to1 + x));
    }
    if (reduces) {
      sum0 = reduce(sum0, q, i);
      sum1 = reduce(sum1, q, i);
    }
    v128.store(to0 + x, sum0);
    v128.store(to1 + x, sum1);
  }
}

/**
 * Digits that lie where the transforms left them; digit `own` (none: -1) lies at `ownAt` instead.
 * @param digits digit j at digits + j stride
 * @param key the limb of key 0, polynomial 0; the other polynomial is one key polynomial behind, key j two each
 */
export function innerProduct(
  limbs: i32, digits: usize, stride: usize, own: i32, ownAt: usize, key: usize, to0: usize, to1: usize, modulus: usize,
): void {
  const keyBytes: usize = 2 * primeCount * limbBytes;
  for (let j: i32 = 0; j < limbs; j += 3) {
    const d = digits + <usize>j * stride;
    const d0 = own == j ? ownAt : d;
    const d1 = own == j + 1 ? ownAt : d + stride;
    const d2 = own == j + 2 ? ownAt : d + 2 * stride;
    const k = key + <usize>j * keyBytes;
    if (limbs == 1) chunk(1, false, false, false, d0, d1, d2, 0, k, to0, to1, modulus);
    else if (limbs == 2) chunk(2, false, false, false, d0, d1, d2, 0, k, to0, to1, modulus);
    else if (j == 0) chunk(3, false, false, true, d0, d1, d2, 0, k, to0, to1, modulus);
    else if (limbs - j >= 3) chunk(3, false, true, true, d0, d1, d2, 0, k, to0, to1, modulus);
    else if (limbs - j == 2) chunk(2, false, true, true, d0, d1, d2, 0, k, to0, to1, modulus);
    else chunk(1, false, true, true, d0, d1, d2, 0, k, to0, to1, modulus);
  }
}

/**
 * The same with every digit moved by a Galois table, a digit of its own included; never reduced at one or two terms.
 * @param add on top of what is there, within 4 q, and then reduced
 */
export function gatheredInnerProduct(
  limbs: i32, digits: usize, stride: usize, own: i32, ownAt: usize, table: usize, key: usize, to0: usize, to1: usize,
  modulus: usize, add: bool,
): void {
  const keyBytes: usize = 2 * primeCount * limbBytes;
  for (let j: i32 = 0; j < limbs; j += 3) {
    const d = digits + <usize>j * stride;
    const d0 = own == j ? ownAt : d;
    const d1 = own == j + 1 ? ownAt : d + stride;
    const d2 = own == j + 2 ? ownAt : d + 2 * stride;
    const k = key + <usize>j * keyBytes;
    const adds = add || j > 0;
    if (limbs - j == 1) {
      if (adds) chunk(1, true, true, true, d0, d1, d2, table, k, to0, to1, modulus);
      else chunk(1, true, false, false, d0, d1, d2, table, k, to0, to1, modulus);
    } else if (limbs - j == 2) {
      if (adds) chunk(2, true, true, true, d0, d1, d2, table, k, to0, to1, modulus);
      else chunk(2, true, false, false, d0, d1, d2, table, k, to0, to1, modulus);
    } else {
      if (adds) chunk(3, true, true, true, d0, d1, d2, table, k, to0, to1, modulus);
      else chunk(3, true, false, true, d0, d1, d2, table, k, to0, to1, modulus);
    }
  }
}
