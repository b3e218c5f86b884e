/** The bytes of a model of ciphertexts: exact form, and what is no such file. */
import { describe, expect, it } from "vitest";
import {
  decodeEncryptedModel,
  encodeEncryptedModel,
} from "../../../pipeline/ckks/slots/encrypted-model-file.ts";

const recipe = {
  packing: "replicated",
  limbs: 3,
  steps: [{ early: false, late: true, square: true }],
  bits: { input: 23, sums: [40], mask: null },
  outputLimbs: 1,
  precisionBits: 5.5,
} as const;
const blobs = [Uint8Array.of(1, 2, 3), new Uint8Array(0)];

function refusal(file: Uint8Array): unknown {
  try {
    return decodeEncryptedModel(file);
  } catch (error) {
    return error;
  }
}

describe("a file of an encrypted model", () => {
  it("has these bytes", () => {
    const file = Buffer.from(encodeEncryptedModel({ recipe, blobs }));
    const text = JSON.stringify(recipe);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(text.length);
    expect(file.toString("hex")).toBe(
      `53434b4d01000000${length.toString("hex")}${Buffer.from(text).toString("hex")}` +
        "0200000003000000" +
        "01020300000000",
    );
  });

  it("is read back", () => {
    expect(decodeEncryptedModel(encodeEncryptedModel({ recipe, blobs }))).toEqual({
      recipe,
      blobs,
    });
  });

  it("is refused cut off anywhere, and with a byte behind it", () => {
    const file = encodeEncryptedModel({ recipe, blobs });
    for (let length = 0; length < file.length; length += 1) {
      expect(refusal(file.subarray(0, length))).toMatchObject({ code: "checkpoint-invalid" });
    }
    expect(refusal(Uint8Array.of(...file, 0))).toMatchObject({ code: "checkpoint-invalid" });
  });

  it("is refused with lengths that point outside, another version, or a recipe with other fields", () => {
    const file = encodeEncryptedModel({ recipe, blobs });
    for (const at of [0, 4, 5, 8, 11, file.length - 4, file.length - 11]) {
      const other = file.slice();
      other[at] = 0xff;
      expect(refusal(other)).toMatchObject({ code: "checkpoint-invalid" });
    }
    const many = encodeEncryptedModel({
      recipe,
      blobs: Array.from({ length: 65_537 }, () => new Uint8Array(0)),
    });
    expect(refusal(many)).toMatchObject({ code: "checkpoint-invalid" });
    const more = { ...recipe, weights: [1] };
    expect(refusal(encodeEncryptedModel({ recipe: more, blobs }))).toMatchObject({
      code: "checkpoint-invalid",
    });
  });
});
