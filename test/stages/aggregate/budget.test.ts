/** Runs and the budget: new settings begin a new run in the same ledger, with what is left, or not at all. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  analyticGaussianEpsilon,
  composedNoiseMultiplier,
} from "../../../pipeline/privacy/gaussian.ts";
import { verifyLedger } from "../../../pipeline/privacy/ledger.ts";
import {
  CONFIG_HASH,
  createTopics,
  createTrainer,
  createZones,
  directoryOf,
  PIPELINE,
  SPEC,
  startLane,
  type Topics,
  type Zones,
} from "./world.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await createZones();
});

const FASTER = { ...SPEC, train: { ...SPEC.train, learningRate: 0.25 } };
const withBudget = (epsilon: number, spec = SPEC) => ({
  ...spec,
  privacy: { ...SPEC.privacy, epsilon, delta: 1e-5 },
});

/** A topic set in which the first run has made an update. */
async function spent(): Promise<{ topics: Topics; runId: string }> {
  const topics = createTopics(zones);
  const lane = await startLane(zones, topics);
  await lane.run();
  const { runId } = lane.state().run;
  const trainer = await createTrainer(zones, topics);
  trainer.send(trainer.next(runId));
  trainer.send(trainer.next(runId));
  await lane.run();
  return { topics, runId };
}

function findings(topics: Topics) {
  const directory = directoryOf(zones, topics.keys);
  return verifyLedger(topics.ledger, {
    pipeline: PIPELINE,
    findSigner: (kid) => directory.findSigner(kid, ["model-signing"]),
  }).findings;
}

