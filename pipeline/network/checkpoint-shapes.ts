/**
 * Names and shapes of a network's tensors in a checkpoint, in the order of their data (grammar: safetensors.ts).
 *
 * A layer's tensors together are its bias and its kernel as weights.ts lays them out; only the names and shapes differ.
 */
import type { Network } from "./definition.ts";
import { isRecurrent, type NetworkLayer, unitsOf } from "./layers.ts";
import { chainProducts, type LayerProduct } from "./products.ts";

/** Names and shapes in the order of their data: bias, kernel, and the rows of a kernel that belong to the state. */
export function tensorShapes({
  inputs,
  layers,
}: Network): (readonly [string, readonly number[]])[] {
  const products = chainProducts(inputs, layers);
  return layers.flatMap((layer, index) =>
    layerShapes(layer, products[index] ?? []).map(
      ([name, shape]) => [`layers.${index}.${name}`, shape] as const,
    ),
  );
}

function layerShapes(
  layer: NetworkLayer,
  [product]: readonly LayerProduct[],
): (readonly [string, readonly number[]])[] {
  if (product === undefined) return [];
  const { rows, columns } = product;
  if (layer.kind === "embedding") return [["kernel", [rows, columns]]];
  const bias = ["bias", layer.kind === "gru" ? [2, columns] : [columns]] as const;
  if (isRecurrent(layer)) {
    return [bias, ["kernel", [layer.input[1], columns]], ["recurrent", [unitsOf(layer), columns]]];
  }
  if (layer.kind === "layerNorm") return [bias, ["kernel", [columns]]];
  return [
    bias,
    [
      "kernel",
      layer.kind === "conv2d" ? [...layer.kernelSize, layer.input[2], columns] : [rows, columns],
    ],
  ];
}
