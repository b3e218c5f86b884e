/** Training backends against the naive loop, and the guarantees that privacy rests on. */
import { createCipheriv } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type Network, parameterCount } from "../../../pipeline/network/definition.ts";
import { initialWeights } from "../../../pipeline/network/initial-weights.ts";
import { flatten, type Weights } from "../../../pipeline/network/weights.ts";
import { EMPTY_PLACE, type GradientRequest } from "../../../pipeline/stages/train/backend.ts";
import { BLOCK_ROWS, clipTarget } from "../../../pipeline/stages/train/clip-margin.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import { exampleGradient, exampleLoss, l2, naiveClippedSum, relativeError } from "./oracle.ts";

const square = (outputs: number) => ({ outputs, activation: "square" as const });
const linear = (outputs: number) => ({ outputs, activation: "none" as const });
const NETWORKS: Record<string, Network> = {
  "64-10": { inputs: 64, layers: [linear(10)] },
  "64-32-10": { inputs: 64, layers: [square(32), linear(10)] },
  "7-5-3-2": { inputs: 7, layers: [square(5), square(3), linear(2)] },
  "1-1": { inputs: 1, layers: [linear(1)] },
};

/** Random bytes of a fixed seed: how many digits softmax loses depends on the draw, and a tolerance must not flake. */
const stream = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16));
const draw = (bytes: number) => stream.update(Buffer.alloc(bytes));

/** Uniform in 0..1. */
function uniform(length: number): Float32Array {
  const bytes = draw(length * 4);
  return Float32Array.from({ length }, (_, index) => bytes.readUInt32LE(index * 4) / 2 ** 32);
}

function makeRequest(network: Network, rows: number, l2ClipNorm: number): GradientRequest {
  const classes = network.layers.at(-1)!.outputs;
  const labels = Int32Array.from(uniform(rows), (value) => Math.floor(value * classes));
  const inputs = uniform(rows * network.inputs);
  const weights = initialWeights(network, draw);
  return { network, weights, inputs, labels, rows, l2ClipNorm };
}

/** The request with one place emptied, features and all. */
function without(request: GradientRequest, row: number): GradientRequest {
  const inputs = Float32Array.from(request.inputs);
  inputs.fill(0, row * request.network.inputs, (row + 1) * request.network.inputs);
  const labels = Int32Array.from(request.labels);
  labels[row] = EMPTY_PLACE;
  return { ...request, inputs, labels };
}

test("the oracle's gradient is the slope of its loss", () => {
  const network = NETWORKS["7-5-3-2"]!;
  const parameters = Float64Array.from(flatten(initialWeights(network, draw)));
  const x = uniform(7);
  const gradient = exampleGradient(network, parameters, x, 1);
  for (let index = 0; index < parameters.length; index += 1) {
    const step = 1e-6;
    const moved = (by: number) =>
      exampleLoss(network, parameters.with(index, parameters[index]! + by), x, 1);
    expect(gradient[index]).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 6);
  }
});

