/** Update rules against optax and closed forms, through checkpoints, and where they end. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Network } from "../../../pipeline/network/definition.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../../pipeline/network/safetensors.ts";
import { flatten, unflatten } from "../../../pipeline/network/weights.ts";
import type {
  AveragingSpec,
  ScheduleSpec,
  TrainSpec,
} from "../../../pipeline/spec/training-spec.ts";
import { averageWeight, scheduleFactor } from "../../../pipeline/stages/aggregate/gradient-rule.ts";
import {
  createUpdateRule,
  type TrainerState,
  type UpdateRule,
} from "../../../pipeline/stages/aggregate/update-rule.ts";
import { SPEC } from "./world.ts";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../vectors/optimizers.json", import.meta.url), "utf8"),
);
/** 2 x 2 + 2 = 6 parameters. */
const NETWORK: Network = { inputs: 2, layers: [{ outputs: 2, activation: "none" }] };
const PLAIN: ScheduleSpec = { warmupUpdates: 0, decay: "none", updates: null };
const REFUSED = expect.objectContaining({ code: "checkpoint-invalid" });

function ruleOf(train: Partial<TrainSpec>, start: readonly number[] = VECTORS.start): UpdateRule {
  const warmStart = unflatten(NETWORK, start);
  return createUpdateRule({ ...SPEC, train: { ...SPEC.train, ...train } }, NETWORK, warmStart);
}

/** States after the updates of the vectors; each state passes through a checkpoint if `stored`. */
function runRule(rule: UpdateRule, stored = false): TrainerState[] {
  let state = rule.initial((bytes) => new Uint8Array(bytes));
  return VECTORS.gradients.map((gradient: number[], index: number) => {
    // A divisor that is no power of two; the sum's rounding is below what is compared.
    const divisor = 3 * 2 ** 40;
    const sum = Float64Array.from(gradient, (value) => Math.round(value * divisor));
    state = rule.step(state, { sum, divisor }, index + 1);
    if (stored) state = restored(rule, state);
    return state;
  });
}

function restored(rule: UpdateRule, state: TrainerState): TrainerState {
  const trainer = rule.stored(state);
  const bytes = encodeCheckpoint({
    network: NETWORK,
    weights: unflatten(NETWORK, state.published),
    metadata: {},
    ...(trainer === undefined ? {} : { trainer }),
  });
  const checkpoint = decodeCheckpoint(bytes);
  return rule.restore(flatten(checkpoint.weights), checkpoint.trainer);
}

/** @param digits decimals; float32 weights of size 10 have 6 */
function expectVectors(
  states: readonly TrainerState[],
  expected: readonly number[][],
  pick: (state: TrainerState) => ArrayLike<number>,
  digits = 5,
): void {
  for (const [index, step] of VECTORS.at.entries()) {
    const found = pick(states[step - 1]!);
    for (const [at, value] of expected[index]!.entries()) {
      expect(found[at], `update ${step}, weight ${at}`).toBeCloseTo(value, digits);
    }
  }
}

describe("optimizers do what optax does", () => {
  const iterate = (state: TrainerState) => state.iterate;
  test("sgd", () => {
    const { learningRate, iterates } = VECTORS.sgd;
    expectVectors(runRule(ruleOf({ learningRate })), iterates, iterate);
  });
  test("sgd with momentum", () => {
    const { learningRate, momentum, iterates } = VECTORS.momentum;
    const rule = ruleOf({ learningRate, optimizer: { kind: "sgd", momentum } });
    expectVectors(runRule(rule), iterates, iterate);
  });
  test("adam", () => {
    const { learningRate, beta1, beta2, epsilon, iterates } = VECTORS.adam;
    const rule = ruleOf({ learningRate, optimizer: { kind: "adam", beta1, beta2, epsilon } });
    expectVectors(runRule(rule), iterates, iterate);
  });
});

test("plain sgd is, to the last bit, weights - (rate / divisor) sum, rounded once", () => {
  const learningRate = 0.3;
  const rule = ruleOf({ learningRate });
  let weights = Float32Array.from<number>(VECTORS.start);
  let state = rule.initial((bytes) => new Uint8Array(bytes));
  for (const [index, gradient] of VECTORS.gradients.entries()) {
    const divisor = 96 * 2 ** 20;
    const sum = Float64Array.from(gradient as number[], (value) => Math.round(value * divisor));
    const scale = learningRate / divisor;
    weights = weights.map((weight, at) => weight - scale * sum[at]!);
    state = rule.step(state, { sum, divisor }, index + 1);
    expect(state.published).toEqual(weights);
  }
  expect(rule.stored(state)).toBeUndefined();
});

describe("a run begins", () => {
  const network: Network = {
    inputs: 2,
    layers: [
      { outputs: 3, activation: "square" },
      { outputs: 2, activation: "none" },
    ],
  };
  const begin = (initialization: TrainSpec["initialization"], warm: Network | null) => {
    const train = { ...SPEC.train, initialization };
    const own = warm === null ? null : unflatten(warm, new Float32Array(9).fill(7));
    const rule = createUpdateRule({ ...SPEC, train }, network, own);
    return [...rule.initial((bytes) => new Uint8Array(bytes).fill(200)).published];
  };
  test("with warm weights for the first layers, and its own for the others", () => {
    const first: Network = { inputs: 2, layers: network.layers.slice(0, 1) };
    const cold = begin("he", null);
    expect(begin("he", first)).toEqual([...Array(9).fill(7), ...cold.slice(9)]);
    expect(cold.slice(0, 9)).not.toContain(7);
  });
  test("as the file says", () => {
    expect(begin("zeros", null)).toEqual(Array(17).fill(0));
    expect(begin("glorot", null)).not.toEqual(begin("he", null));
  });
});

