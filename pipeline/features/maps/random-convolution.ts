/**
 * Random filters over an image, rectified, and averaged over windows that do not overlap.
 *
 * Filters are public normal numbers / sqrt(numbers of a filter), applied without padding; what does not fill a window at
 * the right and the bottom is left out. Gives [rows][columns][filters]. Source: Coates & Ng (2012), Learning Feature
 * Representations with K-means, section 4, of which this is the untrained form.
 */
import type { FeatureMapSpec } from "../../spec/training-spec.ts";
import type { FeatureMap } from "./map.ts";
import { createPublicRandom } from "./public-random.ts";

export type RandomConvolutionSpec = Extract<
  FeatureMapSpec,
  { randomConvolution: unknown }
>["randomConvolution"];

/** Sides of the result. */
function windowsOf({ shape, kernelSize, poolSize }: RandomConvolutionSpec): [number, number] {
  const along = (axis: 0 | 1): number =>
    Math.floor((shape[axis] - kernelSize[axis] + 1) / poolSize[axis]);
  return [along(0), along(1)];
}

export function createRandomConvolution(spec: RandomConvolutionSpec): FeatureMap {
  const { filters, kernelSize, poolSize, shape, seed } = spec;
  const [, width, channels = 1] = shape;
  const [rows, columns] = windowsOf(spec);
  const random = createPublicRandom("randomConvolution", seed);
  const run = kernelSize[1] * channels;
  const size = kernelSize[0] * run;
  const weights = Float32Array.from(
    { length: filters * size },
    () => random.normal() / Math.sqrt(size),
  );
  const share = 1 / (poolSize[0] * poolSize[1]);

  /** One filter at one place; `at` is the first number of its window. */
  function respond(x: Float32Array, at: number, filter: number): number {
    let sum = 0;
    for (let row = 0; row < kernelSize[0]; row += 1) {
      const from = at + row * width * channels;
      const weight = filter * size + row * run;
      for (let step = 0; step < run; step += 1) {
        sum += (x[from + step] ?? 0) * (weights[weight + step] ?? 0);
      }
    }
    return Math.max(0, sum);
  }

  function average(x: Float32Array, row: number, column: number, filter: number): number {
    let sum = 0;
    for (let dy = 0; dy < poolSize[0]; dy += 1) {
      for (let dx = 0; dx < poolSize[1]; dx += 1) {
        const at = (row * poolSize[0] + dy) * width + column * poolSize[1] + dx;
        sum += respond(x, at * channels, filter);
      }
    }
    return sum * share;
  }

  return {
    outputs: rows * columns * filters,
    apply: (x) =>
      new Float32Array(rows * columns * filters).map((_, index) => {
        const place = Math.floor(index / filters);
        return average(x, Math.floor(place / columns), place % columns, index % filters);
      }),
  };
}
