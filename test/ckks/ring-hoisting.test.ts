/**
 * What SEAL does not have: balanced digits, hoisted rotations and sums with deferred mod-downs. Against each other bit for
 * bit where that is proved, by decryption elsewhere; and the loader of evaluation keys against what is none.
 */
import { beforeAll, describe, expect, it } from "vitest";
import type { RingGaloisKeys, RingRelinKeys } from "../../pipeline/ckks/evaluation-keys.ts";
import { galoisElement, stepsByElement } from "../../pipeline/ckks/galois.ts";
import { createParameters, dataLimbs, slotCount } from "../../pipeline/ckks/parameters.ts";
import type { Ring } from "../../pipeline/ckks/ring.ts";
import {
  levels,
  openReference,
  openRings,
  patterns,
  type Reference,
  randomSlots,
} from "./ring-fixtures.ts";

const MAX_BYTES = 2 ** 29;
const STEPS = [1, 2, 4, 7, -5];

/**
 * The last one has a key prime far larger than a data prime, and five digits. `error`: most error of a slot in +-1 for
 * each ciphertext summed, of a fresh encryption at the scale and its balanced key switch; about three times what was
 * measured.
 */
const SETS = [
  { set: createParameters(4096, [40, 33, 36], 30), scale: 2 ** 30, error: 2e-4 },
  { set: createParameters(8192, [46, 46, 46], 30), scale: 2 ** 40, error: 4e-8 },
  { set: createParameters(8192, [49, 47, 36, 49], 30), scale: 2 ** 40, error: 3e-8 },
  { set: createParameters(16384, [45, 45, 20, 40, 45, 49], 30), scale: 2 ** 40, error: 2e-8 },
];

/** Equal bytes, with a short message: a diff of megabytes helps nobody. */
function same(actual: Uint8Array, expected: Uint8Array, what: string): void {
  expect(`${what}: ${Buffer.compare(actual, expected)}`).toBe(`${what}: 0`);
}

function largestError(actual: Float64Array, expected: (slot: number) => number): number {
  return actual.reduce((most, value, slot) => Math.max(most, Math.abs(value - expected(slot))), 0);
}