describe("new settings", () => {
  test("begin a new run in the same chain, with the noise that is left", async () => {
    const { topics, runId } = await spent();
    const lane = await startLane(zones, topics, { spec: withBudget(5) });
    await lane.run();
    const genesis = lane.state().ledger.last?.entry;
    expect(genesis).toMatchObject({
      kind: "genesis",
      sequence: 2,
      modelVersion: 0,
      step: 0,
      laneNext: {},
      contributionsNext: topics.committed,
    });
    expect(genesis?.runId).not.toBe(runId);
    // What a record of the topic has lost so far: the first run's three.
    expect(genesis?.epsilon).toBeCloseTo(3, 9);
    const trainer = await createTrainer(zones, topics, 0, 500);
    trainer.send(trainer.next(lane.state().run.runId));
    trainer.send(trainer.next(lane.state().run.runId));
    await lane.run();
    const { last, runs } = lane.state().ledger;
    expect(last?.entry.epsilon).toBeCloseTo(5, 9);
    const together = composedNoiseMultiplier(runs.map((run) => run.noiseMultiplier));
    expect(analyticGaussianEpsilon(together, 1e-5)).toBeCloseTo(5, 9);
    expect(findings(topics)).toEqual([]);
  });

  test("are refused when the budget is spent, and the old ones still go on", async () => {
    const { topics, runId } = await spent();
    const ledger = topics.ledger.length;
    const { changelog, committed } = topics;
    const lane = await startLane(zones, topics, { spec: FASTER });
    expect(lane.ended).toEqual([expect.stringContaining("3.000 of 3")]);
    // It stays, takes nothing in, decides nothing, and wakes for nothing.
    const trainer = await createTrainer(zones, topics, 0, 10);
    const configHash = CONFIG_HASH;
    for (let i = 0; i < 4; i += 1) trainer.send(trainer.next(runId, { configHash }));
    const result = await lane.step(5);
    expect(result).toMatchObject({ outputs: [], outcomes: [], consumedTo: null, wakeAtMs: null });
    lane.commit(result);
    expect(topics).toMatchObject({ changelog, committed });
    expect(topics.ledger).toHaveLength(ledger);
    expect((await startLane(zones, topics, { spec: withBudget(2) })).ended).toHaveLength(1);
    const again = await startLane(zones, topics);
    await again.run();
    expect(again.ended).toEqual([]);
    expect(topics.ledger).toHaveLength(ledger + 2);
    expect(findings(topics)).toEqual([]);
  });

  test("go on once the budget is raised", async () => {
    const { topics } = await spent();
    expect((await startLane(zones, topics, { spec: FASTER })).ended).toHaveLength(1);
    const lane = await startLane(zones, topics, { spec: withBudget(4, FASTER) });
    await lane.run();
    expect(lane.ended).toEqual([]);
    expect(lane.state().ledger.runs).toHaveLength(2);
  });

  test("for subjects are refused after a run that did not bound them, and leave runs of records alone", async () => {
    const { topics } = await spent();
    const bounded = { ...withBudget(9).privacy, recordsPerSubject: 2 };
    const refused = await startLane(zones, topics, { spec: { ...SPEC, privacy: bounded } });
    expect(refused.ended).toEqual([expect.stringContaining("recordsPerSubject")]);
    const lane = await startLane(zones, topics, { spec: withBudget(9) });
    expect(lane.ended).toEqual([]);
  });

  test("for subjects ask for noise as many times as large", async () => {
    const noiseOf = async (recordsPerSubject: number | null) => {
      const privacy = { ...SPEC.privacy, recordsPerSubject };
      const lane = await startLane(zones, createTopics(zones), { spec: { ...SPEC, privacy } });
      return lane.state().run.noiseMultiplier;
    };
    expect(await noiseOf(1)).toBe(await noiseOf(null));
    expect(await noiseOf(5)).toBeCloseTo(5 * (await noiseOf(null)), 12);
  });

  test("cost nothing before the first update", async () => {
    const topics = createTopics(zones);
    await (await startLane(zones, topics)).run();
    const lane = await startLane(zones, topics, { spec: FASTER });
    await lane.run();
    expect(lane.state().ledger.runs).toHaveLength(2);
    expect(lane.state().run.noiseMultiplier).toBe(lane.state().ledger.runs[0]?.noiseMultiplier);
    expect(findings(topics)).toEqual([]);
  });

  test("do not replace a run whose first update may have been released", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics);
    await lane.run();
    const trainer = await createTrainer(zones, topics);
    trainer.send(trainer.next(lane.state().run.runId));
    trainer.send(trainer.next(lane.state().run.runId));
    const intent = await lane.step(0);
    expect(intent).toMatchObject({ outputs: [], consumedTo: null });
    lane.commit(intent);
    // The update itself is written, and its transaction aborted.
    expect((await lane.step(0)).outputs).not.toEqual([]);
    await expect(startLane(zones, topics, { spec: FASTER })).rejects.toMatchObject({
      code: "state-mismatch",
    });
    const again = await startLane(zones, topics);
    await again.run();
    expect(again.state().ledger.last?.entry.step).toBe(1);
  });

  test.each([
    ["learning rate", FASTER],
    ["clip", { ...SPEC, train: { ...SPEC.train, l2ClipNorm: 2 } }],
    ["update batch", { ...SPEC, train: { ...SPEC.train, updateBatchRecords: 16 } }],
    ["micro-batch", { ...SPEC, train: { ...SPEC.train, microBatchRecords: 2 } }],
    [
      "network",
      {
        ...SPEC,
        train: {
          ...SPEC.train,
          network: [
            { dense: 4, activation: "square" as const },
            { dense: 2, activation: "none" as const },
          ],
        },
      },
    ],
    ["delta", { ...SPEC, privacy: { ...SPEC.privacy, epsilon: 3, delta: 1e-6 } }],
    [
      "range of a feature",
      {
        ...SPEC,
        features: {
          ...SPEC.features,
          inputs: [{ field: "pixels", length: 3, range: [0, 2] as const }],
        },
      },
    ],
  ])("another %s is another run", async (_name, spec) => {
    const topics = createTopics(zones);
    await (await startLane(zones, topics)).run();
    await (await startLane(zones, topics, { spec })).run();
    expect(topics.ledger).toHaveLength(2);
  });
});

describe("a noise multiplier that is asked for", () => {
  test("is taken while the budget allows it", async () => {
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics, { noiseMultiplier: 4 });
    await lane.run();
    expect(lane.state().ledger.last?.entry.noiseMultiplier).toBe(4);
    const trainer = await createTrainer(zones, topics);
    trainer.send(trainer.next(lane.state().run.runId));
    trainer.send(trainer.next(lane.state().run.runId));
    await lane.run();
    expect(lane.state().ledger.last?.entry.epsilon).toBeCloseTo(0.926342, 6);
    // A second run of four adds up to the same as one of 4 / sqrt 2, which the budget allows.
    const second = await startLane(zones, topics, { noiseMultiplier: 4, spec: FASTER });
    await second.run();
    expect(second.state().ledger.runs).toHaveLength(2);
  });

  test.each([1.39, 0, -1, 1e6])("%d is refused", async (noiseMultiplier) => {
    const topics = createTopics(zones);
    await expect(startLane(zones, topics, { noiseMultiplier })).rejects.toMatchObject({
      code: expect.stringMatching(/budget-spent|limit-exceeded/),
    });
  });
});

test("settings that no entry can hold are refused at once", async () => {
  const train = { ...SPEC.train, microBatchRecords: 1, updateBatchRecords: 5000 };
  await expect(
    startLane(zones, createTopics(zones), { spec: { ...SPEC, train } }),
  ).rejects.toMatchObject({
    code: "limit-exceeded",
  });
});
