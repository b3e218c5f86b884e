/**
 * Residues as tight bits: the wire form (`wire-ciphertext.ts`) to and from ring form and SEAL's u64 words.
 *
 * Tight: residue i of a limb takes the bits i b .. (i + 1) b of its bytes, least significant bit first, b the bit length
 * of the prime. N is a multiple of 8, so that a limb fills whole bytes.
 *
 * Why it is exact. b <= 49, so that a residue at any bit offset o < 8 lies within one u64 (o + b <= 56 <= 64). Into f64:
 * the word or-ed into the mantissa of 2^52 is the number 2^52 + x, exact for x < 2^52; the way back adds 2^52 to an
 * integer 0 <= x < 2^52 and keeps the mantissa. Ring form is |x| <= q; c = nearest(x / q) is -1, 0 or 1 and x - c q is exact
 * (integers below 2^53); what is negative then gets q once, so that 0 <= x < q: c is right up to the rounding of x / q,
 * hence |x - c q| <= q / 2 + 1 < q for q > 2.
 * Every reader compares every residue with q and notes whether any was not zero; nothing is reduced silently.
 * Flags: bit 0 a residue >= q, bit 1 a residue other than zero.
 */

// @ts-ignore: decorator
@inline
function take(source: usize, bit: usize, mask: u64): u64 {
  return (load<u64>(source + (bit >> 3)) >> (bit & 7)) & mask;
}

/**
 * A limb of tight bits to ring form (place 2i is residue i, place 2i + 1 residue i + N/2).
 * @param source 8 bytes behind the limb must be readable
 * @returns flags; when bit 0 is set the target is not ring form
 */
export function unpackRing(source: usize, target: usize, n: usize, bits: usize, q: f64): u32 {
  const half = n >> 1;
  const mask: u64 = (<u64>1 << bits) - 1;
  const magic = i64x2.splat(0x4330000000000000);
  const prime = f64x2.splat(q);
  let low: usize = 0;
  let high = half * bits;
  let large = i64x2.splat(0);
  let seen = i64x2.splat(0);
  for (let pair: usize = 0; pair < half; pair++) {
    const words = i64x2.replace_lane(i64x2.splat(take(source, low, mask)), 1, take(source, high, mask));
    seen = v128.or(seen, words);
    const x = f64x2.sub(v128.or(words, magic), magic);
    large = v128.or(large, f64x2.ge(x, prime));
    v128.store(target, x);
    target += 16;
    low += bits;
    high += bits;
  }
  return u32(v128.any_true(large)) | (u32(v128.any_true(seen)) << 1);
}

/** A limb of tight bits to u64 words in SEAL's order; see `unpackRing`. A target of 0 only checks. */
export function unpackWords(source: usize, target: usize, n: usize, bits: usize, q: u64): u32 {
  const mask: u64 = (<u64>1 << bits) - 1;
  let large: u32 = 0;
  let seen: u64 = 0;
  for (let bit: usize = 0, end = n * bits; bit < end; bit += bits) {
    const x = take(source, bit, mask);
    seen |= x;
    large |= u32(x >= q);
    if (target != 0) {
      store<u64>(target, x);
      target += 8;
    }
  }
  return large | (u32(seen != 0) << 1);
}

/**
 * u64 words to tight bits; up to 8 bytes behind the limb are overwritten too, so that limbs are written in rising order.
 * Fewer than 8 bits are held between two words, so that 7 + 49 never overflow.
 * @returns flags; when bit 0 is set the target says nothing
 */
export function packWords(source: usize, target: usize, n: usize, bits: usize, q: u64): u32 {
  const mask: u64 = (<u64>1 << bits) - 1;
  let large: u32 = 0;
  let seen: u64 = 0;
  let held: u64 = 0;
  let count: usize = 0;
  for (let end = source + (n << 3); source < end; source += 8) {
    const x = load<u64>(source);
    seen |= x;
    large |= u32(x >= q);
    held |= (x & mask) << count;
    count += bits;
    store<u64>(target, held);
    target += count >> 3;
    held >>= count & 56;
    count &= 7;
  }
  return large | (u32(seen != 0) << 1);
}

// @ts-ignore: decorator
@inline
function lane(source: usize, q: f64, inverse: f64): u64 {
  const x = load<f64>(source);
  const r = x - nearest(x * inverse) * q;
  return (reinterpret<u64>((r < 0 ? r + q : r) + 4503599627370496.0) & 0xfffffffffffff);
}

/** A limb in ring form to tight bits; see `packWords`. */
export function packRing(source: usize, target: usize, n: usize, bits: usize, q: f64): void {
  const inverse = 1.0 / q;
  let held: u64 = 0;
  let count: usize = 0;
  for (let side: usize = 0; side < 16; side += 8) {
    for (let at = source + side, end = source + (n << 3); at < end; at += 16) {
      const x = lane(at, q, inverse);
      held |= x << count;
      count += bits;
      store<u64>(target, held);
      target += count >> 3;
      held >>= count & 56;
      count &= 7;
    }
  }
}
