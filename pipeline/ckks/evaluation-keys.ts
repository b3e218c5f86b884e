/**
 * Relinearization and Galois keys, from SEAL's uncompressed bytes into ring form.
 *
 * Every byte of a blob is known beforehand but the residues, and each of those is below its prime; a blob of any other
 * form is refused without an exception. They are public keys: nothing secret is here. That they are the consumer's own is
 * for the signature above to say. Must not call the library.
 *
 * Grammar (little-endian; source: SEAL 4.1 `KSwitchKeys::save_members`; public-key as in blob.ts):
 *   kswitch-keys = seal-header, parms id 32, entries u64, entries x (digits u64, digits x public-key)
 *   relin keys have one entry; Galois keys N, entry (element - 1) / 2, those without a key with 0 digits
 * In memory a key is [digit][poly][all primes][N] f64, as assembly/inner-product.ts reads it.
 */
import type { Arena } from "./arena.ts";
import { ciphertextHeader } from "./blob.ts";
import { galoisTable, stepsByElement } from "./galois.ts";
import {
  CIPHERTEXT_HEADER_BYTES,
  CIPHERTEXT_POLYS,
  dataLimbs,
  publicKeyBytes,
} from "./parameters.ts";
import type { RingShape } from "./ring.ts";
import type { CkksContext } from "./seal.ts";

const SEAL_HEADER_BYTES = 16;
/** The SEAL header of an uncompressed object of SEAL 4.1, up to its length: magic 0xA15E, 16, 4, 1, 0, 0. */
const SEAL_HEADER_START = Uint8Array.of(0x5e, 0xa1, 0x10, 0x04, 0x01, 0x00, 0x00, 0x00);
const PARMS_ID_BYTES = 32;
const COUNT_BYTES = 8;
/** Bytes before the first entry. */
const ENTRIES_AT = SEAL_HEADER_BYTES + PARMS_ID_BYTES + COUNT_BYTES;
const KEY_SCALE = 1;

/** Relinearization keys in ring form; the memory is the arena's. */
export interface RingRelinKeys {
  /** Address of the key. */
  readonly at: number;
}

export interface GaloisKey {
  readonly at: number;
  /** Address of the table of its automorphism. */
  readonly table: number;
}

/** Galois keys in ring form; the memory is the arena's. */
export interface RingGaloisKeys {
  /** Steps there is a key for, rising; 1 .. N / 2 - 1 slots to the left. */
  readonly steps: readonly number[];
  /** The key of a step (modulo the slots), or null when there is none. */
  key(step: number): GaloisKey | null;
}

/** What loading needs of a ring. */
export interface KeyTarget {
  readonly arena: Arena;
  readonly ckks: CkksContext;
  readonly importResidues: (residues: Uint8Array, shape: RingShape, to: number) => boolean;
}

/** Most bytes of a blob with this many keys, relinearization or Galois: for limits, before anything is read. */
export function evaluationKeyBytes(ckks: CkksContext, entries: number, keys: number): number {
  const { parameters } = ckks;
  const keyBytes = dataLimbs(parameters) * publicKeyBytes(parameters);
  return ENTRIES_AT + entries * COUNT_BYTES + keys * keyBytes;
}

function equalAt(blob: Uint8Array, at: number, expected: Uint8Array): boolean {
  return expected.every((byte, offset) => blob[at + offset] === byte);
}

/** Where the digits of each entry that has a key begin, or null when the blob is not exactly of the grammar. */
function findEntries(
  ckks: CkksContext,
  blob: Uint8Array,
  entries: number,
): Map<number, number> | null {
  const { parameters, primes } = ckks;
  const digits = dataLimbs(parameters);
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  if (blob.length < ENTRIES_AT + entries * COUNT_BYTES) return null;
  if (!equalAt(blob, 0, SEAL_HEADER_START)) return null;
  if (view.getBigUint64(8, true) !== BigInt(blob.length)) return null;
  if (!equalAt(blob, SEAL_HEADER_BYTES, ckks.level(primes.length).parmsId)) return null;
  if (view.getBigUint64(ENTRIES_AT - COUNT_BYTES, true) !== BigInt(entries)) return null;
  const header = ciphertextHeader(ckks, {
    limbs: primes.length,
    polys: CIPHERTEXT_POLYS,
    scale: KEY_SCALE,
  });
  const keyBytes = publicKeyBytes(parameters);
  const found = new Map<number, number>();
  let at = ENTRIES_AT;
  for (let entry = 0; entry < entries; entry += 1) {
    if (at + COUNT_BYTES > blob.length) return null;
    const count = view.getBigUint64(at, true);
    at += COUNT_BYTES;
    if (count === 0n) continue;
    if (count !== BigInt(digits) || at + digits * keyBytes > blob.length) return null;
    found.set(entry, at);
    for (let digit = 0; digit < digits; digit += 1, at += keyBytes) {
      if (!equalAt(blob, at, header)) return null;
    }
  }
  return at === blob.length ? found : null;
}

/** One key in; returns its address, or null when a residue is not below its prime. */
function importKey(target: KeyTarget, blob: Uint8Array, at: number): number | null {
  const { arena, ckks } = target;
  const { parameters, primes } = ckks;
  const shape = { polys: CIPHERTEXT_POLYS, limbs: primes.length };
  const residueBytes = publicKeyBytes(parameters) - CIPHERTEXT_HEADER_BYTES;
  const key = arena.take(dataLimbs(parameters) * residueBytes);
  for (let digit = 0; digit < dataLimbs(parameters); digit += 1) {
    const from = at + digit * publicKeyBytes(parameters) + CIPHERTEXT_HEADER_BYTES;
    const residues = blob.subarray(from, from + residueBytes);
    if (!target.importResidues(residues, shape, key + digit * residueBytes)) return null;
  }
  return key;
}

/**
 * Relinearization keys for three polynomials.
 * @returns null when the blob is refused; then nothing is kept on the arena
 * @throws limit-exceeded when the arena is too small
 */
export function loadRelinKeys(target: KeyTarget, blob: Uint8Array): RingRelinKeys | null {
  const mark = target.arena.mark();
  const at = findEntries(target.ckks, blob, 1)?.get(0);
  const key = at === undefined ? null : importKey(target, blob, at);
  if (key === null) target.arena.release(mark);
  return key === null ? null : { at: key };
}

/**
 * Galois keys of rotations; a key of another automorphism (conjugation) is refused.
 * @returns null when the blob is refused; then nothing is kept on the arena
 * @throws limit-exceeded when the arena is too small
 */
export function loadGaloisKeys(target: KeyTarget, blob: Uint8Array): RingGaloisKeys | null {
  const { arena, ckks } = target;
  const degree = ckks.parameters.polyModulusDegree;
  const mark = arena.mark();
  const steps = stepsByElement(degree);
  const keys = new Map<number, GaloisKey>();
  // Galois elements are odd and below 2N, so that there are at most N entries; SEAL writes them all.
  const entries = findEntries(ckks, blob, degree);
  for (const [entry, at] of entries ?? []) {
    const element = 2 * entry + 1;
    const step = steps.get(element);
    const key = step === undefined ? null : importKey(target, blob, at);
    if (step === undefined || key === null) {
      arena.release(mark);
      return null;
    }
    const table = arena.take(degree * 4);
    arena.words(table, degree).set(galoisTable(degree, element));
    keys.set(step, { at: key, table });
  }
  if (entries === null) return null;
  const slots = degree / 2;
  return {
    steps: [...keys.keys()].sort((a, b) => a - b),
    key: (step) => keys.get(((step % slots) + slots) % slots) ?? null,
  };
}
