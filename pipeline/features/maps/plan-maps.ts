/**
 * The feature maps of a pipeline file, one behind the other, as one function of a record's numbers.
 *
 * Guarantees: pure (the same numbers give the same result, bit for bit, on every machine), nothing learned from records,
 * and every number within `range`: maps whose range is no theorem are cut off at it (pipeline/spec/feature-maps.ts says
 * where). Tables are made when a chain is planned, in up to seconds, and kept. Must not know Kafka or keys.
 */
import type { FeatureMapSpec } from "../../spec/training-spec.ts";
import type { FeatureMap } from "./map.ts";
import { createGroupNorm, createL2Norm, createStandardization } from "./pointwise.ts";
import { createRandomConvolution } from "./random-convolution.ts";
import { createFourierFeatures, createRandomProjection } from "./random-projection.ts";
import { createScattering } from "./scattering.ts";

/**
 * Plans a chain.
 * @param maps checked: each fits what comes before it
 * @param inputs numbers of a record
 * @param range what results are cut off at; left out: they are as they come
 * @throws backend-unavailable when the kernels are not built
 */
export function planMaps(
  maps: readonly FeatureMapSpec[],
  inputs: number,
  range?: readonly [low: number, high: number],
): FeatureMap {
  const chain: FeatureMap[] = [];
  let outputs = inputs;
  for (const spec of maps) {
    const map = createMap(spec, outputs);
    chain.push(map);
    outputs = map.outputs;
  }
  return {
    outputs,
    apply(x) {
      const mapped = chain.reduce((values, map) => map.apply(values), x);
      if (range === undefined) return mapped;
      const out = new Float32Array(outputs);
      for (let at = 0; at < outputs; at += 1) {
        out[at] = Math.min(range[1], Math.max(range[0], mapped[at] ?? 0));
      }
      return out;
    },
  };
}

function createMap(spec: FeatureMapSpec, inputs: number): FeatureMap {
  if ("scattering" in spec) return createScattering(spec.scattering);
  if ("groupNorm" in spec) return createGroupNorm(inputs, spec.groupNorm.groups);
  if ("normalize" in spec) return createL2Norm(inputs);
  if ("standardize" in spec) return createStandardization(inputs, spec.standardize);
  if ("randomProjection" in spec) return createRandomProjection(inputs, spec.randomProjection);
  if ("fourier" in spec) return createFourierFeatures(inputs, spec.fourier);
  return createRandomConvolution(spec.randomConvolution);
}
