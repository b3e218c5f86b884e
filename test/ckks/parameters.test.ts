/** Parameter sets: ids, the 128-bit table against the library, and exact lengths of all that is serialized. */
import { expect, test } from "vitest";
import { evaluationKeysBytes } from "../../pipeline/ckks/key-blob.ts";
import { createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { encryptPack } from "../../pipeline/ckks/pack.ts";
import {
  bytesPerRecord,
  ciphertextBytes,
  createParameters,
  DEFAULT_PARAMETERS,
  DEFAULT_PARAMETERS_ID,
  fitsKernels,
  inputCiphertextBytes,
  modulusBits,
  outputCiphertextBytes,
  parseParameters,
  publicKeyBytes,
  secretKeyBytes,
  secureModulusBits,
  slotCount,
} from "../../pipeline/ckks/parameters.ts";
import { loadSeal, openContext } from "../../pipeline/ckks/seal.ts";
import { isSealstreamError } from "../../pipeline/errors.ts";
import { SMALL } from "./fixtures.ts";

test("the default set has the id that packs carry", () => {
  expect(DEFAULT_PARAMETERS.id).toBe(DEFAULT_PARAMETERS_ID);
  expect(parseParameters(DEFAULT_PARAMETERS_ID)).toEqual(DEFAULT_PARAMETERS);
  expect(slotCount(DEFAULT_PARAMETERS)).toBe(4096);
});

test.each([
  "",
  "ckks-8192",
  "ckks-08192-60.30.30.40-s30",
  "ckks-8192-60.30.30.40-s030",
  "ckks-8192-60.30.30.40-s30 ",
  "CKKS-8192-60.30.30.40-s30",
  "ckks-8192-60.30.30.40-s12",
  "ckks-8192-60.30.30.40-s60",
  "ckks-8192-60-s30",
  "ckks-8192-61.30.30.40-s30",
  "ckks-8192-16.30.30.40-s30",
  "ckks-2048-27.27-s20",
  "ckks-32768-19.40.60-s40",
  "ckks-65536-60.40.60-s40",
])("%j is not an id", (id) => {
  expect(parseParameters(id)).toBeNull();
});

test.each([
  { degree: 4096, limit: 109, most: "60", last: 49 },
  { degree: 8192, limit: 218, most: "60.60.60", last: 38 },
  { degree: 16384, limit: 438, most: "57.60.60.60.60.60.60", last: 21 },
  { degree: 32768, limit: 881, most: "60.60.60.60.60.60.60.60.60.60.60.60.60.60", last: 41 },
])(
  "N = $degree takes at most $limit bits of modulus, as the library says",
  async ({ degree, limit, most, last }) => {
    const seal = await loadSeal();
    expect(seal.CoeffModulus.MaxBitCount(degree, seal.SecLevelType.tc128)).toBe(limit);
    expect(parseParameters(`ckks-${degree}-${most}.${last}-s30`)).not.toBeNull();
    expect(parseParameters(`ckks-${degree}-${most}.${last + 1}-s30`)).toBeNull();
  },
);

test("the bound of our kernels is on every prime, the key prime too", () => {
  expect(fitsKernels(createParameters(8192, [46, 46, 47], 24))).toBe(true);
  expect(fitsKernels(createParameters(8192, [49, 46, 49], 24))).toBe(true);
  expect(fitsKernels(createParameters(8192, [46, 50, 46], 24))).toBe(false);
  expect(fitsKernels(createParameters(8192, [46, 46, 50], 24))).toBe(false);
  expect(modulusBits(createParameters(8192, [46, 46, 47], 24))).toBe(139);
  expect(secureModulusBits(32768)).toBe(881);
  expect(secureModulusBits(2048)).toBeNull();
});

test("an insecure set is refused with a code", () => {
  expect(() => createParameters(8192, [60, 60, 60, 60], 40)).toThrow(
    expect.objectContaining({ code: "ciphertext-refused" }),
  );
});

test("a set that the library refuses is refused even when it got past our table", async () => {
  const forged = { ...DEFAULT_PARAMETERS, coeffModulusBits: [60, 60, 60, 60], id: "forged" };
  const error: unknown = await openContext(forged).catch((caught: unknown) => caught);
  expect(isSealstreamError(error, "ciphertext-refused")).toBe(true);
});

test.each([SMALL, DEFAULT_PARAMETERS, createParameters(16384, [60, 40, 40, 60], 40)])(
  "lengths of $id are what the library writes",
  async (parameters) => {
    const keys = await createConsumerKeys(parameters);
    expect(keys.secretKey.length).toBe(secretKeyBytes(parameters));
    expect(keys.publicKey.length).toBe(publicKeyBytes(parameters));
    expect(keys.evaluationKeys.length).toBe(
      evaluationKeysBytes(parameters, { relin: true, steps: [] }),
    );
    const { publicKey } = keys;
    const blobs = await encryptPack({ publicKey, parameters, rows: 1, features: 1, at: () => 0.5 });
    expect(blobs.map(({ length }) => length)).toEqual([inputCiphertextBytes(parameters)]);
  },
);

test("lengths at every level and polynomial count", async () => {
  const ckks = await openContext(DEFAULT_PARAMETERS);
  const { seal, context } = ckks;
  for (const limbs of [1, 2, 3])
    for (const polys of [2, 3]) {
      let data = context.firstContextData();
      while (data.chainIndex() > limbs - 1) data = data.nextContextData();
      const ciphertext = new seal.Ciphertext(context, data.parmsId(), polys);
      ciphertext.resize(polys);
      const blob: Uint8Array = ciphertext.saveToArray(seal.ComprModeType.none);
      expect(blob.length).toBe(ciphertextBytes(DEFAULT_PARAMETERS, limbs, polys));
      ciphertext.delete();
    }
  expect(outputCiphertextBytes(DEFAULT_PARAMETERS)).toBe(131_185);
  ckks.close();
});

test("bytes per record at full packs: 64 features", () => {
  expect(bytesPerRecord(DEFAULT_PARAMETERS, 64)).toBeCloseTo((64 * 393_329) / 4096, 9);
});
