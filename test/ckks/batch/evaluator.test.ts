/** Circuits of every kind, encrypted with real keys, against floats: agreement, error within what was predicted, limits. */
import { describe, expect, it } from "vitest";
import { createBatchEvaluator } from "../../../pipeline/ckks/batch/evaluator.ts";
import { planBatch } from "../../../pipeline/ckks/batch/plan.ts";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { createRing } from "../../../pipeline/ckks/ring.ts";
import { wireCiphertextBytes } from "../../../pipeline/ckks/wire-ciphertext.ts";
import type { Circuit } from "../../../pipeline/network/circuit.ts";
import type { Network } from "../../../pipeline/network/definition.ts";
import { lowerNetwork } from "../../../pipeline/network/lower.ts";
import * as networks from "../../network/random-networks.ts";
import { network, randomWeights, seeded } from "../fixtures.ts";
import { endsFor, tryCircuit } from "./world.ts";

const { conv, dense, networkOf, pool } = networks;
const SHALLOW = createParameters(4096, [46, 46, 17], 24);
const SECRET = createParameters(8192, [46, 46, 47], 24);
const DEEP = createParameters(16384, [49, 46, 46, 46, 46, 47], 24);

const random = seeded(20);
const mlp = (...widths: [number, ...number[]]): Circuit => {
  const shape = network(...widths);
  return lowerNetwork(shape, randomWeights(shape, random));
};
const lowered = (shape: Network): Circuit =>
  lowerNetwork(shape, networks.weightsOf(shape, networks.seeded(4)));
const cnn = lowered(
  networkOf(
    64,
    [{ reshape: [8, 8, 1] }, conv(3, [3, 3], { activation: "quadratic" }), pool([2, 2]), dense(10)],
    10,
  ),
);
const rnn = lowered(
  networkOf(9, [{ reshape: [3, 3] }, { rnn: 4, activation: "quadratic" }, dense(3)]),
);
const powers = lowered(
  networkOf(6, [dense(5, { polynomial: [0.1, 0.5, 0.2, -0.1, 0.02] }), dense(3)]),
);

describe.each([
  ["logistic", mlp(30, 2), SHALLOW, "shared"],
  ["logistic", mlp(30, 2), SHALLOW, "secret"],
  ["64-32-10", mlp(64, 32, 10), SHALLOW, "shared"],
  ["64-32-10", mlp(64, 32, 10), SECRET, "secret"],
  ["convolution, pool", cnn, SHALLOW, "shared"],
  ["9-6-5-4", mlp(9, 6, 5, 4), DEEP, "secret"],
  ["recurrent, 3 steps", rnn, DEEP, "shared"],
  ["degree 4", powers, DEEP, "secret"],
] as const)("%s", (_, circuit, parameters, mode) => {
  it(`agrees with floats on a full pack (${parameters.id}, ${mode})`, async () => {
    const trial = await tryCircuit({ circuit, parameters, mode, random });
    const { plan, precisionBits, blobs } = trial;
    expect(trial.agreement).toBeGreaterThanOrEqual(0.99);
    // Within the prediction, and the prediction not idle: no more than 5 bits below what was seen.
    expect(precisionBits).toBeGreaterThanOrEqual(plan.precisionBits);
    expect(precisionBits).toBeLessThan(plan.precisionBits + 5);
    // Three polynomials where there is one product and no key; with keys at hand they are always brought to two.
    const products = plan.levels.length > 1;
    const polys = mode === "shared" && products && !plan.needsRelinKeys ? 3 : 2;
    const bytes = wireCiphertextBytes(parameters, polys, 1);
    expect(blobs.map(({ length }) => length)).toEqual(blobs.map(() => bytes));
  });
});

