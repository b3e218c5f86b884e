/**
 * The negacyclic number-theoretic transform of one limb: coefficients in natural order <-> ring form.
 *
 * Forward is Cooley-Tukey, inverse Gentleman-Sande, over the minimal primitive 2N-th root and its bit-reversed powers, so
 * that values and order are SEAL's (`util/dwthandler.h`). Two stages make a pass (radix 4). With the halves of the array
 * in the lanes of a vector, stages behind the outermost never cross lanes: only that one shuffles.
 *
 * Bounds; every value must stay within 2^53. G(x) = 1/2 + B x in units of q, B = 1.51 q / 2^53 (arithmetic.ts).
 * Forward, without reductions: a stage takes |x| <= x q to x + G(x) = (1 + B) x + 1/2, so s stages take X = x q to
 *   (X + K) (1 + B)^s - K with K = q / (2 B) = 2^53 / 3.02, which grows with B: the largest primes are the worst case, and
 *   coefficients of a digit of ANOTHER, larger prime need no reduction. s <= 15 and `forward` starts within 2^50.
 *   q < 2^48: B <= 0.0472, (1 + B)^15 <= 2.0, so X <= 18.7 * 2^48 from 2^50 and 14.8 * 2^48 from 2^49 (of 32 * 2^48).
 *   q < 2^49: B <= 0.0944. The pass behind stage 5 or 6 reduces its untouched operand a. In units of 2^49, from 2: X <= 7.3
 *   there, c w1 <= 1.19, (b + d w1) w2 <= 1.31, so X <= 3.0 behind the pass and 11.8 after the 8 stages that are left at
 *   most (of 16).
 * Inverse, in units of q: starts within 4. A pass makes reduce(<= 4 x), <= 2 G(2 x), G(4 x), G(2 * 2 G(2 x)): from 4 at most 2.6, then
 *   falling to the fixed point of 2 G(2 x), 1.61; the largest sum is 16 q <= 2^53 in the first pass. The last pass multiplies sums
 *   of at most 4 * 1.65, so its results are within 1.13 and one reduction makes them THE balanced residue.
 */
import { multiply, positive, reduce } from "./arithmetic";
import {
  DEGREE_INVERSE, FORWARD_FIRST, FORWARD_SECOND, FORWARD_THIRD, INVERSE_FIRST, INVERSE_SECOND, INVERSE_THIRD,
  degree, forwardTable, inverseTable, primeInverses, primeOf, primes,
} from "./layout";

/** Primes from here on need the reduction in the middle: 2^48. */
const UNREDUCED_LIMIT: f64 = 281474976710656.0;

/** One radix-4 butterfly on vectors at four addresses, in place. */
// @ts-ignore: decorator
@inline
function butterfly(
  at: usize, stride: usize, w1: v128, w2: v128, w3: v128, q: v128, i: v128, reduceFirst: bool,
): void {
  const atB = at + stride, atC = atB + stride, atD = atC + stride;
  let a = v128.load(at);
  if (reduceFirst) a = reduce(a, q, i);
  const b = v128.load(atB);
  const c = multiply(v128.load(atC), w1, q, i);
  const d = multiply(v128.load(atD), w1, q, i);
  const a1 = f64x2.add(a, c), c1 = f64x2.sub(a, c);
  const b1 = multiply(f64x2.add(b, d), w2, q, i);
  const d1 = multiply(f64x2.sub(b, d), w3, q, i);
  v128.store(at, f64x2.add(a1, b1));
  v128.store(atB, f64x2.sub(a1, b1));
  v128.store(atC, f64x2.add(c1, d1));
  v128.store(atD, f64x2.sub(c1, d1));
}

/** One stage, for odd log2 N: joins the halves into vectors. */
// @ts-ignore: decorator
@inline
function firstStage(from: usize, to: usize, modulus: usize, q: v128, i: v128): void {
  const w1 = v128.load_splat<f64>(modulus, FORWARD_FIRST);
  const half = degree << 2;
  const end = from + half;
  for (; from < end; from += 16, to += 32) {
    const a = v128.load(from), b = multiply(v128.load(from + half), w1, q, i);
    const sum = f64x2.add(a, b), difference = f64x2.sub(a, b);
    v128.store(to, v128.shuffle<f64>(sum, difference, 0, 2));
    v128.store(to, v128.shuffle<f64>(sum, difference, 1, 3), 16);
  }
}

