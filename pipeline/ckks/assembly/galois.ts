/**
 * The automorphism X -> X^g of the ring, which rotates slots: on ring form it only moves places.
 *
 * Index k of SEAL's NTT order is the value at root^(2 reverse(k) + 1), so index k of the result is the index whose
 * exponent is g (2 reverse(k) + 1) mod 2N. The host makes the table (galois-tables.ts): for each place of the result the
 * BYTE offset of the place to take, u32 [N]. Source: SEAL `util/galois.cpp`, generate_table_ntt.
 */
import { limbBytes } from "./layout";

/** The places of one vector of the result, gathered from `from`. */
// @ts-ignore: decorator
@inline
export function gather(from: usize, first: usize, second: usize): v128 {
  return v128.load64_lane(from + second, v128.load64_zero(from + first), 1);
}

/** One limb; `from` must not be `to`. */
export function permuteLimb(from: usize, to: usize, table: usize): void {
  const end = to + limbBytes;
  for (; to < end; to += 16, table += 8) {
    v128.store(to, gather(from, load<u32>(table), load<u32>(table, 4)));
  }
}
