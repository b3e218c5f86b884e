/** A run of clipped steps is PyTorch's: layers over sequences, from the same weights, by torch.nn's own layers. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { SpecLayer } from "../../../pipeline/network/from-spec.ts";
import { unflatten } from "../../../pipeline/network/weights.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import { networkOf } from "../../network/random-networks.ts";
import { relativeError } from "./oracle.ts";

interface Case {
  readonly name: string;
  /** As from-spec.ts reads it, but that a dense layer leaves out `activation: none`. */
  readonly network: readonly SpecLayer[];
  readonly inputs: readonly (readonly number[])[];
  readonly labels: readonly number[];
  /** Weights before and after, in the flat order. */
  readonly begin: readonly number[];
  readonly end: readonly number[];
  /** Sum of the examples' losses at every step. */
  readonly losses: readonly number[];
}

const path = new URL("../../vectors/torch-training.json", import.meta.url);
const { made, steps, rate, momentum, clip, cases } = JSON.parse(readFileSync(path, "utf8")) as {
  made: string;
  steps: number;
  rate: number;
  momentum: number;
  clip: number;
  cases: Case[];
};

describe(made, () => {
  test.each(cases)("$name", async ({ network: layers, inputs, labels, begin, end, losses }) => {
    const [first] = layers;
    const most = first !== undefined && "embedding" in first ? first.vocabulary - 1 : 1;
    const network = networkOf(
      inputs[0]!.length,
      layers.map((layer) => ("dense" in layer ? { ...{ activation: "none" }, ...layer } : layer)),
    );
    const backend = createTrainBackend("wasm");
    let flat = Float64Array.from(begin);
    let speed = new Float64Array(flat.length);
    for (let step = 0; step < steps; step += 1) {
      const { sum, lossSum } = await backend.clippedGradientSum({
        ...{ network, weights: unflatten(network, Float32Array.from(flat)) },
        inputs: Float32Array.from(inputs.flat(), (value) => value / most),
        labels: Int32Array.from(labels),
        ...{ rows: labels.length, l2ClipNorm: clip },
      });
      expect(Math.abs(lossSum / losses[step]! - 1)).toBeLessThan(1e-4);
      speed = speed.map((value, at) => momentum * value + sum[at]! / labels.length);
      flat = flat.map((value, at) => value - rate * speed[at]!);
    }
    expect(relativeError(Float32Array.from(flat), Float64Array.from(end))).toBeLessThan(1e-4);
  });
});
