/**
 * A canary in every update, in or out by a coin, and a guesser who looks at the published models alone.
 *
 * The worst case that the accountant covers: the guesser knows every other record and every model, so he takes their
 * clipped gradients from what an update released and asks how much of the canary's own gradient is in the rest. The
 * canary's gradient is longer than the clip. "Out" is a record that contributes nothing in its place (zero-out adjacency).
 * Each canary is in one release with noise of its own, so that coins and guesses are independent, and one run has as many
 * trials as it has blocks of updates (as Steinke, Nasr & Jagielski 2023 audit in one run; the guess is that of Nasr et
 * al. 2023). Where noise hangs together over a block of updates, the canary is in the block's first and is looked for in
 * all of them.
 */
import { flatten } from "../../pipeline/network/weights.ts";
import { EMPTY_PLACE, type TrainBackend } from "../../pipeline/stages/train/backend.ts";
import { seeded } from "../lib/seeded.ts";
import type { Guesses } from "./bounds.ts";
import type { LabelledRow, PublishedModel, TrainingZone } from "./training-zone.ts";

export interface CanaryPlan {
  readonly trials: number;
  /** First column of the noise's strategy over a block of updates: [1] for independent noise. */
  readonly column: readonly number[];
  /** Standard deviation of a guess, over the canary's signal: what the extreme guess is chosen by. */
  readonly noiseMultiplier: number;
}

/** Guesses at the middle between in and out, and at a place that few are beyond. */
export interface CanaryResult {
  readonly middle: Guesses;
  readonly extreme: Guesses;
  /** Mean guess without and with the canary, and deviation, in units of the canary's own gradient. */
  readonly means: readonly [number, number];
  readonly deviation: number;
}

/** Standard deviations above "out" at which the extreme guess says "in". */
const EXTREME = 1.75;

/** @param coins seed of the coins and of the other records */
export async function runCanaries(
  zone: TrainingZone,
  backend: TrainBackend,
  { trials, column, noiseMultiplier }: CanaryPlan,
  coins: number,
): Promise<CanaryResult> {
  const random = seeded(coins);
  const { length: inputs } = zone.spec.features.inputs[0] ?? { length: 0 };
  const { classes } = zone.spec.features.label;
  const { updateBatchRecords: places } = zone.spec.train;
  const draw = (): LabelledRow => ({
    x: Float32Array.from({ length: inputs }, random),
    label: Math.floor(random() * classes),
  });
  const scores: { readonly isIn: boolean; readonly score: number }[] = [];
  for (let trial = 0; trial < trials; trial += 1) {
    const isIn = random() < 0.5;
    const canary: LabelledRow = {
      x: new Float32Array(inputs).fill(1),
      label: Math.floor(random() * classes),
    };
    const released: Float64Array[] = [];
    let direction = new Float64Array();
    for (let step = 0; step < column.length; step += 1) {
      const others = Array.from({ length: places - 1 }, draw);
      const first = step === 0;
      const before = zone.model();
      const gradients = (rows: readonly LabelledRow[]) => clippedSum(zone, backend, before, rows);
      if (first) direction = await gradients([canary]);
      const fed = first ? (isIn ? canary : nothing(inputs)) : draw();
      const known = await gradients(first ? others : [fed, ...others]);
      const after = await zone.update([fed, ...others]);
      released.push(difference(noisySum(zone, before, after), known));
    }
    scores.push({ isIn, score: scoreOf(released, direction, column) });
  }
  return summarize(scores, noiseMultiplier);
}

/** Not a number: train counts it as unusable, and it adds nothing. */
function nothing(inputs: number): LabelledRow {
  return { x: new Float32Array(inputs).fill(Number.NaN), label: 0 };
}

/** Clipped gradients of these rows at a model, as train would add them up. */
async function clippedSum(
  { spec }: TrainingZone,
  backend: TrainBackend,
  { network, weights }: PublishedModel,
  rows: readonly LabelledRow[],
): Promise<Float64Array<ArrayBuffer>> {
  const places = spec.train.updateBatchRecords;
  const inputs = new Float32Array(places * network.inputs);
  const labels = new Int32Array(places).fill(EMPTY_PLACE);
  for (const [at, { x, label }] of rows.entries()) {
    inputs.set(x, at * network.inputs);
    labels[at] = label;
  }
  const { l2ClipNorm } = spec.train;
  const request = { network, weights, inputs, labels, rows: places, l2ClipNorm };
  return Float64Array.from((await backend.clippedGradientSum(request)).sum);
}

/** What an update of plain SGD released, from the models before and after it. */
function noisySum({ spec }: TrainingZone, before: PublishedModel, after: PublishedModel) {
  const { learningRate, updateBatchRecords } = spec.train;
  const [from, to] = [flatten(before.weights), flatten(after.weights)];
  return Float64Array.from(from, (w, at) => ((w - to[at]!) * updateBatchRecords) / learningRate);
}

function difference(left: Float64Array, right: Float64Array): Float64Array {
  return left.map((value, at) => value - right[at]!);
}

/** How much of the canary is in what was released: 1 if in, 0 if out, plus noise. */
function scoreOf(
  released: readonly Float64Array[],
  direction: Float64Array,
  column: readonly number[],
): number {
  const dot = (values: Float64Array) =>
    values.reduce((sum, value, at) => sum + value * direction[at]!, 0);
  const seen = released.map((values) => dot(values) / dot(direction));
  // The strategy times what was released: the canary along the first column, in rows of independent noise.
  let [score, norm] = [0, 0];
  for (const [step, weight] of column.entries()) {
    const row = column.slice(0, step + 1).reduce((sum, c, lag) => sum + c * seen[step - lag]!, 0);
    score += weight * row;
    norm += weight ** 2;
  }
  return score / norm;
}

function summarize(
  scores: readonly { readonly isIn: boolean; readonly score: number }[],
  noiseMultiplier: number,
): CanaryResult {
  const of = (isIn: boolean) => scores.filter((one) => one.isIn === isIn).map(({ score }) => score);
  const [absent, present] = [of(false), of(true)];
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const means = [mean(absent), mean(present)] as const;
  const squares = scores.map(({ isIn, score }) => (score - means[isIn ? 1 : 0]) ** 2);
  const guess = (threshold: number): Guesses => ({
    falsePositives: absent.filter((score) => score > threshold).length,
    absent: absent.length,
    truePositives: present.filter((score) => score > threshold).length,
    present: present.length,
  });
  return {
    middle: guess(1 / 2),
    extreme: guess(EXTREME * noiseMultiplier),
    means,
    deviation: Math.sqrt(mean(squares)),
  };
}
