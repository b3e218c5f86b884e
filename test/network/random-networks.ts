/** Networks of every kind with seeded weights, for tests that compare two ways to compute them. */
import { createCipheriv } from "node:crypto";
import { type Network, networkFault } from "../../pipeline/network/definition.ts";
import {
  networkFromSpec,
  type SpecActivation,
  type SpecLayer,
} from "../../pipeline/network/from-spec.ts";
import { initialWeights } from "../../pipeline/network/initial-weights.ts";
import type { Weights } from "../../pipeline/network/weights.ts";

/** Random bytes of a fixed seed. */
export function seeded(seed: number): (bytes: number) => Buffer {
  const stream = createCipheriv("aes-128-ctr", Buffer.alloc(16, seed), Buffer.alloc(16));
  return (bytes) => stream.update(Buffer.alloc(bytes));
}

/** Numbers in 0..1 out of random bytes. */
export function uniformOf(draw: (bytes: number) => Buffer, length: number): Float32Array {
  const bytes = draw(length * 4);
  return Float32Array.from({ length }, (_, index) => bytes.readUInt32LE(index * 4) / 2 ** 32);
}

export const conv = (
  filters: number,
  kernelSize: readonly [number, number],
  rest: Partial<Extract<SpecLayer, { conv2d: number }>> = {},
): SpecLayer => ({
  ...{ conv2d: filters, kernelSize, strides: [1, 1], padding: "valid", activation: "square" },
  ...rest,
});
export const pool = (
  poolSize: readonly [number, number],
  strides: readonly [number, number] = poolSize,
): SpecLayer => ({ averagePool2d: poolSize, strides });
export const dense = (outputs: number, activation: SpecActivation = "none"): SpecLayer => ({
  dense: outputs,
  activation,
});

export function networkOf(inputs: number, network: readonly SpecLayer[], classes = 3): Network {
  return networkFromSpec({ outputs: { length: inputs }, label: { classes } }, { network });
}

/** One of every kind, and the combinations that lowering and training treat apart. */
export const NETWORKS: Readonly<Record<string, Network>> = {
  linear: networkOf(5, [dense(3)]),
  mlp: networkOf(5, [dense(4, "square"), dense(6, "quadratic"), dense(3)]),
  "minimax mlp": networkOf(5, [dense(4, { minimax: "relu", degree: 4, range: 4 }), dense(3)]),
  "explicit polynomial": networkOf(5, [dense(4, { polynomial: [1, -0.5, 0, 0.25] }), dense(3)]),
  "convolution, pool": networkOf(36, [
    { reshape: [6, 6, 1] },
    conv(2, [3, 3]),
    pool([2, 2]),
    dense(3),
  ]),
  "same, strides": networkOf(5 * 7 * 2, [
    { reshape: [5, 7, 2] },
    conv(3, [2, 4], { strides: [2, 3], padding: "same", activation: "quadratic" }),
    dense(3),
  ]),
  "two convolutions, overlapping pool": networkOf(64, [
    { reshape: [8, 8, 1] },
    conv(2, [3, 3], { padding: "same" }),
    pool([3, 3], [2, 2]),
    conv(3, [2, 2], { activation: { minimax: "softplus", degree: 2, range: 4 } }),
    dense(3),
  ]),
  "pools in a row and at both ends": networkOf(64, [
    { reshape: [8, 8, 1] },
    pool([2, 2], [1, 1]),
    pool([2, 1]),
    conv(3, [2, 2], { activation: "quadratic" }),
    pool([2, 6]),
  ]),
  rnn: networkOf(12, [{ reshape: [4, 3] }, { rnn: 5, activation: "quadratic" }, dense(3)]),
  "rnn of one step": networkOf(3, [
    { reshape: [1, 3] },
    { rnn: 2, activation: "square" },
    dense(3),
  ]),
  "convolution in a line, means": networkOf(22, [
    { reshape: [11, 2] },
    { conv1d: 3, kernelSize: 3, strides: 2, padding: "valid", activation: "quadratic" },
    { averagePool1d: 2, strides: 1 },
    { conv1d: 2, kernelSize: 2, strides: 1, padding: "same", activation: "square" },
    { globalAveragePool: true },
    dense(3),
  ]),
  "rnn with every state": networkOf(12, [
    { reshape: [4, 3] },
    { rnn: 2, sequences: true, activation: "quadratic" },
    { rnn: 2, activation: "quadratic" },
    dense(3),
  ]),
  "rnn over pooled rows": networkOf(48, [
    { reshape: [8, 6, 1] },
    pool([2, 2]),
    { reshape: [4, 3] },
    { rnn: 4, activation: { minimax: "tanh", degree: 3, range: 4 } },
    dense(4, "square"),
    dense(3),
  ]),
};