describe.each(SETS)("the ring of $set.id", ({ set, scale, error }) => {
  let reference: Reference;
  let rings: readonly Ring[];
  const keys = new Map<Ring, { readonly galois: RingGaloisKeys; readonly relin: RingRelinKeys }>();
  const galoisOf = (ring: Ring): RingGaloisKeys => keys.get(ring)!.galois;
  const slots = slotCount(set);
  beforeAll(async () => {
    reference = await openReference(set, STEPS);
    rings = openRings(reference.ckks, MAX_BYTES);
    for (const ring of rings) {
      const galois = ring.loadGaloisKeys(reference.galoisBlob)!;
      keys.set(ring, { galois, relin: ring.loadRelinKeys(reference.relinBlob)! });
    }
    // Keys of the largest set take seconds, on a machine that may have other work.
  }, 120_000);

  /** Runs on each ring with an input in place; memory is given back. */
  const onRings = (
    input: Uint8Array,
    limbs: number,
    run: (ring: Ring, at: number, take: (bytes: number) => number) => void,
  ): void => {
    for (const ring of rings) {
      const mark = ring.mark();
      const at = ring.take(input.length);
      expect(ring.importResidues(input, { polys: 2, limbs }, at)).toBe(true);
      run(ring, at, ring.take);
      ring.release(mark);
    }
  };

  it("rotates hoisted digits to the bits of rotating with balanced ones", () => {
    for (const limbs of levels(reference.ckks)) {
      const shape = { polys: 2, limbs };
      for (const [name, input] of patterns(reference.ckks, shape)) {
        onRings(input, limbs, (ring, at, take) => {
          const hoisted = take(ring.hoistedBytes(limbs));
          const [one, other] = [take(input.length), take(input.length)];
          ring.hoist(at, limbs, hoisted);
          for (const step of STEPS) {
            const by = { step, keys: galoisOf(ring) };
            ring.rotate(at, limbs, { ...by, digits: "balanced" }, one);
            ring.rotateHoisted(at, limbs, { ...by, hoisted }, other);
            const expected = ring.exportResidues(one, shape);
            same(ring.exportResidues(other, shape), expected, `${limbs} limbs, ${name}, ${step}`);
          }
          // In place, too.
          const by = { step: 7, keys: galoisOf(ring), digits: "balanced" } as const;
          ring.rotate(at, limbs, by, one);
          const expected = ring.exportResidues(one, shape);
          ring.rotate(at, limbs, by, at);
          same(ring.exportResidues(at, shape), expected, "in place");
        });
      }
    }
  });

  it("brings one accumulated rotation down to what rotating gives, but for one rounding", () => {
    const limbs = dataLimbs(set);
    const shape = { polys: 2, limbs };
    const values = randomSlots(set, 1);
    onRings(reference.encrypt(values, scale), limbs, (ring, at, take) => {
      const hoisted = take(ring.hoistedBytes(limbs));
      const [acc, to] = [take(ring.extendedBytes(limbs)), take(ring.shapeBytes(shape))];
      ring.hoist(at, limbs, hoisted);
      STEPS.forEach((step, index) => {
        const by = { step, keys: galoisOf(ring), hoisted, add: index > 0 };
        ring.accumulateHoisted(at, limbs, by, acc);
      });
      ring.modDown(acc, limbs, to);
      const actual = reference.decrypt(ring.exportResidues(to, shape), shape, scale);
      const expected = (slot: number): number =>
        STEPS.reduce((sum, step) => sum + values[(slot + step + slots) % slots]!, 0);
      expect(largestError(actual, expected)).toBeLessThan(error * STEPS.length);
    });
  });

  it("rotates and sums in rounds, with no more noise than one by one", () => {
    const limbs = dataLimbs(set);
    const shape = { polys: 2, limbs };
    const values = randomSlots(set, 2);
    const rounds = [[1], [2, -5], [], [4], [7, 7, 1, 2, 4]];
    const expected = rounds.reduce(
      (sums, steps) =>
        sums.map((sum, slot) =>
          steps.reduce((total, step) => total + sums[(slot + step + slots) % slots]!, sum),
        ),
      values,
    );
    const terms = 2 * 3 * 2 * 6;
    onRings(reference.encrypt(values, scale), limbs, (ring, at, take) => {
      const [to, one] = [take(ring.shapeBytes(shape)), take(ring.shapeBytes(shape))];
      const sum = take(ring.shapeBytes(shape));
      ring.rotateAndSum(at, limbs, { keys: galoisOf(ring), rounds }, to);
      const slotsOf = (from: number): Float64Array =>
        reference.decrypt(ring.exportResidues(from, shape), shape, scale);
      expect(largestError(slotsOf(to), (slot) => expected[slot]!)).toBeLessThan(error * terms);
      // The same round by round with whole rotations, to compare their errors.
      for (const steps of rounds) {
        const before = ring.exportResidues(at, shape);
        ring.importResidues(before, shape, sum);
        for (const step of steps) {
          ring.rotate(at, limbs, { step, keys: galoisOf(ring), digits: "balanced" }, one);
          ring.add(sum, one, shape, sum);
        }
        ring.importResidues(ring.exportResidues(sum, shape), shape, at);
      }
      const whole = largestError(slotsOf(at), (slot) => expected[slot]!);
      const deferred = largestError(slotsOf(to), (slot) => expected[slot]!);
      expect(deferred).toBeLessThan(1.2 * whole);
      // In place gives the same bits.
      ring.importResidues(ring.exportResidues(to, shape), shape, one);
      ring.importResidues(reference.encrypt(values, scale), shape, at);
      ring.rotateAndSum(at, limbs, { keys: galoisOf(ring), rounds }, to);
      ring.rotateAndSum(at, limbs, { keys: galoisOf(ring), rounds }, at);
      same(ring.exportResidues(at, shape), ring.exportResidues(to, shape), "in place");
    });
  });

  it("relinearizes and rescales with balanced digits in one as one after the other", () => {
    const limbs = dataLimbs(set);
    for (const [name, input] of patterns(reference.ckks, { polys: 3, limbs })) {
      for (const ring of rings) {
        const mark = ring.mark();
        const [at, two] = [ring.take(input.length), ring.take(input.length)];
        const { relin } = keys.get(ring)!;
        const by = { keys: relin, digits: "balanced" } as const;
        const out = { polys: 2, limbs: limbs - 1 };
        ring.importResidues(input, { polys: 3, limbs }, at);
        ring.relinearize(at, limbs, by, two);
        ring.rescale(two, { polys: 2, limbs }, two);
        ring.relinearizeRescale(at, limbs, by, at);
        same(ring.exportResidues(at, out), ring.exportResidues(two, out), name);
        ring.release(mark);
      }
    }
  });

  it("refuses keys that are not whole, of other parameters, or of another automorphism", () => {
    const ring = rings[0]!;
    const mark = ring.mark();
    const { relinBlob, galoisBlob } = reference;
    const wrong = (blob: Uint8Array, at: number, value: number): Uint8Array => {
      const copy = blob.slice();
      copy[at] = (copy[at]! + value) & 255;
      return copy;
    };
    // SEAL's header, length, parms id, entries, digits, a ciphertext's header, a residue's highest byte, the last one's.
    for (const at of [
      0,
      3,
      5,
      8,
      16,
      47,
      48,
      56,
      64,
      113,
      144,
      64 + 113 + 7,
      relinBlob.length - 1,
    ]) {
      expect(ring.loadRelinKeys(wrong(relinBlob, at, 1))).toBeNull();
    }
    for (const cut of [0, 10, 56, 64, 200, relinBlob.length - 1]) {
      expect(ring.loadRelinKeys(relinBlob.subarray(0, cut))).toBeNull();
      expect(ring.loadGaloisKeys(galoisBlob.subarray(0, cut))).toBeNull();
    }
    expect(ring.loadRelinKeys(Buffer.concat([relinBlob, Buffer.alloc(1)]))).toBeNull();
    const longer = Buffer.concat([relinBlob, Buffer.alloc(1)]);
    longer.writeBigUInt64LE(BigInt(longer.length), 8);
    expect(ring.loadRelinKeys(longer)).toBeNull();
    expect(ring.loadRelinKeys(galoisBlob)).toBeNull();
    expect(ring.loadGaloisKeys(relinBlob)).toBeNull();
    expect(ring.loadGaloisKeys(wrong(galoisBlob, galoisBlob.length - 1, 1))).toBeNull();
    const { seal, context } = reference.ckks;
    const generator = new seal.KeyGenerator(context);
    const conjugation = generator.createGaloisKeysWithSteps(Int32Array.from([0]));
    expect(ring.loadGaloisKeys(conjugation.saveToArray(seal.ComprModeType.none))).toBeNull();
    // Nothing of the refused ones is left on the arena.
    expect(ring.mark()).toBe(mark);
    expect(galoisOf(ring).steps).toEqual([1, 2, 4, 7, slots - 5]);
    const at = ring.take(ring.shapeBytes({ polys: 2, limbs: 1 }));
    expect(() => ring.rotate(at, 1, { step: 3, keys: galoisOf(ring) }, at)).toThrow(
      expect.objectContaining({ code: "key-missing" }),
    );
    ring.release(mark);
  });
});

it("numbers automorphisms as SEAL does", () => {
  expect([0, 1, 2, -1].map((step) => galoisElement(4096, step))).toEqual([1, 3, 9, 2731]);
  const steps = stepsByElement(4096);
  expect(steps.size).toBe(2048);
  for (const step of [0, 1, 77, 2047]) expect(steps.get(galoisElement(4096, step))).toBe(step);
});
