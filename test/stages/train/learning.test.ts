/** Every kind of model learns through the stage's own backend: clipped sums and plain steps, as aggregate takes them. */
import { expect, test } from "vitest";
import type { Network } from "../../../pipeline/network/definition.ts";
import { argmax, forward } from "../../../pipeline/network/forward.ts";
import { initialWeights } from "../../../pipeline/network/initial-weights.ts";
import { flatten, unflatten } from "../../../pipeline/network/weights.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import { conv, dense, networkOf, pool, seeded, uniformOf } from "../../network/random-networks.ts";

interface Task {
  readonly network: Network;
  /** Features of an example of a class, out of random numbers in 0..1. */
  readonly example: (label: number, noise: Float32Array) => ArrayLike<number>;
  readonly steps: number;
  readonly rate: number;
}

const BATCH = 16;
const backend = createTrainBackend("cpu");

/** Share of fresh examples that are classified rightly, before and after. */
async function learn({ network, example, steps, rate }: Task): Promise<[number, number]> {
  const draw = seeded(22);
  const classes = network.layers.at(-1)?.outputs ?? 0;
  const batch = () => {
    const inputs = new Float32Array(BATCH * network.inputs);
    const labels = Int32Array.from({ length: BATCH }, (_, row) => row % classes);
    for (const [row, label] of labels.entries()) {
      inputs.set(
        Float32Array.from(example(label, uniformOf(draw, network.inputs))),
        row * network.inputs,
      );
    }
    return { inputs, labels };
  };
  let flat = flatten(initialWeights(network, draw));
  const accuracy = (): number => {
    let right = 0;
    for (let round = 0; round < 10; round += 1) {
      const { inputs, labels } = batch();
      for (const [row, label] of labels.entries()) {
        const x = inputs.subarray(row * network.inputs, (row + 1) * network.inputs);
        if (argmax(forward(network, unflatten(network, flat), x)) === label) right += 1;
      }
    }
    return right / 10 / BATCH;
  };
  const before = accuracy();
  for (let step = 0; step < steps; step += 1) {
    const weights = unflatten(network, flat);
    const { sum } = await backend.clippedGradientSum({
      ...{ network, weights, rows: BATCH, l2ClipNorm: 1, ...batch() },
    });
    flat = flat.map((value, index) => value - (rate * (sum[index] ?? 0)) / BATCH);
  }
  return [before, accuracy()];
}

/** A bar of three pixels somewhere in 6 x 6, lying or standing: no pixel by itself says which. */
function bar(label: number, noise: Float32Array): number[] {
  const at = Math.floor((noise[0] ?? 0) * 4);
  const across = Math.floor((noise[1] ?? 0) * 4);
  const pixels = Array.from({ length: 36 }, (_, index) => (noise[index] ?? 0) / 10);
  for (let step = 0; step < 3; step += 1) {
    const [y, x] = label === 0 ? [at, across + step] : [at + step, across];
    pixels[y * 6 + x] = 0.9;
  }
  return pixels;
}

/** Two features over five steps; which of two marks comes first is the class: no step by itself says it. */
function order(label: number, noise: Float32Array): number[] {
  const values = Array.from(noise, (value) => value / 10);
  const first = Math.floor((noise[0] ?? 0) * 2);
  const second = 3 + Math.floor((noise[1] ?? 0) * 2);
  values[2 * first + (label === 0 ? 0 : 1)] = 1;
  values[2 * second + (label === 0 ? 1 : 0)] = 1;
  return values;
}

/** The class is the side of a plane. */
const side = (label: number, noise: Float32Array): number[] => {
  const [a = 0, ...rest] = noise;
  return [label === 0 ? a / 3 : 1 - a / 3, ...rest];
};

test.each<[string, Task]>([
  [
    "a logistic model of two classes",
    { network: networkOf(4, [dense(2)], 2), example: side, steps: 60, rate: 2 },
  ],
  [
    "a softmax model of many classes",
    {
      network: networkOf(5, [dense(5)], 5),
      example: (label, noise) => noise.map((value, index) => (index === label ? 1 : value / 2)),
      steps: 60,
      rate: 2,
    },
  ],
  [
    "a convolution",
    {
      network: networkOf(36, [{ reshape: [6, 6, 1] }, conv(4, [3, 3]), pool([4, 4]), dense(2)], 2),
      example: bar,
      steps: 80,
      rate: 0.5,
    },
  ],
  [
    "a recurrent layer",
    {
      network: networkOf(
        10,
        [{ reshape: [5, 2] }, { rnn: 6, activation: "quadratic" }, dense(2)],
        2,
      ),
      example: order,
      steps: 150,
      rate: 0.5,
    },
  ],
])("%s learns", async (_, task) => {
  const [before, after] = await learn(task);
  expect(before, "before").toBeLessThan(0.8);
  expect(after).toBeGreaterThan(0.95);
});
