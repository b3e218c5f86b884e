/**
 * Residue arithmetic in f64: a residue is an integer that an f64 holds exactly.
 *
 * Write u = 2^-53 and let q < 2^49 be the prime, i = fl(1 / q) = (1 / q)(1 + e), |e| <= u.
 *
 * multiply(a, w) for integers |a| <= 2^53 and |w| <= q / 2 + 3:
 *   h = fl(a w) = a w (1 + e1), and h - a w is an integer of at most 2^49, so one fused operation has it exactly;
 *   c = nearest(fl(h i)), so |c - a w / q| <= 1/2 + |a w / q| (3 u + O(u^2));
 *   r = (h - c q) - (h - a w) = a w - c q. All three parts are integers below 2^53 (see below), hence exact.
 *   So r = a w mod q exactly, and |r| <= q (1/2 + 3.01 u |a w| / q) <= q (1/2 + 1.51 |a| / 2^53).
 * Let G(x) = 1/2 + B x with B = 1.51 q / 2^53: a factor of at most x q gives a product of at most G(x) q. B <= 0.0944 for
 * q < 2^49 and G(16) <= 2.02, so the parts stay below 2.1 * 2^49 + 2^49 < 2^53.
 * The same for two residues |a|, |w| <= q: |r| <= q (1/2 + 3.01 q / 2^53) <= 0.69 q.
 *
 * reduce(a) for integers |a| <= 2^53: a - nearest(fl(a i)) q, an integer, exact for the same reason;
 *   |r| <= q / 2 + 2.01 u |a| <= q / 2 + 2.01. For |a| <= 1.5 q the quotient's error is below 3.1 u < 2^-51, less than
 *   the distance 1 / (2 q) > 2^-50 of a / q from the next half, so r is THE balanced residue, |r| <= (q - 1) / 2.
 *
 * Without fusing, h - a w and c q - fl(c q) come from Dekker's product (split at 27 bits by Veltkamp's constant), which is
 * exact for all products below 2^970; the quotient is the same, so that both variants give the same bits.
 * Sources: Dekker 1971, "A floating-point technique for extending the available precision"; Shewchuk 1997, theorem 18;
 * van der Hoeven, Lecerf, Quintin 2016, "Modular SIMD arithmetic in Mathemagix", section 3.
 */

/** Largest prime, exclusive: every bound in these files is proved for it. */
export const PRIME_LIMIT: f64 = 562949953421312.0; // 2^49

// @ts-ignore: decorator
@inline
function productError(a: v128, b: v128, product: v128): v128 {
  const splitter = f64x2.splat(134217729.0); // 2^27 + 1
  const bigA = f64x2.mul(a, splitter);
  const bigB = f64x2.mul(b, splitter);
  const highA = f64x2.sub(bigA, f64x2.sub(bigA, a));
  const highB = f64x2.sub(bigB, f64x2.sub(bigB, b));
  const lowA = f64x2.sub(a, highA);
  const lowB = f64x2.sub(b, highB);
  const first = f64x2.sub(f64x2.mul(highA, highB), product);
  const second = f64x2.add(first, f64x2.mul(highA, lowB));
  return f64x2.add(f64x2.add(second, f64x2.mul(lowA, highB)), f64x2.mul(lowA, lowB));
}

/** a w mod q; see above for ranges. */
// @ts-ignore: decorator
@inline
export function multiply(a: v128, w: v128, q: v128, qInverse: v128): v128 {
  const high = f64x2.mul(a, w);
  if (ASC_FEATURE_RELAXED_SIMD) {
    const minusLow = f64x2.relaxed_nmadd(a, w, high);
    const quotient = f64x2.nearest(f64x2.mul(high, qInverse));
    return f64x2.sub(f64x2.relaxed_nmadd(quotient, q, high), minusLow);
  } else {
    const low = productError(a, w, high);
    const quotient = f64x2.nearest(f64x2.mul(high, qInverse));
    const taken = f64x2.mul(quotient, q);
    return f64x2.add(f64x2.sub(high, taken), f64x2.sub(low, productError(quotient, q, taken)));
  }
}

/** a mod q, balanced; see above for ranges. */
// @ts-ignore: decorator
@inline
export function reduce(a: v128, q: v128, qInverse: v128): v128 {
  const quotient = f64x2.nearest(f64x2.mul(a, qInverse));
  // The product is an integer near |a| <= 2^53, so that it is exact without fusing.
  if (ASC_FEATURE_RELAXED_SIMD) return f64x2.relaxed_nmadd(quotient, q, a);
  return f64x2.sub(a, f64x2.mul(quotient, q));
}

/** A balanced residue made one of 0 .. q - 1. */
// @ts-ignore: decorator
@inline
export function positive(a: v128, q: v128): v128 {
  return f64x2.add(a, v128.and(f64x2.lt(a, f64x2.splat(0)), q));
}
