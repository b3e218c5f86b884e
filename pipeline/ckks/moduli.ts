/**
 * The tables of a ring's primes in kernel memory: constants of each prime, powers of its root, inverses between primes.
 *
 * Layout: assembly/layout.ts. The root is the one SEAL takes: the smallest primitive 2N-th root of unity modulo q
 * (`util/numth.h`, try_minimal_primitive_root), so that transforms have SEAL's values in SEAL's order. All constants are
 * balanced residues, |w| <= (q - 1) / 2. Must not see a ciphertext.
 */
import { SealstreamError } from "../errors.ts";
import type { Arena } from "./arena.ts";
import type { CkksKernels } from "./kernels.ts";

/** Bytes of a modulus record; assembly/layout.ts has its fields. */
export const MODULUS_BYTES = 128;
const FORWARD_TABLE_WORD = 96 / 4;
const INVERSE_TABLE_WORD = 100 / 4;
/** f64 of a record that are set here. */
const RECORD_FLOATS = 11;
/** log2 of the first prime that is too large: the bounds of assembly/arithmetic.ts hold below. */
export const MAX_KERNEL_PRIME_BITS = 49;

export interface ModuliTables {
  /** First record. */
  readonly records: number;
  /** [dropped limb][limb] f64. */
  readonly dropInverses: number;
}

/** base^exponent modulo q. */
export function power(base: bigint, exponent: bigint, q: bigint): bigint {
  let result = 1n;
  let square = ((base % q) + q) % q;
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % q;
    square = (square * square) % q;
  }
  return result;
}

/** The residue of least magnitude as a number; exact because q < 2^49. */
export function balanced(value: bigint, q: bigint): number {
  const residue = ((value % q) + q) % q;
  return Number(residue > q / 2n ? residue - q : residue);
}

function inverseOf(value: bigint, q: bigint): bigint {
  return power(value, q - 2n, q);
}

/** Any primitive 2N-th root: g^((q-1)/2N) for the first g whose N-th power is -1. */
function anyRoot(degree: number, q: bigint): bigint {
  const exponent = (q - 1n) / BigInt(2 * degree);
  for (let generator = 2n; ; generator += 1n) {
    const root = power(generator, exponent, q);
    if (power(root, BigInt(degree), q) === q - 1n) return root;
  }
}

/** Index of each place of bit-reversed order: `bits` low bits turned round. */
export function bitReversal(bits: number): Uint32Array {
  const reversed = new Uint32Array(1 << bits);
  for (let index = 1; index < reversed.length; index += 1) {
    reversed[index] = ((reversed[index >> 1] ?? 0) >> 1) | ((index & 1) << (bits - 1));
  }
  return reversed;
}

interface Tools {
  readonly arena: Arena;
  readonly kernels: CkksKernels;
  readonly degree: number;
}

/** root^0 .. root^(N-1) of the smallest root, balanced; a view on memory at `work`. */
function minimalRootPowers(tools: Tools, record: number, work: number, q: bigint): Float64Array {
  const { arena, kernels, degree } = tools;
  kernels.fillPowers(work, degree, record, balanced(anyRoot(degree, q), q));
  const powers = arena.floats(work, degree);
  const prime = Number(q);
  let least = prime;
  // All primitive roots are the odd powers, and root^(N + k) = -root^k.
  for (let exponent = 1; exponent < degree; exponent += 2) {
    const magnitude = Math.abs(powers[exponent] ?? 0);
    least = Math.min(least, magnitude, prime - magnitude);
  }
  kernels.fillPowers(work, degree, record, least > prime / 2 ? least - prime : least);
  return powers;
}

