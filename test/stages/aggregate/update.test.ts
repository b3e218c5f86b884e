/** The flow of aggregate: genesis, updates cut by count, weights as plain SGD has them, one transaction's outputs. */
import { beforeAll, describe, expect, test } from "vitest";
import { sha256 } from "../../../pipeline/crypto/chunks.ts";
import { hex } from "../../../pipeline/crypto/key-handles.ts";
import { decodeCheckpoint } from "../../../pipeline/network/safetensors.ts";
import { flatten } from "../../../pipeline/network/weights.ts";
import {
  contributionSensitivity,
  contributionsHash,
} from "../../../pipeline/privacy/contribution.ts";
import { analyticGaussianNoiseMultiplier } from "../../../pipeline/privacy/gaussian.ts";
import { noiseRow } from "../../../pipeline/privacy/noise.ts";
import {
  BATCH,
  compactModels,
  createTopics,
  createTrainer,
  createZones,
  FRACTION_BITS,
  PARAMETERS,
  PLACES,
  readerOf,
  SPEC,
  startLane,
  type Topics,
  type Zones,
} from "./world.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await createZones();
});

const LOOSE = { ...SPEC, privacy: { ...SPEC.privacy, epsilon: 1e15, delta: 1e-5 } };

function weightsOf(topics: Topics): Float32Array {
  const newest = readerOf(zones, topics).newest();
  if (newest === null) throw new Error("no model");
  return flatten(decodeCheckpoint(newest.checkpoint).weights);
}

describe("genesis", () => {
  test("an empty ledger gets version 0 before any contribution is taken", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    const result = await lane.step(1_000);
    expect(result.outputs.map(({ role }) => role)).toEqual(["keys", "models", "ledger"]);
    expect(result.consumedTo).toBeNull();
    lane.commit(result);
    const newest = readerOf(zones, topics).newest();
    expect(newest?.entry).toMatchObject({
      kind: "genesis",
      sequence: 0,
      previous: null,
      modelVersion: 0,
      step: 0,
      epsilon: 0,
      contributionsNext: 0,
      contributionsHash: null,
      ranges: [],
      at: "1970-01-01T00:00:01.000Z",
      sourceTopic: "digits.examples",
    });
    expect(decodeCheckpoint(newest?.checkpoint ?? new Uint8Array()).metadata).toMatchObject({
      runId: newest?.entry.runId,
      modelVersion: "0",
      laneNext: "{}",
    });
  });

  test("train and predict can open it, through its entry", async () => {
    const topics = createTopics(zones);
    await (await startLane(zones, topics)).run();
    expect(readerOf(zones, topics, "train").newest()).not.toBeNull();
    expect(readerOf(zones, topics, "predict").newest()).not.toBeNull();
  });

  test("waits for the public keys that a model is sealed to", async () => {
    const topics = createTopics(zones);
    const late = topics.keys.splice(0);
    const lane = await startLane(zones, topics);
    const result = await lane.step(500);
    expect(result).toMatchObject({ outputs: [], consumedTo: null, wakeAtMs: 550 });
    topics.keys.push(...late);
    await lane.run(550);
    expect(topics.ledger).toHaveLength(1);
  });
});

