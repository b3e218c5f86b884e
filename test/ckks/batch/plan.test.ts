/** Plans of the batch path: levels, scales, what is refused and with which sentence, places that never overlap. */
import { describe, expect, it } from "vitest";
import { powerForm, powerSplit } from "../../../pipeline/ckks/batch/activation.ts";
import { placeCiphertexts } from "../../../pipeline/ckks/batch/placement.ts";
import { leastLimbs, planBatch } from "../../../pipeline/ckks/batch/plan.ts";
import type { BatchMode, BatchOp } from "../../../pipeline/ckks/batch/program.ts";
import { MAX_ROW_WEIGHT } from "../../../pipeline/ckks/batch/rows.ts";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { openContext } from "../../../pipeline/ckks/seal.ts";
import type { Circuit } from "../../../pipeline/network/circuit.ts";
import { lowerNetwork } from "../../../pipeline/network/lower.ts";
import { network, randomWeights, seeded } from "../fixtures.ts";

const SMALL = createParameters(4096, [46, 46, 17], 24);
const { primes } = await openContext(SMALL);
const random = seeded(4);

function mlp(widths: readonly [number, ...number[]], factor = 1): Circuit {
  const shape = network(...widths);
  const { layers } = randomWeights(shape, random);
  const scaled = layers.map(({ kernel, bias }) => ({
    kernel: kernel.map((w) => w * factor),
    bias,
  }));
  return lowerNetwork(shape, { layers: scaled });
}
const plan = (circuit: Circuit, mode: BatchMode = "shared") =>
  planBatch({ circuit, parameters: SMALL, primes, mode });

it("one product: two primes, no keys under shared, relinearised and rescaled under secret", () => {
  const circuit = mlp([64, 32, 10]);
  const shared = plan(circuit);
  expect(shared).toMatchObject({ inputLimbs: 2, outputPolys: 3, outputLimbs: 1 });
  expect([shared.needsRelinKeys, shared.needsPublicKey]).toEqual([false, false]);
  expect(shared.levels.map(({ limbs, rows }) => [limbs, rows])).toEqual([
    [2, 32],
    [2, 10],
  ]);
  const secret = plan(circuit, "secret");
  expect(secret).toMatchObject({ inputLimbs: 2, outputPolys: 2, outputLimbs: 1 });
  expect([secret.needsRelinKeys, secret.needsPublicKey]).toEqual([true, true]);
  for (const { ops, outputScale, levels } of [shared, secret]) {
    const products = ops.filter(({ kind }) => kind === "product");
    expect(products).toHaveLength(32);
    // Nothing of the last layer is above what the first prime has room for: 2^s x bound, sign and margin.
    const bits = Math.log2(outputScale) + levels[1]!.valueBits;
    expect(bits).toBeLessThan(46 - 2);
    expect(bits).toBeGreaterThan(46 - 4.5);
  }
});

it("no row of integers passes what the kernel adds up exactly, and no scale what its modulus holds", () => {
  for (let round = 0; round < 20; round += 1) {
    const { ops, ciphertexts, levels } = plan(mlp([20, 8, 3], 0.2 + random()));
    for (const op of ops) {
      if (op.kind !== "affine") continue;
      for (let row = 0; row + 1 < op.rowStarts.length; row += 1) {
        const weights = op.weights.subarray(op.rowStarts[row], op.rowStarts[row + 1]);
        const sum = weights.reduce((total, w) => total + Math.abs(w), 0);
        expect(sum).toBeLessThanOrEqual(MAX_ROW_WEIGHT);
        expect(weights.every(Number.isInteger)).toBe(true);
      }
    }
    const squares = ciphertexts.filter(({ polys }) => polys === 3);
    for (const { scale, limbs } of squares) {
      const room = 46 * limbs - 2 - Math.log2(scale);
      expect(room).toBeGreaterThan(0);
    }
    expect(levels[0]!.weightBits).toBeGreaterThan(6);
  }
});

describe("refused with a sentence", () => {
  const limit = (text: string) =>
    expect.objectContaining({ code: "limit-exceeded", message: expect.stringContaining(text) });

  it("too deep", () => {
    expect(() => plan(mlp([4, 3, 3, 2]))).toThrow(limit("needs 3 data primes (mode shared)"));
    expect(() => plan(mlp([4, 2]), "secret")).not.toThrow();
  });

  it("what could wrap around", () => {
    expect(() => plan(mlp([64, 32, 10], 400))).toThrow(limit("train with smaller weights"));
    expect(() => plan(mlp([64, 32, 10], 1e9))).toThrow(limit("train with smaller weights"));
    expect(() => plan(mlp([2, 2], 1e14))).toThrow(limit("a logit of this model could reach 2^"));
  });

  it("numbers that are none", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const circuit = mlp([3, 2]);
      circuit.steps[0]!.values[1] = bad;
      expect(() => plan(circuit)).toThrow(expect.objectContaining({ code: "checkpoint-invalid" }));
    }
  });
});

