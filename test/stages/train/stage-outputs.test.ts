/** The train stage without Kafka: pauses, what leaves it, and its limits. */
import { beforeEach, describe, expect, test } from "vitest";
import { openEnvelope } from "../../../pipeline/crypto/envelope.ts";
import {
  createHarness,
  createOwner,
  makeModel,
  NETWORK,
  openContributions,
  PIPELINE,
  TestLane,
} from "./world.ts";

let world: Awaited<ReturnType<typeof createHarness>>;
beforeEach(async () => {
  world = await createHarness();
});

describe("pauses", () => {
  const PAUSED = { consumedTo: null, outputs: [], outcomes: [], wakeAtMs: 50 };

  test("without a model, or with a model of another network, nothing is consumed", async () => {
    const lane = new TestLane(world.stage());
    lane.log = world.seal(4);
    world.model = null;
    expect(await lane.step()).toMatchObject(PAUSED);
    world.model = { ...makeModel(), network: { inputs: 4, layers: NETWORK.layers.slice(1) } };
    expect(await lane.step()).toMatchObject(PAUSED);
    world.model = makeModel();
    await lane.step();
    expect(world.ranges()).toEqual([[0, 4, 4, 4]]);
  });

  test.each([
    [0, 2],
    [1, 4],
  ])("maxStalenessUpdates %d allows %d contributions to wait", async (updates, limit) => {
    const lane = new TestLane(world.stage({ maxStalenessUpdates: updates }));
    lane.log = world.seal(40);
    await lane.settle();
    expect(world.progress).toHaveLength(limit);
    expect(await lane.step()).toMatchObject(PAUSED);
    // A newer model that does not have them yet changes nothing.
    world.model = makeModel(1);
    expect(await lane.step()).toMatchObject(PAUSED);
    world.model = makeModel(1, { laneNext: { "0": 4 * limit } });
    await lane.settle();
    expect(world.progress).toHaveLength(2 * limit);
    expect(new Set(world.progress.map(({ modelVersion }) => modelVersion))).toEqual(
      new Set([0, 1]),
    );
  });

  test("each update that covers one lets one more through", async () => {
    const lane = new TestLane(world.stage({ maxStalenessUpdates: 0 }));
    lane.log = world.seal(40);
    await lane.settle();
    for (let version = 1; version < 5; version += 1) {
      world.model = makeModel(version, { laneNext: { "0": 4 * version } });
      await lane.settle();
      expect(world.progress).toHaveLength(2 + version);
    }
  });

  test("what an attempt that was thrown away made does not", async () => {
    const lane = new TestLane(world.stage({ maxStalenessUpdates: 0 }));
    lane.log = world.seal(8);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await lane.step(0, false);
      await lane.start();
    }
    await lane.settle();
    expect(lane.position).toBe(8);
  });

  test("what a lane that has ended made does not count for the others", async () => {
    const stage = world.stage({ maxStalenessUpdates: 0 });
    const lanes = [new TestLane(stage, 0), new TestLane(stage, 1)];
    lanes[0]!.log = world.seal(8);
    await lanes[0]!.step(0, false);
    expect(await lanes[1]!.step()).toMatchObject(PAUSED);
    await lanes[0]!.stop();
    expect(await lanes[1]!.step()).toMatchObject({ wakeAtMs: null });
  });

  test("lanes of one process share the bound", async () => {
    const stage = world.stage({ maxStalenessUpdates: 0 });
    const lanes = [new TestLane(stage, 0), new TestLane(stage, 1)];
    lanes[0]!.log = world.seal(4);
    const other = await createOwner(world.zones, 1);
    lanes[1]!.log = Array.from({ length: 4 }, () => other.seal());
    await lanes[0]!.settle();
    lanes[0]!.log.push(...world.seal(4));
    await lanes[0]!.settle();
    expect(await lanes[1]!.step()).toMatchObject(PAUSED);
  });
});

describe("what leaves the stage", () => {
  test("key entry, envelope, key and header are as contracted, and bound to the lane", async () => {
    const lane = new TestLane(world.stage());
    lane.log = world.seal(8);
    await lane.settle();
    expect(lane.outputs.map(({ role }) => role)).toEqual([
      "keys",
      "contributions",
      "contributions",
    ]);
    const directory = world.zones.aggregateDirectory();
    const contributions = openContributions(directory, lane.outputs);
    expect(contributions.map(({ sequence }) => sequence)).toEqual([4, 8]);
    const [, sealed] = lane.outputs;
    expect(Buffer.from(sealed!.key!).toString()).toBe(`${world.model!.runId}/0/0-4`);
    expect(Buffer.from(sealed!.headers!["sealstream-lane"]!).toString()).toBe("0");
    const moved = openEnvelope({
      envelope: sealed!.value!,
      context: {
        pipeline: PIPELINE,
        topic: "contributions",
        lane: 1,
        recordId: sealed!.key!,
        schemaVersion: 1,
      },
      findKey: (kid) => directory.findDataKey(kid, "contributions"),
    });
    expect(moved.status).not.toBe("ok");
    // Only the aggregator has the key: train's own directory cannot open it.
    const own = world.zones.trainDirectory();
    own.apply(lane.outputs[0]!.key, lane.outputs[0]!.value);
    expect(() => openContributions(own, lane.outputs)).toThrow("unknown-key");
  });

  test("data keys rotate after their uses", async () => {
    const lane = new TestLane(world.stage({}, { rotateAfterContributions: 2 }));
    lane.log = world.seal(20);
    await lane.settle();
    const roles = lane.outputs.map(({ role }) => role).join(" ");
    expect(roles).toBe(
      "keys contributions contributions keys contributions contributions keys contributions",
    );
    const contributions = openContributions(world.zones.aggregateDirectory(), lane.outputs);
    expect(new Set(contributions.map(({ kid }) => kid)).size).toBe(3);
  });
});

describe("limits", () => {
  test.each([
    [
      "a network whose contribution fits no message",
      { network: [{ dense: 100_000, activation: "none" as const }] },
    ],
    ["a clip the margin does not cover", { l2ClipNorm: 0 }],
    ["a micro-batch the margin does not cover", { microBatchRecords: 100_000 }],
  ])("refuses %s", (_, train) => {
    const code = expect.objectContaining({
      code: expect.stringMatching(/limit-exceeded|spec-invalid/),
    });
    expect(() => world.stage(train)).toThrow(code);
  });
});
