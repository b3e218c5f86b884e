/**
 * Whether this engine fuses relaxed multiply-adds. The specification lets it round twice, and then no product here is exact.
 */

/** a = 1 + 2^-30, so a a = 1 + 2^-29 + 2^-60 and fl(a a) = 1 + 2^-29: only a fused operation sees the 2^-60. */
export function fusesMultiplyAdd(a: f64, rounded: f64): bool {
  if (!ASC_FEATURE_RELAXED_SIMD) return false;
  const factor = f64x2.splat(a);
  const plus = f64x2.relaxed_madd(factor, factor, f64x2.splat(-rounded));
  const minus = f64x2.relaxed_nmadd(factor, factor, f64x2.splat(rounded));
  const residue: f64 = 8.673617379884035e-19; // 2^-60
  return f64x2.extract_lane(plus, 0) == residue && f64x2.extract_lane(plus, 1) == residue &&
    f64x2.extract_lane(minus, 0) == -residue && f64x2.extract_lane(minus, 1) == -residue;
}
