/**
 * What evaluating costs on one core, from counts of operations: numbers for choosing and for telling, never for deciding
 * whether something is safe.
 *
 * Measured in thread CPU time on one core of an Intel Xeon (Cascade Lake, 2.5 GHz, 2 vCPU) that was busy with other work,
 * Node 24, fused multiply-add; other machines keep the ratios. Evaluating 64-32-10 on a full batch: 23.5 ms at N = 4096
 * (shared), 129 ms at N = 8192 with two data primes and 151 ms with three (secret), of which the ten encryptions of zero
 * by node-seal are two thirds. One transform at N = 8192: 22 us; one key switch with two data primes: .31 ms.
 */
/** One transform at N = 8192, in ms; others by N log N. */
const NTT_MS = 0.022;
const NTT_DEGREE = 8192;
/** One multiply-accumulate on a residue, in ns. */
const ACCUMULATE_NS = 0.45;
/** One product of two residues, in ns. */
const PRODUCT_NS = 1.6;
/** Reading or writing one residue of the wire format, in ns. */
const WIRE_NS = 2;
/** node-seal's encryption of zero, in ms at N = 8192 for each prime, the key prime too. */
const ENCRYPT_MS = 2.65;
const NS_PER_MS = 1e6;

/**
 * A byte on its way through Kafka, priced in ms of a core: a record goes three times over a network of 1 Gbit/s
 * (producer, replica, consumer), so that bytes and milliseconds can be added.
 */
const BYTES_PER_MS = 42_000;

/** One price for time and bytes, in ms. */
export function priceOf(ms: number, bytes: number): number {
  return ms + bytes / BYTES_PER_MS;
}

/** Milliseconds of one number-theoretic transform. */
export function transformMs(degree: number): number {
  return (NTT_MS * (degree * Math.log2(degree))) / (NTT_DEGREE * Math.log2(NTT_DEGREE));
}

/**
 * Milliseconds of one relinearisation or rotation over `limbs` primes: `limbs` inverse transforms, each digit forward
 * over all other primes and the key prime, then the key prime inverse and every limb forward, for two polynomials.
 */
export function keySwitchMs(degree: number, limbs: number): number {
  const transforms = limbs + limbs * limbs + 2 + 2 * limbs;
  const products = 2 * limbs * (limbs + 1) * degree;
  return transforms * transformMs(degree) + (products * PRODUCT_NS) / NS_PER_MS / 2;
}

/** Milliseconds of a rescale of `polys` polynomials from `limbs` primes. */
export function rescaleMs(degree: number, limbs: number, polys: number): number {
  return polys * limbs * transformMs(degree);
}

/** Milliseconds of that many multiply-accumulates on whole limbs. */
export function accumulateMs(limbs: number, degree: number): number {
  return (limbs * degree * ACCUMULATE_NS) / NS_PER_MS;
}

/** Milliseconds of that many products on whole limbs. */
export function productMs(limbs: number, degree: number): number {
  return (limbs * degree * PRODUCT_NS) / NS_PER_MS;
}

/** Milliseconds of reading or writing that many whole limbs. */
export function wireMs(limbs: number, degree: number): number {
  return (limbs * degree * WIRE_NS) / NS_PER_MS;
}

/** Milliseconds of making one result look fresh. @param primes of the set, the key prime among them */
export function reRandomizeMs(degree: number, primes: number): number {
  return (ENCRYPT_MS * primes * degree) / NTT_DEGREE;
}