const dead: Circuit = {
  features: 2,
  steps: [
    {
      inputs: Uint32Array.of(0, 1),
      outputs: 2,
      rowStarts: Uint32Array.of(0, 2, 4),
      columns: Uint32Array.of(0, 1, 0, 1),
      // The second row rounds away: it is the constant 0.5, and so is what reads it alone.
      values: Float64Array.of(0.5, -0.25, 1e-9, 0),
      bias: Float64Array.of(0.25, 0.5),
      activation: [0, 0, 1],
    },
    {
      inputs: Uint32Array.of(2, 3),
      outputs: 2,
      rowStarts: Uint32Array.of(0, 2, 3),
      columns: Uint32Array.of(0, 1, 1),
      values: Float64Array.of(1, 2, 4),
      bias: Float64Array.of(-0.5, 0.125),
      activation: null,
    },
  ],
};

it.each([
  ["shared", SHALLOW],
  ["secret", SECRET],
] as const)(
  "rows without weights are constants, and encrypted ones: %s",
  async (mode, parameters) => {
    const { plan, precisionBits, blobs } = await tryCircuit({
      ...{ circuit: dead, parameters, mode, random },
    });
    expect(plan.outputs[1]).toEqual({ constant: 1.125 });
    expect(plan.levels[0]!.rows).toBe(1);
    expect(precisionBits).toBeGreaterThan(plan.precisionBits);
    // The constant's residues are not those of a constant.
    expect(new Set(blobs[1]!.subarray(16)).size).toBe(256);
  },
);

it("the module without fused multiply-adds gives the same bytes", async () => {
  const circuit = mlp(6, 5, 3);
  const ends = await endsFor(SHALLOW);
  const plan = planBatch({
    ...{ circuit, parameters: SHALLOW, primes: ends.ckks.primes, mode: "shared" },
  });
  const wires = ends.encrypt(
    Array.from({ length: 6 }, () => Float64Array.from({ length: 2048 }, () => 2 * random() - 1)),
  );
  const [fused, exact] = [false, true].map((exactOnly) => {
    const ring = createRing(ends.ckks, { maxBytes: 2 ** 26, exactOnly });
    const outcome = createBatchEvaluator({ ring, parameters: SHALLOW, plan }).evaluate(wires);
    if (outcome.status !== "ok") throw new Error(outcome.fault);
    return outcome.blobs.map((blob) => Buffer.from(blob).toString("hex"));
  });
  expect(exact).toEqual(fused);
});

it("under secret the same pack gives other bytes each time, and the same logits", async () => {
  const circuit = mlp(3, 2, 2);
  const ends = await endsFor(SECRET);
  const plan = planBatch({
    ...{ circuit, parameters: SECRET, primes: ends.ckks.primes, mode: "secret" },
  });
  const ring = createRing(ends.ckks, { maxBytes: 2 ** 27 });
  const relinKeys = ring.loadRelinKeys(ends.relinKeys);
  const { encryptZero } = ends;
  const evaluator = createBatchEvaluator({
    ring,
    parameters: SECRET,
    plan,
    relinKeys,
    encryptZero,
  });
  const wires = ends.encrypt([0, 1, 2].map(() => new Float64Array(4096).fill(0.5)));
  const [first, second] = [1, 2].map(() => {
    const outcome = evaluator.evaluate(wires);
    if (outcome.status !== "ok") throw new Error(outcome.fault);
    return outcome.blobs;
  });
  for (const [part, blob] of first!.entries()) {
    const same = blob.subarray(16).filter((byte, at) => byte === second![part]![16 + at]).length;
    expect(same / blob.length).toBeLessThan(0.01);
  }
  const logits = [first!, second!].map((blobs) => ends.decrypt(blobs).map((values) => values[7]!));
  for (const [part, logit] of logits[0]!.entries()) expect(logits[1]![part]).toBeCloseTo(logit, 2);
});

