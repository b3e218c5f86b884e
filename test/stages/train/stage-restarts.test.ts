/** The train stage without Kafka: keys that are late, restarts, and tails. */
import { createHash, randomBytes } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { createHarness, makeModel, openContributions, TestLane } from "./world.ts";

let world: Awaited<ReturnType<typeof createHarness>>;
beforeEach(async () => {
  world = await createHarness();
});

describe("a data key that is not there", () => {
  test("is waited for, and used when it comes", async () => {
    const directory = world.zones.trainDirectory();
    const lane = new TestLane(world.stage({}, { directory }));
    lane.log = world.seal(4);
    const waiting = await lane.step(1000);
    expect(waiting).toMatchObject({ consumedTo: null, outputs: [], wakeAtMs: 1050 });
    for (const { key, value } of world.owner.entries) directory.apply(key, value);
    await lane.step(1050);
    expect(world.ranges()).toEqual([[0, 4, 4, 4]]);
  });

  test("stops the lane before its record only", async () => {
    const lane = new TestLane(world.stage({ tailAfterMs: 10 }));
    lane.log = world.seal(6);
    await world.owner.rotate();
    lane.log.push(...world.seal(2));
    await lane.step(0);
    expect(world.ranges()).toEqual([[0, 4, 4, 4]]);
    // The tail waits for the key as well: no cut while something may still be a place.
    expect(await lane.step(5000)).toMatchObject({ consumedTo: null, wakeAtMs: 5050 });
  });

  test("makes its record a dead letter once keys is known beyond it, with its place kept", async () => {
    let fresh = 0;
    const lane = new TestLane(world.stage({}, { keysFreshAsOf: () => fresh }));
    lane.log = world.seal(1);
    await world.owner.rotate();
    lane.log.push(...world.seal(1));
    await lane.step(0);
    await world.owner.rotate();
    // It was first seen at 0: what was in keys before then is not enough, however late it is.
    await lane.step(1e9);
    expect(world.progress).toEqual([]);
    fresh = 1;
    await lane.step(1000);
    lane.log.push({ ...lane.log[0]!, offset: 2 }, { ...lane.log[0]!, offset: 3 });
    await lane.step(1000);
    expect(world.ranges()).toEqual([[0, 4, 4, 1]]);
    expect(lane.outcomes[0]).toEqual({ offset: 1, kind: "dead-letter", reason: "key-unknown" });
  });

  test("of the aggregator pauses the lane before anything is computed", async () => {
    const directory = world.directory(false);
    const lane = new TestLane(world.stage({}, { directory }));
    lane.log = world.seal(4);
    expect(await lane.step(7)).toMatchObject({ consumedTo: null, wakeAtMs: 57 });
    directory.apply(world.zones.aggregatorKey.key, world.zones.aggregatorKey.value);
    await lane.step(57);
    expect(world.ranges()).toEqual([[0, 4, 4, 4]]);
  });
});

describe("restarts", () => {
  test("a thrown-away attempt is repeated: the same range and sum, another nonce and key", async () => {
    const lane = new TestLane(world.stage());
    lane.log = [...world.seal(3), world.owner.seal({ y: 7 }), ...world.seal(4)];
    const lost = await lane.step(0, false);
    await lane.start();
    await lane.settle();
    const directory = world.zones.aggregateDirectory();
    const before = openContributions(directory, lost.outputs);
    const after = openContributions(directory, lane.outputs);
    expect(after).toHaveLength(2);
    for (const [index, { sum, from, to, used, nonce, kid }] of after.entries()) {
      expect({ sum, from, to, used }).toEqual({
        sum: before[index]!.sum,
        from: before[index]!.from,
        to: before[index]!.to,
        used: before[index]!.used,
      });
      expect(nonce).not.toEqual(before[index]!.nonce);
      expect(kid).not.toBe(before[index]!.kid);
    }
  });

  test("however records arrive and attempts fail, the contributions are the same", async () => {
    // Printed on failure by vitest's message; the log and every choice below follow from it.
    const seed = randomBytes(8).toString("hex");
    let draws = 0;
    const draw = (below: number) => {
      draws += 1;
      return createHash("sha256").update(`${seed}/${draws}`).digest().readUInt32LE() % below;
    };
    const log = Array.from({ length: 60 }, () => {
      world.owner.skipOffsets(draw(3));
      const split = ["train", "train", "train", "validate", "test", "?"][draw(6)]!;
      return world.owner.seal({
        split,
        y: draw(10) === 0 ? 5 : draw(2),
        x: [draw(9) / 8, 0.5, 0.25, 1],
      });
    });
    const calm = new TestLane(world.stage());
    calm.log = log;
    await calm.settle();
    const rough = new TestLane(world.stage());
    for (let arrived = 0; arrived < log.length; ) {
      arrived += 1 + draw(9);
      rough.log = log.slice(0, arrived);
      if (draw(2) === 0) {
        await rough.step(0, false);
        await rough.start();
      }
      await rough.settle();
    }
    const directory = world.zones.aggregateDirectory();
    const facts = (lane: TestLane) =>
      openContributions(directory, lane.outputs).map(({ nonce: _, kid: __, ...rest }) => rest);
    expect(facts(rough), seed).toEqual(facts(calm));
    expect(rough.outcomes, seed).toEqual(calm.outcomes);
    expect(rough.position, seed).toBe(calm.position);
  });

  test("a result thrown away without a restart is repeated whole, key entry and all", async () => {
    const lane = new TestLane(world.stage({ updateBatchRecords: 4, maxStalenessUpdates: 0 }));
    lane.log = world.seal(4);
    await lane.step(0, false);
    await lane.step(0);
    expect(lane.outputs.map(({ role }) => role)).toEqual(["keys", "contributions"]);
    expect(openContributions(world.zones.aggregateDirectory(), lane.outputs)).toHaveLength(1);
  });
});

