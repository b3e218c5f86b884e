/** The network in the clear against Keras: every kind of layer that it has too, from its weights in its order. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { forward } from "../../pipeline/network/forward.ts";
import type { SpecLayer } from "../../pipeline/network/from-spec.ts";
import { unflatten } from "../../pipeline/network/weights.ts";
import { networkOf } from "./random-networks.ts";

interface Case {
  readonly name: string;
  /** As from-spec.ts reads it, but that a dense layer may leave out `activation: none`. */
  readonly network: readonly SpecLayer[];
  readonly inputs: readonly (readonly number[])[];
  /** Per layer with weights, its arrays in Keras' order, row-major. */
  readonly weights: readonly (readonly (readonly number[])[])[];
  readonly outputs: readonly (readonly number[])[];
}

const path = new URL("../vectors/keras-layers.json", import.meta.url);
const { made, cases } = JSON.parse(readFileSync(path, "utf8")) as { made: string; cases: Case[] };

describe(made, () => {
  test.each(cases)("$name", ({ network: layers, inputs, weights: given, outputs }) => {
    const [first] = layers;
    const vocabulary = first !== undefined && "embedding" in first ? first.vocabulary : null;
    const network = networkOf(
      inputs[0]!.length,
      layers.map((layer) => ("dense" in layer ? { ...{ activation: "none" }, ...layer } : layer)),
      2,
    );
    // Keras' numbers in its order are our flat order; float32 holds them exactly.
    const weights = unflatten(network, given.flat(2));
    for (const [row, input] of inputs.entries()) {
      const features = vocabulary === null ? input : input.map((token) => token / (vocabulary - 1));
      const logits = forward(network, weights, features);
      for (const [index, logit] of logits.entries()) {
        expect(Math.abs(logit - outputs[row]![index]!)).toBeLessThan(2e-6);
      }
    }
  });
});