describe("what is refused", () => {
  const circuit = mlp(4, 3, 2);
  const evaluatorFor = async (maxBytes = 2 ** 26) => {
    const ends = await endsFor(SHALLOW);
    const plan = planBatch({
      ...{ circuit, parameters: SHALLOW, primes: ends.ckks.primes, mode: "shared" },
    });
    const ring = createRing(ends.ckks, { maxBytes });
    const wires = ends.encrypt([0, 1, 2, 3].map(() => new Float64Array(2048).fill(0.5)));
    const evaluator = createBatchEvaluator({ ring, parameters: SHALLOW, plan });
    return { ring, wires, evaluator };
  };

  it("a ciphertext names its feature; the next pack is evaluated as if nothing had been", async () => {
    const { wires, evaluator } = await evaluatorFor();
    const good = evaluator.evaluate(wires);
    const withWire = (feature: number, wire: Uint8Array) =>
      evaluator.evaluate(wires.map((other, index) => (index === feature ? wire : other)));
    const cut = wires[2]!.subarray(1);
    expect(withWire(2, cut)).toMatchObject({ feature: 2 });
    expect(withWire(2, wires[2]!.subarray(0, -1))).toMatchObject({ feature: 2, fault: "length" });
    const ones = wires[3]!.slice().fill(255, 16 + 23_552 - 6);
    expect(withWire(3, ones)).toEqual({ status: "refused", feature: 3, fault: "residue" });
    const clear = wires[1]!.slice().fill(0, 16 + 2 * 23_552);
    expect(withWire(1, clear)).toEqual({ status: "refused", feature: 1, fault: "transparent" });
    expect(evaluator.evaluate(wires.slice(1))).toMatchObject({ feature: -1, fault: "count" });
    expect(evaluator.evaluate([...wires, wires[0]!])).toMatchObject({ fault: "count" });
    expect(evaluator.evaluate(wires)).toEqual(good);
  });

  it("a residue in a limb that is dropped, and one of a feature that nothing reads", async () => {
    const ends = await endsFor(SHALLOW);
    const [step] = mlp(2, 2).steps;
    const reads: Circuit = { features: 3, steps: [{ ...step!, inputs: Uint32Array.of(0, 2) }] };
    const plan = planBatch({
      ...{ circuit: reads, parameters: SHALLOW, primes: ends.ckks.primes, mode: "shared" },
    });
    expect(plan.inputLimbs).toBe(1);
    const ring = createRing(ends.ckks, { maxBytes: 2 ** 26 });
    const evaluator = createBatchEvaluator({ ring, parameters: SHALLOW, plan });
    const wires = ends.encrypt([0, 1, 2].map(() => new Float64Array(2048)));
    expect(evaluator.evaluate(wires).status).toBe("ok");
    for (const feature of [0, 1, 2]) {
      for (const limb of [0, 1, 2, 3]) {
        const bad = wires.map((wire) => wire.slice());
        bad[feature]!.fill(255, 16 + limb * 23_552, 24 + limb * 23_552);
        expect(evaluator.evaluate(bad)).toEqual({ status: "refused", feature, fault: "residue" });
      }
    }
  });

  it("memory beyond the limit, before a pack is there", async () => {
    const { ring, evaluator } = await evaluatorFor();
    // All memory is taken when the evaluator is made, and given back.
    const used = ring.mark();
    evaluator.evaluate([]);
    expect(ring.mark()).toBe(used);
    evaluator.close();
    expect(ring.mark()).toBeLessThan(used);
    await expect(evaluatorFor(used - 65_536)).rejects.toMatchObject({ code: "limit-exceeded" });
    await expect(evaluatorFor(used + 65_536)).resolves.toBeDefined();
  });

  it("a plan without the keys it needs is a bug", async () => {
    const ends = await endsFor(SECRET);
    const plan = planBatch({
      ...{ circuit, parameters: SECRET, primes: ends.ckks.primes, mode: "secret" },
    });
    const ring = createRing(ends.ckks, { maxBytes: 2 ** 27 });
    expect(() => createBatchEvaluator({ ring, parameters: SECRET, plan })).toThrow(
      expect.objectContaining({ code: "internal" }),
    );
  });
});