describe.each([
  ["cpu", 1e-5],
  ["wasm", 2e-5],
] as const)("%s", (name, tolerance) => {
  const backend = createTrainBackend(name);

  test.each(
    Object.keys(NETWORKS).flatMap((key) =>
      [1, 32, BLOCK_ROWS + 5].map((rows) => [key, rows] as const),
    ),
  )("agrees with the naive loop: %s, %d rows", async (key, rows) => {
    const network = NETWORKS[key]!;
    for (const l2ClipNorm of [0.1, 1, 1000]) {
      const request = makeRequest(network, rows, l2ClipNorm);
      const clip = clipTarget(network, rows, l2ClipNorm);
      const expected = naiveClippedSum({ ...request, clip });
      const actual = await backend.clippedGradientSum(request);
      // A network of one class has no gradient at all.
      if (key === "1-1") expect([...actual.sum].every((value) => value === 0)).toBe(true);
      else expect(relativeError(actual.sum, expected.sum)).toBeLessThan(tolerance);
      expect(actual.clippedRows).toBe(expected.clippedRows);
      expect(actual.unusableRows).toBe(0);
      expect(actual.lossSum).toBeCloseTo(expected.lossSum, 3);
    }
  });

  test("one example moves the sum by at most the clip, and by nearly as much", async () => {
    const network = NETWORKS["64-32-10"]!;
    for (const rows of [1, 2, 64, BLOCK_ROWS, BLOCK_ROWS + 1]) {
      const request = makeRequest(network, rows, 0.25);
      const row = rows - 1;
      const full = await backend.clippedGradientSum(request);
      const less = await backend.clippedGradientSum(without(request, row));
      const moved = l2(full.sum.map((value, index) => value - less.sum[index]!));
      expect(full.clippedRows).toBe(rows);
      expect(moved).toBeLessThanOrEqual(0.25);
      // Fails when the clip is halved or doubled: the margin is under 1 %.
      expect(moved).toBeGreaterThan(0.99 * 0.25);
    }
  });

  test("the same examples and weights give the same bits", async () => {
    const request = makeRequest(NETWORKS["64-32-10"]!, 40, 1);
    const first = await backend.clippedGradientSum(request);
    const second = await backend.clippedGradientSum(structuredClone(request));
    expect(second).toEqual(first);
  });

  test.each([
    ["NaN", Number.NaN],
    ["infinity", Number.POSITIVE_INFINITY],
    ["minus infinity", Number.NEGATIVE_INFINITY],
    ["a feature whose square overflows", 1e30],
    ["an activation beyond what the margin covers", 2 ** 21],
  ])("an example with %s contributes nothing and is counted", async (_, value) => {
    const request = makeRequest(NETWORKS["64-32-10"]!, 8, 1);
    const spoiled = Float32Array.from(request.inputs);
    spoiled[3 * 64 + 5] = value;
    const actual = await backend.clippedGradientSum({ ...request, inputs: spoiled });
    const expected = await backend.clippedGradientSum(without(request, 3));
    expect(actual.sum).toEqual(expected.sum);
    expect(actual.unusableRows).toBe(1);
    expect(actual.clippedRows).toBe(expected.clippedRows);
    expect(actual.lossSum).toBe(expected.lossSum);
  });

  test("weights that overflow every logit make every example unusable, not the sum", async () => {
    const request = makeRequest(NETWORKS["64-32-10"]!, 4, 1);
    const weights: Weights = {
      layers: request.weights.layers.map(({ kernel, bias }) => ({
        kernel: kernel.map(() => 3e38),
        bias,
      })),
    };
    const actual = await backend.clippedGradientSum({ ...request, weights });
    expect(actual.unusableRows).toBe(4);
    expect(actual.sum).toEqual(new Float64Array(parameterCount(request.network)));
    expect(actual.lossSum).toBe(0);
  });

  test("a micro-batch of empty places is a zero sum", async () => {
    const request = makeRequest(NETWORKS["64-10"]!, 4, 1);
    const actual = await backend.clippedGradientSum({
      ...request,
      labels: new Int32Array(4).fill(EMPTY_PLACE),
    });
    expect(actual).toEqual({
      sum: new Float64Array(650),
      clippedRows: 0,
      unusableRows: 0,
      lossSum: 0,
    });
  });

  test("leaves no tensor behind over 100 steps, also when a step throws", async () => {
    const request = makeRequest(NETWORKS["64-32-10"]!, 16, 1);
    await backend.clippedGradientSum(request);
    const before = backend.liveTensors();
    for (let step = 0; step < 100; step += 1) await backend.clippedGradientSum(request);
    const labels = request.labels.with(0, 10);
    await expect(backend.clippedGradientSum({ ...request, labels })).rejects.toThrow(
      expect.objectContaining({ code: "internal" }),
    );
    expect(backend.liveTensors()).toBe(before);
  });

  test("refuses what does not fit before it computes", async () => {
    const request = makeRequest(NETWORKS["64-10"]!, 4, 1);
    const refusal = (code: string) => expect.objectContaining({ code });
    for (const wrong of [
      { inputs: request.inputs.subarray(1) },
      { labels: request.labels.subarray(1) },
      { network: NETWORKS["64-32-10"]! },
    ]) {
      await expect(backend.clippedGradientSum({ ...request, ...wrong })).rejects.toThrow(
        refusal("internal"),
      );
    }
    for (const l2ClipNorm of [0, -1, Number.NaN, 2 ** 21]) {
      await expect(backend.clippedGradientSum({ ...request, l2ClipNorm })).rejects.toThrow(
        refusal("limit-exceeded"),
      );
    }
  });
});

test("two backends in one process do not get in each other's way", async () => {
  const request = makeRequest(NETWORKS["64-32-10"]!, 16, 1);
  const [cpu, wasm] = [createTrainBackend("cpu"), createTrainBackend("wasm")];
  const alone = [await cpu.clippedGradientSum(request), await wasm.clippedGradientSum(request)];
  const together = await Promise.all(
    Array.from({ length: 10 }, (_, index) => [cpu, wasm][index % 2]!.clippedGradientSum(request)),
  );
  for (const [index, sum] of together.entries()) expect(sum).toEqual(alone[index % 2]);
});
