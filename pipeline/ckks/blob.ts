/**
 * Judges untrusted CKKS blobs before the library sees a byte of them, and writes our own in the same grammar.
 *
 * SEAL's deserializer accepts a third of all mutated ciphertexts, inflates small blobs to hundreds of megabytes and can
 * abort (findings/encrypted-prediction.md). So only one form is let through: uncompressed, of the exact length, with a
 * header equal to the one we would write ourselves (every field of it is known beforehand), every residue below its
 * prime, and a second polynomial that hides something. What is refused is an outcome, never an exception.
 * Must not call the library: a context is used for its primes and level hashes only.
 *
 * Grammar (little-endian; source: SEAL 4.1 `Serialization`, `Ciphertext::save_members`, `DynArray`):
 *   seal-header  = magic u16 = 0xA15E, header bytes u8 = 16, major u8 = 4, minor u8 = 1, compression u8 = 0,
 *                  reserved u16 = 0, total bytes u64
 *   array        = seal-header, count u64, count x residue u64
 *   ciphertext   = seal-header, parms id 32, ntt form u8 = 1, polys u64, degree u64, limbs u64, scale f64,
 *                  correction u64 = 1, array of [poly][limb][degree]
 *   public-key   = ciphertext of 2 polys over all primes, scale 1
 *   secret-key   = seal-header, parms id 32, count u64, scale f64 = 1, array of [limb][degree] over all primes
 * Keys of a key switch are in `key-blob.ts`.
 */
import {
  CIPHERTEXT_HEADER_BYTES,
  CIPHERTEXT_POLYS,
  ciphertextBytes,
  dataLimbs,
  publicKeyBytes,
  RESIDUE_BYTES,
  SECRET_KEY_HEADER_BYTES,
  secretKeyBytes,
} from "./parameters.ts";
import type { CkksContext } from "./seal.ts";

const SEAL_MAGIC = 0xa15e;
const SEAL_HEADER_BYTES = 16;
/** Version that node-seal 7 writes; a blob of another SEAL is not read. */
const SEAL_MAJOR = 4;
const SEAL_MINOR = 1;
/** Bytes before the residues of a serialized array: its header and its count. */
const ARRAY_HEADER_BYTES = SEAL_HEADER_BYTES + RESIDUE_BYTES;
/** Scale of keys: they carry none. */
const KEY_SCALE = 1;
/** Results may come at any scale 2^k of this range: below, precision is gone; above, the last prime has no headroom. */
export const OUTPUT_SCALE_BITS = { least: 24, most: 56 } as const;

/** First thing that is wrong with a blob. Says nothing about its content beyond the field's name. */
export type BlobFault =
  | "length"
  | "seal-header"
  | "parms-id"
  | "ntt-form"
  | "shape"
  | "scale"
  | "correction"
  | "array-header"
  | "residue"
  | "transparent"
  | "seed"
  | "steps"
  /** Magic or version of our own wire form (`wire-ciphertext.ts`). */
  | "wire-header";

export type BlobCheck =
  /** `residues`: an aligned copy of the residues as u32 pairs, low half first. */
  | { readonly status: "ok"; readonly residues: Uint32Array; readonly scale: number }
  | { readonly status: "refused"; readonly fault: BlobFault };

interface CiphertextShape {
  readonly limbs: number;
  readonly polys: number;
  readonly scale: number;
}

/** Writes a seal-header over the first 16 bytes at `at`. */
export function writeSealHeader(view: DataView, at: number, totalBytes: number): void {
  view.setUint16(at, SEAL_MAGIC, true);
  view.setUint8(at + 2, SEAL_HEADER_BYTES);
  view.setUint8(at + 3, SEAL_MAJOR);
  view.setUint8(at + 4, SEAL_MINOR);
  view.setBigUint64(at + 8, BigInt(totalBytes), true);
}

/** Writes an array's header and count over 24 bytes at `at`. */
export function writeArrayHeader(view: DataView, at: number, count: number): void {
  writeSealHeader(view, at, ARRAY_HEADER_BYTES + count * RESIDUE_BYTES);
  view.setBigUint64(at + SEAL_HEADER_BYTES, BigInt(count), true);
}

