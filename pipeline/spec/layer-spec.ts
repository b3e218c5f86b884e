/**
 * The checked form of the layers of `train.network`.
 *
 * Types only, as pipeline-spec.ts, of which it is a part. Every default is filled in; what may be left out is a word
 * that is only ever `true`.
 */

export type ActivationSpec =
  /** `square` is z^2, `quadratic` 0.125z^2 + 0.5z + 0.25; the last layer has none. */
  | "none"
  | "square"
  | "quadratic"
  /** The functions themselves; a network with one cannot be evaluated encrypted. */
  | "relu"
  | "tanh"
  | "sigmoid"
  | "softplus"
  /** The polynomial of least largest error for a function on [-range, range]. */
  | {
      readonly minimax: "relu" | "sigmoid" | "tanh" | "softplus";
      readonly degree: number;
      readonly range: number;
    }
  /** Coefficients, ascending. */
  | { readonly polynomial: readonly number[] };

/** [height, width] */
type Sides = readonly [number, number];

interface ConvolutionSpec<Size> {
  readonly kernelSize: Size;
  readonly strides: Size;
  readonly padding: "valid" | "same";
  readonly activation: ActivationSpec;
}

export type LayerSpec =
  /** Outputs. */
  | { readonly dense: number; readonly activation: ActivationSpec }
  /** Filters. */
  | ({ readonly conv2d: number } & ConvolutionSpec<Sides>)
  | ({ readonly conv1d: number } & ConvolutionSpec<number>)
  | { readonly averagePool2d: Sides; readonly strides: Sides }
  | { readonly maxPool2d: Sides; readonly strides: Sides }
  | { readonly averagePool1d: number; readonly strides: number }
  | { readonly maxPool1d: number; readonly strides: number }
  | { readonly globalAveragePool: true }
  /** Units; `sequences`: every state instead of the last. */
  | { readonly rnn: number; readonly sequences?: true; readonly activation: ActivationSpec }
  | { readonly gru: number; readonly sequences?: true }
  | { readonly lstm: number; readonly sequences?: true }
  /** Numbers that stand for a token. */
  | { readonly embedding: number; readonly vocabulary: number }
  /** Epsilon. */
  | { readonly layerNorm: number; readonly activation: ActivationSpec }
  /** [height, width, channels] or [steps, features]. */
  | { readonly reshape: readonly number[] };
