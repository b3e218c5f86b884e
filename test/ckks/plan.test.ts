/** Scales and integers of an evaluation: nothing wraps around, nothing is transparent, what does not fit is refused. */
import { beforeAll, expect, test } from "vitest";
import { MAX_WEIGHT } from "../../pipeline/ckks/dense.ts";
import { createParameters, DEFAULT_PARAMETERS } from "../../pipeline/ckks/parameters.ts";
import { depthFault, planEvaluation } from "../../pipeline/ckks/plan.ts";
import { openContext } from "../../pipeline/ckks/seal.ts";
import type { Weights } from "../../pipeline/network/weights.ts";
import { network, randomWeights, SMALL, seeded } from "./fixtures.ts";

let primes: readonly bigint[];
beforeAll(async () => {
  const ckks = await openContext(DEFAULT_PARAMETERS);
  ({ primes } = ckks);
  ckks.close();
});

const shape = network(64, 32, 10);

function plan(weights: Weights, of = shape) {
  return planEvaluation(of, weights, DEFAULT_PARAMETERS, primes);
}

function scaled(weights: Weights, factor: number): Weights {
  return {
    layers: weights.layers.map(({ kernel, bias }) => ({
      kernel: kernel.map((v) => v * factor),
      bias: bias.map((v) => v * factor),
    })),
  };
}

/** Largest |logit| over inputs in [-1, 1], by interval arithmetic of the test's own. */
function logitBound(weights: Weights, inputs: number): number {
  let bounds = new Array<number>(inputs).fill(1);
  let last = bounds;
  for (const { kernel, bias } of weights.layers) {
    last = Array.from(bias, (b, j) =>
      bounds.reduce(
        (sum, bound, i) => sum + bound * Math.abs(kernel[i * bias.length + j]!),
        Math.abs(b),
      ),
    );
    bounds = last.map((bound) => bound ** 2);
  }
  return Math.max(...last);
}

test("scales: exact output scale, no overflow at any level, one limb fewer a layer", () => {
  const random = seeded(3);
  for (let round = 0; round < 50; round += 1) {
    const weights = scaled(randomWeights(shape, random), 0.2 + 2 * random());
    const { layers, outputScaleBits, boostBits } = plan(weights);
    const [first, last] = layers as [(typeof layers)[number], (typeof layers)[number]];
    expect([first.limbs, last.limbs]).toEqual([3, 2]);
    const rescaled = (last.scale * 2 ** boostBits) / Number(primes[1]);
    expect(rescaled / 2 ** outputScaleBits).toBeCloseTo(1, 12);
    const most = logitBound(weights, 64) * 2 ** outputScaleBits;
    expect(most).toBeLessThan(Number(primes[0]) / 4);
    expect(most * 8).toBeGreaterThan(Number(primes[0]) / 4);
    for (const { weights: integers } of layers) {
      expect(integers.every((w) => Math.abs(w) <= MAX_WEIGHT)).toBe(true);
      // The largest weight keeps at least 10 significant bits.
      expect(Math.max(...integers.map(Math.abs))).toBeGreaterThan(2 ** 10);
    }
  }
});

test("a model whose logits could wrap around is refused, not computed wrongly", () => {
  const weights = randomWeights(shape, seeded(4));
  expect(() => plan(scaled(weights, 4000))).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
  expect(() => plan(scaled(weights, 1e12))).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
});

test("NaN, infinity and another shape are refused", () => {
  const weights = randomWeights(shape, seeded(5));
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const broken = structuredClone(weights);
    broken.layers[1]!.bias[3] = bad;
    expect(() => plan(broken)).toThrow(expect.objectContaining({ code: "checkpoint-invalid" }));
  }
  expect(() => plan(weights, network(63, 32, 10))).toThrow(
    expect.objectContaining({ code: "checkpoint-invalid" }),
  );
});

test("all weights zero: constants only, nothing transparent", () => {
  const weights = scaled(randomWeights(shape, seeded(6)), 0);
  weights.layers[1]!.bias.set([1, 2, 3]);
  const { layers, outputs } = plan(weights);
  expect(layers.map(({ rows }) => rows)).toEqual([0, 0]);
  expect(outputs.slice(0, 4)).toEqual([
    { constant: 1 },
    { constant: 2 },
    { constant: 3 },
    { constant: 0 },
  ]);
});

test("a hidden unit without weights moves into the biases behind it", () => {
  const tiny = network(2, 2, 1);
  const weights: Weights = {
    layers: [
      { kernel: Float32Array.of(0, 1, 0, 1), bias: Float32Array.of(3, 0) },
      { kernel: Float32Array.of(0.5, 1), bias: Float32Array.of(-1) },
    ],
  };
  const { layers, outputs } = plan(weights, tiny);
  const last = layers[1]!;
  expect(layers[0]!.rows).toBe(1);
  expect([last.inputs, last.rows]).toEqual([1, 1]);
  expect(outputs).toEqual([{ row: 0 }]);
  // bias -1 + 0.5 * 3^2
  expect(Number(last.biases[0]) / last.scale).toBeCloseTo(3.5, 6);
});

test("depth: D dense layers need D + 1 data primes", () => {
  expect(depthFault(network(4, 3, 2), DEFAULT_PARAMETERS)).toBeNull();
  expect(depthFault(network(4, 3, 3, 2), DEFAULT_PARAMETERS)).toContain("4 data primes");
  expect(depthFault(network(4, 3, 2), SMALL)).not.toBeNull();
  const deep = createParameters(16384, [60, 50, 50, 50, 60], 40);
  expect(depthFault(network(4, 3, 3, 2), deep)).toBeNull();
  const net = network(4, 3, 3, 2);
  expect(() => plan(randomWeights(net, seeded(1)), net)).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
});
