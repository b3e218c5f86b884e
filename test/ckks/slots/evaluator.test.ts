/** Encrypted logits equal the network's, in both layouts and modes; nothing but logits comes out of masked slots. */
import { beforeAll, describe, expect, test } from "vitest";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { openContext } from "../../../pipeline/ckks/seal.ts";
import { createSlotEvaluator } from "../../../pipeline/ckks/slots/evaluator.ts";
import { expandPlaces, type SlotPacking } from "../../../pipeline/ckks/slots/layout.ts";
import { loadSlotModel } from "../../../pipeline/ckks/slots/model.ts";
import { planSlots, type SlotPlan } from "../../../pipeline/ckks/slots/plan.ts";
import type { Circuit } from "../../../pipeline/network/circuit.ts";
import { argmax } from "../../../pipeline/network/forward.ts";
import { type Digits, readDigits, seeded, trainDigits } from "../fixtures.ts";
import { denseCircuit, recurrentCircuit, runCircuit } from "./circuits.ts";
import { evaluateBlob, logitsOf, type Parties, parties, plainEvaluator } from "./harness.ts";

const PARAMETERS = createParameters(8192, [46, 34, 34, 34, 46], 30);

let on: Parties;
let digits: Digits;
let circuit: Circuit;
let recurrent: Circuit;

function plan(
  of: Circuit,
  mode: "shared" | "secret",
  prefer: SlotPacking,
  primes: readonly bigint[],
): SlotPlan {
  return planSlots(of, PARAMETERS, primes, { mode, prefer, precisionBits: 4 });
}

beforeAll(async () => {
  digits = readDigits();
  const { network, weights } = trainDigits(digits, 600);
  circuit = denseCircuit(network, weights);
  recurrent = recurrentCircuit({ width: 3, times: 2, state: 4, classes: 3 }, seeded(3));
  const { primes } = await openContext(PARAMETERS);
  const steps = [
    ...plan(circuit, "shared", "replicated", primes).rotationSteps,
    ...plan(circuit, "shared", "diagonal", primes).rotationSteps,
    ...plan(recurrent, "shared", "diagonal", primes).rotationSteps,
  ];
  on = await parties(PARAMETERS, [...new Set(steps)]);
}, 120_000);

/** Evaluates records in packs; returns the largest error and asserts every argmax and every slot. */
function check(
  of: Circuit,
  chosen: SlotPlan,
  at: (record: number, feature: number) => number,
  total: number,
): number {
  const mark = on.ring.mark();
  const evaluator = plainEvaluator(on, chosen);
  const { recordsPerCiphertext: most, mode, program, layout } = chosen;
  let worst = 0;
  for (let first = 0; first < total; first += most) {
    const records = Math.min(most, total - first);
    const blob = on.encrypt(chosen, records, (record, feature) => at(first + record, feature));
    const zero = mode === "shared" ? {} : { zero: on.zero(chosen.outputLimbs) };
    const slots = on.decrypt(evaluateBlob(on, chosen, evaluator, { blob, records, ...zero }));
    for (let record = 0; record < records; record += 1) {
      const features = Array.from({ length: of.features }, (_, feature) =>
        at(first + record, feature),
      );
      const expected = runCircuit(of, features);
      const logits = logitsOf(chosen, slots, record);
      expect(argmax(logits)).toBe(argmax(expected));
      for (const [j, value] of expected.entries())
        worst = Math.max(worst, Math.abs(value - logits[j]!));
    }
    // Slots without a record hold nothing, and in the secret mode neither do those beside the logits.
    const open = expandPlaces(
      layout,
      mode === "secret" ? program.mask : program.mask.map(() => 1),
      records,
    );
    for (const [slot, value] of slots.entries())
      if (open[slot] === 0) worst = Math.max(worst, Math.abs(value));
  }
  on.ring.release(mark);
  return -Math.log2(worst);
}

const pixel = (record: number, feature: number) => digits.pixels[record * 64 + feature]!;

describe.each(["shared", "secret"] as const)("%s", (mode) => {
  test.each([
    ["replicated", 60],
    ["diagonal", 200],
  ] as const)("digits, %s: every argmax, every logit as precise as predicted", (packing, total) => {
    const chosen = plan(circuit, mode, packing, on.ring.primes);
    expect(chosen.layout.packing).toBe(packing);
    const measured = check(circuit, chosen, pixel, total);
    expect(measured).toBeGreaterThanOrEqual(chosen.precisionBits);
    // The model of the noise is worth something: not a bound far away.
    expect(measured).toBeLessThan(chosen.precisionBits + 5);
  });

  test("a part-filled pack: slots without a record stay empty", () => {
    const chosen = plan(circuit, mode, "diagonal", on.ring.primes);
    expect(check(circuit, chosen, pixel, 3)).toBeGreaterThanOrEqual(chosen.precisionBits);
  });
});

test("a recurrent network, whose steps read features and states", () => {
  const chosen = plan(recurrent, "shared", "diagonal", on.ring.primes);
  const random = seeded(8);
  const values = Float64Array.from({ length: 200 * recurrent.features }, () => 2 * random() - 1);
  const at = (record: number, feature: number) => values[record * recurrent.features + feature]!;
  expect(check(recurrent, chosen, at, 200)).toBeGreaterThanOrEqual(chosen.precisionBits);
});

test("no evaluation without its keys, its encryption of zero or its records", () => {
  const mark = on.ring.mark();
  const chosen = plan(circuit, "secret", "replicated", on.ring.primes);
  const model = loadSlotModel(on.ring, chosen);
  const noRotations = { ...on.keys, galois: { ...on.keys.galois, key: () => null } };
  const make = (keys: typeof on.keys) =>
    createSlotEvaluator(on.ring, { plan: chosen, model, keys });
  const missing = expect.objectContaining({ code: "key-missing" });
  expect(() => make(noRotations)).toThrow(missing);
  expect(() => make({ ...on.keys, relin: null })).toThrow(missing);
  const internal = expect.objectContaining({ code: "internal" });
  const evaluator = make(on.keys);
  expect(() => evaluator.evaluate(1)).toThrow(internal);
  for (const records of [0, 3, 1.5])
    expect(() => evaluator.evaluate(records, evaluator.input)).toThrow(internal);
  on.ring.release(mark);
});
