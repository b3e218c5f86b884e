/** What aggregate does with contributions that do not count: dead letters, waiting for a key, and stopping. */
import { beforeAll, describe, expect, test } from "vitest";
import type { Contribution } from "../../../pipeline/privacy/contribution.ts";
import {
  append,
  createTopics,
  createTrainer,
  createZones,
  FRACTION_BITS,
  type LaneOptions,
  PARAMETERS,
  PLACES,
  sealContribution,
  startLane,
  type Zones,
} from "./world.ts";

let zones: Zones;
beforeAll(async () => {
  zones = await createZones();
});

async function begun(options: LaneOptions = {}) {
  const topics = createTopics(zones);
  const lane = await startLane(zones, topics, options);
  await lane.run();
  const { runId } = lane.state().run;
  return { topics, lane, runId, trainer: await createTrainer(zones, topics) };
}

describe("dead letters", () => {
  /** Each makes one bad record between two good contributions of an update. */
  const bad: Record<string, (sealed: ReturnType<typeof sealContribution>) => object> = {
    "a flipped bit in the ciphertext": (s) => ({ value: flip(s.value, s.value.length - 30) }),
    "a flipped bit in the tag": (s) => ({ value: flip(s.value, s.value.length - 1) }),
    "a cut value": (s) => ({ value: s.value.subarray(0, 40) }),
    "an empty value": () => ({ value: new Uint8Array() }),
    "another lane in the header": () => ({ headers: { "sealstream-lane": Buffer.from("1") } }),
    "no lane": () => ({ headers: {} }),
    "a lane that is no number": () => ({ headers: { "sealstream-lane": Buffer.from("00") } }),
    "another range in the key": (s) => ({ key: Buffer.concat([s.key, Buffer.from("0")]) }),
    "no key": () => ({ key: null }),
    "a key that is no id": () => ({ key: Buffer.from("x".repeat(100)) }),
  };
  test.each(Object.keys(bad))("%s is refused and changes nothing", async (name) => {
    const { topics, lane, runId, trainer } = await begun();
    const good = trainer.next(runId);
    const sealed = sealContribution(good, trainer.dataKey);
    const { offset } = append(topics, { ...sealed, ...bad[name]?.(sealed) });
    trainer.send(good);
    trainer.send(trainer.next(runId));
    await lane.run();
    expect(topics.dead).toEqual([{ offset, kind: "dead-letter", reason: "contribution-refused" }]);
    expect(lane.state().ledger.last?.entry.ranges.map(({ from }) => from)).toEqual([0, 5]);
  });

  test("a tombstone", async () => {
    const { topics, lane, runId, trainer } = await begun();
    append(topics, { key: null, value: null, headers: {} });
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await lane.run();
    expect(topics.dead).toMatchObject([{ reason: "tombstone" }]);
  });

  test("one of another run is not waited for, even if its key is unknown", async () => {
    const { topics, lane, runId, trainer } = await begun();
    const stranger = await createTrainer(zones, { ...topics, keys: [] });
    const other = stranger.next("f".repeat(32));
    append(topics, sealContribution(other, stranger.dataKey));
    append(topics, sealContribution(trainer.next("e".repeat(32)), trainer.dataKey));
    const after = await createTrainer(zones, topics);
    after.send(after.next(runId));
    after.send(after.next(runId));
    await lane.run();
    expect(topics.dead).toMatchObject([{ reason: "other-run" }, { reason: "other-run" }]);
    expect(lane.state().ledger.last?.entry.step).toBe(1);
  });

  const shapes: Record<string, Partial<Contribution>> = {
    "other places": { places: PLACES + 1 },
    "another grid": { fractionBits: FRACTION_BITS - 1 },
    "another network": { sum: new Int32Array(PARAMETERS + 1) },
  };
  test.each(Object.keys(shapes))("%s, though authentic", async (name) => {
    const { topics, lane, runId, trainer } = await begun();
    const odd = await createTrainer(zones, topics, 7);
    odd.send(odd.next(runId, shapes[name]));
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await lane.run();
    expect(topics.dead).toMatchObject([{ reason: "contribution-refused" }]);
  });

  test("what is refused behind a contribution that waits is final with its update, not earlier", async () => {
    const { topics, lane, runId, trainer } = await begun();
    const junk = { key: null, value: Buffer.from("junk"), headers: {} };
    const first = append(topics, junk);
    trainer.send(trainer.next(runId));
    append(topics, junk);
    await lane.run();
    expect(topics.dead).toHaveLength(1);
    expect(topics.committed).toBe(first.offset + 1);
    trainer.send(trainer.next(runId));
    const trailing = append(topics, junk);
    await lane.run();
    expect(topics.dead).toHaveLength(3);
    expect(topics.committed).toBe(trailing.offset + 1);
  });
});

