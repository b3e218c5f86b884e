/**
 * The ring that ciphertexts are evaluated in: kernel memory, the tables of its primes, and every operation of the kernels.
 *
 * Ring form: a limb is N f64 integers, |x| <= q, in SEAL's NTT order with its halves interleaved (place 2 i holds index
 * i, place 2 i + 1 index i + N / 2). A polynomial is its limbs, a ciphertext its polynomials: [poly][limb][N] f64. An
 * address is a byte offset from `take`. Operations never take memory, so that they never detach a view.
 * It evaluates only: no randomness, no key is made, nothing is decrypted. Nothing is checked for being a ciphertext:
 * bytes that come from elsewhere have passed blob.ts or wire-ciphertext.ts.
 */
import { SealstreamError } from "../errors.ts";
import { type Arena, createArena } from "./arena.ts";
import {
  loadGaloisKeys,
  loadRelinKeys,
  type RingGaloisKeys,
  type RingRelinKeys,
} from "./evaluation-keys.ts";
import { type CkksKernels, type KernelVariant, loadKernels } from "./kernels.ts";
import { MODULUS_BYTES, writeModuli } from "./moduli.ts";
import { createArithmetic, type RingArithmetic, type RingCore } from "./ring-arithmetic.ts";
import { createSwitching, type RingSwitching, scratchLimbs } from "./ring-switching.ts";
import type { CkksContext } from "./seal.ts";

export interface RingOptions {
  /** Most memory for tables, keys, scratch and all that is taken; at most 4 GiB. */
  readonly maxBytes: number;
  /** Run the module that does not need fused multiply-adds. */
  readonly exactOnly?: boolean;
}

/** Extent of a ciphertext in memory. */
export interface RingShape {
  readonly polys: number;
  /** Primes it is over: the first `limbs` of the chain. */
  readonly limbs: number;
}

export interface Ring extends Arena, RingArithmetic, RingSwitching {
  /** N. */
  readonly degree: number;
  /** The primes in order, the key prime last. */
  readonly primes: readonly bigint[];
  readonly variant: KernelVariant;
  /** Bytes of one limb: 8 N. */
  readonly limbBytes: number;
  /** The bare kernels, for operations of this room that are not below. */
  readonly kernels: CkksKernels;
  /** Address of the modulus record of a limb, as kernels want it. */
  modulus(limb: number): number;
  /** Bytes of a ciphertext of this shape. */
  shapeBytes(shape: RingShape): number;
  /**
   * SEAL's residues, u64 little-endian [poly][limb][N], to ring form.
   * @returns whether every residue is below its prime; where not, what is at `to` is of no use
   */
  importResidues(residues: Uint8Array, shape: RingShape, to: number): boolean;
  /** Ring form to SEAL's residues; a new buffer. */
  exportResidues(from: number, shape: RingShape): Uint8Array<ArrayBuffer>;
  /** Coefficients in natural order (N integers within 2^50) to ring form; `from` must not be `to`. */
  forward(from: number, limb: number, to: number): void;
  /** Ring form to balanced coefficients in natural order, |x| <= (q - 1) / 2; `from` must not be `to`. */
  inverse(from: number, limb: number, to: number): void;
  /**
   * Relinearization keys from SEAL's uncompressed bytes; they stay on the arena.
   * @returns null when the blob is not exactly such keys of this parameter set
   */
  loadRelinKeys(blob: Uint8Array): RingRelinKeys | null;
  /**
   * Galois keys of rotations, likewise, each with the table of its automorphism.
   * @returns null when the blob is not exactly such keys of this parameter set
   */
  loadGaloisKeys(blob: Uint8Array): RingGaloisKeys | null;
}

/**
 * Makes a ring of a parameter set.
 * @throws ciphertext-refused when a prime has 50 bits or more, or the degree is not 4096 .. 32768
 * @throws limit-exceeded when tables and scratch do not fit `maxBytes`
 * @throws backend-unavailable when the kernels are not built
 */
export function createRing(ckks: CkksContext, options: RingOptions): Ring {
  const degree = ckks.parameters.polyModulusDegree;
  const { primes } = ckks;
  const { kernels, memory, variant } = loadKernels(options);
  const arena = createArena(memory, kernels.heapBase.value, options.maxBytes);
  const { records, dropInverses } = writeModuli({ arena, kernels, degree }, primes);
  const limbBytes = degree * 8;
  // One limb more than the kernels use, for addresses.
  const scratch = arena.take((scratchLimbs(primes.length) + 1) * limbBytes);
  kernels.configure(degree, records, primes.length, dropInverses, scratch);
  const modulus = (limb: number): number => records + limb * MODULUS_BYTES;
  const copy = (from: number, to: number, bytes: number): void => {
    new Uint8Array(memory.buffer).copyWithin(to, from, from + bytes);
  };
  const core = { kernels, primes, limbBytes, modulus, copy, scratch, words: arena.words };
  const transfer = createTransfer(core, arena);
  const target = { arena, ckks, importResidues: transfer.importResidues };
  return {
    ...arena,
    ...transfer,
    ...createArithmetic(core),
    ...createSwitching(core),
    degree,
    primes,
    variant,
    limbBytes,
    kernels,
    modulus,
    forward(from, limb, to) {
      kernels.forward(from, to, modulus(limb));
      kernels.reduceLimb(to, to, modulus(limb));
    },
    inverse(from, limb, to) {
      kernels.inverse(from, scratch, to, modulus(limb), 0);
    },
    loadRelinKeys: (blob) => loadRelinKeys(target, blob),
    loadGaloisKeys: (blob) => loadGaloisKeys(target, blob),
  };
}

function createTransfer(
  { kernels, limbBytes, modulus, scratch }: RingCore & { readonly scratch: number },
  arena: Arena,
): Pick<Ring, "shapeBytes" | "importResidues" | "exportResidues"> {
  const shapeBytes = ({ polys, limbs }: RingShape): number => polys * limbs * limbBytes;
  return {
    shapeBytes,
    importResidues(residues, shape, to) {
      if (residues.length !== shapeBytes(shape)) {
        throw new SealstreamError("internal", "Residues have another length than their shape.");
      }
      let valid = 1;
      for (let limb = 0; limb < shape.polys * shape.limbs; limb += 1) {
        const from = limb * limbBytes;
        arena.bytes(scratch, limbBytes).set(residues.subarray(from, from + limbBytes));
        valid &= kernels.importLimb(scratch, to + from, modulus(limb % shape.limbs));
      }
      return valid === 1;
    },
    exportResidues(from, shape) {
      const residues = new Uint8Array(shapeBytes(shape));
      for (let limb = 0; limb < shape.polys * shape.limbs; limb += 1) {
        const offset = limb * limbBytes;
        kernels.exportLimb(from + offset, scratch, modulus(limb % shape.limbs));
        residues.set(arena.bytes(scratch, limbBytes), offset);
      }
      return residues;
    },
  };
}