/** What CKKS cannot evaluate: one of every kind and activation, and the combinations that training treats apart. */
export const PLAIN_NETWORKS: Readonly<Record<string, Network>> = {
  "functions of a dense layer": networkOf(5, [
    dense(4, "relu"),
    dense(4, "tanh"),
    dense(4, "sigmoid"),
    dense(4, "softplus"),
    dense(3),
  ]),
  "relu convolution, maximum": networkOf(36, [
    { reshape: [6, 6, 1] },
    conv(2, [3, 3], { activation: "relu" }),
    { maxPool2d: [2, 3], strides: [1, 1] },
    dense(3),
  ]),
  "maxima in a line": networkOf(24, [
    { reshape: [8, 3] },
    { maxPool1d: 3, strides: 2 },
    { conv1d: 4, kernelSize: 2, strides: 1, padding: "valid", activation: "tanh" },
    dense(3),
  ]),
  gru: networkOf(12, [{ reshape: [4, 3] }, { gru: 5 }, dense(3)]),
  "gru as wide as its features": networkOf(12, [{ reshape: [4, 3] }, { gru: 3 }, dense(3)]),
  "gru of one step": networkOf(3, [{ reshape: [1, 3] }, { gru: 2 }, dense(3)]),
  lstm: networkOf(12, [{ reshape: [4, 3] }, { lstm: 5 }, dense(3)]),
  "recurrent layers, stacked": networkOf(12, [
    { reshape: [4, 3] },
    { lstm: 3, sequences: true },
    { gru: 4, sequences: true },
    { rnn: 2, sequences: true, activation: "tanh" },
    dense(3),
  ]),
  "layer norm between a linear layer and its activation": networkOf(5, [
    dense(6),
    { layerNorm: 1e-3, activation: "relu" },
    dense(3),
  ]),
  "layer norm of each step": networkOf(12, [
    { reshape: [4, 3] },
    { gru: 3, sequences: true },
    { layerNorm: 1e-3, activation: "none" },
    { lstm: 2 },
    dense(3),
  ]),
  "embedding, convolution, mean": networkOf(6, [
    { embedding: 3, vocabulary: 7 },
    { conv1d: 4, kernelSize: 2, strides: 1, padding: "same", activation: "relu" },
    { globalAveragePool: true },
    dense(3),
  ]),
  "embedding, gru": networkOf(4, [{ embedding: 2, vocabulary: 3 }, { gru: 2 }, dense(3)]),
};

/** Features that a network reads: tokens in front of an embedding, else numbers in 0..1. */
export function featuresOf(
  network: Network,
  draw: (bytes: number) => Buffer,
  rows: number,
): Float32Array {
  const [first] = network.layers;
  const values = uniformOf(draw, rows * network.inputs);
  if (first?.kind !== "embedding") return values;
  const { vocabulary } = first;
  return values.map((value) => Math.floor(value * vocabulary) / (vocabulary - 1));
}

/** Weights a run would begin with, biases made other than zero. */
export function weightsOf(network: Network, draw: (bytes: number) => Buffer): Weights {
  if (networkFault(network) !== null) throw new Error("not a network");
  const { layers } = initialWeights(network, draw);
  return {
    layers: layers.map(({ kernel, bias }) => ({
      kernel,
      bias: uniformOf(draw, bias.length).map((value) => value / 4 - 0.125),
    })),
  };
}