describe("ranges", () => {
  test("a copy of a contribution that counted changes no count", async () => {
    const { topics, lane, runId, trainer } = await begun();
    const first = trainer.send(trainer.next(runId));
    append(topics, first);
    trainer.send(trainer.next(runId));
    await lane.run();
    append(topics, first);
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await lane.run();
    expect(topics.dead.map(({ reason }) => reason)).toEqual([
      "contribution-refused",
      "contribution-refused",
    ]);
    expect(lane.state().ledger.last?.entry.laneNext).toEqual({ "0": 20 });
  });

  test.each([
    ["gap", { from: 6, to: 11 }, "lost"],
    ["partial overlap", { from: 4, to: 9 }, "counted twice"],
  ])("an authentic %s stops the stage", async (_name, range, says) => {
    for (const committed of [true, false]) {
      const { topics, lane, runId, trainer } = await begun();
      trainer.send(trainer.next(runId));
      if (committed) {
        const other = await createTrainer(zones, topics, 1);
        other.send(other.next(runId));
        await lane.run();
      }
      trainer.send(trainer.next(runId, range));
      const ledger = topics.ledger.length;
      const stopped = { code: "state-mismatch", message: expect.stringContaining(says) };
      await expect(lane.run()).rejects.toMatchObject(stopped);
      expect(topics.ledger).toHaveLength(ledger);
    }
  });

  test("a model version that the ledger does not have stops the stage", async () => {
    const { lane, runId, trainer } = await begun();
    trainer.send(trainer.next(runId, { modelVersion: 1 }));
    await expect(lane.run()).rejects.toMatchObject({ code: "state-mismatch" });
  });
});

describe("a data key that is not there", () => {
  async function withLateKey(options: LaneOptions = {}) {
    const world = await begun(options);
    const { topics, runId, trainer } = world;
    const late = await createTrainer(zones, topics, 1);
    const entry = topics.keys.splice(topics.keys.indexOf(late.entry), 1);
    trainer.send(trainer.next(runId));
    const waits = late.send(late.next(runId));
    trainer.send(trainer.next(runId));
    return { ...world, entry, waits, announce: () => topics.keys.push(...entry) };
  }

  test("holds up everything behind it, and is looked for again", async () => {
    const { topics, lane, announce } = await withLateKey();
    const result = await lane.step(1_000);
    expect(result).toMatchObject({ outputs: [], consumedTo: null, wakeAtMs: 1_050 });
    lane.commit(result);
    announce();
    await lane.run(1_050);
    expect(lane.state().ledger.last?.entry.ranges).toMatchObject([{ lane: 0 }, { lane: 1 }]);
    expect(topics.dead).toEqual([]);
  });

  test("is refused once keys is known beyond it; committed before anything is made of what is behind", async () => {
    let fresh = 0;
    const { topics, lane, waits } = await withLateKey({ keysFreshAsOf: () => fresh });
    await lane.run(1_000);
    fresh = 1_000;
    await lane.run(60_999);
    expect(topics.ledger).toHaveLength(1);
    fresh = 1_001;
    const decision = await lane.step(61_000);
    expect(decision).toMatchObject({ outputs: [], consumedTo: null, wakeAtMs: 61_000 });
    expect(lane.commit(decision)).toBe(true);
    await lane.run(61_000);
    expect(topics.dead).toEqual([
      { offset: waits.offset, kind: "dead-letter", reason: "key-unknown" },
    ]);
    expect(lane.state().ledger.last?.entry.ranges).toMatchObject([{ lane: 0 }, { lane: 0 }]);
    expect(lane.state().decisions.refusedForKey).toEqual([]);
  });

  test("stays refused after a crash, though its key has come since", async () => {
    let fresh = 0;
    const { topics, lane, waits, announce } = await withLateKey({ keysFreshAsOf: () => fresh });
    lane.commit(await lane.step(0));
    fresh = 1;
    lane.commit(await lane.step(10));
    // The intent to spend, then the update, which is thrown away.
    lane.commit(await lane.step(10));
    const thrownAway = await lane.step(10);
    announce();
    const again = await startLane(zones, topics);
    const repeated = await again.step(20);
    expect(thrownAway.outcomes).toMatchObject([{ offset: waits.offset, reason: "key-unknown" }]);
    expect(repeated.outcomes).toEqual(thrownAway.outcomes);
    expect(repeated.state.trainer).toEqual(thrownAway.state.trainer);
  });
});

test("many contributions at once make many updates, a few a transaction", async () => {
  const { topics, lane, runId, trainer } = await begun();
  for (let i = 0; i < 40; i += 1) trainer.send(trainer.next(runId));
  lane.commit(await lane.step(0));
  const result = await lane.step(0);
  expect(result.outputs.filter(({ role }) => role === "ledger")).toHaveLength(8);
  expect(result.wakeAtMs).toBe(0);
  lane.commit(result);
  await lane.run();
  expect(topics.ledger).toHaveLength(21);
});

function flip(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
