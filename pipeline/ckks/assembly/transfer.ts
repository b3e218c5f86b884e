/**
 * SEAL's u64 residues in natural NTT order to ring form and back.
 *
 * An integer below 2^52 joined with the exponent of 2^52 is the f64 2^52 + x; subtracting 2^52 leaves x, exactly.
 */
import { positive, reduce } from "./arithmetic";
import { degree, primeInverses, primes } from "./layout";

const EXPONENT: i64 = 0x4330000000000000;

/** One limb in. Any address `from`. Returns whether every residue is below the prime; `to` is of no use otherwise. */
export function importLimb(from: usize, to: usize, modulus: usize): bool {
  const q = primes(modulus), i = primeInverses(modulus);
  const bias = i64x2.splat(EXPONENT);
  const largest = i64x2.splat(<i64>load<f64>(modulus) - 1);
  const half = degree << 2;
  const end = from + half;
  let bad = i64x2.splat(0);
  for (; from < end; from += 16, to += 32) {
    const low = v128.load(from), high = v128.load(from + half);
    // A u64 from 2^63 is negative: the sign bit of either means refused.
    bad = v128.or(bad, v128.or(v128.or(low, high), v128.or(i64x2.gt_s(low, largest), i64x2.gt_s(high, largest))));
    const a = reduce(f64x2.sub(v128.or(low, bias), bias), q, i);
    const b = reduce(f64x2.sub(v128.or(high, bias), bias), q, i);
    v128.store(to, v128.shuffle<f64>(a, b, 0, 2));
    v128.store(to, v128.shuffle<f64>(a, b, 1, 3), 16);
  }
  return i64x2.bitmask(bad) == 0;
}

/** One limb out, every residue in 0 .. q - 1. */
export function exportLimb(from: usize, to: usize, modulus: usize): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const bias = i64x2.splat(EXPONENT);
  const half = degree << 2;
  const end = to + half;
  for (; to < end; to += 16, from += 32) {
    const a = v128.load(from), b = v128.load(from, 16);
    const low = positive(reduce(v128.shuffle<f64>(a, b, 0, 2), q, i), q);
    const high = positive(reduce(v128.shuffle<f64>(a, b, 1, 3), q, i), q);
    v128.store(to, v128.xor(f64x2.add(low, bias), bias));
    v128.store(to + half, v128.xor(f64x2.add(high, bias), bias));
  }
}
