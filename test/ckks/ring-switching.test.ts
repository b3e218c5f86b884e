/**
 * Every operation of the ring that SEAL has against SEAL, bit for bit, in both variants, at every level; the others
 * against those, and by decryption.
 */
import { beforeAll, describe, expect, it } from "vitest";
import type { RingGaloisKeys, RingRelinKeys } from "../../pipeline/ckks/evaluation-keys.ts";
import { createParameters } from "../../pipeline/ckks/parameters.ts";
import type { Ring, RingShape } from "../../pipeline/ckks/ring.ts";
import {
  type Ciphertext,
  type Evaluator,
  levels,
  openReference,
  openRings,
  patterns,
  type Reference,
  residues,
} from "./ring-fixtures.ts";

const MAX_BYTES = 2 ** 29;
const STEPS = [1, 5, -3];

const SETS = [
  createParameters(4096, [40, 33, 36], 30),
  createParameters(8192, [46, 46, 46], 30),
  createParameters(8192, [49, 47, 36, 49], 30),
  createParameters(16384, [49, 20, 49, 40, 49], 30),
];

/** Equal bytes, with a short message: a diff of megabytes helps nobody. */
function same(actual: Uint8Array, expected: Uint8Array, what: string): void {
  expect(`${what}: ${Buffer.compare(actual, expected)}`).toBe(`${what}: 0`);
}

describe.each(SETS)("the ring of $id", (set) => {
  let reference: Reference;
  let rings: readonly Ring[];
  const keys = new Map<Ring, { readonly galois: RingGaloisKeys; readonly relin: RingRelinKeys }>();
  const of = (ring: Ring) => keys.get(ring)!;
  beforeAll(async () => {
    reference = await openReference(set, STEPS);
    rings = openRings(reference.ckks, MAX_BYTES);
    for (const ring of rings) {
      const galois = ring.loadGaloisKeys(reference.galoisBlob)!;
      keys.set(ring, { galois, relin: ring.loadRelinKeys(reference.relinBlob)! });
    }
    // Keys of the largest set take seconds, on a machine that may have other work.
  }, 120_000);

  /** Compares an operation with SEAL's on every pattern at a level. */
  const compare = (
    shape: RingShape,
    out: RingShape,
    seal: (evaluator: Evaluator, input: Ciphertext, out: Ciphertext) => void,
    ours: (ring: Ring, at: number, to: number) => void,
  ): void => {
    const { limbs } = shape;
    for (const [name, input] of patterns(reference.ckks, shape)) {
      const expected = reference.evaluate(input, shape, seal);
      for (const ring of rings) {
        const mark = ring.mark();
        const at = ring.take(ring.shapeBytes(shape));
        const to = ring.take(ring.shapeBytes({ polys: 3, limbs }));
        expect(ring.importResidues(input, shape, at)).toBe(true);
        ours(ring, at, to);
        const what = `${ring.variant}, ${limbs} limbs, ${name}`;
        same(ring.exportResidues(to, out), expected, what);
        const largest = Math.max(
          ...Array.from({ length: out.polys * out.limbs }, (_, limb) => {
            const values = ring.floats(to + limb * ring.limbBytes, ring.degree);
            const prime = Number(ring.primes[limb % out.limbs]);
            return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / prime;
          }),
        );
        expect(largest).toBeLessThanOrEqual(1);
        ring.release(mark);
      }
    }
  };

  it("rotates, relinearizes and rescales as SEAL does", () => {
    for (const limbs of levels(reference.ckks)) {
      const two = { polys: 2, limbs };
      const three = { polys: 3, limbs };
      for (const step of limbs === 2 ? STEPS : [5]) {
        compare(
          two,
          two,
          (seal, a, out) => seal.rotateVector(a, step, reference.galoisKeys, out),
          (ring, at, to) => ring.rotate(at, limbs, { step, keys: of(ring).galois }, to),
        );
      }
      compare(
        three,
        two,
        (seal, a, out) => seal.relinearize(a, reference.relinKeys, out),
        (ring, at, to) => ring.relinearize(at, limbs, { keys: of(ring).relin }, to),
      );
      if (limbs === 1) continue;
      for (const polys of [2, 3]) {
        const shape = { polys, limbs };
        compare(
          shape,
          { polys, limbs: limbs - 1 },
          (seal, a, out) => seal.rescaleToNext(a, out),
          (ring, at, to) => ring.rescale(at, shape, to),
        );
      }
      compare(
        three,
        { polys: 2, limbs: limbs - 1 },
        (seal, a, out) => {
          seal.relinearize(a, reference.relinKeys, out);
          seal.rescaleToNextInplace(out);
        },
        (ring, at, to) => ring.relinearizeRescale(at, limbs, { keys: of(ring).relin }, to),
      );
    }
  });

  it("adds, multiplies and squares as SEAL does", () => {
    for (const limbs of levels(reference.ckks)) {
      const two = { polys: 2, limbs };
      const three = { polys: 3, limbs };
      const plain = residues(reference.ckks, { polys: 1, limbs }, (prime, index) =>
        index % 3 === 0 ? prime - 1n : (prime / 3n) * BigInt(index % 3),
      );
      const plaintext = reference.withPlain(plain, limbs);
      const withPlain =
        (run: (ring: Ring, at: number, plainAt: number, to: number) => void) =>
        (ring: Ring, at: number, to: number): void => {
          const plainAt = ring.take(limbs * ring.limbBytes);
          expect(ring.importResidues(plain, { polys: 1, limbs }, plainAt)).toBe(true);
          run(ring, at, plainAt, to);
        };
      compare(
        two,
        three,
        (seal, a, out) => seal.square(a, out),
        (ring, at, to) => ring.square(at, limbs, to),
      );
      compare(
        two,
        three,
        (seal, a, out) => {
          seal.negate(a, out);
          seal.addPlainInplace(out, plaintext);
          seal.multiplyInplace(out, a);
        },
        withPlain((ring, at, plainAt, to) => {
          const other = ring.take(ring.shapeBytes(two));
          ring.negate(at, two, other);
          ring.addPlain(other, plainAt, two, other);
          ring.multiply(other, at, limbs, to);
        }),
      );
      compare(
        two,
        two,
        (seal, a, out) => seal.multiplyPlain(a, plaintext, out),
        withPlain((ring, at, plainAt, to) => ring.multiplyPlain(at, plainAt, two, to)),
      );
      compare(
        two,
        two,
        (seal, a, out) => {
          seal.addPlain(a, plaintext, out);
          seal.addInplace(out, out);
          seal.addInplace(out, out);
          seal.subInplace(out, a);
        },
        withPlain((ring, at, plainAt, to) => {
          ring.addPlain(at, plainAt, two, to);
          ring.add(to, to, two, to);
          ring.add(to, to, two, to);
          ring.subtract(to, at, two, to);
        }),
      );
    }
  });
});
