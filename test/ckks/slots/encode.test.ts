/** The slot encoder against the library's: the same slots, a bit more precise; large scales; ring form. */
import { expect, test } from "vitest";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { createRing } from "../../../pipeline/ckks/ring.ts";
import {
  guarded,
  openContext,
  saveUncompressed,
  withHandles,
} from "../../../pipeline/ckks/seal.ts";
import {
  createSlotEncoder,
  encodingVariance,
  writePlain,
} from "../../../pipeline/ckks/slots/encode.ts";
import { seeded } from "../fixtures.ts";

const PARAMETERS = createParameters(4096, [40, 33, 36], 20);
const SLOTS = 2048;
const LIMBS = 2;
const DATA_AT = 88;

const random = seeded(5);
const values = Float64Array.from({ length: SLOTS }, () => 2 * random() - 1);

test.each([10, 25, 45, 66])(
  "scale 2^%d: what the library decodes is what was encoded",
  async (bits) => {
    const ckks = await openContext(PARAMETERS);
    const ring = createRing(ckks, { maxBytes: 2 ** 24 });
    const coefficients = createSlotEncoder(4096).coefficients(values, 2 ** bits);
    expect(coefficients.every(Number.isInteger)).toBe(true);
    const to = ring.take(LIMBS * ring.limbBytes);
    writePlain(ring, coefficients, { limbs: LIMBS, work: ring.take(ring.limbBytes), to });
    const residues = ring.exportResidues(to, { polys: 1, limbs: LIMBS });
    const { ours, theirs } = withHandles((keep) => {
      const encoder = keep(new ckks.seal.CKKSEncoder(ckks.context));
      const plain = keep(new ckks.seal.Plaintext());
      guarded("encode", () => encoder.encode(values, 2 ** bits, plain));
      const library = encoder.decodeFloat64(plain) as Float64Array;
      const blob = saveUncompressed(ckks, plain);
      expect(blob.length).toBe(DATA_AT + residues.length);
      blob.set(residues, DATA_AT);
      plain.loadFromArray(ckks.context, blob);
      return { ours: encoder.decodeFloat64(plain) as Float64Array, theirs: library };
    });
    const deviation = (decoded: Float64Array) =>
      Math.sqrt(decoded.reduce((sum, v, i) => sum + (v - values[i]!) ** 2, 0) / SLOTS) * 2 ** bits;
    const expected = Math.sqrt(encodingVariance(4096));
    if (bits < 30) {
      expect(deviation(ours) / expected).toBeGreaterThan(0.9);
      expect(deviation(ours) / expected).toBeLessThan(1.1);
      expect(deviation(theirs) / deviation(ours)).toBeGreaterThan(1.8);
    } else {
      // Beyond f64's 53 bits the rounding is of doubles, not of coefficients.
      expect(deviation(ours) / 2 ** bits).toBeLessThan(2 ** -40);
    }
  },
);

test("what is too large is refused", () => {
  const encoder = createSlotEncoder(4096);
  expect(() => encoder.coefficients(values, Number.MAX_VALUE * 2)).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
});
