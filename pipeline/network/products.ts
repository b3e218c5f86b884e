/**
 * What a layer's weights are made of: kernels with or without a bias, and the form of each one's gradient.
 *
 * A layer multiplies, scales or picks with one kernel after the other ("products"). Everything that counts, stores or
 * clips weights reads this list and knows no kind of layer. The flat order of a layer's parameters is: the kernels of
 * its products in order, each row-major, then their biases in order. Must not know tensors.
 */
import { applications, type NetworkLayer, unitsOf } from "./layers.ts";

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
  readonly hasBias: boolean;
  /** T: how often it is applied to one record; 1 for `outer`. */
  readonly applications: number;
  /** Whether an application reads what the one before it gave, so that they cannot be made at once. */
  readonly inTurn: boolean;
}

/** Products of a layer; none for a layer without weights. @param inputs numbers it reads */
export function layerProducts(layer: NetworkLayer, inputs: number): LayerProduct[] {
  const times = applications(layer);
  const summed = (rows: number, columns: number, inTurn: boolean): LayerProduct => {
    return { form: "summed", rows, columns, hasBias: true, applications: times, inTurn };
  };
  switch (layer.kind) {
    case "conv2d":
      return [
        summed(layer.kernelSize[0] * layer.kernelSize[1] * layer.input[2], layer.filters, false),
      ];
    case "averagePool2d":
    case "maxPool2d":
      return [];
    case "rnn":
      return [summed(layer.input[1] + unitsOf(layer), unitsOf(layer), true)];
    case "gru":
      // Two, because the reset gate stands between the state's product and the sum: their slopes differ.
      return [
        summed(layer.input[1], 3 * unitsOf(layer), false),
        summed(unitsOf(layer), 3 * unitsOf(layer), true),
      ];
    case "lstm":
      return [summed(layer.input[1] + unitsOf(layer), 4 * unitsOf(layer), true)];
    case "embedding": {
      const [rows, columns] = [layer.vocabulary, layer.outputs / layer.input[0]];
      return [
        { form: "scatter", rows, columns, hasBias: false, applications: times, inTurn: false },
      ];
    }
    case "layerNorm": {
      const columns = layer.input[1];
      return [
        {
          form: "elementwise",
          rows: 1,
          columns,
          hasBias: true,
          applications: times,
          inTurn: false,
        },
      ];
    }
    default:
      return [
        {
          form: "outer",
          rows: inputs,
          columns: layer.outputs,
          hasBias: true,
          applications: 1,
          inTurn: false,
        },
      ];
  }
}

/** Products of every layer of a chain. @param inputs numbers that the first layer reads */
export function chainProducts(
  inputs: number,
  layers: readonly NetworkLayer[],
): readonly (readonly LayerProduct[])[] {
  let before = inputs;
  return layers.map((layer) => {
    const products = layerProducts(layer, before);
    before = layer.outputs;
    return products;
  });
}

/** Numbers of a layer's kernels and of its biases. */
export function weightSizes(products: readonly LayerProduct[]): {
  readonly kernel: number;
  readonly bias: number;
} {
  return {
    kernel: products.reduce((sum, { rows, columns }) => sum + rows * columns, 0),
    bias: products.reduce((sum, { hasBias, columns }) => sum + (hasBias ? columns : 0), 0),
  };
}

/** Weights and values multiplied for one record. */
export function productCount(products: readonly LayerProduct[]): number {
  return products.reduce((sum, { form, rows, columns, applications: times }) => {
    return sum + (form === "scatter" ? columns : rows * columns) * times;
  }, 0);
}
