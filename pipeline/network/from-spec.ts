/**
 * From the layers of a pipeline file to a network: shapes followed from layer to layer, activations as coefficients.
 *
 * The parts of the pipeline file that it reads are described by structure, because this room may not import the spec.
 */
import { SealstreamError } from "../errors.ts";
import { type Activation, type ActivationFunction, QUADRATIC } from "./activation.ts";
import { classCount, type Network, networkFault } from "./definition.ts";
import {
  impliedOutputs,
  type NetworkLayer,
  type PoolLayer,
  type WindowLayer,
  windowsOf,
} from "./layers.ts";
import { type MinimaxFunction, minimaxPolynomial } from "./minimax.ts";

type Pair = readonly [number, number];

export type SpecActivation =
  | "none"
  | "square"
  | "quadratic"
  | ActivationFunction
  /** The polynomial of that degree nearest to the function on [-range, range]. */
  | { readonly minimax: MinimaxFunction; readonly degree: number; readonly range: number }
  | { readonly polynomial: readonly number[] };

interface SpecConvolution<Sizes> {
  readonly kernelSize: Sizes;
  readonly strides: Sizes;
  readonly padding: "valid" | "same";
  readonly activation: SpecActivation;
}

/** A layer as a pipeline file says it. */
export type SpecLayer =
  /** [height, width, channels] or [steps, features]: how the layer behind reads the values. */
  | { readonly reshape: readonly number[] }
  | { readonly dense: number; readonly activation: SpecActivation }
  | ({ readonly conv2d: number } & SpecConvolution<Pair>)
  | ({ readonly conv1d: number } & SpecConvolution<number>)
  | { readonly averagePool2d: Pair; readonly strides: Pair }
  | { readonly maxPool2d: Pair; readonly strides: Pair }
  | { readonly averagePool1d: number; readonly strides: number }
  | { readonly maxPool1d: number; readonly strides: number }
  /** The mean over all positions, [channels]. */
  | { readonly globalAveragePool: true }
  /** Units; `sequences`: every state instead of the last. */
  | { readonly rnn: number; readonly sequences?: true; readonly activation: SpecActivation }
  | { readonly gru: number; readonly sequences?: true }
  | { readonly lstm: number; readonly sequences?: true }
  /** Numbers that stand for a token. */
  | { readonly embedding: number; readonly vocabulary: number }
  /** Epsilon. */
  | { readonly layerNorm: number; readonly activation: SpecActivation };

/** The part of `features` of a pipeline file that fixes the ends of a network. */
export interface NetworkFeatures {
  /** What is behind the feature maps. */
  readonly outputs: { readonly length: number };
  readonly label: { readonly classes: number };
}

/** The part of `train` of a pipeline file that fixes the layers between. */
export interface NetworkTraining {
  readonly network: readonly SpecLayer[];
}

/**
 * The network of a pipeline file.
 * @throws spec-invalid when the layers do not fit the features, each other or the limits
 */
export function networkFromSpec(features: NetworkFeatures, train: NetworkTraining): Network {
  const network = chain(features.outputs.length, train.network);
  const fault = networkFault(network);
  if (fault !== null) throw invalid(`${fault}`);
  if (classCount(network) !== features.label.classes) {
    throw invalid(
      `the last layer has ${classCount(network)} outputs, features.label.classes is ${features.label.classes}; make them equal`,
    );
  }
  return network;
}

function invalid(fault: string): SealstreamError {
  return new SealstreamError("spec-invalid", `train.network: ${fault}.`);
}

function chain(inputs: number, specs: readonly SpecLayer[]): Network {
  const layers: NetworkLayer[] = [];
  let shape: readonly number[] = [inputs];
  for (const [index, spec] of specs.entries()) {
    if ("reshape" in spec) {
      const held = sizeOf(shape);
      if (sizeOf(spec.reshape) !== held) {
        throw invalid(`${spec.reshape.join(" x ")} cannot be made of ${held} values`);
      }
      shape = spec.reshape;
      continue;
    }
    const made = toLayer(spec, shape, index);
    layers.push(made.layer);
    shape = made.shape;
  }
  return { inputs, layers };
}

/** A layer and the shape of what it gives. */
interface Made {
  readonly layer: NetworkLayer;
  readonly shape: readonly number[];
}

