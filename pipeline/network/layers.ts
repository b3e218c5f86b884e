/**
 * Layers: what each kind is, and the shapes it takes and gives.
 *
 * A value of shape [height, width, channels] or [steps, features] lies row-major in a flat vector, as in Keras
 * (channels last). Every layer that reads such a shape names it itself, so that a layer can be understood alone. What
 * runs over one axis, a 1-dimensional convolution or pool, is one of height 1. How many numbers a layer's weights are
 * says products.ts. Must not know weights, nor a pipeline file.
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

/** Mean or maximum of each window; windows that do not fit whole are left out (padding `valid`). Has no weights. */
export interface PoolLayer {
  readonly kind: "averagePool2d" | "maxPool2d";
  /** [height, width, channels] */
  readonly input: readonly [number, number, number];
  readonly poolSize: readonly [number, number];
  readonly strides: readonly [number, number];
  readonly outputs: number;
  readonly activation: "none";
}

/** Simple recurrent layer: h_t = activation(x_t Wx + h_(t-1) Uh + bias), h_0 = 0. */
export interface RnnLayer {
  readonly kind: "rnn";
  /** [steps, features] */
  readonly input: readonly [number, number];
  /** The outputs are every state, [steps][units]; without it the last state, [units]. */
  readonly sequences?: true;
  readonly outputs: number;
  readonly activation: Activation;
}

/**
 * Keras' GRU with its defaults (`reset_after`, gates by sigmoid), gates in the order z, r, h:
 *   [z r] = sigmoid(x_t W + b_x + h U + b_h), c = tanh(x_t W + b_x + r * (h U + b_h)), h_t = z * h + (1 - z) * c;
 * and Keras' LSTM, gates in the order i, f, c, o:
 *   [i f o] = sigmoid(x_t W + h U + b), g = tanh(the same), C_t = f * C + i * g, h_t = o * tanh(C_t).
 */
export interface GatedLayer {
  readonly kind: "gru" | "lstm";
  /** [steps, features] */
  readonly input: readonly [number, number];
  /** As of `rnn`. */
  readonly sequences?: true;
  readonly outputs: number;
  readonly activation: "tanh";
}

/** Whole numbers 0..vocabulary - 1, scaled to 0..1 as features are, replaced by rows of a table. The first layer. */
export interface EmbeddingLayer {
  readonly kind: "embedding";
  /** [steps] */
  readonly input: readonly [number];
  readonly vocabulary: number;
  /** [steps][width] */
  readonly outputs: number;
  readonly activation: "none";
}

/** activation(gain * (x - mean) / sqrt(variance + epsilon) + bias) over the last axis (Ba, Kiros & Hinton 2016). */
export interface LayerNormLayer {
  readonly kind: "layerNorm";
  /** [positions, features]: each position is normalised by itself; gain and bias are shared, [features]. */
  readonly input: readonly [number, number];
  readonly epsilon: number;
  readonly outputs: number;
  readonly activation: Activation;
}

export type RecurrentLayer = RnnLayer | GatedLayer;
/** A layer that reads windows of an image. */
export type WindowLayer = Conv2dLayer | PoolLayer;
export type ShapedLayer = WindowLayer | RecurrentLayer | EmbeddingLayer | LayerNormLayer;
export type NetworkLayer = DenseLayer | ShapedLayer;

/** Where the windows of a convolution or a pool lie. */
export interface Windows {
  readonly rows: number;
  readonly columns: number;
  /** Rows and columns of zeros before the input's first. */
  readonly top: number;
  readonly left: number;
}

/** Source: TensorFlow, "Neural net ops", section on padding: `same` gives ceil(input / stride), the odd zero comes last. */
export function windowsOf(layer: WindowLayer): Windows {
  const [height, width] = layer.input;
  const size = windowSize(layer);
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

/** [height, width] of a window. */
export function windowSize(layer: WindowLayer): readonly [number, number] {
  return layer.kind === "conv2d" ? layer.kernelSize : layer.poolSize;
}

export function isWindowed(layer: NetworkLayer): layer is WindowLayer {
  return layer.kind === "conv2d" || isPool(layer);
}

export function isPool(layer: NetworkLayer): layer is PoolLayer {
  return layer.kind === "averagePool2d" || layer.kind === "maxPool2d";
}

export function isRecurrent(layer: NetworkLayer): layer is RecurrentLayer {
  return layer.kind === "rnn" || layer.kind === "gru" || layer.kind === "lstm";
}

/** Numbers of a recurrent layer's state. */
export function unitsOf({ input, sequences, outputs }: RecurrentLayer): number {
  return sequences === true ? outputs / input[0] : outputs;
}

/** How often a layer does the same to one record: positions of a window or a norm, time steps, tokens, else 1. */
export function applications(layer: NetworkLayer): number {
  if (layer.kind === undefined) return 1;
  if (!isWindowed(layer)) return layer.input[0];
  const { rows, columns } = windowsOf(layer);
  return rows * columns;
}

/** Outputs that a layer must have by its other numbers; null where it may choose. */
export function impliedOutputs(layer: NetworkLayer): number | null {
  if (layer.kind === "conv2d") return applications(layer) * layer.filters;
  if (isPool(layer)) return applications(layer) * layer.input[2];
  if (layer.kind === "layerNorm") return layer.input[0] * layer.input[1];
  return null;
}

/** A layer with exactly its own keys, in one order: what JSON of a network is written from. */
export function plainLayer(layer: NetworkLayer): NetworkLayer {
  const { outputs } = layer;
  switch (layer.kind) {
    case "conv2d": {
      const { kind, input, filters, kernelSize, strides, padding } = layer;
      const activation = plainActivation(layer.activation);
      return { kind, input, filters, kernelSize, strides, padding, outputs, activation };
    }
    case "averagePool2d":
    case "maxPool2d": {
      const { kind, input, poolSize, strides } = layer;
      return { kind, input, poolSize, strides, outputs, activation: "none" };
    }
    case "rnn":
      return {
        ...{ kind: "rnn", input: layer.input },
        ...plainSequences(layer),
        ...{ outputs, activation: plainActivation(layer.activation) },
      };
    case "gru":
    case "lstm": {
      const { kind, input } = layer;
      return { kind, input, ...plainSequences(layer), outputs, activation: "tanh" };
    }
    case "embedding": {
      const { kind, input, vocabulary } = layer;
      return { kind, input, vocabulary, outputs, activation: "none" };
    }
    case "layerNorm": {
      const { kind, input, epsilon } = layer;
      return { kind, input, epsilon, outputs, activation: plainActivation(layer.activation) };
    }
    default:
      return { outputs, activation: plainActivation(layer.activation) };
  }
}

function plainActivation(activation: Activation): Activation {
  return typeof activation === "string" ? activation : { polynomial: [...activation.polynomial] };
}

function plainSequences({ sequences }: RecurrentLayer): { readonly sequences?: true } {
  return sequences === true ? { sequences } : {};
}