/** Fields of a ciphertext header in order: [name, first byte, byte behind]. */
const CIPHERTEXT_FIELDS: readonly (readonly [BlobFault, number, number])[] = [
  ["seal-header", 0, 16],
  ["parms-id", 16, 48],
  ["ntt-form", 48, 49],
  ["shape", 49, 73],
  ["scale", 73, 81],
  ["correction", 81, 89],
  ["array-header", 89, CIPHERTEXT_HEADER_BYTES],
];
const SCALE_AT = 73;

/** The one header that a ciphertext of this shape has. */
export function ciphertextHeader(ckks: CkksContext, shape: CiphertextShape): Uint8Array {
  const { polyModulusDegree } = ckks.parameters;
  const count = shape.polys * shape.limbs * polyModulusDegree;
  const header = new Uint8Array(CIPHERTEXT_HEADER_BYTES);
  const view = new DataView(header.buffer);
  writeSealHeader(view, 0, CIPHERTEXT_HEADER_BYTES + count * RESIDUE_BYTES);
  header.set(ckks.level(shape.limbs).parmsId, 16);
  view.setUint8(48, 1);
  view.setBigUint64(49, BigInt(shape.polys), true);
  view.setBigUint64(57, BigInt(polyModulusDegree), true);
  view.setBigUint64(65, BigInt(shape.limbs), true);
  view.setFloat64(SCALE_AT, shape.scale, true);
  view.setBigUint64(81, 1n, true);
  writeArrayHeader(view, 89, count);
  return header;
}

/**
 * Puts a header before residues that we computed ourselves.
 * @param residues u32 pairs, low half first, [poly][limb][degree]
 * @returns a new buffer
 */
export function writeCiphertext(
  ckks: CkksContext,
  shape: CiphertextShape,
  residues: Uint32Array,
): Uint8Array {
  const blob = new Uint8Array(CIPHERTEXT_HEADER_BYTES + residues.byteLength);
  blob.set(ciphertextHeader(ckks, shape));
  blob.set(
    new Uint8Array(residues.buffer, residues.byteOffset, residues.byteLength),
    CIPHERTEXT_HEADER_BYTES,
  );
  return blob;
}

/** Residues of a ciphertext that our own library object wrote: an aligned copy, nothing checked. */
export function readResidues(blob: Uint8Array): Uint32Array {
  return new Uint32Array(blob.slice(CIPHERTEXT_HEADER_BYTES).buffer);
}

/** Checks an input ciphertext: fresh, over all data primes, at the scale of the parameter set. */
export function checkInputCiphertext(ckks: CkksContext, blob: Uint8Array): BlobCheck {
  const limbs = dataLimbs(ckks.parameters);
  const scale = 2 ** ckks.parameters.scaleBits;
  return checkCiphertext(ckks, blob, { limbs, polys: CIPHERTEXT_POLYS, scale });
}

/** Checks a result: at the last level, at a scale 2^k within {@link OUTPUT_SCALE_BITS}. */
export function checkOutputCiphertext(ckks: CkksContext, blob: Uint8Array): BlobCheck {
  if (blob.length !== ciphertextBytes(ckks.parameters, 1)) return refused("length");
  const scale = new DataView(blob.buffer, blob.byteOffset).getFloat64(SCALE_AT, true);
  const bits = Math.log2(scale);
  const { least, most } = OUTPUT_SCALE_BITS;
  const allowed = Number.isInteger(bits) && bits >= least && bits <= most && 2 ** bits === scale;
  if (!allowed) return refused("scale");
  return checkCiphertext(ckks, blob, { limbs: 1, polys: CIPHERTEXT_POLYS, scale });
}

/** Checks a serialized public key. */
export function checkPublicKey(ckks: CkksContext, blob: Uint8Array): BlobCheck {
  if (blob.length !== publicKeyBytes(ckks.parameters)) return refused("length");
  const limbs = ckks.primes.length;
  return checkCiphertext(ckks, blob, { limbs, polys: CIPHERTEXT_POLYS, scale: KEY_SCALE });
}