describe("updates", () => {
  test("with next to no noise the weights are those of plain SGD", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics, { spec: LOOSE, noiseMultiplier: 1e-7 });
    await lane.run();
    const { runId } = lane.state().run;
    const trainer = await createTrainer(zones, topics);
    const expected = Float64Array.from(weightsOf(topics));
    for (let i = 0; i < 6; i += 1) {
      const made = trainer.next(runId);
      trainer.send(made);
      for (const [index, value] of made.sum.entries()) {
        const gradient = value / (BATCH * 2 ** FRACTION_BITS);
        expected[index] = (expected[index] ?? 0) - SPEC.train.learningRate * gradient;
      }
    }
    await lane.run();
    const weights = weightsOf(topics);
    for (const [index, weight] of weights.entries()) {
      // Three float32 roundings of numbers below 2, and noise of 1e-7 clip norms over B.
      expect(Math.abs(weight - (expected[index] ?? Number.NaN))).toBeLessThan(4e-7);
    }
    expect(weights).toHaveLength(PARAMETERS);
  });

  test("noise has the standard deviation that the entry claims, and not two thirds or three halves of it", async () => {
    const { updateBatchRecords, learningRate } = SPEC.train;
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    await lane.run();
    const trainer = await createTrainer(zones, topics);
    const zero = { sum: new Int32Array(PARAMETERS) };
    const sigma = analyticGaussianNoiseMultiplier(3, 1e-5);
    const sensitivity = contributionSensitivity({
      l2ClipNorm: 1,
      parameters: PARAMETERS,
      fractionBits: FRACTION_BITS,
    });
    const deviation = (learningRate * sigma * sensitivity) / updateBatchRecords;
    const draws: number[] = [];
    for (let update = 0; update < 250; update += 1) {
      trainer.send(trainer.next(lane.state().run.runId, zero));
      trainer.send(trainer.next(lane.state().run.runId, zero));
      const before = lane.state().trainer?.published ?? new Float32Array();
      await lane.run();
      const after = lane.state().trainer?.published ?? new Float32Array();
      draws.push(...after.map((weight, i) => (weight - (before[i] ?? 0)) / deviation));
    }
    expect(lane.state().ledger.last?.entry).toMatchObject({ noiseMultiplier: sigma, sensitivity });
    expect(draws).toHaveLength(250 * PARAMETERS);
    const zOf = (scale: number) => {
      const mean = draws.reduce((sum, draw) => sum + (draw / scale) ** 2, 0) / draws.length;
      return (mean - 1) / Math.sqrt(2 / draws.length);
    };
    // The run id is random, so this is a true test: right noise is rejected once in ten million runs (|z| > 5.33).
    expect(Math.abs(zOf(1))).toBeLessThan(5.33);
    expect(zOf(3 / 2)).toBeLessThan(-12);
    expect(zOf(2 / 3)).toBeGreaterThan(12);
  });

  test("the second update's noise is the row of its run, step and contributions", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    await lane.run();
    const { runId, noiseMultiplier } = lane.state().run;
    const trainer = await createTrainer(zones, topics);
    for (const part of [0, 1]) {
      const made = [trainer.next(runId), trainer.next(runId)];
      const sent = made.map((contribution) => trainer.send(contribution));
      const before = lane.state().trainer?.published ?? new Float32Array();
      await lane.run();
      if (part === 0) continue;
      const contributions = contributionsHash(
        sent.map(({ value }) => sha256(value ?? new Uint8Array())),
      );
      const entry = lane.state().ledger.last?.entry;
      expect(entry?.contributionsHash).toBe(hex(contributions));
      const row = noiseRow({
        noise: zones.aggregate.secret("noise"),
        runId,
        step: 2,
        contributionsHash: contributions,
        length: PARAMETERS,
        standardDeviation: noiseMultiplier * (entry?.sensitivity ?? 0) * 2 ** FRACTION_BITS,
      });
      const [a, b] = made.map(({ sum }) => sum);
      const expected = before.map((weight, i) => {
        const noisy = (a?.[i] ?? 0) + (b?.[i] ?? 0) + (row[i] ?? 0);
        return weight - (SPEC.train.learningRate / (BATCH * 2 ** FRACTION_BITS)) * noisy;
      });
      expect(lane.state().trainer?.published).toEqual(expected);
    }
  });

  test("cuts by count in the order of the log, over lanes", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    await lane.run();
    const { runId } = lane.state().run;
    const [a, b] = [
      await createTrainer(zones, topics, 0, 100),
      await createTrainer(zones, topics, 3, 40),
    ];
    a.send(a.next(runId));
    await lane.run();
    expect(topics.ledger).toHaveLength(1);
    expect(topics.committed).toBeNull();
    const last = b.send(b.next(runId, { used: 4 }));
    b.send(b.next(runId));
    await lane.run(5);
    const entry = lane.state().ledger.last?.entry;
    expect(entry).toMatchObject({
      kind: "update",
      modelVersion: 1,
      step: 1,
      laneNext: { "0": 105, "3": 45 },
      contributionsNext: last.offset + 1,
      participations: 1,
    });
    expect(entry?.ranges).toMatchObject([
      { lane: 0, from: 100, to: 105, places: PLACES, modelVersion: 0 },
      { lane: 3, from: 40, to: 45 },
    ]);
    expect(entry?.epsilon).toBeCloseTo(3, 9);
    expect(topics.committed).toBe(last.offset + 1);
    expect(lane.updates.at(-1)).toMatchObject({ modelVersion: 1, records: 7 });
  });

  test("a contribution is never dropped for age", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    await lane.run();
    const trainer = await createTrainer(zones, topics);
    for (let i = 0; i < 20; i += 1) trainer.send(trainer.next(lane.state().run.runId));
    await lane.run();
    expect(lane.state().ledger.last?.entry.modelVersion).toBe(10);
    expect(topics.dead).toEqual([]);
  });

  test("chunks that no kept entry names are tombstoned; the newest eight stay", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    await lane.run();
    const trainer = await createTrainer(zones, topics);
    for (let i = 0; i < 24; i += 1) trainer.send(trainer.next(lane.state().run.runId));
    await lane.run();
    compactModels(topics);
    const held = topics.models.map(({ key }) => Buffer.from(key).toString("hex"));
    const entries = readerOf(zones, topics).entries();
    expect(entries).toHaveLength(13);
    expect(held).toEqual(entries.slice(-8).flatMap(({ entry }) => entry.model.chunks));
    // A restart still finds its model, and goes on dropping where it stopped.
    const again = await startLane(zones, topics);
    trainer.send(trainer.next(again.state().run.runId));
    trainer.send(trainer.next(again.state().run.runId));
    await again.run();
    compactModels(topics);
    expect(topics.models).toHaveLength(8);
  });

  test("process leaves the state it was given as it was", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    await lane.run();
    const trainer = await createTrainer(zones, topics);
    trainer.send(trainer.next(lane.state().run.runId));
    trainer.send(trainer.next(lane.state().run.runId));
    lane.commit(await lane.step(0));
    const state = lane.state();
    const copy = structuredClone({ ...state, sealing: null });
    const first = await lane.step(0);
    expect({ ...state, sealing: null }).toEqual(copy);
    const second = await lane.step(0);
    expect(second.state.trainer).toEqual(first.state.trainer);
    expect(first.consumedTo).not.toBeNull();
  });
});