it("more primes buy digits, where they are asked for: the cheapest way that promises the goal", async () => {
  const parameters = createParameters(8192, [46, 46, 46, 46], 28);
  const long = (await openContext(parameters)).primes;
  const circuit = mlp([64, 32, 10]);
  const plans = [1, 6, 8, 20].map((precisionBits) =>
    planBatch({ circuit, parameters, primes: long, mode: "shared", precisionBits }),
  );
  expect(plans.map(({ inputLimbs }) => inputLimbs)).toEqual([2, 3, 3, 3]);
  expect(plans[0]!.precisionBits).toBeGreaterThanOrEqual(1);
  expect(plans[2]!.precisionBits).toBeGreaterThan(plans[0]!.precisionBits + 2);
  // Rows are rescaled by two primes at once: the last weights keep all their digits.
  expect(plans[2]!.levels[1]!.weightBits).toBeGreaterThan(19);
  expect(plans[2]!.ops.filter((op) => op.kind === "finish" && op.rescale)).toHaveLength(20);
  expect(plans[3]!.precisionBits).toBeGreaterThanOrEqual(plans[2]!.precisionBits);
});

it("inputs of fewer limbs: no more than they carry are read, and what needs more is refused", async () => {
  const parameters = createParameters(8192, [46, 46, 46, 46], 28);
  const long = (await openContext(parameters)).primes;
  const circuit = mlp([64, 32, 10]);
  const given = { circuit, parameters, primes: long, mode: "shared", precisionBits: 8 } as const;
  const whole = planBatch(given);
  expect([whole.inputLimbs, whole.wireLimbs]).toEqual([3, 3]);
  const cut = planBatch({ ...given, wireLimbs: 2 });
  expect([cut.inputLimbs, cut.wireLimbs]).toEqual([2, 2]);
  expect(cut.precisionBits).toBeLessThan(whole.precisionBits);
  expect(leastLimbs(circuit, "shared")).toBe(2);
  expect(() => planBatch({ ...given, wireLimbs: 1 })).toThrow(
    expect.objectContaining({
      code: "limit-exceeded",
      message: expect.stringContaining("needs 2 data primes (mode shared), packs carry 1;"),
    }),
  );
  for (const wireLimbs of [0, 4, 1.5]) {
    expect(() => planBatch({ ...given, wireLimbs })).toThrow(RangeError);
  }
});

it("under secret every result was rescaled last, a linear model's too", () => {
  for (const circuit of [mlp([4, 2]), mlp([64, 32, 10])]) {
    const { ops, outputs } = plan(circuit, "secret");
    const rescaled = ops.flatMap((op) => (op.kind === "finish" && op.rescale ? [op.output] : []));
    for (const output of outputs) {
      expect("ciphertext" in output && rescaled.includes(output.ciphertext)).toBe(true);
    }
  }
});

it("all weights zero: constants only, no ciphertext is computed", () => {
  const { outputs, ops } = plan(mlp([4, 3, 2], 0));
  expect(ops).toEqual([]);
  expect(outputs.every((output) => "constant" in output)).toBe(true);
});

it("small weights keep their digits: a model is not rounded to nothing because that has no noise", () => {
  const { outputs, levels, precisionBits } = plan(mlp([64, 32, 10], 0.05));
  expect(outputs.every((output) => "ciphertext" in output)).toBe(true);
  expect(levels.every(({ rows }) => rows > 0)).toBe(true);
  expect(precisionBits).toBeLessThan(20);
});

it("a quadratic activation is one square: the same polynomial, completed", () => {
  const { shift, constant, powers } = powerForm([0.25, 0.5, 0.125]);
  const at = (z: number) =>
    constant +
    powers.reduce((sum, { power, coefficient }) => sum + coefficient * (z + shift) ** power, 0);
  for (const z of [-3, -1, 0, 0.5, 2])
    expect(at(z)).toBeCloseTo(0.25 + 0.5 * z + 0.125 * z * z, 12);
  expect(powers.map(({ power }) => power)).toEqual([2]);
  expect(powerForm([1, 0, 0, 2, 0]).powers).toEqual([{ power: 3, coefficient: 2 }]);
  expect([2, 3, 4, 5, 8, 9].map(powerSplit)).toEqual([
    [1, 1],
    [2, 1],
    [2, 2],
    [4, 1],
    [4, 4],
    [8, 1],
  ]);
});

it("places: an output never lies on an input or on anything that is still read", () => {
  for (let round = 0; round < 50; round += 1) {
    const ops: BatchOp[] = [];
    const sizes: number[] = [3, 2];
    ops.push({ kind: "unpack", feature: 0, boostBits: 0, output: 0 });
    ops.push({ kind: "unpack", feature: 1, boostBits: 0, output: 1 });
    for (let id = 2; id < 40; id += 1) {
      const [left, right] = [Math.floor(random() * id), Math.floor(random() * id)];
      ops.push({ kind: "product", left, right, output: id });
      sizes.push(1 + Math.floor(random() * 6));
    }
    const kept = new Set([39, 5]);
    const { places, limbs } = placeCiphertexts(ops, Uint32Array.from(sizes), kept);
    const owner = new Int32Array(limbs).fill(-1);
    const isThere = (id: number) =>
      owner.subarray(places[id], places[id]! + sizes[id]!).every((one) => one === id);
    for (const op of ops) {
      const inputs = op.kind === "product" ? [op.left, op.right] : [];
      // Still there when they are read, and not written over by the result.
      expect(inputs.every(isThere)).toBe(true);
      const id = "output" in op ? op.output : -1;
      owner.fill(id, places[id], places[id]! + sizes[id]!);
      expect(inputs.every(isThere)).toBe(true);
    }
    for (const id of kept) expect(owner[places[id]!]).toBe(id);
    expect(limbs).toBeLessThan(sizes.reduce((sum, size) => sum + size, 0));
  }
});
