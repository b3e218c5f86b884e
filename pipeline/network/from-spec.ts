/**
 * From the layers of a pipeline file to a network: shapes followed from layer to layer, activations as coefficients.
 *
 * The parts of the pipeline file that it reads are described by structure, because this room may not import the spec.
 */
import { SealstreamError } from "../errors.ts";
import { type Activation, QUADRATIC } from "./activation.ts";
import { classCount, type Network, networkFault } from "./definition.ts";
import { impliedOutputs, type NetworkLayer, windowsOf } from "./layers.ts";
import { type MinimaxFunction, minimaxPolynomial } from "./minimax.ts";

type Pair = readonly [number, number];

export type SpecActivation =
  | "none"
  | "square"
  | "quadratic"
  /** The polynomial of that degree nearest to the function on [-range, range]. */
  | { readonly minimax: MinimaxFunction; readonly degree: number; readonly range: number }
  | { readonly polynomial: readonly number[] };

/** A layer as a pipeline file says it. */
export type SpecLayer =
  /** [height, width, channels] or [steps, features]: how the layer behind reads the values. */
  | { readonly reshape: readonly number[] }
  | { readonly dense: number; readonly activation: SpecActivation }
  | {
      readonly conv2d: number;
      readonly kernelSize: Pair;
      readonly strides: Pair;
      readonly padding: "valid" | "same";
      readonly activation: SpecActivation;
    }
  | { readonly averagePool2d: Pair; readonly strides: Pair }
  | { readonly rnn: number; readonly activation: SpecActivation };

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
    const layer = toLayer(spec, shape, index);
    layers.push(layer);
    shape = shapeBehind(layer);
  }
  return { inputs, layers };
}

function toLayer(
  spec: Exclude<SpecLayer, { reshape: unknown }>,
  shape: readonly number[],
  index: number,
): NetworkLayer {
  if ("dense" in spec) {
    return { outputs: spec.dense, activation: toActivation(spec.activation) };
  }
  if ("rnn" in spec) {
    const [steps, width, more] = shape;
    if (steps === undefined || width === undefined || more !== undefined) {
      throw invalid(`an rnn reads [steps, features]: put a reshape before entry ${index}`);
    }
    const activation = toActivation(spec.activation);
    return { kind: "rnn", input: [steps, width], outputs: spec.rnn, activation };
  }
  const [height, width, channels] = shape;
  if (height === undefined || width === undefined || channels === undefined) {
    throw invalid(
      `a convolution or pool reads [height, width, channels]: put a reshape before entry ${index}`,
    );
  }
  const input = [height, width, channels] as const;
  const { strides } = spec;
  const layer: NetworkLayer =
    "conv2d" in spec
      ? {
          ...{ kind: "conv2d", input, filters: spec.conv2d, kernelSize: spec.kernelSize, strides },
          ...{ padding: spec.padding, outputs: 0, activation: toActivation(spec.activation) },
        }
      : {
          ...{ kind: "averagePool2d", input, poolSize: spec.averagePool2d, strides },
          ...{ outputs: 0, activation: "none" },
        };
  return { ...layer, outputs: impliedOutputs(layer) ?? 0 };
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function shapeBehind(layer: NetworkLayer): readonly number[] {
  if (layer.kind !== "conv2d" && layer.kind !== "averagePool2d") return [layer.outputs];
  const { rows, columns } = windowsOf(layer);
  return [rows, columns, layer.outputs / (rows * columns)];
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
