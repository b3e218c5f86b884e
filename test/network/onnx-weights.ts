/** Weights by a pattern, for golden files that must not depend on how weights are drawn. */
import type { Network } from "../../pipeline/network/definition.ts";
import { chainProducts, weightSizes } from "../../pipeline/network/products.ts";
import type { Weights } from "../../pipeline/network/weights.ts";

export function patternWeights({ inputs, layers }: Network): Weights {
  return {
    layers: chainProducts(inputs, layers).map((products) => {
      const { kernel, bias } = weightSizes(products);
      return {
        kernel: Float32Array.from({ length: kernel }, (_, i) => (((i * 7) % 11) - 5) / 16),
        bias: Float32Array.from({ length: bias }, (_, i) => (((i * 3) % 7) - 3) / 8),
      };
    }),
  };
}
