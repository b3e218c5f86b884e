/**
 * Updates by gradients: an optimizer moves the iterate, an average of the iterates may be what is published.
 *
 *   g        = noisy mean gradient of update t = 1, 2, ...        rate = learningRate schedule(t)
 *   sgd      w' = w - rate g
 *            with momentum b: v' = b v + (1 - b) g, v_0 = 0; w' = w - rate v'
 *   adam     m' = b1 m + (1 - b1) g; s' = b2 s + (1 - b2) g^2; m_0 = s_0 = 0
 *            w' = w - rate (m' / (1 - b1^t)) / (sqrt(s' / (1 - b2^t)) + epsilon)
 *   average  a' = a + weight(t) (w' - a), a_0 whatever; weight(1) = 1
 *            decay d: (1 - d) / (1 - d^t), the exponential average corrected for its start
 *            polynomial p: (p + 1) / (t + p)
 *   schedule t / warmup for t <= warmup; then with u = t - 1 - warmup updates behind it and n = updates - warmup
 *            none 1; linear 1 - u / n; cosine (1 + cos(pi u / n)) / 2, both 0 from u = n on;
 *            inverse-sqrt sqrt(max(1, warmup) / t)
 *
 * Sources: Polyak 1964 with the scaling of (1 - b) that keeps the rate's meaning (`optax.ema` without debias); Kingma &
 * Ba 2015, algorithm 1; Shamir & Zhang 2013, section 4. Where sums are long remembered they are kept as doubles (the
 * average); momentum and moments forget, and are kept as float32.
 * Must not know a contribution, a key, or how noise was made.
 */
import { SealstreamError } from "../../errors.ts";
import { type Network, parameterCount } from "../../network/definition.ts";
import { forward } from "../../network/forward.ts";
import { initialWeights } from "../../network/initial-weights.ts";
import { ITERATE } from "../../network/trainer-tensors.ts";
import { flatten, unflatten, type Weights } from "../../network/weights.ts";
import type {
  AveragingSpec,
  OptimizerSpec,
  ScheduleSpec,
  TrainSpec,
} from "../../spec/training-spec.ts";
import {
  type Expected,
  requireTensors,
  type TrainerState,
  type UpdateRule,
} from "./trainer-state.ts";

type GradientSettings = Pick<
  TrainSpec,
  "learningRate" | "optimizer" | "schedule" | "averaging" | "initialization"
>;
type Extras = Readonly<Record<string, Float32Array>>;

const MOMENTUM = "momentum";
const FIRST_MOMENT = "first-moment";
const SECOND_MOMENT = "second-moment";
const AVERAGE = "average";

/** A logit beyond this is no score any more; hidden values overflow long before (stages/train/clip-margin.ts). */
const MAX_LOGIT = 2 ** 40;

export function createGradientRule(
  settings: GradientSettings,
  network: Network,
  warmStart: Weights | null,
): UpdateRule {
  const coordinates = parameterCount(network);
  const { optimizer, schedule, averaging, learningRate } = settings;
  const names = momentNames(optimizer);
  const averages = averaging.kind !== "none";
  return {
    coordinates,
    initial(random) {
      const drawn = initialWeights(network, random, settings.initialization);
      const layers = drawn.layers.map((layer, index) => warmStart?.layers[index] ?? layer);
      const published = flatten({ layers });
      const moments = names.map((name) => [name, new Float32Array(coordinates)] as const);
      const average = averages ? { [AVERAGE]: Float64Array.from(published) } : {};
      return {
        published,
        iterate: published,
        extras: { ...Object.fromEntries(moments), ...average },
      };
    },
    restore(published, trainer) {
      const tensors = requireTensors(trainer, expectedTensors(names, averages, coordinates));
      const { [ITERATE]: iterate, ...extras } = tensors;
      return { published, iterate: iterate instanceof Float32Array ? iterate : published, extras };
    },
    step(state, { sum, divisor }, step) {
      const rate = learningRate * scheduleFactor(schedule, step);
      const moments = momentsOf(state, names);
      const { iterate, extras } = move(optimizer, { state, moments, sum, divisor, rate, step });
      const next = averages
        ? { iterate, ...averaged(state, iterate, averageWeight(averaging, step)) }
        : { iterate, published: iterate, average: null };
      requireNumbers(network, next.published, { step, learningRate });
      if (averages) requireNumbers(network, iterate, { step, learningRate });
      const kept = next.average === null ? {} : { [AVERAGE]: next.average };
      return { published: next.published, iterate, extras: { ...extras, ...kept } };
    },
    stored({ iterate, extras }) {
      const stored = averages ? { ...extras, [ITERATE]: iterate } : extras;
      return Object.keys(stored).length === 0 ? undefined : stored;
    },
  };
}

function momentNames(optimizer: OptimizerSpec): string[] {
  if (optimizer.kind === "adam") return [FIRST_MOMENT, SECOND_MOMENT];
  return optimizer.momentum > 0 ? [MOMENTUM] : [];
}

function expectedTensors(moments: readonly string[], averages: boolean, length: number): Expected {
  return {
    ...Object.fromEntries(moments.map((name) => [name, { double: false, length }])),
    ...(averages
      ? { [AVERAGE]: { double: true, length }, [ITERATE]: { double: false, length } }
      : {}),
  };
}

interface Move {
  readonly state: TrainerState;
  readonly moments: Extras;
  readonly sum: Float64Array;
  readonly divisor: number;
  readonly rate: number;
  readonly step: number;
}

function momentsOf({ extras }: TrainerState, names: readonly string[]): Extras {
  const moments: Record<string, Float32Array> = {};
  for (const name of names) {
    const values = extras[name];
    if (!(values instanceof Float32Array)) {
      throw new SealstreamError("internal", "The optimizer's state is not there.");
    }
    moments[name] = values;
  }
  return moments;
}