describe("schedules", () => {
  test.each(["linear", "cosine"] as const)("%s behind a warm-up, as optax has it", (decay) => {
    const { warmupUpdates, updates } = VECTORS.schedules;
    const expected: number[] = VECTORS.schedules[decay];
    const schedule = { warmupUpdates, updates, decay };
    for (const [index, factor] of expected.entries()) {
      expect(scheduleFactor(schedule, index + 1)).toBeCloseTo(factor, 12);
    }
    expect(scheduleFactor(schedule, updates)).toBeGreaterThan(0);
    expect(scheduleFactor(schedule, updates + 1)).toBe(0);
  });
  test("inverse-sqrt meets its warm-up at 1", () => {
    const schedule: ScheduleSpec = { warmupUpdates: 4, decay: "inverse-sqrt", updates: null };
    expect([1, 4, 16, 100].map((step) => scheduleFactor(schedule, step))).toEqual([
      0.25, 1, 0.5, 0.2,
    ]);
    expect(scheduleFactor({ ...schedule, warmupUpdates: 0 }, 1)).toBe(1);
    expect(scheduleFactor(PLAIN, 1e6)).toBe(1);
  });
  test("a rate of 0 leaves the weights alone", () => {
    const rule = ruleOf({ schedule: { warmupUpdates: 0, decay: "linear", updates: 10 } });
    const states = runRule(rule);
    expect(states[39]!.iterate).toEqual(states[9]!.iterate);
    expect(states[9]!.iterate).not.toEqual(states[8]!.iterate);
  });
});

describe("what is published is the average of the iterates", () => {
  const learningRate = VECTORS.sgd.learningRate;
  test.each<[string, AveragingSpec]>([
    ["decay", { kind: "decay", decay: 0.9 }],
    ["polynomial-0", { kind: "polynomial", power: 0 }],
    ["polynomial-3", { kind: "polynomial", power: 3 }],
  ])("%s", (name, averaging) => {
    const states = runRule(ruleOf({ learningRate, averaging }));
    expectVectors(states, VECTORS.averages[name].averages, ({ published }) => published);
    expectVectors(states, VECTORS.sgd.iterates, ({ iterate }) => iterate);
  });
  test("the first iterate is the first average, whatever the run began with", () => {
    expect(averageWeight({ kind: "decay", decay: 0.999 }, 1)).toBe(1);
    expect(averageWeight({ kind: "polynomial", power: 7 }, 1)).toBe(1);
  });
});

describe("a state that was written and read again", () => {
  const settings: Partial<TrainSpec>[] = [
    {},
    { optimizer: { kind: "sgd", momentum: 0.9 } },
    { optimizer: { kind: "adam", beta1: 0.9, beta2: 0.999, epsilon: 1e-8 } },
    { averaging: { kind: "polynomial", power: 3 } },
    {
      optimizer: { kind: "adam", beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
      averaging: { kind: "decay", decay: 0.99 },
      schedule: { warmupUpdates: 3, decay: "inverse-sqrt", updates: null },
    },
  ];
  test.each(settings)("goes on to the last bit: %j", (train) => {
    expect(runRule(ruleOf(train), true)).toEqual(runRule(ruleOf(train)));
  });
  test("of another optimizer is refused", () => {
    const averaging: AveragingSpec = { kind: "decay", decay: 0.9 };
    const rule = ruleOf({ averaging });
    const [state] = runRule(rule);
    const { published } = state!;
    const good = rule.stored(state!)!;
    expect(rule.restore(published, good)).toEqual(state);
    const { iterate, ...rest } = good;
    for (const trainer of [
      undefined,
      rest,
      { ...good, momentum: new Float32Array(6) },
      { ...good, iterate: new Float32Array(5) },
      { ...good, average: Float32Array.from(good["average"]!) },
    ]) {
      expect(() => rule.restore(published, trainer)).toThrow(REFUSED);
    }
    expect(() => ruleOf({}).restore(published, { iterate: iterate! })).toThrow(REFUSED);
  });
});

describe("divergence ends the run with the setting to change", () => {
  const huge = expect.objectContaining({
    code: "limit-exceeded",
    message: expect.stringMatching(
      /diverged.*update 7.*Lower train\.learningRate \(now 1000000\)/s,
    ),
  });
  const push = (rule: UpdateRule, size: number) => () =>
    rule.step(
      rule.initial((bytes) => new Uint8Array(bytes)),
      { sum: new Float64Array(6).fill(-size), divisor: 1 },
      7,
    );
  test("weights that are not finite", () => {
    expect(push(ruleOf({ learningRate: 1e6 }), 1e36)).toThrow(huge);
  });
  test("scores beyond all use", () => {
    expect(push(ruleOf({ learningRate: 1e6 }), 1e6)).toThrow(huge);
    expect(push(ruleOf({ learningRate: 1e6 }), 1e4)).not.toThrow();
  });
  test("also when an average still hides them", () => {
    const rule = ruleOf({ learningRate: 1e6, averaging: { kind: "decay", decay: 0.999_999_9 } });
    expect(push(rule, 1e6)).toThrow(huge);
  });
});
