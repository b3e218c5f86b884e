/** Initial weights of every kind of layer: sizes of kernels, orthogonal states, gates that keep, and the constants. */
import { describe, expect, test } from "vitest";
import { type Activation, activationValue } from "../../pipeline/network/activation.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { forward } from "../../pipeline/network/forward.ts";
import type { SpecLayer } from "../../pipeline/network/from-spec.ts";
import {
  type Initialization,
  initialWeights,
  meanSquares,
} from "../../pipeline/network/initial-weights.ts";
import { conv, dense, networkOf, pool, seeded, uniformOf } from "./random-networks.ts";

/** Mean of a function over a standard normal z, by the midpoint rule on -12..12. */
function normalMean(of: (z: number) => number): number {
  const width = 1e-3;
  let sum = 0;
  for (let z = -12 + width / 2; z < 12; z += width) sum += of(z) * Math.exp((-z * z) / 2) * width;
  return sum / Math.sqrt(2 * Math.PI);
}

test.each<[Activation]>([
  ...(["relu", "tanh", "sigmoid", "softplus", "square"] as const).map(
    (one) => [one] as [Activation],
  ),
  [{ polynomial: [0.5, -1, 0.25, 2] }],
])("mean squares of %j and of its slope are those of a normal z", (activation) => {
  const value = (z: number) => activationValue(activation, z);
  const slope = (z: number) => (value(z + 1e-4) - value(z - 1e-4)) / 2e-4;
  const [squares, slopes] = meanSquares(activation);
  expect(squares / normalMean((z) => value(z) ** 2)).toBeCloseTo(1, 5);
  expect(slopes / normalMean((z) => slope(z) ** 2)).toBeCloseTo(1, 4);
});

/** Numbers of a kernel: uniform up to the limit. */
function expectUniform(kernel: Float32Array, limit: number): void {
  const largest = kernel.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  expect(largest).toBeLessThanOrEqual(Math.fround(limit));
  expect(largest).toBeGreaterThan(0.98 * limit);
  const variance = kernel.reduce((sum, value) => sum + value * value, 0) / kernel.length;
  // The standard error of the mean of n squares of a uniform draw is .9 / sqrt(n) of it: 5 of them.
  expect(Math.abs(variance / (limit * limit) - 1 / 3)).toBeLessThan(1.5 / Math.sqrt(kernel.length));
}

const relu = (outputs: number) => dense(outputs, "relu");
const steps = (features: number): SpecLayer => ({ reshape: [4, features] });
const gru: SpecLayer = { gru: 20 };
const lstm: SpecLayer = { lstm: 20 };
const norm: SpecLayer = { layerNorm: 0.001, activation: "none" };

describe("the width of a draw", () => {
  test.each<[string, ...(readonly [number, SpecLayer[], number, Initialization, number])]>([
    // v = 1 / (q in), a = sqrt(3 v)
    ["features", 32, [relu(40), dense(3)], 0, "he", 3 / (32 / 4)],
    ["logits of features", 100, [dense(10)], 0, "he", 3 / (3 * 100)],
    ["behind relu: He's 2 / in", 32, [relu(40), dense(10)], 1, "he", 6 / 40],
    ["behind square", 32, [dense(40, "square"), dense(10)], 1, "he", 3 / (3 * 40)],
    ["behind layerNorm", 32, [relu(40), norm, dense(10)], 2, "he", 3 / 40],
    ["behind gru", 40, [steps(10), gru, dense(20)], 1, "he", 3 / ((3 / 8) * 20)],
    ["behind lstm", 40, [steps(10), lstm, dense(20)], 1, "he", 3 / ((1 / 8) * 20)],
    ["table", 4, [{ embedding: 30, vocabulary: 20 }, gru, dense(3)], 0, "he", 3 / 4],
    [
      "convolution",
      72,
      [{ reshape: [6, 6, 2] }, conv(16, [3, 3]), dense(3)],
      0,
      "he",
      3 / (18 / 4),
    ],
    [
      "behind relu and a pool",
      72,
      [{ reshape: [6, 6, 2] }, conv(16, [3, 3], { activation: "relu" }), pool([4, 4]), dense(30)],
      2,
      "he",
      6 / 16,
    ],
    ["by fans", 32, [relu(40), dense(3)], 0, "glorot", 6 / (32 + 40)],
    ["logits by fans", 100, [dense(10)], 0, "glorot", 6 / (100 + 10)],
    [
      "convolution by fans",
      72,
      [{ reshape: [6, 6, 2] }, conv(16, [3, 3]), dense(3)],
      0,
      "glorot",
      6 / (9 * 2 + 9 * 16),
    ],
  ])("%s", (_, ...rest) => {
    const [inputs, layers, index, initialization, squaredLimit] = rest;
    const network = networkOf(inputs, layers, outputsOf(layers));
    const { kernel } = initialWeights(network, seeded(5), initialization).layers[index]!;
    expectUniform(kernel, Math.sqrt(squaredLimit));
  });

  test.each<[SpecLayer, number, Initialization, number]>([
    [gru, 3, "he", 3 / (10 / 4)],
    [lstm, 4, "he", 3 / (10 / 4)],
    [{ rnn: 20, activation: "tanh" }, 1, "he", 3 / (10 / 4)],
    [{ rnn: 20, activation: "square" }, 1, "he", 3 / (8 * (10 / 4))],
    // By all gates at once, as Keras does.
    [gru, 3, "glorot", 6 / (10 + 60)],
    [lstm, 4, "glorot", 6 / (10 + 80)],
  ])("the input's part of %j", (layer, gates, initialization, squaredLimit) => {
    const network = networkOf(40, [steps(10), layer, dense(3)]);
    const { kernel } = initialWeights(network, seeded(6), initialization).layers[0]!;
    expectUniform(kernel.subarray(0, 10 * gates * 20), Math.sqrt(squaredLimit));
  });

  test("a state that nothing bounds is drawn an eighth as wide, by its slope where that is larger", () => {
    const network = networkOf(40, [steps(10), { rnn: 20, activation: "square" }, dense(3)]);
    const { kernel } = initialWeights(network, seeded(7)).layers[0]!;
    // E[z^4] = 3, E[(2z)^2] = 4
    expectUniform(kernel.subarray(10 * 20), Math.sqrt(3 / (8 * 4 * 20)));
  });
});

