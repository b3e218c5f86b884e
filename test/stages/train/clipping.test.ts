/**
 * Every backend of this machine, every way of clipping, with and without a tape: the same sums as the naive loop, and
 * the bound that the accountant counts on.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { Network } from "../../../pipeline/network/definition.ts";
import { flatten } from "../../../pipeline/network/weights.ts";
import {
  type BackendName,
  EMPTY_PLACE,
  type GradientRequest,
  type TrainBackend,
} from "../../../pipeline/stages/train/backend.ts";
import type { Clipping } from "../../../pipeline/stages/train/clip-factors.ts";
import { clipTarget } from "../../../pipeline/stages/train/clip-margin.ts";
import { createTfjsBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import {
  conv,
  dense,
  featuresOf,
  networkOf,
  pool,
  seeded,
  uniformOf,
  weightsOf,
} from "../../network/random-networks.ts";
import { l2, relativeError } from "./oracle.ts";
import { exampleSlopes } from "./scalar-oracle.ts";

const MODES: readonly Clipping[] = ["flat", "per-layer", "automatic"];
const ROWS = 7;

const DENSE = networkOf(9, [dense(6, "relu"), dense(5, "tanh"), dense(4, "square"), dense(3)]);
const SMOOTH = networkOf(5, [dense(6, "sigmoid"), dense(5, "softplus"), dense(3)]);
const IMAGES = networkOf(64, [
  { reshape: [8, 8, 1] },
  conv(3, [3, 3], { strides: [2, 2], activation: "relu" }),
  pool([2, 2], [1, 1]),
  conv(4, [2, 2], { padding: "same", activation: "quadratic" }),
  dense(3),
]);
const TOKENS = networkOf(6, [{ embedding: 4, vocabulary: 5 }, { gru: 3 }, dense(3)]);

interface Way {
  readonly title: string;
  readonly backend: TrainBackend;
  readonly tolerance: number;
  readonly networks: Readonly<Record<string, Network>>;
}

const everyNetwork = { dense: DENSE, smooth: SMOOTH, images: IMAGES, tokens: TOKENS };
const way = (name: BackendName, how: "fastest" | "taps", tolerance: number): Way => ({
  title: `${name}, ${how}`,
  backend: createTfjsBackend(name, { packages: [PEERS] }, how),
  tolerance,
  networks: everyNetwork,
});

/** Where deploy/tfjs-node/build.sh was told to build for the bench. */
const PEERS = path.resolve(import.meta.dirname, "../../../bench/.peers/tfjs-node");
/** A driver for WebGPU on any processor: of Debian's package chromium. */
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";
if (existsSync(SWIFTSHADER)) process.env["VK_DRIVER_FILES"] ??= SWIFTSHADER;

async function loads(backend: TrainBackend): Promise<boolean> {
  return backend.load().then(
    () => true,
    () => false,
  );
}

const optional: readonly (readonly [string, Way])[] = [
  [
    "an addon: deploy/tfjs-node/build.sh cpu bench/.peers/tfjs-node",
    way("tfjs-node", "fastest", 8e-7),
  ],
  [
    "an addon: deploy/tfjs-node/build.sh cpu bench/.peers/tfjs-node",
    way("tfjs-node", "taps", 8e-7),
  ],
  [
    "a Vulkan driver: Debian's chromium and libvulkan1",
    // Each shader takes the emulated GPU a moment to compile.
    { ...way("webgpu", "taps", 4e-6), networks: { images: IMAGES } },
  ],
];
const present: Way[] = [
  way("cpu", "taps", 8e-7),
  way("cpu", "fastest", 8e-7),
  way("wasm", "taps", 2e-5),
  way("wasm", "fastest", 2e-5),
];
for (const [needs, own] of optional) {
  if (await loads(own.backend)) present.push(own);
  else test.skip(`SKIPPED: ${own.title} needs ${needs}`, () => undefined);
}

function makeRequest(network: Network, l2ClipNorm: number, clipping: Clipping): GradientRequest {
  const draw = seeded(5);
  const weights = weightsOf(network, draw);
  const inputs = featuresOf(network, draw, ROWS);
  const labels = Int32Array.from(uniformOf(draw, ROWS), (value) => Math.floor(value * 3));
  return { network, weights, inputs, labels, rows: ROWS, l2ClipNorm, clipping };
}

