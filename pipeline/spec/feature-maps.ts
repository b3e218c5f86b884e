/**
 * `features.maps`: what each map makes of the values before it, and whether it can.
 *
 * Numbers, their range and their norm are followed from the inputs on, by formulas: the maps themselves live in
 * `pipeline/features/`, which this room may not import; a test holds both to each other. Where a range is no theorem, it
 * is one that values pass less than once in 10^8 draws of a map's public numbers, and `encrypt` cuts off what passes it:
 * what the network reads always lies within.
 */
import { type FeatureMapEntry, MAP_KINDS, MOST_MAP_VALUES } from "../../schemas/feature-maps.ts";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";
import type { FeatureMapSpec, MapOutputs } from "./training-spec.ts";

/** Weights of one random matrix: 128 MiB of float32. */
const MOST_MATRIX_WEIGHTS = 2 ** 25;
/** Standard deviations that a sum of normal numbers stays within. */
const SPREAD = 6;
/** Part of the inputs' span that low-pass filters overshoot at most (their ripple; test/spec/feature-maps.test.ts). */
const SCATTERING_RIPPLE = 0.25;

/** The checked form of a file whose maps have no complaint. */
export function toMaps(entries: readonly FeatureMapEntry[]): FeatureMapSpec[] {
  // Because each entry that was checked has exactly one of the keys, whose value has the spec's form.
  return entries.map(
    (entry) =>
      Object.fromEntries(
        Object.entries(entry).filter(([, value]) => value !== undefined),
      ) as FeatureMapSpec,
  );
}

/** What scaled inputs are: so many numbers in [0, 1]. */
function inputsOf(features: PipelineFile["features"]): MapOutputs {
  const length = features.inputs.reduce((sum, input) => sum + input.length, 0);
  return { length, range: [0, 1], norm: Math.sqrt(length) };
}

/** What the network reads; of a chain with a fault, what stands before it. */
export function mapOutputs(features: PipelineFile["features"]): MapOutputs {
  let values = inputsOf(features);
  for (const entry of features.maps) {
    const next = kindsOf(entry).length === 1 ? behind(entry, values) : "";
    if (typeof next === "string") return values;
    values = next;
  }
  return values;
}

/** Everything about `features.maps` that does not fit. */
export function checkMaps(file: PipelineFile, tree: LocatedTree, most: number): Complaint[] {
  const entries = file.features.maps;
  let values = inputsOf(file.features);
  for (const [index, entry] of entries.entries()) {
    const path = ["features", "maps", index];
    const [kind, second] = kindsOf(entry);
    if (kind === undefined || second !== undefined) {
      const found = kind === undefined ? "none" : `${kind} and ${second}`;
      return [tree.complain(path, `a map has one of ${MAP_KINDS.join(", ")}; found ${found}`)];
    }
    const next = behind(entry, values);
    if (typeof next === "string") return [tree.complain([...path, kind], next)];
    if (next.length > MOST_MAP_VALUES) {
      const message = `expected at most ${MOST_MAP_VALUES} values, found ${next.length}`;
      return [tree.complain([...path, kind], message)];
    }
    values = next;
  }
  if (entries.length === 0 || values.length <= most) return [];
  const message = `expected at most ${most} numbers behind the last map, found ${values.length}; a randomProjection makes fewer`;
  return [tree.complain(["features", "maps", entries.length - 1], message)];
}

function kindsOf(entry: FeatureMapEntry) {
  return MAP_KINDS.filter((kind) => entry[kind] !== undefined);
}

/** What a map makes of values, or what is wrong. */
function behind(entry: FeatureMapEntry, values: MapOutputs): MapOutputs | string {
  const { scattering, groupNorm, standardize, randomProjection, fourier, randomConvolution } =
    entry;
  if (scattering !== undefined) return behindScattering(scattering, values);
  if (groupNorm !== undefined) return behindGroupNorm(groupNorm.groups, values);
  if (standardize !== undefined) return behindStandardize(standardize, values);
  if (randomProjection !== undefined) return behindProjection(randomProjection.outputs, values);
  if (fourier !== undefined) {
    const { outputs } = fourier;
    if (outputs * values.length > MOST_MATRIX_WEIGHTS) return tooWide(outputs, values.length);
    const most = Math.sqrt(2 / outputs);
    return { length: outputs, range: [-most, most], norm: Math.SQRT2 };
  }
  if (randomConvolution !== undefined) return behindConvolution(randomConvolution, values);
  const [low, high] = values.range;
  return { length: values.length, range: [low < 0 ? -1 : 0, high > 0 ? 1 : 0], norm: 1 };
}

function largest([low, high]: MapOutputs["range"]): number {
  return Math.max(Math.abs(low), Math.abs(high));
}

/** So many numbers within a range, of which no more is known. */
function within(length: number, range: MapOutputs["range"]): MapOutputs {
  return { length, range, norm: largest(range) * Math.sqrt(length) };
}