function outputsOf(layers: readonly SpecLayer[]): number {
  const last = layers.at(-1)!;
  return "dense" in last ? last.dense : 0;
}

describe.each<[string, SpecLayer, number]>([
  ["gru", gru, 3],
  ["lstm", lstm, 4],
  ["rnn by tanh", { rnn: 20, activation: "tanh" }, 1],
])("the state's part of a %s", (_, layer, gates) => {
  const network = networkOf(40, [steps(10), layer, dense(3)]);
  const columns = gates * 20;
  const states = ["he", "glorot"].map((name) => {
    const weights = initialWeights(network, seeded(8), name as Initialization);
    return weights.layers[0]!.kernel.subarray(10 * columns);
  });

  test("has orthonormal rows, whatever the initialization", () => {
    for (const state of states) {
      expect(state.length).toBe(20 * columns);
      for (let left = 0; left < 20; left += 1) {
        for (let right = 0; right < 20; right += 1) {
          let product = 0;
          for (let at = 0; at < columns; at += 1) {
            product += state[left * columns + at]! * state[right * columns + at]!;
          }
          expect(product).toBeCloseTo(left === right ? 1 : 0, 6);
        }
      }
    }
  });

  test("points nowhere in particular", () => {
    const [state = new Float32Array()] = states;
    // Numbers of mean 0 and variance 1 / columns: 5 standard errors of a mean.
    const mean = state.reduce((sum, value) => sum + value, 0) / state.length;
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(columns * state.length));
    const positive = state.filter((value) => value > 0).length / state.length;
    expect(Math.abs(positive - 0.5)).toBeLessThan(2.5 / Math.sqrt(state.length));
  });
});

describe("biases, gains and zeros", () => {
  const layers: SpecLayer[] = [
    steps(10),
    { lstm: 5, sequences: true },
    { gru: 5, sequences: true },
    { layerNorm: 0.001, activation: "relu" },
    dense(3),
  ];
  const network = networkOf(40, layers);

  test.each<Initialization>(["he", "glorot", "zeros"])("%s", (initialization) => {
    const [first, second, gain, last] = initialWeights(network, seeded(9), initialization).layers;
    // i f c o: the cell keeps what it has.
    expect([...first!.bias]).toEqual([0, 1, 0, 0].flatMap((bias) => Array(5).fill(bias)));
    expect([...second!.bias]).toEqual(Array(30).fill(0));
    expect([...gain!.kernel]).toEqual(Array(5).fill(1));
    expect([...gain!.bias]).toEqual(Array(5).fill(0));
    expect([...last!.bias]).toEqual([0, 0, 0]);
    for (const { kernel } of [first!, second!, last!]) {
      expect(kernel.some((value) => value !== 0)).toBe(initialization !== "zeros");
    }
  });
});

test("a state behind gates has the mean square that the layer behind it is drawn for", () => {
  const draw = seeded(10);
  const meanSquare = (kind: "gru" | "lstm", features: number, count: number) => {
    let sum = 0;
    for (let round = 0; round < 40; round += 1) {
      const layers = [{ reshape: [count, features] }, { [kind]: 16 }, dense(3)] as SpecLayer[];
      const network = networkOf(count * features, layers);
      const { layers: weights } = initialWeights(network, draw);
      const alone: Network = { ...network, layers: network.layers.slice(0, 1) };
      const x = uniformOf(draw, network.inputs);
      const state = forward(alone, { layers: weights.slice(0, 1) }, x);
      sum += state.reduce((total, value) => total + value * value, 0) / state.length;
    }
    return sum / 40;
  };
  for (const [features, count] of [
    [3, 12],
    [12, 30],
  ] as const) {
    expect(meanSquare("gru", features, count)).toBeCloseTo(3 / 8, 1);
    expect(meanSquare("lstm", features, count)).toBeCloseTo(1 / 8, 1);
  }
});
