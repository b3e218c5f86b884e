/**
 * The primes of a parameter set, as SEAL chooses them, without SEAL: the planner and byte formats need no library.
 *
 * SEAL takes the largest primes below 2^bits that are 1 mod 2N, as many as the set has primes of that size, and gives the
 * smallest of them to the first place of that size (`CoeffModulus::Create` and `get_primes` of SEAL 4.1).
 * Guarantees the same numbers in the same order as `seal.ts`. Must not load the library.
 */
import { SealstreamError } from "../errors.ts";
import type { CkksParameters } from "./parameters.ts";

/** Bases with which Miller-Rabin is exact for every number below 2^64 (Sinclair 2011). */
const WITNESSES = [2n, 325n, 9375n, 28178n, 450775n, 9780504n, 1795265022n];

const known = new Map<string, readonly bigint[]>();

/**
 * The set's primes in order, the key prime last.
 * @throws ciphertext-refused when there are not as many primes of a size as the set names
 */
export function primesOf(parameters: CkksParameters): readonly bigint[] {
  const found = known.get(parameters.id) ?? choosePrimes(parameters);
  known.set(parameters.id, found);
  return found;
}

function choosePrimes({ polyModulusDegree, coeffModulusBits, id }: CkksParameters): bigint[] {
  const bySize = new Map<number, bigint[]>();
  return coeffModulusBits.map((bits) => {
    const count = coeffModulusBits.filter((other) => other === bits).length;
    const left = bySize.get(bits) ?? largestPrimes(2n * BigInt(polyModulusDegree), bits, count);
    bySize.set(bits, left);
    const prime = left.pop();
    if (prime !== undefined) return prime;
    throw new SealstreamError(
      "ciphertext-refused",
      `CKKS parameters refused: there are fewer than ${count} primes of ${bits} bits for ${id}; use larger primes.`,
    );
  });
}

/** At most `count` primes of this size that are 1 modulo `factor`, the largest first. */
function largestPrimes(factor: bigint, bits: number, count: number): bigint[] {
  const primes: bigint[] = [];
  const least = 1n << BigInt(bits - 1);
  let value = ((1n << BigInt(bits)) / factor) * factor + 1n - factor;
  for (; value > least && primes.length < count; value -= factor) {
    if (isPrime(value)) primes.push(value);
  }
  return primes;
}

/** Whether an odd number above 1 and below 2^64 is prime. */
function isPrime(value: bigint): boolean {
  let odd = value - 1n;
  let twos = 0;
  for (; odd % 2n === 0n; odd /= 2n) twos += 1;
  return WITNESSES.every((witness) => {
    if (witness % value === 0n) return true;
    let power = powerMod(witness, odd, value);
    if (power === 1n) return true;
    for (let round = 0; round < twos; round += 1) {
      if (power === value - 1n) return true;
      power = (power * power) % value;
    }
    return false;
  });
}

function powerMod(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  let square = base % modulus;
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left % 2n === 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}
