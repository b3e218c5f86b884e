/** What an owner sends: the primes that the plan reads under the plan's keys, all of them under others. */
import { expect, it } from "vitest";
import { createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { type CkksParameters, createParameters } from "../../pipeline/ckks/parameters.ts";
import { requirePlan } from "../../pipeline/ckks/predict-plan.ts";
import { wireCiphertextBytes } from "../../pipeline/ckks/wire-ciphertext.ts";
import { createOwnerPacking } from "../../pipeline/commands/stages/owner-packing.ts";
import { exampleText, load, specOf } from "../spec/fixtures.ts";

const spec = specOf(load(exampleText));
const plan = requirePlan(spec);
const packing = createOwnerPacking(spec, plan);

/** Bytes of the ciphertexts of a pack of so many records. */
async function sent(parameters: CkksParameters, rows: number) {
  const { publicKey: bytes } = await createConsumerKeys(parameters);
  const owner = packing({ parameters: parameters.id, bytes, id: "", generation: 0, by: [] });
  if (owner === null) throw new Error("no packing");
  const made = await owner.encrypt(rows, 64, new Float32Array(rows * 64));
  return { packing: made.packing, bytes: made.parts.map(({ length }) => length) };
}

it("batch packs of the plan's keys carry two of three primes, slots packs all", async () => {
  const { parameters } = plan;
  expect(parameters.id).toBe("ckks-8192-49.49.30.49-s23");
  expect(await sent(parameters, plan.packRecords)).toEqual({
    packing: "batch",
    bytes: new Array(64).fill(wireCiphertextBytes(parameters, 2, 2)),
  });
  expect(await sent(parameters, 1)).toEqual({
    packing: "slots",
    bytes: [wireCiphertextBytes(parameters, 2, 3)],
  });
});

it("batch packs under keys of other parameters carry all primes", async () => {
  const other = createParameters(4096, [36, 36, 17, 20], 20);
  expect(await sent(other, 1)).toEqual({
    packing: "batch",
    bytes: new Array(64).fill(wireCiphertextBytes(other, 2, 3)),
  });
});
