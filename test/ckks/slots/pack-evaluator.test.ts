/** Wire in, wire out: the same logits, what is not exactly a fresh ciphertext is refused, zeros are used once. */
import { beforeAll, expect, test } from "vitest";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { openContext } from "../../../pipeline/ckks/seal.ts";
import { encryptSlotModel } from "../../../pipeline/ckks/slots/encrypted-model.ts";
import { createSlotPackEvaluator } from "../../../pipeline/ckks/slots/pack-evaluator.ts";
import { planSlots, type SlotMode } from "../../../pipeline/ckks/slots/plan.ts";
import {
  sealFromWire,
  WIRE_HEADER_BYTES,
  wireFromSeal,
} from "../../../pipeline/ckks/wire-ciphertext.ts";
import { network, randomWeights, seeded } from "../fixtures.ts";
import { denseCircuit, runCircuit } from "./circuits.ts";
import { logitsOf, type Parties, parties } from "./harness.ts";

const PARAMETERS = createParameters(8192, [46, 34, 34, 34, 46], 30);
const SHAPE = network(30, 16, 2);
const circuit = denseCircuit(SHAPE, randomWeights(SHAPE, seeded(1)));
const planOf = (mode: SlotMode, primes: readonly bigint[]) =>
  planSlots(circuit, PARAMETERS, primes, { mode, precisionBits: 5 });

let on: Parties;
beforeAll(async () => {
  const { primes } = await openContext(PARAMETERS);
  on = await parties(PARAMETERS, planOf("shared", primes).rotationSteps);
}, 120_000);

const random = seeded(4);
const values = Float64Array.from({ length: 8 * 30 }, () => 2 * random() - 1);

async function open(mode: SlotMode) {
  const plan = planOf(mode, on.ring.primes);
  const made: Uint8Array[] = [];
  const evaluator = createSlotPackEvaluator({
    ring: on.ring,
    ckks: on.ckks,
    plan,
    relinKeys: on.keys.relin,
    galoisKeys: on.keys.galois,
    encryptZero: () => {
      made.push(on.zeroBlob());
      return made.at(-1)!;
    },
    ...(mode === "encrypted" && { modelBlobs: await encryptSlotModel(plan, on.publicKey) }),
  });
  const blob = on.encrypt(plan, plan.recordsPerCiphertext, (r, f) => values[r * 30 + f]!);
  const shape = { polys: 2, limbs: plan.inputLimbs, scale: 2 ** plan.inputScaleBits };
  return { plan, evaluator, made, wire: wireFromSeal(on.ckks, on.ring, blob, shape) };
}

test.each(["shared", "secret", "encrypted"] as const)("%s", async (mode) => {
  const { plan, evaluator, made, wire } = await open(mode);
  const records = plan.recordsPerCiphertext;
  expect(records).toBe(8);
  evaluator.prepare();
  expect(made.length).toBe(mode === "shared" ? 0 : 4);
  const results: Uint8Array[] = [];
  for (let round = 0; round < 6; round += 1) {
    const outcome = evaluator.evaluate([wire], records);
    if (outcome.status !== "ok") throw new Error(outcome.fault);
    const [blob] = outcome.blobs;
    results.push(blob!);
    const limbs = plan.outputLimbs;
    const back = sealFromWire(on.ckks, on.ring, blob!, {
      polys: [2],
      limbs,
      scale: 2 ** plan.outputScaleBits,
    });
    if (back.status !== "ok") throw new Error(back.fault);
    const slots = on.decrypt(back.blob);
    for (let record = 0; record < records; record += 1) {
      const expected = runCircuit(circuit, values.subarray(record * 30, record * 30 + 30));
      for (const [j, logit] of logitsOf(plan, slots, record).entries())
        expect(Math.abs(logit - expected[j]!)).toBeLessThan(2 ** -plan.precisionBits);
    }
  }
  // Each result has an encryption of zero of its own.
  expect(made.length).toBe(mode === "shared" ? 0 : 6);
  expect(new Set(results.map((blob) => Buffer.from(blob).toString("base64"))).size).toBe(
    mode === "shared" ? 1 : 6,
  );
  evaluator.close();
});

test("what is not exactly one fresh ciphertext is refused", async () => {
  const { plan, evaluator, wire } = await open("shared");
  const flip = (at: number, value: number) => {
    const copy = Uint8Array.from(wire);
    copy.fill(value, at, at + 8);
    return [copy];
  };
  const refused = (fault: string, part = 0) => ({ status: "refused", part, fault });
  expect(evaluator.evaluate([], 1)).toEqual(refused("count", -1));
  expect(evaluator.evaluate([wire, wire], 1)).toEqual(refused("count", -1));
  expect(evaluator.evaluate([wire.subarray(1)], 1).status).toBe("refused");
  expect(evaluator.evaluate([Uint8Array.from([...wire, 0])], 1)).toEqual(refused("length"));
  expect(evaluator.evaluate(flip(8, 1), 1)).toEqual(refused("scale"));
  // Residues above the prime, in the first limb and in the very last, whether the plan uses that limb or not.
  expect(evaluator.evaluate(flip(WIRE_HEADER_BYTES, 0xff), 1)).toEqual(refused("residue"));
  expect(evaluator.evaluate(flip(wire.length - 8, 0xff), 1)).toEqual(refused("residue"));
  // The prime itself: its bits in the place of the first residue of the first limb.
  const equal = Uint8Array.from(wire);
  const view = new DataView(equal.buffer);
  const bits = BigInt(PARAMETERS.coeffModulusBits[0]!);
  const word = view.getBigUint64(WIRE_HEADER_BYTES, true) >> bits;
  const prime = on.ring.primes[0]!;
  view.setBigUint64(WIRE_HEADER_BYTES, (word << bits) | prime, true);
  expect(evaluator.evaluate([equal], 1)).toEqual(refused("residue"));
  view.setBigUint64(WIRE_HEADER_BYTES, (word << bits) | (prime - 1n), true);
  expect(evaluator.evaluate([equal], 1).status).toBe("ok");
  const half = WIRE_HEADER_BYTES + (wire.length - WIRE_HEADER_BYTES) / 2;
  expect(evaluator.evaluate([Uint8Array.from(wire).fill(0, half)], 1)).toEqual(
    refused("transparent"),
  );
  expect(evaluator.evaluate([wire], plan.recordsPerCiphertext).status).toBe("ok");
  evaluator.close();
});

test("keys, zeros and ciphertexts that are missing are named before a pack comes", async () => {
  const plan = planOf("secret", on.ring.primes);
  const parts = {
    ring: on.ring,
    ckks: on.ckks,
    relinKeys: on.keys.relin,
    galoisKeys: on.keys.galois,
  };
  const before = on.ring.mark();
  expect(() => createSlotPackEvaluator({ ...parts, plan })).toThrow(
    expect.objectContaining({ code: "internal" }),
  );
  const encrypted = {
    ...parts,
    plan: planOf("encrypted", on.ring.primes),
    encryptZero: on.zeroBlob,
  };
  expect(() => createSlotPackEvaluator(encrypted)).toThrow(
    expect.objectContaining({ code: "checkpoint-invalid" }),
  );
  expect(on.ring.mark()).toEqual(before);
});