function without(request: GradientRequest, row: number): GradientRequest {
  const { inputs: width } = request.network;
  const inputs = Float32Array.from(request.inputs).fill(0, row * width, (row + 1) * width);
  return { ...request, inputs, labels: request.labels.with(row, EMPTY_PLACE) };
}

/** One example at a time, each gradient clipped as the definitions say. */
function naive(request: GradientRequest): Float64Array {
  const { network, weights, inputs, labels, l2ClipNorm, clipping } = request;
  const parameters = flatten(weights);
  const clip = clipTarget(network, ROWS, l2ClipNorm);
  const sizes = weights.layers.map(({ kernel, bias }) => kernel.length + bias.length);
  const layers: number[] = sizes.filter((size) => size > 0);
  const sum = new Float64Array(parameters.length);
  for (const [row, label] of labels.entries()) {
    if (label < 0) continue;
    const x = inputs.subarray(row * network.inputs, (row + 1) * network.inputs);
    const { gradient } = exampleSlopes(network, parameters, x, label);
    let from = 0;
    for (const size of clipping === "per-layer" ? layers : [parameters.length]) {
      const part = gradient.subarray(from, from + size);
      const norm = l2(part);
      const allowed = clipping === "per-layer" ? clip / Math.sqrt(layers.length) : clip;
      const factor =
        clipping === "automatic" ? allowed / (norm + 0.01) : Math.min(1, allowed / norm);
      for (const [index, value] of part.entries()) sum[from + index]! += value * factor;
      from += size;
    }
  }
  return sum;
}

function distance(left: ArrayLike<number>, right: ArrayLike<number>): number {
  return l2(Float64Array.from(left, (value, index) => value - right[index]!));
}

describe.each(present)("$title", ({ backend, tolerance, networks }) => {
  const cases = Object.entries(networks).flatMap(([name, network]) =>
    MODES.map((mode) => [name, mode, network] as const),
  );

  test.each(cases)("sums as the naive loop does: %s, %s", async (_, mode, network) => {
    for (const l2ClipNorm of [0.125, 1000]) {
      const request = without(makeRequest(network, l2ClipNorm, mode), 2);
      const { sum } = await backend.clippedGradientSum(request);
      expect(relativeError(sum, naive(request))).toBeLessThan(tolerance);
    }
  });

  test.each(cases)("one example moves it by at most the clip: %s, %s", async (_, mode, network) => {
    const l2ClipNorm = 1 / 32;
    const request = makeRequest(network, l2ClipNorm, mode);
    const full = await backend.clippedGradientSum(request);
    const less = await backend.clippedGradientSum(without(request, 4));
    const moved = distance(full.sum, less.sum);
    expect(moved).toBeLessThanOrEqual(l2ClipNorm);
    // Fails when a clip is half or double; automatic and per-layer give a little less.
    expect(moved).toBeGreaterThan((mode === "flat" ? 0.999 : 0.8) * l2ClipNorm);
  });

  test.each(cases)("an unusable example adds nothing: %s, %s", async (_, mode, network) => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -1e30]) {
      const request = makeRequest(network, 1, mode);
      const inputs = request.inputs.with(3 * network.inputs + 1, value);
      const actual = await backend.clippedGradientSum({ ...request, inputs });
      const expected = await backend.clippedGradientSum(without(request, 3));
      expect(actual).toEqual({ ...expected, unusableRows: 1 });
    }
  });

  test("denormal features and weights that overflow an example's norm leave no NaN", async () => {
    const network = networks["dense"] ?? IMAGES;
    const request = makeRequest(network, 1, "automatic");
    const tiny = { ...request, inputs: request.inputs.map((value) => value * 1e-42) };
    const small = await backend.clippedGradientSum(tiny);
    expect(Array.from(small.sum).every(Number.isFinite)).toBe(true);
    const weights = {
      layers: request.weights.layers.map(({ kernel, bias }) => ({
        kernel: kernel.map((value) => Math.sign(value) * 3e38),
        bias,
      })),
    };
    const actual = await backend.clippedGradientSum({ ...request, weights });
    expect(actual.unusableRows).toBe(ROWS);
    expect(actual.sum).toEqual(new Float64Array(actual.sum.length));
  });

  test("leaves no tensor behind", async () => {
    const requests = Object.values(networks).map((network) => makeRequest(network, 1, "flat"));
    for (const request of requests) await backend.clippedGradientSum(request);
    const before = backend.liveTensors();
    for (const request of requests) await backend.clippedGradientSum(request);
    expect(backend.liveTensors()).toBe(before);
  });
});
