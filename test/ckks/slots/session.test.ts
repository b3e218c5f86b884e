/** Slots sessions: published keys in, packs of several models one after another; keys and packs that are refused. */
import { expect, it } from "vitest";
import { createConsumerKeys } from "../../../pipeline/ckks/keys.ts";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { createRing } from "../../../pipeline/ckks/ring.ts";
import { openContext, saveUncompressed } from "../../../pipeline/ckks/seal.ts";
import { fillSlots, logitSlot, slotLayout } from "../../../pipeline/ckks/slots/layout.ts";
import { slotInputScaleBits } from "../../../pipeline/ckks/slots/plan.ts";
import { rotationSteps } from "../../../pipeline/ckks/slots/program.ts";
import { createSlotSession } from "../../../pipeline/ckks/slots/session.ts";
import { sealFromWire, wireFromSeal } from "../../../pipeline/ckks/wire-ciphertext.ts";
import { keysFor, network, randomWeights, seeded } from "../fixtures.ts";
import { denseCircuit, runCircuit } from "./circuits.ts";

const PARAMETERS = createParameters(8192, [49, 40, 30, 49], 30);
const SHAPE = network(30, 16, 2);
const model = (seed: number, mode: "shared" | "secret") => ({
  modelId: String(seed),
  circuit: denseCircuit(SHAPE, randomWeights(SHAPE, seeded(seed))),
  mode,
  precisionBits: 3,
});

it("evaluates model after model from published keys, as owner and consumer see it", async () => {
  const ckks = await openContext(PARAMETERS);
  const { seal, context, primes } = ckks;
  const { circuit } = model(1, "shared");
  const outcome = slotLayout(circuit, PARAMETERS);
  if (outcome.status !== "ok") throw new Error(outcome.reason);
  const { layout } = outcome;
  const keys = await createConsumerKeys(PARAMETERS, { steps: rotationSteps(circuit, layout) });
  const session = await createSlotSession(PARAMETERS, keys);
  // The owner: shape and public key, no weights.
  const owner = createRing(ckks, { maxBytes: 2 ** 26 });
  const random = seeded(9);
  const records = layout.recordsPerPack - 1;
  const values = Float64Array.from({ length: records * 30 }, () => 2 * random() - 1);
  const slots = new Float64Array(4096);
  fillSlots(layout, records, (record, feature) => values[record * 30 + feature]!, slots);
  const publicKey = new seal.PublicKey();
  publicKey.loadFromArray(context, keys.publicKey);
  const plain = new seal.Plaintext();
  const cipher = new seal.Ciphertext();
  const encoder = new seal.CKKSEncoder(context);
  const bits = slotInputScaleBits(circuit, PARAMETERS, primes, {
    mode: "shared",
    precisionBits: 3,
  });
  encoder.encode(slots, 2 ** bits, plain);
  new seal.Encryptor(context, publicKey).encrypt(plain, cipher);
  const fresh = { polys: 2, limbs: 3, scale: 2 ** bits };
  const wire = wireFromSeal(ckks, owner, saveUncompressed(ckks, cipher), fresh);
  const secretKey = new seal.SecretKey();
  secretKey.loadFromArray(context, keys.secretKey);
  const decryptor = new seal.Decryptor(context, secretKey);
  for (const each of [
    model(1, "shared"),
    model(2, "shared"),
    model(2, "shared"),
    model(1, "shared"),
    model(1, "secret"),
  ]) {
    const answer = session.evaluate(each, records, [wire]);
    session.prepare();
    if (answer.status !== "ok") throw new Error(answer.fault);
    // A plan that was kept must not be that of the same model in the other mode: it would show the model.
    expect(answer.plan.mode).toBe(each.mode);
    const limbs = answer.plan.outputLimbs;
    const back = sealFromWire(ckks, owner, answer.blobs[0]!, { polys: [2], limbs, scale: null });
    if (back.status !== "ok") throw new Error(back.fault);
    cipher.loadFromArray(context, back.blob);
    decryptor.decrypt(cipher, plain);
    const decoded = encoder.decodeFloat64(plain) as Float64Array;
    for (let record = 0; record < records; record += 1) {
      const expected = runCircuit(each.circuit, values.subarray(record * 30, record * 30 + 30));
      for (const [j, value] of expected.entries()) {
        const error = Math.abs(decoded[logitSlot(layout, j, record)]! - value);
        expect(error).toBeLessThan(2 ** -answer.plan.precisionBits);
      }
    }
  }
  const shared = model(1, "shared");
  const none = { status: "refused", part: -1, fault: "count" };
  expect(session.evaluate(shared, layout.recordsPerPack + 1, [wire])).toEqual(none);
  expect(session.evaluate(shared, 0, [wire])).toEqual(none);
  expect(session.evaluate(shared, 1, [])).toEqual(none);
  for (const scale of [2 ** 60, 3, Number.NaN, 0, 2 ** 9]) {
    const changed = Uint8Array.from(wire);
    new DataView(changed.buffer).setFloat64(8, scale, true);
    expect(session.evaluate(shared, 1, [changed])).toEqual({
      status: "refused",
      part: 0,
      fault: "scale",
    });
  }
  const wide = network(30, 17, 2);
  const other = denseCircuit(wide, randomWeights(wide, seeded(3)));
  const missing = expect.objectContaining({ code: "key-missing" });
  expect(() => session.evaluate({ ...shared, modelId: "wide", circuit: other }, 1, [wire])).toThrow(
    missing,
  );
  expect(session.evaluate(shared, 1, [wire]).status).toBe("ok");
  session.close();
});

it("keys without rotations, or of other parameters, are key-invalid", async () => {
  const keys = await keysFor(PARAMETERS);
  const invalid = expect.objectContaining({ code: "key-invalid" });
  await expect(createSlotSession(PARAMETERS, keys)).rejects.toEqual(invalid);
  const cut = { ...keys, evaluationKeys: keys.evaluationKeys.subarray(1) };
  await expect(createSlotSession(PARAMETERS, cut)).rejects.toEqual(invalid);
  await expect(
    createSlotSession(PARAMETERS, { ...keys, publicKey: keys.secretKey }),
  ).rejects.toEqual(invalid);
});
