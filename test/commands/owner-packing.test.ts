/** What an owner sends of a ciphertext: the primes that the plan reads. */
import { expect, it } from "vitest";
import { createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { type PredictPlan, planUnder, requirePlan } from "../../pipeline/ckks/predict-plan.ts";
import { wireCiphertextBytes } from "../../pipeline/ckks/wire-ciphertext.ts";
import { createOwnerPacking } from "../../pipeline/commands/stages/owner-packing.ts";
import { exampleText, load, specOf } from "../spec/fixtures.ts";

const spec = specOf(load(exampleText));
const plan = requirePlan(spec);
const { parameters } = plan;
const { publicKey: bytes } = await createConsumerKeys(parameters);
const publicKey = { parameters: parameters.id, bytes, id: "", generation: 0, by: [] };
const packing = createOwnerPacking(spec);

/** Bytes of the ciphertexts of a pack of so many records. */
async function sent(under: PredictPlan, rows: number) {
  const owner = packing({ publicKey, plan: under });
  if (owner === null) throw new Error("no packing");
  const made = await owner.encrypt(rows, 64, new Float32Array(rows * 64));
  return { packing: made.packing, bytes: made.parts.map(({ length }) => length) };
}

const BATCH = {
  packing: "batch",
  bytes: new Array(64).fill(wireCiphertextBytes(parameters, 2, 2)),
};

it("batch packs carry two of three primes, slots packs all", async () => {
  expect(parameters.id).toBe("ckks-8192-49.49.30.49-s23");
  expect(await sent(plan, plan.packRecords)).toEqual(BATCH);
  expect(await sent(plan, 1)).toEqual({
    packing: "slots",
    bytes: [wireCiphertextBytes(parameters, 2, 3)],
  });
});

it("so do they where rotations have no keys", async () => {
  const keys = { parameters: parameters.id, relin: true, steps: [] };
  expect(await sent(planUnder(spec, keys), 1)).toEqual(BATCH);
});
