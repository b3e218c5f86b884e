/** Findings of the hostile review of privacy and aggregate, each as the attack that it was. */
import { randomBytes } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { sha256 } from "../../../pipeline/crypto/chunks.ts";
import { hex } from "../../../pipeline/crypto/key-handles.ts";
import {
  contributionFractionBits,
  contributionsHash,
  encodeContribution,
} from "../../../pipeline/privacy/contribution.ts";
import { createStalenessGate } from "../../../pipeline/stages/train/staleness.ts";
import {
  append,
  BATCH,
  configHashOf,
  createTopics,
  createTrainer,
  createZones,
  type LaneOptions,
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

async function begun(options: LaneOptions = {}) {
  const topics = createTopics(zones);
  const lane = await startLane(zones, topics, options);
  await lane.run();
  const { runId } = lane.state().run;
  return { topics, lane, runId, trainer: await createTrainer(zones, topics) };
}

function newestEntry(topics: Topics) {
  const hashed = readerOf(zones, topics).entries().at(-1);
  if (hashed === undefined) throw new Error("no entry");
  return hashed.entry;
}

describe("S1: the ledger is no commitment to gradient sums", () => {
  test("whoever knows every contribution cannot confirm it from the ledger; the topic can", async () => {
    const { topics, lane, runId, trainer } = await begun();
    const secret = [0, 1].map(() => trainer.next(runId, { nonce: randomBytes(16) }));
    const sent = secret.map((contribution) => trainer.send(contribution));
    await lane.run();
    const { contributionsHash: published, ranges } = newestEntry(topics);
    const plain = secret.map((contribution) => sha256(encodeContribution(contribution)));
    expect(published).not.toBe(hex(contributionsHash(plain)));
    const sealed = sent.map(({ value }) => sha256(value ?? new Uint8Array()));
    expect(published).toBe(hex(contributionsHash(sealed)));
    const names = ["from", "lane", "modelVersion", "places", "to"];
    for (const range of ranges) expect(Object.keys(range).sort()).toEqual(names);
  });

  test("the same sums sealed again get another hash, hence other noise", async () => {
    const { topics, lane, runId, trainer } = await begun();
    const contribution = trainer.next(runId);
    const twice = [0, 1].map(() => sha256(trainer.send(contribution).value ?? new Uint8Array()));
    expect(twice[0]).not.toEqual(twice[1]);
    trainer.send(trainer.next(runId));
    await lane.run();
    expect(newestEntry(topics).step).toBe(1);
  });
});

describe("S4: a contribution is bound to the run's clip norm", () => {
  test("one that was clipped by another norm on the same grid is refused", async () => {
    const { topics, lane, runId, trainer } = await begun();
    const train = { ...SPEC.train, l2ClipNorm: 1.9 };
    const fractionBits = contributionFractionBits({ places: PLACES, l2ClipNorm: 1.9 });
    // The reason why the grid cannot tell them apart.
    expect(fractionBits).toBe(contributionFractionBits({ places: PLACES, l2ClipNorm: 1 }));
    const configHash = configHashOf({ ...SPEC, train });
    const other = await createTrainer(zones, topics, 7);
    for (let i = 0; i < 2; i += 1) other.send(other.next(runId, { fractionBits, configHash }));
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await lane.run();
    const reasons = topics.dead.map(({ reason }) => reason);
    expect(reasons).toEqual(["contribution-refused", "contribution-refused"]);
    expect(newestEntry(topics)).toMatchObject({ step: 1, laneNext: { "0": 10 } });
  });
});

const JUNK = { key: Buffer.from("junk"), value: null, headers: {} };

describe("S2: junk in contributions does not hold up train", () => {
  test("train and aggregate go on with a record that nobody covers before, between and behind", async () => {
    const { topics, lane, runId, trainer } = await begun();
    const gate = createStalenessGate(BATCH / PLACES);
    let made = 0;
    for (let minute = 0; minute < 20; minute += 1) {
      append(topics, JUNK);
      const { laneNext } = newestEntry(topics);
      if (gate.mayContribute(0, { runId, laneNext }, 5 * made)) {
        const contribution = trainer.next(runId);
        gate.note(0, runId, contribution.to);
        trainer.send(contribution);
        made += 1;
      }
      await lane.run(minute * 60_000);
    }
    expect(made).toBe(20);
    expect(newestEntry(topics).step).toBe(10);
  });
});

describe("S3: refused records do not fill the window", () => {
  test("a window of nothing but junk is final, and training goes on", async () => {
    const { topics, lane, runId, trainer } = await begun();
    for (let i = 0; i < lane.bounds.maxRecords; i += 1) append(topics, JUNK);
    // Some a transaction, so that none takes long.
    const result = await lane.step(0);
    expect(result.outcomes).toHaveLength(1_024);
    expect(result.consumedTo).toBe((result.outcomes.at(-1)?.offset ?? 0) + 1);
    lane.commit(result);
    await lane.run();
    expect(topics.committed).toBe(topics.nextOffset);
    expect(topics.dead).toHaveLength(lane.bounds.maxRecords);
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await lane.run();
    expect(newestEntry(topics)).toMatchObject({ step: 1, contributionsNext: topics.nextOffset });
  });

  test("a restart goes on from the recorded position, and from no other", async () => {
    const { topics, lane, runId, trainer } = await begun();
    for (let i = 0; i < 5; i += 1) append(topics, JUNK);
    await lane.run();
    const { committed, changelog } = topics;
    const start = (change: Partial<Topics>) => startLane(zones, { ...topics, ...change });
    const mismatch = { code: "state-mismatch" };
    await expect(start({ committed: 2 })).rejects.toMatchObject(mismatch);
    await expect(start({ committed: (committed ?? 0) + 1 })).rejects.toMatchObject(mismatch);
    await expect(start({ changelog: null })).rejects.toMatchObject(mismatch);
    await expect(start({ committed: null })).rejects.toMatchObject(mismatch);
    const again = await startLane(zones, topics);
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await again.run();
    expect(newestEntry(topics)).toMatchObject({ step: 1, contributionsNext: topics.committed });
    expect(again.state().decisions.refusedTo).toBeNull();
    // What was recorded for the entry before holds for that one alone.
    expect(topics.dead).toHaveLength(5);
    await expect(start({ changelog })).resolves.toBeDefined();
    await expect(start({ changelog, committed })).rejects.toMatchObject(mismatch);
  });

  test("a new run begins behind what was refused", async () => {
    const { topics, lane } = await begun();
    for (let i = 0; i < 5; i += 1) append(topics, JUNK);
    await lane.run();
    const train = { ...SPEC.train, learningRate: 0.25 };
    const next = await startLane(zones, topics, { spec: { ...SPEC, train } });
    await next.run();
    expect(newestEntry(topics)).toMatchObject({
      kind: "genesis",
      sequence: 1,
      contributionsNext: topics.committed,
    });
    await expect(startLane(zones, topics, { spec: { ...SPEC, train } })).resolves.toBeDefined();
  });
});

describe("S8: waiting for a key does not lose authentic data", () => {
  test("a contribution whose key entry is seen a day late counts, and so does what follows", async () => {
    let fresh = 0;
    const { topics, lane, runId, trainer } = await begun({ keysFreshAsOf: () => fresh });
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await lane.run(0);
    // Train started again: the same lane goes on under another data key, whose entry this reader does not see yet.
    const again = await createTrainer(zones, topics, 0, 10);
    const late = topics.keys.splice(topics.keys.indexOf(again.entry), 1);
    again.send(again.next(runId));
    fresh = 100;
    await lane.run(100);
    for (const nowMs of [60_000, 86_400_000]) await lane.run(nowMs);
    topics.keys.push(...late);
    fresh = 86_400_000;
    again.send(again.next(runId));
    await lane.run(86_400_001);
    expect(topics.dead).toEqual([]);
    expect(newestEntry(topics)).toMatchObject({ step: 2, laneNext: { "0": 20 } });
    await (await startLane(zones, topics)).run(86_400_002);
  });

  test("junk under unknown keys is refused together, as soon as keys is known beyond it", async () => {
    let fresh = 0;
    const { topics, lane, runId, trainer } = await begun({ keysFreshAsOf: () => fresh });
    const stranger = await createTrainer(zones, { ...topics, keys: [] });
    for (let i = 0; i < 50; i += 1) stranger.send(stranger.next(runId));
    // What the stranger appended, as it had its own count of offsets.
    topics.nextOffset = 1 + (topics.contributions.at(-1)?.offset ?? 0);
    trainer.send(trainer.next(runId));
    trainer.send(trainer.next(runId));
    await lane.run(1_000);
    expect(newestEntry(topics).step).toBe(0);
    fresh = 1_001;
    const decision = await lane.step(1_050);
    expect(decision).toMatchObject({ outputs: [], outcomes: [], consumedTo: null });
    expect(decision.state.decisions.refusedForKey).toHaveLength(50);
    lane.commit(decision);
    await lane.run(1_050);
    expect(topics.dead.map(({ reason }) => reason)).toEqual(Array(50).fill("key-unknown"));
    expect(newestEntry(topics)).toMatchObject({ step: 1, laneNext: { "0": 10 } });
  });
});
