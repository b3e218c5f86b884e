/**
 * How features of any public range become what ciphertexts carry: numbers in [0, 1] or [-1, 1].
 *
 * Owners divide by a power of two, exactly; whoever evaluates multiplies the weights that meet a feature by it, exactly
 * too, so that no logit changes. Both read it from the pipeline file. Must not see a feature.
 */
import type { Circuit } from "../network/circuit.ts";
import type { Network } from "../network/definition.ts";
import { lowerNetwork } from "../network/lower.ts";
import type { Weights } from "../network/weights.ts";
import type { LowestFeature } from "./batch/noise.ts";

export interface FeatureBounds {
  /** Of a packed feature; the most is 1. */
  readonly lowest: LowestFeature;
  /** A power of two: a packed feature is the network's, divided by it. */
  readonly scale: number;
}

/** Of features in [0, 1], as they come without maps. */
export const UNIT_BOUNDS: FeatureBounds = { lowest: 0, scale: 1 };

/** @param range every number that the network reads lies in [low, high] */
export function featureBounds([low, high]: readonly [number, number]): FeatureBounds {
  const most = Math.max(-low, high, Number.MIN_VALUE);
  return { lowest: low < 0 ? -1 : 0, scale: 2 ** Math.ceil(Math.log2(most)) };
}

/** The circuit of a network on features that were divided by `scale`. */
export function lowerScaled(network: Network, weights: Weights, { scale }: FeatureBounds): Circuit {
  return scaleFeatures(lowerNetwork(network, weights), scale);
}

/** The same function of features that were divided by `scale`. */
export function scaleFeatures(circuit: Circuit, scale: number): Circuit {
  if (scale === 1) return circuit;
  const { features } = circuit;
  const steps = circuit.steps.map((step) => ({
    ...step,
    values: step.values.map((value, entry) => {
      const wire = step.inputs[step.columns[entry] ?? 0] ?? features;
      return wire < features ? value * scale : value;
    }),
  }));
  return { ...circuit, steps };
}
