/**
 * CKKS parameter sets: their id, their limits, and the exact size of everything serialized under them.
 *
 * A parameter set is public and travels by its id, e.g. `ckks-8192-60.30.30.40-s30`: ring degree, bit sizes of the
 * coefficient primes (the last one is SEAL's special key-switching prime), and log2 of the scale of an input.
 * Grammar of an id: "ckks-" degree "-" bits ("." bits)+ "-s" scaleBits, decimal, without leading zeros.
 * Must not load the CKKS library: sizes are arithmetic, so that untrusted lengths can be judged without it.
 * Source of the layout: SEAL 4.1 serialization (`docs` of Microsoft SEAL; measured in findings/encrypted-prediction.md).
 */
import { SealstreamError } from "../errors.ts";

export interface CkksParameters {
  /** Ring degree N, a power of two. A ciphertext has N / 2 slots. */
  readonly polyModulusDegree: number;
  /** Bit sizes of the primes; the last is used in keys only. */
  readonly coeffModulusBits: readonly number[];
  /** log2 of the scale at which inputs are encoded. */
  readonly scaleBits: number;
  /** Canonical id; two sets are the same exactly when their ids are. */
  readonly id: string;
}

/** How records share ciphertexts: `batch`, one ciphertext per feature; `slots`, a record's features in one ciphertext. */
export type Packing = "batch" | "slots";

/** How a ciphertext lies in a message: `wire`, tight (`wire-ciphertext.ts`); `library`, as SEAL writes it (`blob.ts`). */
export type CiphertextForm = "wire" | "library";

/** What the consumer may learn of the model (`secret`, `shared`); `encrypted`: the prediction zone may not know it either. */
export type ModelMode = "secret" | "shared" | "encrypted";

/** Classical security in bits of every set that this room makes. */
export const SECURITY_BITS = 128;

/**
 * Most bits of the whole coefficient modulus for 128-bit security with a ternary secret, by degree.
 * Source: HomomorphicEncryption.org security standard (2018), table 1; the same as SEAL's `CoeffModulus::MaxBitCount`.
 */
const SECURE_MODULUS_BITS: Readonly<Record<number, number>> = {
  4096: 109,
  8192: 218,
  16384: 438,
  32768: 881,
};

/** Smallest prime at N = 4096: primes are 1 mod 2N, so that below 17 bits there are too few of them. */
const MIN_PRIME_BITS = 17;
/** Largest prime our kernels are proved for (`ring.ts`). */
export const KERNEL_PRIME_BITS = 49;
/** Largest prime SEAL admits for a user's modulus. */
const MAX_PRIME_BITS = 60;
/** A scale below 2^20 drowns in encryption noise (2^15 in a slot at N = 8192); above 2^50 doubles no longer fill it. */
const MIN_SCALE_BITS = 20;
const MAX_SCALE_BITS = 50;

/** Bytes of a residue in SEAL's serialization: one u64. */
export const RESIDUE_BYTES = 8;
/** Bytes before the residues of a serialized ciphertext or public key; see the grammar in `blob.ts`. */
export const CIPHERTEXT_HEADER_BYTES = 113;
/** Bytes before the residues of a serialized secret key (a SEAL plaintext). */
export const SECRET_KEY_HEADER_BYTES = 88;
/** Bytes before the first key of serialized relinearization keys. */
export const RELIN_HEADER_BYTES = 64;

/** Polynomials of a fresh or relinearized ciphertext. */
export const CIPHERTEXT_POLYS = 2;

const ID = /^ckks-([1-9]\d{0,4})-([1-9]\d?(?:\.[1-9]\d?){1,19})-s([1-9]\d?)$/;

/**
 * The parameter set of these numbers.
 * @throws ciphertext-refused when they are not a secure set this room supports
 */
export function createParameters(
  polyModulusDegree: number,
  coeffModulusBits: readonly number[],
  scaleBits: number,
): CkksParameters {
  const fault = parametersFault(polyModulusDegree, coeffModulusBits, scaleBits);
  if (fault !== null) {
    throw new SealstreamError(
      "ciphertext-refused",
      `CKKS parameters refused: ${fault}. Use ${DEFAULT_PARAMETERS_ID}.`,
    );
  }
  const id = `ckks-${polyModulusDegree}-${coeffModulusBits.join(".")}-s${scaleBits}`;
  return { polyModulusDegree, coeffModulusBits: [...coeffModulusBits], scaleBits, id };
}