function toLayer(
  spec: Exclude<SpecLayer, { reshape: unknown }>,
  shape: readonly number[],
  index: number,
): Made {
  if ("dense" in spec) {
    const layer = { outputs: spec.dense, activation: toActivation(spec.activation) };
    return { layer, shape: [spec.dense] };
  }
  if ("rnn" in spec || "gru" in spec || "lstm" in spec) {
    return recurrentLayer(spec, stepsOf(shape, "a recurrent layer", index));
  }
  if ("embedding" in spec) {
    const [steps, more] = shape;
    if (steps === undefined || more !== undefined) {
      throw invalid(
        `an embedding reads the features as they are: no reshape before entry ${index}`,
      );
    }
    const { embedding: width, vocabulary } = spec;
    const outputs = steps * width;
    return {
      layer: { kind: "embedding", input: [steps], vocabulary, outputs, activation: "none" },
      shape: [steps, width],
    };
  }
  if ("layerNorm" in spec) {
    const features = shape.at(-1) ?? 0;
    const outputs = sizeOf(shape);
    const input = [outputs / features, features] as const;
    const activation = toActivation(spec.activation);
    return {
      layer: { kind: "layerNorm", input, epsilon: spec.layerNorm, outputs, activation },
      shape,
    };
  }
  return windowLayer(spec, shape, index);
}

type RecurrentSpec = Extract<SpecLayer, { rnn: number } | { gru: number } | { lstm: number }>;

function recurrentLayer(spec: RecurrentSpec, input: Pair): Made {
  const units = "rnn" in spec ? spec.rnn : "gru" in spec ? spec.gru : spec.lstm;
  const { sequences } = spec;
  const common = {
    input,
    ...(sequences === true ? { sequences } : {}),
    outputs: sequences === true ? input[0] * units : units,
  };
  const layer: NetworkLayer =
    "rnn" in spec
      ? { kind: "rnn", ...common, activation: toActivation(spec.activation) }
      : { kind: "gru" in spec ? "gru" : "lstm", ...common, activation: "tanh" };
  return { layer, shape: sequences === true ? [input[0], units] : [units] };
}

function stepsOf(shape: readonly number[], what: string, index: number): Pair {
  const [steps, width, more] = shape;
  if (steps === undefined || width === undefined || more !== undefined) {
    throw invalid(`${what} reads [steps, features]: put a reshape before entry ${index}`);
  }
  return [steps, width];
}

type WindowSpec = Exclude<
  SpecLayer,
  | RecurrentSpec
  | { reshape: unknown }
  | { dense: unknown }
  | { embedding: unknown }
  | { layerNorm: unknown }
>;

/** A convolution or pool; over one axis it is one of height 1. */
function windowLayer(spec: WindowSpec, shape: readonly number[], index: number): Made {
  const flat = "conv1d" in spec || "averagePool1d" in spec || "maxPool1d" in spec;
  const isLine = flat || ("globalAveragePool" in spec && shape.length === 2);
  const [height, width, channels] = isLine ? [1, ...stepsOf(shape, "it", index)] : shape;
  if (height === undefined || width === undefined || channels === undefined) {
    throw invalid(
      `a convolution or pool reads [height, width, channels]: put a reshape before entry ${index}`,
    );
  }
  const bare = bareWindow(spec, [height, width, channels]);
  const layer = { ...bare, outputs: impliedOutputs(bare) ?? 0 };
  if ("globalAveragePool" in spec) return { layer, shape: [channels] };
  const { rows, columns } = windowsOf(layer);
  const last = layer.outputs / (rows * columns);
  return { layer, shape: isLine ? [columns, last] : [rows, columns, last] };
}

/** Without its outputs, which follow from the rest. */
function bareWindow(spec: WindowSpec, input: readonly [number, number, number]): WindowLayer {
  const outputs = 0;
  const line = (size: number): Pair => [1, size];
  if ("conv2d" in spec || "conv1d" in spec) {
    const [filters, kernelSize, strides] =
      "conv2d" in spec
        ? [spec.conv2d, spec.kernelSize, spec.strides]
        : [spec.conv1d, line(spec.kernelSize), line(spec.strides)];
    const { padding } = spec;
    const activation = toActivation(spec.activation);
    return { kind: "conv2d", input, filters, kernelSize, strides, padding, outputs, activation };
  }
  const pool = (kind: PoolLayer["kind"], poolSize: Pair, strides: Pair): PoolLayer => ({
    kind,
    input,
    poolSize,
    strides,
    outputs,
    activation: "none",
  });
  if ("globalAveragePool" in spec) {
    const whole = [input[0], input[1]] as const;
    return pool("averagePool2d", whole, whole);
  }
  if ("averagePool2d" in spec) return pool("averagePool2d", spec.averagePool2d, spec.strides);
  if ("maxPool2d" in spec) return pool("maxPool2d", spec.maxPool2d, spec.strides);
  if ("averagePool1d" in spec) {
    return pool("averagePool2d", line(spec.averagePool1d), line(spec.strides));
  }
  return pool("maxPool2d", line(spec.maxPool1d), line(spec.strides));
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** The coefficients that an activation's words stand for. */
function toActivation(activation: SpecActivation): Activation {
  if (activation === "quadratic") return QUADRATIC;
  if (typeof activation === "string") return activation;
  if ("polynomial" in activation) {
    // + 0 turns -0 into 0: one spelling.
    return { polynomial: activation.polynomial.map((value) => value + 0) };
  }
  return { polynomial: minimaxPolynomial(activation.minimax, activation.degree, activation.range) };
}
