/** Lengths that ciphertexts of a pack may have, exactly. */
import { expect, it } from "vitest";
import { createParameters, inputCiphertextBytes } from "../../../pipeline/ckks/parameters.ts";
import { wireCiphertextBytes } from "../../../pipeline/ckks/wire-ciphertext.ts";
import { isPartLength, packLimits } from "../../../pipeline/stages/predict/limits.ts";

const SET = createParameters(8192, [49, 49, 30, 49], 23);
const lengths = [0, 1, 2, 3, 4].map((limbs) => wireCiphertextBytes(SET, 2, limbs));

it.each([
  ["wire", "batch", [1, 2, 3]],
  ["wire", "slots", [3]],
  ["library", "batch", []],
] as const)("%s, %s: of limbs %j", (form, packing, limbs) => {
  const isLength = (bytes: number) => isPartLength(SET, { form, packing }, bytes);
  for (const [at, bytes] of lengths.entries()) {
    expect(isLength(bytes), `${at} limbs`).toBe((limbs as readonly number[]).includes(at));
    expect([isLength(bytes - 1), isLength(bytes + 1)]).toEqual([false, false]);
  }
  expect(isLength(inputCiphertextBytes(SET))).toBe(form === "library");
});

it("no pack of allowed lengths is larger than a lane holds", () => {
  expect(packLimits([SET], 64).packBytes).toBeGreaterThan(64 * (lengths[3] ?? 0));
});
