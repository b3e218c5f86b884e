/** Every kind of layer on the training backends, against the naive loop, and the guarantees that privacy rests on. */
import { describe, expect, test } from "vitest";
import { type Network, parameterCount } from "../../../pipeline/network/definition.ts";
import { forward } from "../../../pipeline/network/forward.ts";
import { flatten } from "../../../pipeline/network/weights.ts";
import { EMPTY_PLACE, type GradientRequest } from "../../../pipeline/stages/train/backend.ts";
import { BLOCK_ROWS, clipTarget, rowsOfBlock } from "../../../pipeline/stages/train/clip-margin.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import {
  conv,
  dense,
  featuresOf,
  NETWORKS,
  networkOf,
  PLAIN_NETWORKS,
  pool,
  seeded,
  uniformOf,
  weightsOf,
} from "../../network/random-networks.ts";
import { l2, relativeError } from "./oracle.ts";
import { exampleSlopes, naiveSum } from "./scalar-oracle.ts";

const ALL = { ...NETWORKS, ...PLAIN_NETWORKS };
const NAMES = Object.keys(ALL);

function makeRequest(network: Network, rows: number, l2ClipNorm: number): GradientRequest {
  const draw = seeded(11);
  const weights = weightsOf(network, draw);
  const inputs = featuresOf(network, draw, rows);
  const labels = Int32Array.from(uniformOf(draw, rows), (value) => Math.floor(value * 3));
  return { network, weights, inputs, labels, rows, l2ClipNorm };
}

/** The request with one place emptied, features and all. */
function without(request: GradientRequest, row: number): GradientRequest {
  const { inputs: width } = request.network;
  const inputs = Float32Array.from(request.inputs).fill(0, row * width, (row + 1) * width);
  return { ...request, inputs, labels: request.labels.with(row, EMPTY_PLACE) };
}

test.each(NAMES)("the oracle computes what forward computes: %s", (name) => {
  const { network, weights, inputs } = makeRequest(ALL[name]!, 1, 1);
  const { logits } = exampleSlopes(network, flatten(weights), inputs, 0);
  const expected = forward(network, weights, inputs);
  for (const [index, logit] of logits.entries()) expect(logit).toBeCloseTo(expected[index]!, 10);
});

test.each(["same, strides", "rnn", ...Object.keys(PLAIN_NETWORKS)])(
  "the oracle's gradient is the slope of its loss: %s",
  (name) => {
    const { network, weights, inputs } = makeRequest(ALL[name]!, 1, 1);
    const parameters = Float64Array.from(flatten(weights));
    const { gradient } = exampleSlopes(network, parameters, inputs, 1);
    for (let index = 0; index < parameters.length; index += 3) {
      const moved = (by: number) =>
        exampleSlopes(network, parameters.with(index, parameters[index]! + by), inputs, 1).loss;
      expect(gradient[index]).toBeCloseTo((moved(1e-5) - moved(-1e-5)) / 2e-5, 6);
    }
  },
);

describe.each(["cpu", "wasm"] as const)("%s", (name) => {
  const backend = createTrainBackend(name);

  test.each(NAMES)("agrees with the naive loop, empty places included: %s", async (kind) => {
    const network = ALL[kind]!;
    for (const l2ClipNorm of [0.1, 1000]) {
      const request = without(makeRequest(network, 6, l2ClipNorm), 2);
      const clip = clipTarget(network, 6, l2ClipNorm);
      const expected = naiveSum({ ...request, clip });
      const actual = await backend.clippedGradientSum(request);
      expect(relativeError(actual.sum, expected.sum)).toBeLessThan(2e-5);
      expect(actual.clippedRows).toBe(expected.clippedRows);
      expect(actual.unusableRows).toBe(0);
      expect(actual.lossSum).toBeCloseTo(expected.lossSum, 3);
    }
  });

  test.each(NAMES)("one example moves the sum by at most the clip: %s", async (kind) => {
    const network = ALL[kind]!;
    // Small enough that every example is clipped.
    const l2ClipNorm = 1 / 32;
    for (const rows of [1, 7]) {
      const request = makeRequest(network, rows, l2ClipNorm);
      const full = await backend.clippedGradientSum(request);
      const less = await backend.clippedGradientSum(without(request, rows - 1));
      const moved = l2(full.sum.map((value, index) => value - less.sum[index]!));
      expect(full.clippedRows).toBe(rows);
      expect(moved).toBeLessThanOrEqual(l2ClipNorm);
      expect(moved).toBeGreaterThan(0.999 * l2ClipNorm);
    }
  });

  test.each(NAMES)("an unusable example contributes nothing: %s", async (kind) => {
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY, 1e30]) {
      const request = makeRequest(ALL[kind]!, 5, 1);
      const inputs = request.inputs.with(3 * request.network.inputs + 1, value);
      const actual = await backend.clippedGradientSum({ ...request, inputs });
      const expected = await backend.clippedGradientSum(without(request, 3));
      expect(actual).toEqual({ ...expected, unusableRows: 1 });
    }
  });

  test("a micro-batch of empty places is a zero sum", async () => {
    for (const network of Object.values(ALL)) {
      const labels = new Int32Array(2).fill(EMPTY_PLACE);
      const { sum } = await backend.clippedGradientSum({ ...makeRequest(network, 2, 1), labels });
      expect(sum).toEqual(new Float64Array(parameterCount(network)));
    }
  });

  test("leaves no tensor behind, also when a step throws", async () => {
    for (const network of Object.values(ALL)) {
      const request = makeRequest(network, 3, 1);
      await backend.clippedGradientSum(request);
      const before = backend.liveTensors();
      await backend.clippedGradientSum(request);
      const labels = request.labels.with(0, 3);
      await expect(backend.clippedGradientSum({ ...request, labels })).rejects.toThrow();
      expect(backend.liveTensors()).toBe(before);
    }
  });

  test("two blocks agree with the naive loop as one does", async () => {
    const network = NETWORKS["convolution, pool"]!;
    const request = makeRequest(network, BLOCK_ROWS + 5, 0.5);
    const expected = naiveSum({ ...request, clip: clipTarget(network, request.rows, 0.5) });
    const actual = await backend.clippedGradientSum(request);
    expect(relativeError(actual.sum, expected.sum)).toBeLessThan(2e-5);
    expect(actual.clippedRows).toBe(expected.clippedRows);
  });
});

test("blocks shrink where an example's own tensors are large", () => {
  const wide = networkOf(64 * 64, [
    { reshape: [64, 64, 1] },
    conv(4, [9, 9], { padding: "same" }),
    pool([64, 64]),
    dense(3),
  ]);
  // 4,096 positions of 81 numbers: 2^22 / 331,776 = 12.6.
  expect(rowsOfBlock(wide)).toBe(12);
  expect(rowsOfBlock(networkOf(4096, [dense(512, "square"), dense(3)]))).toBe(BLOCK_ROWS);
});
