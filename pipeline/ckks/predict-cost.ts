/**
 * What evaluating costs on one core, from counts of operations: numbers for choosing and for telling, never for deciding
 * whether something is safe.
 *
 * Measured on one core of an Intel Xeon (Cascade Lake, 2.5 GHz, 2 vCPU), Node 24, fused multiply-add; other machines
 * keep the ratios. Sources: findings of the first prototypes (NTT 22 us and key switch .313 ms at N = 8192 with two
 * data primes; dense layers of 64-32-10 at N = 4096, 50 ms a pack), and the benchmarks of the kernels.
 */
/** One transform at N = 8192, in ms; others by N log N. */
const NTT_MS = 0.022;
const NTT_DEGREE = 8192;
/** One multiply-accumulate on a residue, in ns. */
const ACCUMULATE_NS = 0.28;
/** One product of two residues, in ns. */
const PRODUCT_NS = 1.6;
/** Reading or writing one residue of the wire format, in ns. */
const WIRE_NS = 2;
/** node-seal's encryption of zero for one result, in ms at N = 8192 with one data prime. */
const ENCRYPT_MS = 1.6;
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

/** Milliseconds of making one result look fresh. */
export function reRandomizeMs(degree: number, limbs: number): number {
  return (ENCRYPT_MS * limbs * degree) / NTT_DEGREE;
}