function parametersFault(
  degree: number,
  bits: readonly number[],
  scaleBits: number,
): string | null {
  const limit = SECURE_MODULUS_BITS[degree];
  if (limit === undefined) {
    return `the ring degree must be one of ${Object.keys(SECURE_MODULUS_BITS).join(", ")}`;
  }
  if (bits.length < 2) return "at least one data prime and one key prime are needed";
  const least = leastPrimeBits(degree);
  if (!bits.every((b) => Number.isInteger(b) && b >= least && b <= MAX_PRIME_BITS)) {
    return `every prime must have ${least} to ${MAX_PRIME_BITS} bits at ring degree ${degree}`;
  }
  const sum = bits.reduce((total, b) => total + b, 0);
  if (sum > limit) return `${sum} bits of modulus are more than the ${limit} that are secure`;
  if (
    !(Number.isInteger(scaleBits) && scaleBits >= MIN_SCALE_BITS && scaleBits <= MAX_SCALE_BITS)
  ) {
    return `the scale must have ${MIN_SCALE_BITS} to ${MAX_SCALE_BITS} bits`;
  }
  const dataBits = bits.slice(0, -1).reduce((total, b) => total + b, 0);
  if (scaleBits >= dataBits) return "the scale does not fit below the data primes";
  return null;
}

/** Of b bits there are about 2^b / (2 N b) primes that are 1 mod 2N: four bits above 2N leave one or two. */
function leastPrimeBits(degree: number): number {
  return Math.max(MIN_PRIME_BITS, Math.log2(2 * degree) + 4);
}

/** Most bits of a secure modulus at this ring degree, or null when the degree is none of ours. */
export function secureModulusBits(polyModulusDegree: number): number | null {
  return SECURE_MODULUS_BITS[polyModulusDegree] ?? null;
}

/** Bits of the whole coefficient modulus, the key prime included. */
export function modulusBits({ coeffModulusBits }: CkksParameters): number {
  return coeffModulusBits.reduce((total, bits) => total + bits, 0);
}

/** Whether our kernels evaluate under this set: every prime within the bound they are proved for. */
export function fitsKernels({ coeffModulusBits }: CkksParameters): boolean {
  return coeffModulusBits.every((bits) => bits <= KERNEL_PRIME_BITS);
}

/** The parameter set of an id, or null when it is not the canonical id of a secure, supported set. */
export function parseParameters(id: string): CkksParameters | null {
  const [, degree, bits, scale] = ID.exec(id) ?? [];
  if (degree === undefined || bits === undefined || scale === undefined) return null;
  const coeffModulusBits = bits.split(".").map(Number);
  if (parametersFault(Number(degree), coeffModulusBits, Number(scale)) !== null) return null;
  return createParameters(Number(degree), coeffModulusBits, Number(scale));
}

/** Two squares deep at 128 bits: error below 1e-4 of a logit, 4,096 records a pack (findings/encrypted-prediction.md). */
export const DEFAULT_PARAMETERS_ID = "ckks-8192-60.30.30.40-s30";

/** The set a pipeline uses unless it is told another. */
export const DEFAULT_PARAMETERS: CkksParameters = createParameters(8192, [60, 30, 30, 40], 30);

/** Records a pack can hold. */
export function slotCount(parameters: CkksParameters): number {
  return parameters.polyModulusDegree / 2;
}

/** Primes of a fresh ciphertext: all but the key prime. Each rescale takes the last one away. */
export function dataLimbs(parameters: CkksParameters): number {
  return parameters.coeffModulusBits.length - 1;
}

/** Bytes of a serialized, uncompressed ciphertext over the first `limbs` primes. */
export function ciphertextBytes(
  parameters: CkksParameters,
  limbs: number,
  polys: number = CIPHERTEXT_POLYS,
): number {
  return CIPHERTEXT_HEADER_BYTES + polys * limbs * parameters.polyModulusDegree * RESIDUE_BYTES;
}

/** Bytes of a fresh input ciphertext. */
export function inputCiphertextBytes(parameters: CkksParameters): number {
  return ciphertextBytes(parameters, dataLimbs(parameters));
}

/** Bytes of a result ciphertext, which is at the last level. */
export function outputCiphertextBytes(parameters: CkksParameters): number {
  return ciphertextBytes(parameters, 1);
}

/** Bytes of a serialized public key. */
export function publicKeyBytes(parameters: CkksParameters): number {
  return ciphertextBytes(parameters, parameters.coeffModulusBits.length);
}

/** Bytes of a serialized secret key. */
export function secretKeyBytes(parameters: CkksParameters): number {
  const { polyModulusDegree, coeffModulusBits } = parameters;
  return SECRET_KEY_HEADER_BYTES + coeffModulusBits.length * polyModulusDegree * RESIDUE_BYTES;
}

/** Bytes of serialized relinearization keys: one public key per data prime. */
export function relinKeysBytes(parameters: CkksParameters): number {
  return RELIN_HEADER_BYTES + dataLimbs(parameters) * publicKeyBytes(parameters);
}

/** Bytes of ciphertext per record when every slot is used, before the transport compresses. */
export function bytesPerRecord(parameters: CkksParameters, features: number): number {
  return (features * inputCiphertextBytes(parameters)) / slotCount(parameters);
}
