/**
 * A pack made with the real CKKS library: slot r of part f is feature f of record r, and unused slots are zero.
 */
import { randomBytes } from "node:crypto";
import { expect, it } from "vitest";
import { createConsumerKeys } from "../../../pipeline/ckks/keys.ts";
import { encryptPack } from "../../../pipeline/ckks/pack.ts";
import { DEFAULT_PARAMETERS, slotCount } from "../../../pipeline/ckks/parameters.ts";
import { openContext, withHandles } from "../../../pipeline/ckks/seal.ts";
import { readBundles } from "../../../pipeline/crypto/bundle.ts";
import { packContext } from "../../../pipeline/stages/encrypt/pack-sealer.ts";
import { createEncryptStage } from "../../../pipeline/stages/encrypt/stage.ts";
import { asRecords, makeZones, packingOf, record, smallSpec } from "./fixtures.ts";

const parameters = DEFAULT_PARAMETERS;

async function decryptPart(secretKey: Uint8Array, part: Uint8Array): Promise<Float64Array> {
  const ckks = await openContext(parameters);
  const slots = withHandles((keep) => {
    const secret = keep(new ckks.seal.SecretKey());
    secret.loadFromArray(ckks.context, secretKey);
    const ciphertext = keep(new ckks.seal.Ciphertext());
    ciphertext.loadFromArray(ckks.context, part);
    const plaintext = keep(new ckks.seal.Plaintext());
    keep(new ckks.seal.Decryptor(ckks.context, secret)).decrypt(ciphertext, plaintext);
    return Float64Array.from(
      keep(new ckks.seal.CKKSEncoder(ckks.context)).decodeFloat64(plaintext),
    );
  });
  ckks.close();
  return slots;
}

it("packs real ciphertexts that the consumer can open", async () => {
  const zones = await makeZones("digits");
  const keys = await createConsumerKeys(parameters);
  const directory = zones.directory();
  const stage = createEncryptStage({
    spec: smallSpec(),
    directory,
    signer: zones.owner.signing("owner-signing"),
    splitSecret: zones.owner.secret("split"),
    packing: packingOf(
      (rows, features, at) =>
        encryptPack({ publicKey: keys.publicKey, parameters, rows, features, at }),
      { slots: slotCount(parameters), keyId: "00".repeat(32), parametersId: parameters.id },
    ),
    mostPackRecords: slotCount(parameters),
    random: randomBytes,
  });
  const lane = await stage.openLane(0);
  const state = await lane.restore(null, 0);
  const records = [3, 4, 5].map((offset) => record(offset, { digit: null }));
  await lane.process(records, state, 0);
  const result = await lane.process(records, state, 100);
  expect(result.consumedTo).toBe(6);
  expect(result.outputs.every(({ value }) => (value?.length ?? 0) <= 900 * 1024)).toBe(true);
  const { bundles } = readBundles(asRecords(result.outputs, "packs") as never, {
    context: packContext("digits", 0),
    findSigner: (kid) => directory.findSigner(kid, ["owner-signing"]),
    maxBundleBytes: 10_000_000,
  });
  expect(bundles[0]?.fields).toMatchObject({ rows: 3, features: 2, parameters: parameters.id });
  const [first, second] = bundles[0]!.parts;
  const one = await decryptPart(keys.secretKey, first!);
  const two = await decryptPart(keys.secretKey, second!);
  const expected = [3 / 16, 4 / 16, 5 / 16];
  for (const [slot, value] of expected.entries()) {
    expect(Math.abs(one[slot]! - value)).toBeLessThan(1e-4);
    expect(Math.abs(two[slot]! - 1)).toBeLessThan(1e-4);
  }
  // precisionBits: fresh encryption at scale 2^30 leaves errors well below 2^-13
  expect(Math.max(...one.subarray(3).map(Math.abs))).toBeLessThan(1e-4);
});
