/** Slot plans: nothing can wrap around, goals are met or the best is given, masks and input scales, refusals. */
import { beforeAll, expect, test } from "vitest";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { openContext } from "../../../pipeline/ckks/seal.ts";
import { planSlots, type SlotPlan, slotInputScaleBits } from "../../../pipeline/ckks/slots/plan.ts";
import { runProgram } from "../../../pipeline/ckks/slots/program.ts";
import type { Circuit } from "../../../pipeline/network/circuit.ts";
import { network, randomWeights, seeded } from "../fixtures.ts";
import { denseCircuit, recurrentCircuit } from "./circuits.ts";

const PARAMETERS = createParameters(8192, [46, 34, 34, 34, 46], 30);
let primes: readonly bigint[];
beforeAll(async () => {
  ({ primes } = await openContext(PARAMETERS));
}, 120_000);

function dense(seed: number, factor: number, ...widths: number[]): Circuit {
  const [inputs = 1, ...layers] = widths;
  const shape = network(inputs, ...layers);
  const { layers: parts } = randomWeights(shape, seeded(seed));
  return denseCircuit(shape, {
    layers: parts.map(({ kernel, bias }) => ({ kernel: kernel.map((w) => w * factor), bias })),
  });
}

/** Bits of a product of the first primes. */
const room = (limbs: number) =>
  primes.slice(0, limbs).reduce((sum, prime) => sum + Math.log2(Number(prime)), 0) - 2;

function checkRoom({ program, scales, outputLimbs }: SlotPlan): void {
  const ones = Float64Array.from(program.layout.featureAt, (f) => (f < 0 ? 0 : 1));
  const bounds = runProgram(program, ones, true).map((vector) => Math.max(...vector));
  const held = [{ limbs: scales.structure.limbs, scale: 2 ** scales.bits.input }];
  for (const [index, step] of scales.steps.entries()) {
    const bound = Math.max(1, bounds[index + 1]!);
    for (const [matrix, { source }] of program.steps[index]!.matrices.entries()) {
      expect(held[source]!.limbs).toBeGreaterThanOrEqual(step.limbs);
      const product = Math.log2(held[source]!.scale * step.plainScales[matrix]!);
      expect(product).toBeLessThan(room(step.limbs));
    }
    const squared = program.steps[index]!.square;
    const bits = Math.log2(step.sumScale) * (squared ? 2 : 1) + Math.log2(bound);
    expect(bits).toBeLessThanOrEqual(room(step.sumLimbs));
    expect(Math.log2(step.outScale) + Math.log2(bound)).toBeLessThanOrEqual(
      room(step.outLimbs) + 0.01,
    );
    if (index === scales.steps.length - 1) {
      // Places beside the logits may be twice as large: a fold adds two classes up there.
      const kept = Math.log2(step.outScale) + Math.log2(bound);
      expect(kept).toBeLessThanOrEqual(room(outputLimbs) + 1);
    }
    held.push({ limbs: step.outLimbs, scale: step.outScale });
  }
}

test("whatever the model, nothing wraps around and the output scale is a power of two", () => {
  const circuits = [
    dense(1, 1, 64, 32, 10),
    dense(2, 0.2, 30, 16, 2),
    dense(3, 3, 20, 8, 3),
    dense(4, 1, 12, 9),
    recurrentCircuit({ width: 3, times: 2, state: 4, classes: 3 }, seeded(5)),
  ];
  for (const circuit of circuits)
    for (const mode of ["shared", "secret"] as const) {
      const plan = planSlots(circuit, PARAMETERS, primes, { mode, precisionBits: 5 });
      checkRoom(plan);
      // What the weights did to the noise is divided away last.
      if (mode === "secret") expect(plan.scales.structure.steps.at(-1)!.late).toBe(true);
      expect(Number.isInteger(plan.outputScaleBits)).toBe(true);
      expect(plan.scales.steps.at(-1)!.maskScale !== null).toBe(
        mode === "secret" && plan.program.masked,
      );
      expect(plan.cost.transforms).toBeGreaterThan(0);
    }
});

test("the cheapest plan that meets the goal is taken, else the most precise", () => {
  const circuit = dense(1, 1, 64, 32, 10);
  const at = (precisionBits: number) =>
    planSlots(circuit, PARAMETERS, primes, { mode: "shared", precisionBits });
  const [low, high] = [at(4), at(100)];
  expect(low.precisionBits).toBeGreaterThanOrEqual(4);
  expect(high.precisionBits).toBeGreaterThan(low.precisionBits);
  expect(low.cost.transforms).toBeLessThan(high.cost.transforms);
});

test("the owner's scale does not depend on weights, and plans take another", () => {
  const options = { mode: "shared", precisionBits: 4 } as const;
  const scales = [1, 2].map((seed) =>
    slotInputScaleBits(dense(seed, seed, 64, 32, 10), PARAMETERS, primes, options),
  );
  expect(scales[0]).toBe(scales[1]);
  const plan = planSlots(dense(1, 1, 64, 32, 10), PARAMETERS, primes, {
    ...options,
    inputScaleBits: 27,
  });
  expect(plan.inputScaleBits).toBe(27);
});

test("a plan whose errors are as large as its logits is none, however little is asked for", async () => {
  const circuit = dense(1, 1, 64, 32, 10);
  const small = createParameters(4096, [40, 33, 36], 20);
  const { primes: few } = await openContext(small);
  const { precisionBits } = planSlots(circuit, small, few, { mode: "shared", precisionBits: -100 });
  // Logits of this model are of the size of 1 to 2^4.
  expect(precisionBits).toBeGreaterThan(-4);
  const tiny = createParameters(4096, [30, 25, 36], 20);
  const { primes: least } = await openContext(tiny);
  expect(() => planSlots(circuit, tiny, least, { mode: "shared" })).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
});

test("too large, too deep and not finite are refused", () => {
  const refused = expect.objectContaining({ code: "limit-exceeded" });
  const options = { mode: "shared" } as const;
  const plan = (circuit: Circuit) => planSlots(circuit, PARAMETERS, primes, options);
  expect(() => plan(dense(1, 1e9, 64, 32, 10))).toThrow(refused);
  expect(() => plan(dense(1, 1, 8, 8, 8, 8, 8, 8, 8, 8))).toThrow(refused);
  const circuit = dense(1, 1, 8, 4, 2);
  circuit.steps[0]!.values[3] = Number.NaN;
  expect(() => plan(circuit)).toThrow(refused);
});
