/** A model that is encrypted too: the same logits, from a recipe and ciphertexts alone; what is not exactly that is refused. */
import { beforeAll, expect, test } from "vitest";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { openContext } from "../../../pipeline/ckks/seal.ts";
import {
  encryptSlotModel,
  loadEncryptedSlotModel,
  planFromRecipe,
  type SlotRecipe,
  slotRecipe,
} from "../../../pipeline/ckks/slots/encrypted-model.ts";
import { createSlotEvaluator } from "../../../pipeline/ckks/slots/evaluator.ts";
import { expandPlaces, type SlotPacking } from "../../../pipeline/ckks/slots/layout.ts";
import { planSlots } from "../../../pipeline/ckks/slots/plan.ts";
import type { Circuit } from "../../../pipeline/network/circuit.ts";
import { argmax } from "../../../pipeline/network/forward.ts";
import { type Digits, readDigits, trainDigits } from "../fixtures.ts";
import { denseCircuit, runCircuit } from "./circuits.ts";
import { evaluateBlob, logitsOf, type Parties, parties } from "./harness.ts";

const PARAMETERS = createParameters(8192, [46, 34, 34, 34, 46], 30);

let on: Parties;
let digits: Digits;
let circuit: Circuit;
let shape: Circuit;

const planOf = (prefer: SlotPacking, primes: readonly bigint[]) =>
  planSlots(circuit, PARAMETERS, primes, { mode: "encrypted", prefer, precisionBits: 5 });

beforeAll(async () => {
  digits = readDigits();
  const { network, weights } = trainDigits(digits, 600);
  circuit = denseCircuit(network, weights);
  const zeros = weights.layers.map(({ kernel, bias }) => ({
    kernel: kernel.map(() => 0),
    bias: bias.map(() => 0),
  }));
  shape = denseCircuit(network, { layers: zeros });
  const { primes } = await openContext(PARAMETERS);
  const steps = ["replicated", "diagonal"].flatMap(
    (packing) => planOf(packing as SlotPacking, primes).rotationSteps,
  );
  on = await parties(PARAMETERS, [...new Set(steps)]);
}, 120_000);

const pixel = (record: number, feature: number) => digits.pixels[record * 64 + feature]!;

test.each([
  ["replicated", 30],
  ["diagonal", 200],
] as const)(
  "%s: every argmax, every logit as precise as predicted, masked slots empty",
  async (packing, total) => {
    const mark = on.ring.mark();
    const trained = planOf(packing, on.ring.primes);
    const blobs = await encryptSlotModel(trained, on.publicKey);
    const recipe = JSON.parse(JSON.stringify(slotRecipe(trained))) as SlotRecipe;
    // From here on nothing knows a weight.
    const plan = planFromRecipe(shape, PARAMETERS, on.ring.primes, recipe);
    expect(plan.rotationSteps).toEqual(trained.rotationSteps);
    const model = loadEncryptedSlotModel(on.ring, on.ckks, plan, blobs)!;
    const evaluator = createSlotEvaluator(on.ring, { plan, model, keys: on.keys });
    const most = plan.recordsPerCiphertext;
    let worst = 0;
    for (let first = 0; first < total; first += most) {
      const records = Math.min(most, total - first);
      const blob = on.encrypt(plan, records, (record, feature) => pixel(first + record, feature));
      const zero = on.zero(plan.outputLimbs);
      const slots = on.decrypt(evaluateBlob(on, plan, evaluator, { blob, records, zero }));
      for (let record = 0; record < records; record += 1) {
        const expected = runCircuit(
          circuit,
          digits.pixels.subarray((first + record) * 64, (first + record) * 64 + 64),
        );
        const logits = logitsOf(plan, slots, record);
        expect(argmax(logits)).toBe(argmax(expected));
        for (const [j, value] of expected.entries())
          worst = Math.max(worst, Math.abs(value - logits[j]!));
      }
      if (plan.program.masked) {
        const open = expandPlaces(plan.layout, plan.program.mask, records);
        for (const [slot, value] of slots.entries())
          if (open[slot] === 0) worst = Math.max(worst, Math.abs(value));
      }
    }
    on.ring.release(mark);
    expect(-Math.log2(worst)).toBeGreaterThanOrEqual(trained.precisionBits);
  },
);

test("blobs that are not exactly the plan's are refused", async () => {
  const plan = planOf("replicated", on.ring.primes);
  const blobs = await encryptSlotModel(plan, on.publicKey);
  const load = (changed: readonly Uint8Array[]) => {
    const mark = on.ring.mark();
    const model = loadEncryptedSlotModel(on.ring, on.ckks, plan, changed);
    on.ring.release(mark);
    return model;
  };
  const [first, ...others] = blobs as [Uint8Array, ...Uint8Array[]];
  const flipped = (at: number, value: number) => {
    const copy = Uint8Array.from(first);
    copy[at] = value;
    return [copy, ...others];
  };
  expect(load(blobs)).not.toBeNull();
  expect(load(others)).toBeNull();
  expect(load([others[0]!, first, ...others.slice(1)])).toBeNull();
  expect(load([first.subarray(0, -1), ...others])).toBeNull();
  expect(load(flipped(20, first[20]! ^ 1))).toBeNull();
  expect(load(flipped(76, first[76]! ^ 1))).toBeNull();
  expect(load(flipped(113 + 7, 0xff))).toBeNull();
  const transparent = Uint8Array.from(first);
  transparent.fill(0, 113 + (first.length - 113) / 2);
  expect(load([transparent, ...others])).toBeNull();
});

test("a recipe of another network, or out of range, is refused", () => {
  const recipe = slotRecipe(planOf("replicated", on.ring.primes));
  const open = (changed: SlotRecipe) => planFromRecipe(shape, PARAMETERS, on.ring.primes, changed);
  const refused = expect.objectContaining({ code: "checkpoint-invalid" });
  expect(open(recipe).mode).toBe("encrypted");
  for (const changed of [
    { ...recipe, steps: recipe.steps.slice(1) },
    { ...recipe, limbs: 5 },
    { ...recipe, limbs: 1 },
    { ...recipe, outputLimbs: 4 },
    { ...recipe, bits: { ...recipe.bits, mask: null } },
    { ...recipe, bits: { ...recipe.bits, sums: [Number.NaN, 30] } },
    { ...recipe, bits: { ...recipe.bits, input: 1000 } },
  ]) {
    expect(() => open(changed)).toThrow(refused);
  }
});