function writeTables(tools: Tools, record: number, powers: Float64Array): void {
  const { arena, degree } = tools;
  const [forwardAt = 0, inverseAt = 0] = arena.words(record, MODULUS_BYTES / 4).subarray(24, 26);
  const forward = arena.floats(forwardAt, degree);
  const inverse = arena.floats(inverseAt, degree);
  const reversed = bitReversal(Math.log2(degree));
  const put = (place: number, index: number): void => {
    const exponent = reversed[index] ?? 0;
    forward[place] = powers[exponent] ?? 0;
    // root^-k = -root^(N - k); exponent 0 does not occur, because the first entry used is 2.
    inverse[place] = -(powers[degree - exponent] ?? 0);
  };
  for (let blocks = 1; blocks < degree / 2; blocks *= 2) {
    for (let block = 0; block < blocks; block += 1) {
      put(2 * (blocks + block), 2 * blocks + block);
      put(2 * (blocks + block) + 1, 3 * blocks + block);
    }
  }
}

function writeRecord(
  tools: Tools,
  record: number,
  work: number,
  { q, keyPrime }: { readonly q: bigint; readonly keyPrime: bigint },
): void {
  const { arena, degree } = tools;
  const fields = arena.floats(record, MODULUS_BYTES / 8);
  fields.set([Number(q), 1 / Number(q)]);
  const powers = minimalRootPowers(tools, record, work, q);
  const reversed = bitReversal(Math.log2(degree));
  const entry = (index: number): number => powers[reversed[index] ?? 0] ?? 0;
  const inverseEntry = (index: number): number => -(powers[degree - (reversed[index] ?? 0)] ?? 0);
  const degreeInverse = inverseOf(BigInt(degree), q);
  const constants = [
    Number(q),
    1 / Number(q),
    entry(1),
    entry(2),
    entry(3),
    balanced(degreeInverse, q),
    balanced(BigInt(inverseEntry(1)) * degreeInverse, q),
    inverseEntry(2),
    inverseEntry(3),
    q === keyPrime ? 0 : balanced(inverseOf(keyPrime, q), q),
    balanced(keyPrime, q),
  ];
  fields.set(constants.slice(0, RECORD_FLOATS));
  writeTables(tools, record, powers);
}

function checkPrimes(primes: readonly bigint[], degree: number): void {
  if (!(Number.isInteger(Math.log2(degree)) && degree >= 4096 && degree <= 32768)) {
    throw new SealstreamError(
      "ciphertext-refused",
      "The CKKS kernels work on rings of degree 4096 to 32768; use another parameter set.",
    );
  }
  for (const q of primes) {
    if (q >= 1n << BigInt(MAX_KERNEL_PRIME_BITS) || q % BigInt(2 * degree) !== 1n) {
      throw new SealstreamError(
        "ciphertext-refused",
        `The CKKS kernels take primes of at most ${MAX_KERNEL_PRIME_BITS} bits; use a parameter set without larger ones.`,
      );
    }
  }
}

/**
 * Lays out and fills the tables of a chain; they stay on the arena.
 * @param primes in order, the key prime last
 * @throws ciphertext-refused when a prime or the degree is beyond what the kernels are proved for
 * @throws limit-exceeded when the arena is too small
 */
export function writeModuli(tools: Tools, primes: readonly bigint[]): ModuliTables {
  const { arena, degree } = tools;
  checkPrimes(primes, degree);
  const keyPrime = primes.at(-1) ?? 1n;
  const limbBytes = degree * 8;
  const records = arena.take(primes.length * MODULUS_BYTES);
  const dropInverses = arena.take(primes.length * primes.length * 8);
  const tables = arena.take(2 * primes.length * limbBytes);
  const mark = arena.mark();
  const work = arena.take(limbBytes);
  primes.forEach((q, limb) => {
    const record = records + limb * MODULUS_BYTES;
    const at = tables + 2 * limb * limbBytes;
    const words = arena.words(record, MODULUS_BYTES / 4);
    words[FORWARD_TABLE_WORD] = at;
    words[INVERSE_TABLE_WORD] = at + limbBytes;
    writeRecord(tools, record, work, { q, keyPrime });
  });
  arena.release(mark);
  const inverses = primes.flatMap((dropped, last) =>
    primes.map((q, limb) => (limb < last ? balanced(inverseOf(dropped, q), q) : 0)),
  );
  arena.floats(dropInverses, inverses.length).set(inverses);
  return { records, dropInverses };
}
