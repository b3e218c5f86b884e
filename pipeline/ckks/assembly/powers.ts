/**
 * Powers of a root of unity, for the tables that the host builds.
 */
import { multiply, reduce } from "./arithmetic";
import { primeInverses, primes } from "./layout";

/** base^0 .. base^(count - 1), each THE balanced residue: products of residues of q / 2 + 3 are below 1.5 q. */
export function fillPowers(to: usize, count: usize, modulus: usize, base: f64): void {
  const q = primes(modulus), i = primeInverses(modulus);
  const factor = f64x2.splat(base);
  let power = f64x2.splat(1);
  const end = to + (count << 3);
  for (let at = to; at < end; at += 8) {
    v128.store64_lane(at, power, 0);
    power = reduce(multiply(power, factor, q, i), q, i);
  }
}
