/**
 * What a layer's weights are made of: kernels with or without a bias, and the form of each one's gradient.
 *
 * A layer multiplies, adds or picks with one kernel after the other ("products"). Everything that counts, stores or
 * clips weights reads this list and knows no kind of layer. The flat order of a layer's parameters is: the kernels of
 * its products in order, each row-major, then their biases in order. Must not know tensors.
 */
import { applications, type NetworkLayer } from "./layers.ts";

/**
 * How one example's gradient of a kernel (and its bias) follows from what went into the product, a, and the slopes of
 * the loss by what came out of it, d:
 * - `outer`: applied once. a [rows], d [columns]; kernel a^T d, bias d.
 * - `summed`: applied T times. a [T][rows], d [T][columns]; kernel sum_t a_t^T d_t, bias sum_t d_t.
 * - `elementwise`: a gain, applied T times. a [T][columns], d [T][columns]; kernel (one row) sum_t a_t * d_t, bias
 *   sum_t d_t.
 * - `scatter`: a table whose rows are picked. a [T], integers below `rows`; d [T][columns]; kernel row r is the sum of
 *   the d_t with a_t = r; no bias.
 */
export type GradientForm = "outer" | "summed" | "elementwise" | "scatter";

export interface LayerProduct {
  readonly form: GradientForm;
  /** Rows and columns of the kernel; an `elementwise` one has one row. */
  readonly rows: number;
  readonly columns: number;
  /** Whether there is a bias, of `columns` numbers. */
  readonly bias: boolean;
  /** T: how often it is applied to one record; 1 for `outer`. */
  readonly applications: number;
}

/** The products of a layer; none for a layer without weights. @param inputs numbers it reads */
export function layerProducts(layer: NetworkLayer, inputs: number): LayerProduct[] {
  switch (layer.kind) {
    case "conv2d": {
      const rows = layer.kernelSize[0] * layer.kernelSize[1] * layer.input[2];
      return [summed(rows, layer.filters, applications(layer))];
    }
    case "averagePool2d":
      return [];
    case "rnn":
      return [summed(layer.input[1] + layer.outputs, layer.outputs, applications(layer))];
    default:
      return [{ form: "outer", rows: inputs, columns: layer.outputs, bias: true, applications: 1 }];
  }
}

function summed(rows: number, columns: number, times: number): LayerProduct {
  return { form: "summed", rows, columns, bias: true, applications: times };
}