function move(optimizer: OptimizerSpec, given: Move): { iterate: Float32Array; extras: Extras } {
  if (optimizer.kind === "adam") return adam(optimizer, given);
  const { sum, divisor, rate } = given;
  const before = given.state.iterate;
  const iterate = new Float32Array(before.length);
  const velocity = given.moments[MOMENTUM];
  if (velocity === undefined) {
    // One factor for all coordinates: what has been released so far was made like this, to the last bit.
    const scale = rate / divisor;
    for (let index = 0; index < iterate.length; index += 1) {
      iterate[index] = (before[index] ?? 0) - scale * (sum[index] ?? 0);
    }
    return { iterate, extras: {} };
  }
  const { momentum } = optimizer;
  const next = new Float32Array(velocity.length);
  for (let index = 0; index < iterate.length; index += 1) {
    const gradient = (sum[index] ?? 0) / divisor;
    const moved = momentum * (velocity[index] ?? 0) + (1 - momentum) * gradient;
    next[index] = moved;
    iterate[index] = (before[index] ?? 0) - rate * moved;
  }
  return { iterate, extras: { [MOMENTUM]: next } };
}

function adam(
  { beta1, beta2, epsilon }: Extract<OptimizerSpec, { kind: "adam" }>,
  { state, moments, sum, divisor, rate, step }: Move,
): { iterate: Float32Array; extras: Extras } {
  const before = state.iterate;
  const length = before.length;
  const first = new Float32Array(length);
  const second = new Float32Array(length);
  const iterate = new Float32Array(length);
  const firstShare = 1 - beta1 ** step;
  const secondShare = 1 - beta2 ** step;
  const meansBefore = moments[FIRST_MOMENT] ?? first;
  const squaresBefore = moments[SECOND_MOMENT] ?? second;
  for (let index = 0; index < length; index += 1) {
    const gradient = (sum[index] ?? 0) / divisor;
    const mean = beta1 * (meansBefore[index] ?? 0) + (1 - beta1) * gradient;
    const square = beta2 * (squaresBefore[index] ?? 0) + (1 - beta2) * gradient ** 2;
    first[index] = mean;
    second[index] = square;
    iterate[index] =
      (before[index] ?? 0) -
      (rate * (mean / firstShare)) / (Math.sqrt(square / secondShare) + epsilon);
  }
  return { iterate, extras: { [FIRST_MOMENT]: first, [SECOND_MOMENT]: second } };
}

/** What the learning rate is multiplied with. @param step from 1 */
export function scheduleFactor(
  { warmupUpdates, decay, updates }: ScheduleSpec,
  step: number,
): number {
  if (step <= warmupUpdates) return step / warmupUpdates;
  if (decay === "none") return 1;
  if (decay === "inverse-sqrt") return Math.sqrt(Math.max(1, warmupUpdates) / step);
  const share = Math.min(1, (step - 1 - warmupUpdates) / ((updates ?? 0) - warmupUpdates));
  return decay === "linear" ? 1 - share : (1 + Math.cos(Math.PI * share)) / 2;
}

/** Share of the newest iterate in the average. @param step from 1 */
export function averageWeight(averaging: AveragingSpec, step: number): number {
  switch (averaging.kind) {
    case "none":
      return 1;
    case "decay":
      return (1 - averaging.decay) / (1 - averaging.decay ** step);
    case "polynomial":
      return (averaging.power + 1) / (step + averaging.power);
  }
}

function averaged({ extras }: TrainerState, iterate: Float32Array, weight: number) {
  const before = extras[AVERAGE];
  const average = new Float64Array(iterate.length);
  for (let index = 0; index < average.length; index += 1) {
    const old = before?.[index] ?? 0;
    average[index] = old + weight * ((iterate[index] ?? 0) - old);
  }
  return { average, published: new Float32Array(average) };
}

/**
 * Stops a run that has diverged: from there on, training would add noise to nothing and spend the stream on it.
 *
 * Judged on the weights and a made-up record of ones (the largest features), never on a record. What the ledger says
 * stays true: this update was not released, and the same contributions would make it again.
 */
function requireNumbers(
  network: Network,
  flat: Float32Array,
  { step, learningRate }: { readonly step: number; readonly learningRate: number },
): void {
  const largest = largestOf(flat);
  if (logitBound(network, largest) <= MAX_LOGIT) return;
  const probe = new Float64Array(network.inputs).fill(1);
  const isNumber = largest < Number.POSITIVE_INFINITY;
  const logits = isNumber ? forward(network, unflatten(network, flat), probe) : [Number.NaN];
  if (logits.every((logit) => Math.abs(logit) <= MAX_LOGIT)) return;
  throw new SealstreamError(
    "limit-exceeded",
    `Training has diverged: the weights of update ${step} compute no usable scores, and they are not released. Lower train.learningRate (now ${learningRate}); the ledger stays as it is.`,
  );
}

/** NaN when there is one. */
function largestOf(values: Float32Array): number {
  let largest = 0;
  for (let index = 0; index < values.length; index += 1) {
    largest = Math.max(largest, Math.abs(values[index] ?? 0));
  }
  return largest;
}

/** What no logit of a record of ones can be above, with weights up to `largest`; infinite where nothing simple says so. */
function logitBound({ inputs, layers }: Network, largest: number): number {
  let [bound, width] = [1, inputs];
  for (const { kind, activation, outputs } of layers) {
    const grows = !["none", "relu", "tanh", "sigmoid"].includes(activation as string);
    if (kind !== undefined || grows) return Number.POSITIVE_INFINITY;
    bound = Math.max(1, (width * bound + 1) * largest);
    width = outputs;
  }
  return bound;
}
