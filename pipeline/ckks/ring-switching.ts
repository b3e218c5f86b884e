/**
 * Operations with key switches and the mod-downs of rescaling, on ciphertexts in ring form.
 *
 * relinearize, rotate with SEAL's digits, rescale and relinearizeRescale give SEAL's residues bit for bit. Balanced digits
 * cost the same and add 28 times less noise; hoisted rotations have the bits of balanced ones. Must not take memory: the
 * kernels' scratch is enough. Derivations: assembly/key-switch.ts, rescale.ts, rotate-sum.ts.
 */
import { SealstreamError } from "../errors.ts";
import type { GaloisKey, RingGaloisKeys, RingRelinKeys } from "./evaluation-keys.ts";
import type { RingShape } from "./ring.ts";
import type { RingCore } from "./ring-arithmetic.ts";

/** How a key switch lifts residues: as SEAL does, for its bits, or balanced, for less noise. */
export type KeySwitchDigits = "seal" | "balanced";

export interface Relinearization {
  readonly keys: RingRelinKeys;
  /** "seal" unless said. */
  readonly digits?: KeySwitchDigits;
}

/** What a rotation is by: its step in slots to the left, and keys that have it. */
export interface Rotation {
  readonly step: number;
  readonly keys: RingGaloisKeys;
}

export interface RingSwitching {
  /** Three polynomials to two. `to` may be a. */
  relinearize(a: number, limbs: number, by: Relinearization, to: number): void;
  /** Every polynomial divided by its last prime: over limbs - 1. `to` may be a. */
  rescale(a: number, shape: RingShape, to: number): void;
  /** Both, in fewer transforms: three polynomials to two over limbs - 1, of 2 or more. `to` may be a. */
  relinearizeRescale(a: number, limbs: number, by: Relinearization, to: number): void;
  /** Slots moved. `to` may be a. @throws key-missing when there is no key for the step */
  rotate(
    a: number,
    limbs: number,
    by: Rotation & { readonly digits?: KeySwitchDigits },
    to: number,
  ): void;
  /** Bytes of hoisted digits of a ciphertext. */
  hoistedBytes(limbs: number): number;
  /** Balanced digits of a ciphertext's second polynomial, for any number of rotations of it. */
  hoist(a: number, limbs: number, to: number): void;
  /** `rotate` with hoisted digits of a; `to` must not be a. @throws key-missing */
  rotateHoisted(
    a: number,
    limbs: number,
    by: Rotation & { readonly hoisted: number },
    to: number,
  ): void;
  /** Bytes of an extended accumulator: two polynomials over the data primes in use and the key prime. */
  extendedBytes(limbs: number): number;
  /** P times a rotated, not brought down, at `acc`; `add`: on top of what is there. @throws key-missing */
  accumulateHoisted(
    a: number,
    limbs: number,
    by: Rotation & { readonly hoisted: number; readonly add: boolean },
    acc: number,
  ): void;
  /** An accumulator divided by P: a ciphertext at `to`. */
  modDown(acc: number, limbs: number, to: number): void;
  /**
   * For each round in turn: a += sum of a rotated by each of its steps. `to` may be a.
   * @throws key-missing when there is no key for a step
   */
  rotateAndSum(
    a: number,
    limbs: number,
    by: { readonly keys: RingGaloisKeys; readonly rounds: readonly (readonly number[])[] },
    to: number,
  ): void;
}

/** Limbs of scratch that kernels use at most, the accumulator of `rotateAndSum` included. */
export function scratchLimbs(primes: number): number {
  return 6 * primes + 4;
}

/** Most rotations of one round: their addresses are two u32 each, in one limb of 4096 f64. */
const MAX_ROTATIONS = 4096;

function keyOf(keys: RingGaloisKeys, step: number): GaloisKey {
  const key = keys.key(step);
  if (key === null) {
    throw new SealstreamError(
      "key-missing",
      `There is no Galois key for a rotation by ${step} slots; make the keys anew for this network.`,
    );
  }
  return key;
}

/** @param scratch the kernels' scratch, of {@link scratchLimbs} limbs and one more for addresses */
export function createSwitching(
  core: RingCore & {
    readonly scratch: number;
    readonly words: (at: number, count: number) => Uint32Array;
  },
): RingSwitching {
  const { kernels, primes, limbBytes, modulus, copy, scratch } = core;
  const isPositive = (digits: KeySwitchDigits): number => (digits === "seal" ? 1 : 0);
  // Behind what assembly/rotate-sum.ts uses: 3 limbs + 3.
  const extendedAt = (limbs: number): number => scratch + (3 * limbs + 3) * limbBytes;
  const rotationsAt = scratch + scratchLimbs(primes.length) * limbBytes;
  return {
    relinearize(a, limbs, { keys, digits = "seal" }, to) {
      kernels.relinearize(a, limbs, keys.at, to, isPositive(digits));
    },
    rescale(a, { polys, limbs }, to) {
      for (let poly = 0; poly < polys; poly += 1) {
        const target = to + poly * (limbs - 1) * limbBytes;
        kernels.rescale(a + poly * limbs * limbBytes, limbs, target);
      }
    },
    relinearizeRescale(a, limbs, { keys, digits = "seal" }, to) {
      kernels.relinearizeRescale(a, limbs, keys.at, to, isPositive(digits));
    },
    rotate(a, limbs, { step, keys, digits = "seal" }, to) {
      const { at, table } = keyOf(keys, step);
      kernels.rotate(a, limbs, at, table, to, isPositive(digits));
    },
    hoistedBytes: (limbs) => limbs * (limbs + 1) * limbBytes,
    hoist: (a, limbs, to) => kernels.hoist(a + limbs * limbBytes, limbs, to),
    rotateHoisted(a, limbs, { step, keys, hoisted }, to) {
      const { at, table } = keyOf(keys, step);
      kernels.rotateHoisted(a, hoisted, limbs, at, table, to);
    },
    extendedBytes: (limbs) => 2 * (limbs + 1) * limbBytes,
    accumulateHoisted(a, limbs, { step, keys, hoisted, add }, acc) {
      const { at, table } = keyOf(keys, step);
      kernels.hoistedSums(hoisted, limbs, at, table, acc, add ? 1 : 0);
      for (let limb = 0; limb < limbs; limb += 1) {
        const offset = limb * limbBytes;
        kernels.permuteLimb(a + offset, scratch, table);
        kernels.scaleByKeyPrime(scratch, acc + offset, modulus(limb), 1);
      }
    },
    modDown: (acc, limbs, to) => kernels.modDown(acc, limbs, to),
    rotateAndSum(a, limbs, { keys, rounds }, to) {
      const polyBytes = limbs * limbBytes;
      const extended = extendedAt(limbs);
      kernels.extend(a, limbs, extended);
      if (a !== to) copy(a + polyBytes, to + polyBytes, polyBytes);
      for (const steps of rounds.filter(({ length }) => length > 0)) {
        if (steps.length > MAX_ROTATIONS) {
          throw new SealstreamError("internal", "A round has more rotations than there are slots.");
        }
        const addresses = steps.flatMap((step) => {
          const { at, table } = keyOf(keys, step);
          return [at, table];
        });
        core.words(rotationsAt, addresses.length).set(addresses);
        kernels.sumRound(extended, to + polyBytes, limbs, rotationsAt, steps.length);
      }
      kernels.modDownExtended(extended, limbs, to);
    },
  };
}