/** Two stages, for even log2 N: joins the halves into vectors. */
// @ts-ignore: decorator
@inline
function firstPass(from: usize, to: usize, modulus: usize, q: v128, i: v128): void {
  const w1 = v128.load_splat<f64>(modulus, FORWARD_FIRST);
  const w2 = v128.load_splat<f64>(modulus, FORWARD_SECOND);
  const w3 = v128.load_splat<f64>(modulus, FORWARD_THIRD);
  const quarter = degree << 1, half = degree << 2;
  const end = from + quarter;
  for (; from < end; from += 16, to += 32) {
    let a = v128.load(from), b = v128.load(from + quarter);
    let c = multiply(v128.load(from + half), w1, q, i);
    let d = multiply(v128.load(from + half + quarter), w1, q, i);
    const a1 = f64x2.add(a, c), c1 = f64x2.sub(a, c);
    const b1 = multiply(f64x2.add(b, d), w2, q, i);
    const d1 = multiply(f64x2.sub(b, d), w3, q, i);
    a = f64x2.add(a1, b1);
    b = f64x2.sub(a1, b1);
    c = f64x2.add(c1, d1);
    d = f64x2.sub(c1, d1);
    v128.store(to, v128.shuffle<f64>(a, c, 0, 2));
    v128.store(to, v128.shuffle<f64>(a, c, 1, 3), 16);
    v128.store(to + half, v128.shuffle<f64>(b, d, 0, 2));
    v128.store(to + half, v128.shuffle<f64>(b, d, 1, 3), 16);
  }
}

/** The pass over `blocks` blocks of four runs of `run` bytes each. */
// @ts-ignore: decorator
@inline
function pass(to: usize, table: usize, blocks: usize, run: usize, q: v128, i: v128, reduceFirst: bool): void {
  let first = table + (blocks << 4), second = table + (blocks << 5);
  const behind = first + (blocks << 4);
  for (; first < behind; first += 16, second += 32, to += 3 * run) {
    const w1 = v128.load(first), w2 = v128.load(second), w3 = v128.load(second, 16);
    const end = to + run;
    for (; to < end; to += 16) butterfly(to, run, w1, w2, w3, q, i, reduceFirst);
  }
}

/** Coefficients within 2^50, natural order, to the places of ring form, within 11.8 * 2^49 (see above for tighter). */
export function forward(from: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  let blocks: usize;
  if (ctz(degree) & 1) {
    firstStage(from, to, modulus, q, i);
    blocks = 1;
  } else {
    firstPass(from, to, modulus, q, i);
    blocks = 2;
  }
  const table = forwardTable(modulus);
  const large = primeOf(modulus) >= UNREDUCED_LIMIT;
  // A vector is 16 bytes and there are N / 2 of them.
  let run = (degree << 1) / blocks;
  for (; run > 16; blocks <<= 2, run >>= 2) {
    if (large && (blocks == 16 || blocks == 32)) pass(to, table, blocks, run, q, i, true);
    else pass(to, table, blocks, run, q, i, false);
  }
  let first = table + (blocks << 4), second = table + (blocks << 5);
  const end = to + (degree << 3);
  for (; to < end; to += 64, first += 16, second += 32) {
    butterfly(to, 16, v128.load(first), v128.load(second), v128.load(second, 16), q, i, false);
  }
}

/** One inverse radix-4 butterfly. */
// @ts-ignore: decorator
@inline
function inverseButterfly(
  from: usize, to: usize, stride: usize, w1: v128, w2: v128, w3: v128, q: v128, i: v128,
): void {
  const a = v128.load(from), b = v128.load(from + stride);
  const c = v128.load(from + 2 * stride), d = v128.load(from + 3 * stride);
  const a1 = f64x2.add(a, b), b1 = multiply(f64x2.sub(a, b), w2, q, i);
  const c1 = f64x2.add(c, d), d1 = multiply(f64x2.sub(c, d), w3, q, i);
  v128.store(to, reduce(f64x2.add(a1, c1), q, i));
  v128.store(to + stride, f64x2.add(b1, d1));
  v128.store(to + 2 * stride, multiply(f64x2.sub(a1, c1), w1, q, i));
  v128.store(to + 3 * stride, multiply(f64x2.sub(b1, d1), w1, q, i));
}

