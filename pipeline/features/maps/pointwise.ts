/**
 * Maps that only shift and scale: group normalisation and the L2 norm of each record by itself, standardization by public
 * constants. Sums are in doubles and in order, so that every machine gives the same bits.
 *
 * Nothing of one record enters another's numbers: a mean over records would be a release of its own.
 * Source of group normalisation: Wu & He (2018); its constant beside the variance is theirs.
 */
import type { FeatureMap } from "./map.ts";

/** Added to a group's variance, as PyTorch's GroupNorm does. */
const VARIANCE_FLOOR = 1e-5;

/** (x - mean) / sqrt(variance + 1e-5) over each of `groups` runs of equal length. @param inputs a multiple of groups */
export function createGroupNorm(inputs: number, groups: number): FeatureMap {
  const length = inputs / groups;
  return {
    outputs: inputs,
    apply(x) {
      const out = new Float32Array(inputs);
      for (let first = 0; first < inputs; first += length) {
        let sum = 0;
        for (let at = first; at < first + length; at += 1) sum += x[at] ?? 0;
        const mean = sum / length;
        let squares = 0;
        for (let at = first; at < first + length; at += 1) squares += ((x[at] ?? 0) - mean) ** 2;
        const factor = 1 / Math.sqrt(squares / length + VARIANCE_FLOOR);
        for (let at = first; at < first + length; at += 1) out[at] = ((x[at] ?? 0) - mean) * factor;
      }
      return out;
    },
  };
}

/** x / |x|; zeros stay zeros. */
export function createL2Norm(inputs: number): FeatureMap {
  return {
    outputs: inputs,
    apply(x) {
      let squares = 0;
      for (let at = 0; at < inputs; at += 1) squares += (x[at] ?? 0) * (x[at] ?? 0);
      const norm = Math.sqrt(squares);
      const out = new Float32Array(inputs);
      if (norm === 0) return out;
      for (let at = 0; at < inputs; at += 1) out[at] = (x[at] ?? 0) / norm;
      return out;
    },
  };
}

/** (x - mean) / deviation; one constant for all, or one for each input. */
export function createStandardization(
  inputs: number,
  by: {
    readonly mean: number | readonly number[];
    readonly deviation: number | readonly number[];
  },
): FeatureMap {
  const each = (constant: number | readonly number[]): Float64Array =>
    typeof constant === "number"
      ? new Float64Array(inputs).fill(constant)
      : Float64Array.from(constant);
  const [means, deviations] = [each(by.mean), each(by.deviation)];
  return {
    outputs: inputs,
    apply(x) {
      const out = new Float32Array(inputs);
      for (let at = 0; at < inputs; at += 1) {
        out[at] = ((x[at] ?? 0) - (means[at] ?? 0)) / (deviations[at] ?? 1);
      }
      return out;
    },
  };
}
