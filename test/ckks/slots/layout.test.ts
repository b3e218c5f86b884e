/** Slot layouts as properties: every slot is accounted for, programs in the clear equal the circuit, refusals. */
import { expect, test } from "vitest";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import {
  fillSlots,
  logitSlot,
  type SlotLayout,
  type SlotPacking,
  slotLayout,
} from "../../../pipeline/ckks/slots/layout.ts";
import { rotationSteps, runProgram, slotProgram } from "../../../pipeline/ckks/slots/program.ts";
import type { Circuit } from "../../../pipeline/network/circuit.ts";
import { network, randomWeights, seeded } from "../fixtures.ts";
import { denseCircuit, recurrentCircuit, runCircuit } from "./circuits.ts";

const PARAMETERS = createParameters(4096, [40, 33, 36], 20);
const SLOTS = 2048;

function layoutOf(circuit: Circuit, prefer?: SlotPacking): SlotLayout {
  const outcome = slotLayout(circuit, PARAMETERS, prefer);
  if (outcome.status !== "ok") throw new Error(outcome.reason);
  return outcome.layout;
}

function dense(seed: number, ...widths: number[]): Circuit {
  const [inputs = 1, ...layers] = widths;
  const shape = network(inputs, ...layers);
  return denseCircuit(shape, randomWeights(shape, seeded(seed)), [0.25, 0.5, -0.125]);
}

const CIRCUITS: [string, Circuit, SlotPacking, number][] = [
  ["digits", dense(1, 64, 32, 10), "replicated", 1],
  ["digits in diagonals", dense(1, 64, 32, 10), "diagonal", 32],
  ["breast cancer", dense(2, 30, 16, 2), "replicated", 4],
  ["a linear model", dense(3, 30, 2), "replicated", 32],
  ["more classes than features", dense(4, 5, 7, 30), "replicated", 8],
  ["three steps, widening", dense(5, 9, 40, 20, 3), "diagonal", 32],
  ["one class", dense(6, 17, 1), "diagonal", 64],
  [
    "recurrent",
    recurrentCircuit({ width: 3, times: 4, state: 6, classes: 5 }, seeded(7)),
    "diagonal",
    128,
  ],
];

test.each(CIRCUITS)(
  "%s: the program gives the circuit's logits",
  (_, circuit, packing, records) => {
    const layout = layoutOf(circuit, packing);
    expect([layout.packing, layout.recordsPerPack]).toEqual([packing, records]);
    const program = slotProgram(circuit, layout);
    const random = seeded(11);
    for (let round = 0; round < 5; round += 1) {
      const x = Float64Array.from({ length: circuit.features }, () => 2 * random() - 1);
      const places = Float64Array.from(layout.featureAt, (f) => (f < 0 ? 0 : x[f]!));
      const out = runProgram(program, places).at(-1)!;
      for (const [index, value] of runCircuit(circuit, x).entries()) {
        const place = logitSlot(layout, index, 0) / layout.recordsPerPack;
        expect(out[place]).toBeCloseTo(value, 9);
        expect(program.mask[place]).toBe(1);
      }
      // No place outside the mask is let through, and no place inside holds anything but a logit or nothing.
      const logits = [0, ...runCircuit(circuit, x)];
      for (const [place, value] of out.entries())
        if (program.mask[place] === 1)
          expect(Math.min(...logits.map((logit) => Math.abs(logit - value)))).toBeLessThan(1e-9);
    }
  },
);

test.each(CIRCUITS)("%s: every slot is a feature of a record or zero", (_, circuit, packing) => {
  const layout = layoutOf(circuit, packing);
  const slots = new Float64Array(SLOTS).fill(Number.NaN);
  const records = Math.max(1, layout.recordsPerPack - 1);
  const value = (record: number, feature: number) => (record * 100 + feature + 1) / 2 ** 15;
  fillSlots(layout, records, value, slots);
  const seen = new Map<number, number>();
  for (const [slot, content] of slots.entries()) {
    const record = slot % layout.recordsPerPack;
    const feature = layout.featureAt[Math.floor(slot / layout.recordsPerPack)]!;
    expect(content).toBe(feature < 0 || record >= records ? 0 : value(record, feature));
    if (content !== 0) seen.set(content, (seen.get(content) ?? 0) + 1);
  }
  // Every feature of every record is there, all equally often.
  expect(seen.size).toBe(records * circuit.features);
  if (packing === "replicated") expect(new Set(seen.values())).toEqual(new Set([layout.columns]));
  const used = Array.from({ length: layout.classes * layout.recordsPerPack }, (_, at) =>
    logitSlot(layout, at % layout.classes, Math.floor(at / layout.classes)),
  );
  expect(new Set(used).size).toBe(used.length);
  expect(used.every((slot) => slot < SLOTS)).toBe(true);
});

test("rotation steps: few, and the same whatever the weights", () => {
  const circuit = dense(1, 64, 32, 10);
  const replicated = rotationSteps(circuit, layoutOf(circuit));
  expect(replicated).toEqual([1, 2, 3, 4, 8, 12, 16, 32, 64, 96, 128, 256, 384, 512, 1024, 1536]);
  const diagonal = rotationSteps(circuit, layoutOf(circuit, "diagonal"));
  expect(diagonal.length).toBeLessThan(16);
  expect(diagonal.every((step) => step % 32 === 0 && step > 0 && step < SLOTS)).toBe(true);
  const zeroed = {
    ...circuit,
    steps: circuit.steps.map((s) => ({ ...s, values: s.values.map(() => 0) })),
  };
  expect(rotationSteps(zeroed, layoutOf(circuit))).toEqual(replicated);
});

test("refusals say why", () => {
  const wide = slotLayout(
    { features: 5000, steps: [{ inputs: Uint32Array.of(0), outputs: 2 }] },
    PARAMETERS,
  );
  expect(wide).toEqual({
    status: "refused",
    reason: expect.stringContaining("wider than the 2048"),
  });
  const big = slotLayout(dense(1, 128, 64, 10), PARAMETERS, "replicated");
  expect(big.status).toBe("refused");
  expect(layoutOf(dense(1, 128, 64, 10)).packing).toBe("diagonal");
  const ahead = slotLayout(
    { features: 2, steps: [{ inputs: Uint32Array.of(2), outputs: 2 }] },
    PARAMETERS,
  );
  expect(ahead.status).toBe("refused");
  const cubic = dense(1, 8, 4, 2);
  (cubic.steps as unknown as object[])[0] = { ...cubic.steps[0]!, activation: [0, 1, 0, 1] };
  expect(() => slotProgram(cubic, layoutOf(cubic))).toThrow(/degree 2.*predict.packing: batch/);
  const zero = dense(1, 8, 4, 2);
  zero.steps[1]!.values.fill(0);
  expect(() => slotProgram(zero, layoutOf(zero))).toThrow(/every weight of step 1 is zero/);
});

test("what does not fit a pack is refused and leaves no number behind", () => {
  const layout = layoutOf(dense(1, 30, 16, 2));
  const slots = new Float64Array(SLOTS);
  for (const records of [0, 5, 1.5])
    expect(() => fillSlots(layout, records, () => 0, slots)).toThrow();
  for (const bad of [Number.NaN, 1.01, Number.NEGATIVE_INFINITY]) {
    expect(() => fillSlots(layout, 1, (_, f) => (f === 29 ? bad : 0.5), slots)).toThrow(
      expect.objectContaining({ code: "limit-exceeded" }),
    );
    expect(slots.every((value) => value === 0)).toBe(true);
  }
});