/** Checks a serialized secret key. */
export function checkSecretKey(ckks: CkksContext, blob: Uint8Array): BlobCheck {
  const { parameters } = ckks;
  if (blob.length !== secretKeyBytes(parameters)) return refused("length");
  const limbs = ckks.primes.length;
  const count = limbs * parameters.polyModulusDegree;
  const header = new Uint8Array(SECRET_KEY_HEADER_BYTES);
  const view = new DataView(header.buffer);
  writeSealHeader(view, 0, blob.length);
  header.set(ckks.level(limbs).parmsId, 16);
  view.setBigUint64(48, BigInt(count), true);
  view.setFloat64(56, KEY_SCALE, true);
  writeArrayHeader(view, 64, count);
  if (!equalRange(header, blob, 0, 16)) return refused("seal-header");
  if (!equalRange(header, blob, 16, 48)) return refused("parms-id");
  if (!equalRange(header, blob, 48, 56)) return refused("shape");
  if (!equalRange(header, blob, 56, 64)) return refused("scale");
  if (!equalRange(header, blob, 64, SECRET_KEY_HEADER_BYTES)) return refused("array-header");
  const residues = new Uint32Array(blob.slice(SECRET_KEY_HEADER_BYTES).buffer);
  const fault = residueFault(ckks, residues, limbs, 1);
  return fault === null ? { status: "ok", residues, scale: KEY_SCALE } : refused(fault);
}

function checkCiphertext(ckks: CkksContext, blob: Uint8Array, shape: CiphertextShape): BlobCheck {
  if (blob.length !== ciphertextBytes(ckks.parameters, shape.limbs, shape.polys)) {
    return refused("length");
  }
  const header = ciphertextHeader(ckks, shape);
  for (const [field, from, to] of CIPHERTEXT_FIELDS) {
    if (!equalRange(header, blob, from, to)) return refused(field);
  }
  const residues = readResidues(blob);
  const fault = residueFault(ckks, residues, shape.limbs, shape.polys);
  return fault === null ? { status: "ok", residues, scale: shape.scale } : refused(fault);
}

/** Whether bytes `from`..`to` - 1 of both are the same. */
export function equalRange(
  header: Uint8Array,
  blob: Uint8Array,
  from: number,
  to: number,
): boolean {
  for (let at = from; at < to; at += 1) {
    if (header[at] !== blob[at]) return false;
  }
  return true;
}

/**
 * Every residue below its prime, and no limb of a polynomial behind the first all zero. A true second polynomial is
 * uniform: one zero limb of N residues has probability q^-N, while a zero one lets anybody read the first.
 */
function residueFault(
  { primes, parameters }: CkksContext,
  residues: Uint32Array,
  limbs: number,
  polys: number,
): BlobFault | null {
  const words = 2 * parameters.polyModulusDegree;
  for (let poly = 0; poly < polys; poly += 1) {
    for (let limb = 0; limb < limbs; limb += 1) {
      const prime = primes[limb] ?? 0n;
      const from = (poly * limbs + limb) * words;
      const seen = scanLimb(residues.subarray(from, from + words), prime);
      if (seen === "too-large") return "residue";
      if (seen === "zero" && (poly > 0 || polys === 1)) return "transparent";
    }
  }
  return null;
}

/** What the residues of one limb are, as u32 pairs, low half first. */
export function scanLimb(words: Uint32Array, prime: bigint): "zero" | "ok" | "too-large" {
  const primeHigh = Number(prime >> 32n);
  const primeLow = Number(prime & 0xffffffffn);
  let seen = 0;
  for (let at = 0; at + 1 < words.length; at += 2) {
    // Because noUncheckedIndexedAccess: the loop's bound keeps both inside.
    const low = words[at] as number;
    const high = words[at + 1] as number;
    if (high > primeHigh || (high === primeHigh && low >= primeLow)) return "too-large";
    seen |= low | high;
  }
  return seen === 0 ? "zero" : "ok";
}

function refused(fault: BlobFault): BlobCheck {
  return { status: "refused", fault };
}
