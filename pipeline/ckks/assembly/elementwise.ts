/**
 * Operations place by place on limbs in ring form, in any order of places. Inputs |x| <= q, results |x| <= q.
 *
 * A sum of two is at most 2 q before its reduction, a product of two at most 0.69 q (arithmetic.ts); a product by a
 * balanced constant is at most 0.6 q. A result may be written over any operand.
 */
import { multiply, reduce } from "./arithmetic";
import { limbBytes, primeInverses, primes } from "./layout";

/** a within 2^53 made within q / 2 + 3: what a forward transform leaves to ring form. */
export function reduceLimb(a: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16) v128.store(to + x, reduce(v128.load(a + x), q, i));
}

/** a + b. */
export function addLimb(a: usize, b: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    v128.store(to + x, reduce(f64x2.add(v128.load(a + x), v128.load(b + x)), q, i));
  }
}

/** a - b. */
export function subtractLimb(a: usize, b: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    v128.store(to + x, reduce(f64x2.sub(v128.load(a + x), v128.load(b + x)), q, i));
  }
}

/** -a, of any modulus. */
export function negateLimb(a: usize, to: usize): void {
  for (let x: usize = 0; x < limbBytes; x += 16) v128.store(to + x, f64x2.neg(v128.load(a + x)));
}

/** a b. */
export function multiplyLimb(a: usize, b: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    v128.store(to + x, multiply(v128.load(a + x), v128.load(b + x), q, i));
  }
}

/** to + a b. */
export function multiplyAddLimb(a: usize, b: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    const product = multiply(v128.load(a + x), v128.load(b + x), q, i);
    v128.store(to + x, reduce(f64x2.add(product, v128.load(to + x)), q, i));
  }
}

/** a times a balanced residue. */
export function multiplyConstantLimb(a: usize, constant: f64, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus), factor = f64x2.splat(constant);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    v128.store(to + x, multiply(v128.load(a + x), factor, q, i));
  }
}

/** to + a times a balanced residue. */
export function multiplyConstantAddLimb(a: usize, constant: f64, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus), factor = f64x2.splat(constant);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    const product = multiply(v128.load(a + x), factor, q, i);
    v128.store(to + x, reduce(f64x2.add(product, v128.load(to + x)), q, i));
  }
}

/** a plus a balanced residue in every place: a constant polynomial is the same at all roots. */
export function addConstantLimb(a: usize, constant: f64, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus), summand = f64x2.splat(constant);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    v128.store(to + x, reduce(f64x2.add(v128.load(a + x), summand), q, i));
  }
}

/** One limb of (a0, a1)^2 = (a0^2, 2 a0 a1, a1^2); the polynomials of each side lie `stride` bytes apart. */
export function squareLimb(a: usize, to: usize, stride: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    const a0 = v128.load(a + x), a1 = v128.load(a + stride + x);
    const cross = multiply(a0, a1, q, i);
    v128.store(to + x, multiply(a0, a0, q, i));
    v128.store(to + stride + x, reduce(f64x2.add(cross, cross), q, i));
    v128.store(to + 2 * stride + x, multiply(a1, a1, q, i));
  }
}

/** One limb of (a0, a1) (b0, b1) = (a0 b0, a0 b1 + a1 b0, a1 b1); the polynomials of each lie `stride` bytes apart. */
export function productLimb(a: usize, b: usize, to: usize, stride: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  for (let x: usize = 0; x < limbBytes; x += 16) {
    const a0 = v128.load(a + x), a1 = v128.load(a + stride + x);
    const b0 = v128.load(b + x), b1 = v128.load(b + stride + x);
    const cross = f64x2.add(multiply(a0, b1, q, i), multiply(a1, b0, q, i));
    v128.store(to + x, multiply(a0, b0, q, i));
    v128.store(to + stride + x, reduce(cross, q, i));
    v128.store(to + 2 * stride + x, multiply(a1, b1, q, i));
  }
}