/** An image's values, or what is wrong. */
function imageFault(shape: readonly number[], length: number): string | null {
  const places = shape.reduce((product, side) => product * side, 1);
  if (places === length) return null;
  return `${shape.join(" x ")} are ${places} values, found ${length}`;
}

function behindScattering(
  { shape, scales, angles, order }: NonNullable<FeatureMapEntry["scattering"]>,
  values: MapOutputs,
): MapOutputs | string {
  const fault = imageFault(shape, values.length);
  if (fault !== null) return fault;
  const block = 2 ** scales;
  if (Math.min(...shape) < block) {
    return `scales ${scales} needs sides of at least ${block}, found ${shape.join(" x ")}`;
  }
  const second = order === 2 ? (angles * angles * scales * (scales - 1)) / 2 : 0;
  const channels = 1 + angles * scales + second;
  const length = channels * Math.floor(shape[0] / block) * Math.floor(shape[1] / block);
  const [low, high] = values.range;
  const ripple = SCATTERING_RIPPLE * (high - low);
  return within(length, [Math.min(low, 0) - ripple, Math.max(high, high - low) + ripple]);
}

function behindGroupNorm(groups: number, { length }: MapOutputs): MapOutputs | string {
  if (length % groups !== 0) return `${groups} groups do not divide ${length} values`;
  // Of n numbers with mean 0 and variance 1 none is larger than sqrt(n - 1), and all have norm sqrt(n).
  const most = Math.max(1, Math.sqrt(length / groups - 1));
  return { length, range: [-most, most], norm: Math.sqrt(length) };
}

function behindStandardize(
  { mean, deviation }: NonNullable<FeatureMapEntry["standardize"]>,
  { length, range, norm }: MapOutputs,
): MapOutputs | string {
  for (const [name, constants] of Object.entries({ mean, deviation })) {
    if (typeof constants !== "number" && constants.length !== length) {
      return `expected one ${name}, or ${length}; found ${constants.length}`;
    }
  }
  const [means, deviations] = [mean, deviation].map((constants) =>
    typeof constants === "number" ? new Array<number>(length).fill(constants) : constants,
  );
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let at = 0; at < length; at += 1) {
    const by = (edge: number) => (edge - (means?.[at] ?? 0)) / (deviations?.[at] ?? 1);
    least = Math.min(least, by(range[0]));
    most = Math.max(most, by(range[1]));
  }
  const made = within(length, [least, most]);
  // Without a shift, norms are only divided.
  const isScaled = means?.every((one) => one === 0) === true;
  const smallest = deviations?.reduce((low, one) => Math.min(low, one), Number.MAX_VALUE) ?? 1;
  return isScaled ? { ...made, norm: Math.min(made.norm, norm / smallest) } : made;
}

function behindProjection(outputs: number, values: MapOutputs): MapOutputs | string {
  if (outputs * values.length > MOST_MATRIX_WEIGHTS) return tooWide(outputs, values.length);
  // Every output is normal over the draws of the matrix, of deviation |x| / sqrt(outputs).
  const most = (SPREAD * values.norm) / Math.sqrt(outputs);
  return within(outputs, [-most, most]);
}

function tooWide(outputs: number, length: number): string {
  return `a matrix of ${outputs} x ${length} numbers is more than ${MOST_MATRIX_WEIGHTS}: use fewer outputs`;
}

function behindConvolution(
  by: NonNullable<FeatureMapEntry["randomConvolution"]>,
  values: MapOutputs,
): MapOutputs | string {
  const { shape, filters, kernelSize, poolSize } = by;
  const fault = imageFault(shape, values.length);
  if (fault !== null) return fault;
  const along = (axis: 0 | 1): number =>
    Math.floor((shape[axis] - kernelSize[axis] + 1) / poolSize[axis]);
  const [rows, columns] = [along(0), along(1)];
  if (rows < 1 || columns < 1) {
    return `a kernel of ${kernelSize.join(" x ")} and windows of ${poolSize.join(" x ")} do not fit ${shape.join(" x ")}`;
  }
  // A filter has norm 1 on average: a response is normal with at most the largest input's size as its deviation.
  return within(rows * columns * filters, [0, SPREAD * largest(values.range)]);
}

/** A map as `check` prints it. */
export function mapText(map: FeatureMapSpec): string {
  if ("scattering" in map) {
    const { scales, angles, order } = map.scattering;
    return `scattering of ${scales} scales, ${angles} angles, order ${order}`;
  }
  if ("groupNorm" in map) return `${map.groupNorm.groups} groups normalised`;
  if ("normalize" in map) return "L2-normalised";
  if ("standardize" in map) return "standardized";
  if ("randomProjection" in map) return `random projection (seed ${map.randomProjection.seed})`;
  if ("fourier" in map) return `Fourier features (seed ${map.fourier.seed})`;
  const { filters, kernelSize, seed } = map.randomConvolution;
  return `${filters} random filters of ${kernelSize.join(" x ")} (seed ${seed})`;
}
