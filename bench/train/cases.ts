/**
 * The networks of `npm run bench -- train`: as layers of a pipeline file for ours, as a list of layers for the peer.
 *
 * The same shapes as findings/training.md: two multilayer perceptrons and a small convolutional network, with ReLU.
 */
import { type Network, parameterCount } from "../../pipeline/network/definition.ts";
import { networkFromSpec, type SpecLayer } from "../../pipeline/network/from-spec.ts";
import { unflatten } from "../../pipeline/network/weights.ts";
import type { GradientRequest } from "../../pipeline/stages/train/backend.ts";
import { seeded } from "../lib/seeded.ts";

export interface TrainCase {
  readonly name: string;
  readonly classes: number;
  readonly inputs: number;
  readonly layers: readonly SpecLayer[];
  /** What opacus-peer.py builds. */
  readonly peer: { readonly shape: readonly number[]; readonly layers: readonly object[] };
}

const CLASSES = 10;
const ACTIVATION = "relu";
export const CLIP = 1;
export const NOISE_MULTIPLIER = 1;

function perceptron(inputs: number, hidden: number): TrainCase {
  return {
    name: `MLP ${inputs}-${hidden}-${CLASSES}`,
    classes: CLASSES,
    inputs,
    layers: [
      { dense: hidden, activation: ACTIVATION },
      { dense: CLASSES, activation: "none" },
    ],
    peer: {
      shape: [inputs],
      layers: [
        { kind: "dense", in: inputs, out: hidden, activation: ACTIVATION },
        { kind: "dense", in: hidden, out: CLASSES },
      ],
    },
  };
}

const CNN: TrainCase = {
  name: "CNN 28x28",
  classes: CLASSES,
  inputs: 784,
  layers: [
    { reshape: [28, 28, 1] },
    { conv2d: 8, kernelSize: [5, 5], strides: [2, 2], padding: "valid", activation: ACTIVATION },
    { conv2d: 16, kernelSize: [3, 3], strides: [2, 2], padding: "valid", activation: ACTIVATION },
    { dense: CLASSES, activation: "none" },
  ],
  peer: {
    shape: [1, 28, 28],
    layers: [
      { kind: "conv", in: 1, out: 8, kernel: 5, stride: 2, activation: ACTIVATION },
      { kind: "conv", in: 8, out: 16, kernel: 3, stride: 2, activation: ACTIVATION },
      { kind: "flatten" },
      { kind: "dense", in: 400, out: CLASSES },
    ],
  },
};

export const CASES = {
  mlp64: perceptron(64, 128),
  mlp784: perceptron(784, 256),
  cnn: CNN,
} as const satisfies Record<string, TrainCase>;

export type CaseName = keyof typeof CASES;

export function networkOf({ inputs, classes, layers }: TrainCase): Network {
  return networkFromSpec({ outputs: { length: inputs }, label: { classes } }, { network: layers });
}

/** Made-up rows in [0, 1], labels and small weights: the same for ours and for the peer. */
export function requestOf(one: TrainCase, rows: number): GradientRequest & { flat: Float32Array } {
  const network = networkOf(one);
  const random = seeded(7);
  const spread = (): number => (random() - 0.5) / 8;
  const flat = Float32Array.from({ length: parameterCount(network) }, spread);
  return {
    network,
    flat,
    weights: unflatten(network, flat),
    inputs: Float32Array.from({ length: rows * one.inputs }, random),
    labels: Int32Array.from({ length: rows }, () => Math.floor(random() * one.classes)),
    rows,
    l2ClipNorm: CLIP,
  };
}
