/** Findings of the hostile review of train, each as the attack or the mishap that it was. */
import { beforeEach, describe, expect, test } from "vitest";
import { createStalenessGate } from "../../../pipeline/stages/train/staleness.ts";
import { configHashOf, createHarness, makeModel, openContributions, TestLane } from "./world.ts";

let world: Awaited<ReturnType<typeof createHarness>>;
beforeEach(async () => {
  world = await createHarness();
});

describe("S4: a contribution is bound to the run's clip norm", () => {
  test("train with another clip norm than the run's contributes nothing, and consumes nothing", async () => {
    const lane = new TestLane(world.stage({ l2ClipNorm: 1.9 }));
    world.model = makeModel();
    lane.log = world.seal(8);
    expect(await lane.step()).toMatchObject({ consumedTo: null, outputs: [], wakeAtMs: 50 });
    world.model = makeModel(0, { configHash: configHashOf({ l2ClipNorm: 1.9 }) });
    await lane.settle();
    expect(world.progress).toHaveLength(2);
  });

  test("a contribution carries the configuration it was made with", async () => {
    const lane = new TestLane(world.stage());
    lane.log = world.seal(4);
    await lane.settle();
    const [contribution] = openContributions(world.zones.aggregateDirectory(), lane.outputs);
    expect(contribution?.configHash).toBe(configHashOf());
  });
});

describe("S2: staleness is counted from trusted data only", () => {
  const waits = { consumedTo: null, outputs: [], wakeAtMs: 50 };

  test("S2b: leftovers of another run do not hold up the next one", async () => {
    const lane = new TestLane(world.stage({ maxStalenessUpdates: 0 }));
    lane.log = world.seal(20);
    await lane.settle();
    expect(await lane.step()).toMatchObject(waits);
    world.model = makeModel(0, { runId: "f".repeat(32) });
    await lane.settle();
    expect(world.progress).toHaveLength(4);
    // Nor after a restart, when the lane no longer knows of which run its last range was.
    world.model = makeModel(0, { runId: "e".repeat(32) });
    await lane.start();
    await lane.step();
    expect(world.progress).toHaveLength(5);
  });

  test("after a restart what was committed and is not covered counts for one", async () => {
    const stage = world.stage({ updateBatchRecords: 4, maxStalenessUpdates: 0 });
    const lane = new TestLane(stage);
    lane.log = world.seal(20);
    await lane.settle();
    expect(world.progress).toHaveLength(1);
    const { configHash } = world.model ?? makeModel();
    world.model = makeModel(1, { configHash, laneNext: { "0": 4 } });
    await lane.settle();
    await lane.start();
    expect(await lane.step()).toMatchObject(waits);
    world.model = makeModel(2, { configHash, laneNext: { "0": 8 } });
    await lane.settle();
    expect(world.progress).toHaveLength(3);
  });

  test("what the ledger covers of a lane that is idle does not hold up the others", () => {
    const gate = createStalenessGate(2);
    const runId = "a".repeat(32);
    for (const to of [4, 8]) gate.note(1, runId, to);
    expect(gate.mayContribute(1, { runId, laneNext: {} }, 8)).toBe(false);
    expect(gate.mayContribute(0, { runId, laneNext: {} }, 0)).toBe(false);
    expect(gate.mayContribute(0, { runId, laneNext: { "1": 4 } }, 0)).toBe(true);
    expect(gate.mayContribute(0, { runId, laneNext: { "1": 8 } }, 0)).toBe(true);
    gate.note(0, runId, 3);
    expect(gate.mayContribute(0, { runId, laneNext: { "1": 4 } }, 3)).toBe(false);
    expect(gate.mayContribute(0, { runId, laneNext: { "1": 8 } }, 3)).toBe(true);
  });

  test("one lane alone fills every update, through restarts at any point", async () => {
    for (const perUpdate of [1, 2]) {
      const own = await createHarness();
      const updateBatchRecords = 4 * perUpdate;
      const stage = own.stage({ updateBatchRecords, maxStalenessUpdates: 0 });
      const lane = new TestLane(stage);
      lane.log = own.seal(80);
      for (let turn = 0; turn < 200; turn += 1) {
        if (turn % 3 === 0) await lane.start();
        await lane.step(0, turn % 5 !== 0);
        if (turn % 5 === 0) await lane.start();
        // Aggregate: as many updates as what is committed fills.
        const committed = lane.outputs.filter(({ role }) => role === "contributions").length;
        const updates = Math.floor(committed / perUpdate);
        const { configHash } = own.model ?? makeModel();
        const laneNext = updates === 0 ? {} : { "0": 4 * perUpdate * updates };
        own.model = makeModel(updates, { configHash, laneNext });
      }
      expect(lane.position).toBe(80);
    }
  });
});

describe("S8: waiting for a key does not lose authentic data", () => {
  test("records whose key entry is seen a day late count", async () => {
    let fresh = 0;
    const directory = world.zones.trainDirectory();
    const lane = new TestLane(world.stage({}, { directory, keysFreshAsOf: () => fresh }));
    lane.log = world.seal(4);
    await lane.step(100);
    fresh = 100;
    await lane.step(86_400_000);
    expect(lane.position).toBe(0);
    for (const { key, value } of world.owner.entries) directory.apply(key, value);
    fresh = 86_400_000;
    await lane.step(86_400_001);
    expect(world.ranges()).toEqual([[0, 4, 4, 4]]);
    expect(lane.outcomes).toEqual([]);
  });

  test("junk under unknown keys is refused together, as soon as keys is known beyond it", async () => {
    let fresh = 0;
    const directory = world.zones.trainDirectory();
    const lane = new TestLane(world.stage({}, { directory, keysFreshAsOf: () => fresh }));
    lane.log = world.seal(8);
    await lane.step(100);
    fresh = 101;
    await lane.step(150);
    expect(world.ranges()).toEqual([
      [0, 4, 4, 0],
      [4, 8, 4, 0],
    ]);
    expect(lane.outcomes).toHaveLength(8);
  });
});