// @ts-ignore: decorator
@inline
function finish(a: v128, q: v128, i: v128, isPositive: bool): v128 {
  const balanced = reduce(a, q, i);
  return isPositive ? positive(balanced, q) : balanced;
}

// @ts-ignore: decorator
@inline
function lastStage(from: usize, to: usize, modulus: usize, q: v128, i: v128, isPositive: bool): void {
  const scale = v128.load_splat<f64>(modulus, DEGREE_INVERSE);
  const w1 = v128.load_splat<f64>(modulus, INVERSE_FIRST);
  const half = degree << 2;
  const end = to + half;
  for (; to < end; to += 16, from += 32) {
    const low = v128.load(from), high = v128.load(from, 16);
    const a = v128.shuffle<f64>(low, high, 0, 2), b = v128.shuffle<f64>(low, high, 1, 3);
    v128.store(to, finish(multiply(f64x2.add(a, b), scale, q, i), q, i, isPositive));
    v128.store(to + half, finish(multiply(f64x2.sub(a, b), w1, q, i), q, i, isPositive));
  }
}

// @ts-ignore: decorator
@inline
function lastPass(from: usize, to: usize, modulus: usize, q: v128, i: v128, isPositive: bool): void {
  const scale = v128.load_splat<f64>(modulus, DEGREE_INVERSE);
  const w1 = v128.load_splat<f64>(modulus, INVERSE_FIRST);
  const w2 = v128.load_splat<f64>(modulus, INVERSE_SECOND);
  const w3 = v128.load_splat<f64>(modulus, INVERSE_THIRD);
  const quarter = degree << 1, half = degree << 2;
  const end = to + quarter;
  for (; to < end; to += 16, from += 32) {
    const low = v128.load(from), high = v128.load(from, 16);
    const lowB = v128.load(from + half), highB = v128.load(from + half, 16);
    const a = v128.shuffle<f64>(low, high, 0, 2), c = v128.shuffle<f64>(low, high, 1, 3);
    const b = v128.shuffle<f64>(lowB, highB, 0, 2), d = v128.shuffle<f64>(lowB, highB, 1, 3);
    const a1 = f64x2.add(a, b), b1 = multiply(f64x2.sub(a, b), w2, q, i);
    const c1 = f64x2.add(c, d), d1 = multiply(f64x2.sub(c, d), w3, q, i);
    v128.store(to, finish(multiply(f64x2.add(a1, c1), scale, q, i), q, i, isPositive));
    v128.store(to + quarter, finish(multiply(f64x2.add(b1, d1), scale, q, i), q, i, isPositive));
    v128.store(to + half, finish(multiply(f64x2.sub(a1, c1), w1, q, i), q, i, isPositive));
    v128.store(to + half + quarter, finish(multiply(f64x2.sub(b1, d1), w1, q, i), q, i, isPositive));
  }
}

/**
 * Ring form (within 4 q) to coefficients in natural order: THE balanced residues, or those of 0 .. q - 1.
 * @param work a limb that is overwritten; may be `from`, must not be `to`
 */
export function inverse(from: usize, work: usize, to: usize, modulus: usize, isPositive: bool): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const table = inverseTable(modulus);
  let blocks = degree >> 3;
  let first = table + (blocks << 4), second = table + (blocks << 5);
  const end = from + (degree << 3);
  for (let at = work; from < end; from += 64, at += 64, first += 16, second += 32) {
    inverseButterfly(from, at, 16, v128.load(first), v128.load(second), v128.load(second, 16), q, i);
  }
  blocks >>= 2;
  for (let run: usize = 64; blocks >= 1; blocks >>= 2, run <<= 2) {
    first = table + (blocks << 4);
    second = table + (blocks << 5);
    const behind = first + (blocks << 4);
    for (let at = work; first < behind; first += 16, second += 32, at += 3 * run) {
      const w1 = v128.load(first), w2 = v128.load(second), w3 = v128.load(second, 16);
      const endOfRun = at + run;
      for (; at < endOfRun; at += 16) inverseButterfly(at, at, run, w1, w2, w3, q, i);
    }
  }
  if (ctz(degree) & 1) {
    if (isPositive) lastStage(work, to, modulus, q, i, true);
    else lastStage(work, to, modulus, q, i, false);
  } else {
    if (isPositive) lastPass(work, to, modulus, q, i, true);
    else lastPass(work, to, modulus, q, i, false);
  }
}