describe("tails", () => {
  test("the cut is committed first, alone, then its zero-filled contribution", async () => {
    const lane = new TestLane(world.stage({ tailAfterMs: 100 }));
    lane.log = [...world.seal(2), world.owner.seal({ split: "validate" })];
    expect(await lane.step(1000)).toMatchObject({ consumedTo: null, wakeAtMs: 1100 });
    lane.log.push(...world.seal(1));
    expect(await lane.step(1099)).toMatchObject({ state: { cut: null } });
    const cut = await lane.step(1100);
    expect(cut).toMatchObject({
      outputs: [],
      outcomes: [],
      consumedTo: null,
      state: { cut: { to: 4, places: 3 } },
    });
    lane.log.push(...world.seal(5));
    await lane.settle(1101);
    expect(world.ranges()).toEqual([
      [0, 4, 4, 3],
      [4, 8, 4, 4],
    ]);
    const [first] = openContributions(world.zones.aggregateDirectory(), lane.outputs);
    expect(first).toMatchObject({ from: 0, to: 4, places: 4, used: 3 });
  });

  test("time counts from when a record was first seen, whatever was final since", async () => {
    const lane = new TestLane(world.stage({ tailAfterMs: 100 }));
    lane.log = world.seal(6);
    await lane.step(0);
    expect(world.ranges()).toEqual([[0, 4, 4, 4]]);
    expect(await lane.step(50)).toMatchObject({ wakeAtMs: 100, state: { cut: null } });
  });

  test("a cut that is due behind a whole micro-batch waits for a transaction of its own", async () => {
    const lane = new TestLane(world.stage({ tailAfterMs: 100, maxStalenessUpdates: 0 }));
    lane.log = world.seal(14);
    await lane.step(0);
    expect(lane.position).toBe(8);
    world.model = makeModel(1, { laneNext: { "0": 8 } });
    const whole = await lane.step(200);
    expect(whole).toMatchObject({ consumedTo: 12, state: { cut: null }, wakeAtMs: 200 });
    expect(await lane.step(200)).toMatchObject({
      outputs: [],
      state: { cut: { to: 14, places: 2 } },
    });
    await lane.step(200);
    expect(world.ranges().at(-1)).toEqual([12, 14, 4, 2]);
  });

  test("a committed cut is made again after a restart, however much has arrived", async () => {
    const stage = world.stage({ tailAfterMs: 100 });
    const lane = new TestLane(stage);
    lane.log = world.seal(2);
    await lane.step(0);
    await lane.step(100);
    lane.log.push(...world.seal(20));
    const lost = await lane.step(101, false);
    await lane.start();
    await lane.settle(102);
    expect(world.ranges().slice(-6)[0]).toEqual([0, 2, 4, 2]);
    expect(lane.position).toBe(22);
    const directory = world.zones.aggregateDirectory();
    const [before] = openContributions(directory, lost.outputs);
    const [after] = openContributions(directory, lane.outputs);
    expect(after!.sum).toEqual(before!.sum);
  });

  test("a restart hands in nothing first: the cut waits for its records", async () => {
    const lane = new TestLane(world.stage({ tailAfterMs: 100 }));
    lane.log = world.seal(2);
    await lane.step(0);
    await lane.step(100);
    const all = lane.log;
    lane.log = [];
    await lane.start();
    expect(await lane.step(200)).toMatchObject({ consumedTo: null, outputs: [], wakeAtMs: null });
    lane.log = all.slice(0, 1);
    expect(await lane.step(201)).toMatchObject({ consumedTo: null, outputs: [], wakeAtMs: null });
    lane.log = all;
    await lane.step(202);
    expect(world.ranges()).toEqual([[0, 2, 4, 2]]);
  });

  test("records that are not those the cut counted stop the lane", async () => {
    const lane = new TestLane(world.stage({ tailAfterMs: 100 }));
    lane.log = world.seal(3);
    await lane.step(0);
    await lane.step(100);
    const mismatch = expect.objectContaining({ code: "state-mismatch" });
    const [first, second, third] = lane.log;
    // One is missing; or as many, but the last is another.
    for (const log of [
      [first!, third!],
      [first!, second!, { ...third!, offset: 3 }],
    ]) {
      lane.log = log;
      await lane.start();
      await expect(lane.step(200)).rejects.toThrow(mismatch);
    }
  });

  test("without tailAfterMs a tail waits for ever", async () => {
    const lane = new TestLane(world.stage());
    lane.log = world.seal(3);
    expect(await lane.step(0)).toMatchObject({ wakeAtMs: null });
    expect(await lane.step(1e12)).toMatchObject({ consumedTo: null, state: { cut: null } });
  });

  test("a lane filled by validation records cuts as if time were up", async () => {
    const lane = new TestLane(world.stage());
    lane.log = [...world.seal(1), ...world.seal(5000, { split: "validate" })];
    await lane.settle();
    expect(world.ranges()).toEqual([[0, 1, 4, 1]]);
    expect(lane.position).toBe(5001);
  });
});
