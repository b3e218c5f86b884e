/**
 * Layers: what each kind is, the shapes it takes and gives, and how many numbers its weights are.
 *
 * A value of shape [height, width, channels] or [steps, features] lies row-major in a flat vector, as in Keras
 * (channels last). Every layer that reads such a shape names it itself, so that a layer can be understood alone. Must
 * not know weights, nor a pipeline file.
 */
import type { Activation } from "./activation.ts";

/** outputs = activation(inputs x kernel + bias). Without a `kind`, because every checkpoint before had only this one. */
export interface DenseLayer {
  readonly kind?: never;
  readonly outputs: number;
  readonly activation: Activation;
}

/** Cross-correlation as Keras and TensorFlow compute it, padded with zeros. */
export interface Conv2dLayer {
  readonly kind: "conv2d";
  /** [height, width, channels] */
  readonly input: readonly [number, number, number];
  readonly filters: number;
  /** [height, width] */
  readonly kernelSize: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly padding: "valid" | "same";
  /** Rows times columns times filters: [rows][columns][filters]. */
  readonly outputs: number;
  readonly activation: Activation;
}

/** Mean of each window; windows that do not fit whole are left out (padding `valid`). Has no weights. */
export interface AveragePool2dLayer {
  readonly kind: "averagePool2d";
  /** [height, width, channels] */
  readonly input: readonly [number, number, number];
  readonly poolSize: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly outputs: number;
  readonly activation: "none";
}

/** Simple recurrent layer: h_t = activation(x_t Wx + h_(t-1) Uh + bias), h_0 = 0; its outputs are the last state. */
export interface RnnLayer {
  readonly kind: "rnn";
  /** [steps, features] */
  readonly input: readonly [number, number];
  /** Units. */
  readonly outputs: number;
  readonly activation: Activation;
}

export type NetworkLayer = DenseLayer | Conv2dLayer | AveragePool2dLayer | RnnLayer;

/** Where the windows of a convolution or a pool lie. */
export interface Windows {
  readonly rows: number;
  readonly columns: number;
  /** Rows and columns of zeros before the input's first. */
  readonly top: number;
  readonly left: number;
}

/** Source: TensorFlow, "Neural net ops", section on padding: `same` gives ceil(input / stride), the odd zero comes last. */
export function windowsOf(layer: Conv2dLayer | AveragePool2dLayer): Windows {
  const [height, width] = layer.input;
  const size = layer.kind === "conv2d" ? layer.kernelSize : layer.poolSize;
  const same = layer.kind === "conv2d" && layer.padding === "same";
  const along = (length: number, axis: 0 | 1): { count: number; before: number } => {
    const stride = layer.strides[axis];
    if (!same) return { count: Math.floor((length - size[axis]) / stride) + 1, before: 0 };
    const count = Math.ceil(length / stride);
    const padding = Math.max((count - 1) * stride + size[axis] - length, 0);
    return { count, before: Math.floor(padding / 2) };
  };
  const down = along(height, 0);
  const across = along(width, 1);
  return { rows: down.count, columns: across.count, top: down.before, left: across.before };
}

/** [rows, columns] of a layer's weights as one matrix, row-major; [0, 0] for a layer without. @param inputs numbers it reads */
export function kernelMatrix(
  layer: NetworkLayer,
  inputs: number,
): readonly [rows: number, columns: number] {
  switch (layer.kind) {
    case "conv2d":
      return [layer.kernelSize[0] * layer.kernelSize[1] * layer.input[2], layer.filters];
    case "rnn":
      return [layer.input[1] + layer.outputs, layer.outputs];
    case "averagePool2d":
      return [0, 0];
    default:
      return [inputs, layer.outputs];
  }
}

/** How often a layer's matrix is applied to one record: positions of a convolution, time steps, else 1. */
export function applications(layer: NetworkLayer): number {
  switch (layer.kind) {
    case "conv2d":
    case "averagePool2d": {
      const { rows, columns } = windowsOf(layer);
      return rows * columns;
    }
    case "rnn":
      return layer.input[0];
    default:
      return 1;
  }
}

/** Outputs that a layer must have by its other numbers; null where it may choose. */
export function impliedOutputs(layer: NetworkLayer): number | null {
  if (layer.kind === "conv2d") return applications(layer) * layer.filters;
  if (layer.kind === "averagePool2d") return applications(layer) * layer.input[2];
  return null;
}

/** A layer with exactly its own keys, in one order: what JSON of a network is written from. */
export function plainLayer(layer: NetworkLayer): NetworkLayer {
  const { outputs } = layer;
  const activation =
    typeof layer.activation === "string"
      ? layer.activation
      : { polynomial: [...layer.activation.polynomial] };
  switch (layer.kind) {
    case "conv2d": {
      const { kind, input, filters, kernelSize, strides, padding } = layer;
      return { kind, input, filters, kernelSize, strides, padding, outputs, activation };
    }
    case "averagePool2d": {
      const { kind, input, poolSize, strides } = layer;
      return { kind, input, poolSize, strides, outputs, activation: "none" };
    }
    case "rnn":
      return { kind: "rnn", input: layer.input, outputs, activation };
    default:
      return { outputs, activation };
  }
}
