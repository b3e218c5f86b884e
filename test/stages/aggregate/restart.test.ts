/**
 * Restarts of aggregate: after any crash it goes on as if nothing had happened, and it does not start when ledger,
 * checkpoint and group offset disagree. A crash is a step whose result is thrown away; what it wrote counts as released.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { encodeCbor } from "../../../pipeline/crypto/cbor.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../../pipeline/network/safetensors.ts";
import type { LedgerEntry } from "../../../pipeline/privacy/ledger-entry.ts";
import { decodeDecisions } from "../../../pipeline/stages/aggregate/decisions.ts";
import type { RestoredLedger } from "../../../pipeline/stages/aggregate/options.ts";
import {
  append,
  createTopics,
  createTrainer,
  createZones,
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

/** What must not depend on how often the stage was restarted: all but what is fresh for each seal. */
function comparable({ model: _model, previous: _previous, at: _at, ...facts }: LedgerEntry) {
  return facts;
}

function copyOf(topics: Topics): Topics {
  return {
    ...topics,
    contributions: [...topics.contributions],
    keys: [...topics.keys],
    models: [...topics.models],
    ledger: [...topics.ledger],
    dead: [...topics.dead],
  };
}

/** A genesis, then contributions of two lanes with junk between them. */
async function prepared(): Promise<Topics> {
  const topics = createTopics(zones);
  const lane = await startLane(zones, topics);
  await lane.run();
  const { runId } = lane.state().run;
  const trainers = [
    await createTrainer(zones, topics, 0),
    await createTrainer(zones, topics, 1, 33),
  ];
  for (let i = 0; i < 14; i += 1) {
    const trainer = trainers[i % 3 === 0 ? 1 : 0];
    trainer?.send(trainer.next(runId));
    if (i % 4 === 1)
      append(topics, { key: Buffer.from("junk"), value: Buffer.from("junk"), headers: {} });
  }
  return topics;
}

describe("a crash at any point", () => {
  test("gives the ledger and the weights of an uninterrupted run", async () => {
    const start = await prepared();
    const calm = copyOf(start);
    await (await startLane(zones, calm)).run();
    const expected = readerOf(zones, calm);
    // Every schedule of "commit" and "crash" over the first eight steps.
    for (let schedule = 0; schedule < 256; schedule += 37) {
      const topics = copyOf(start);
      let lane = await startLane(zones, topics);
      for (let turn = 0; turn < 8; turn += 1) {
        // Fewer records at first, as a slow fetch gives them.
        const hidden = topics.contributions.splice(4 + turn * 2);
        const result = await lane.step(turn);
        topics.contributions.push(...hidden);
        if ((schedule >> turn) & 1) {
          lane = await startLane(zones, topics);
        } else {
          lane.commit(result);
        }
      }
      await lane.run();
      const reader = readerOf(zones, topics);
      expect(reader.entries().map(({ entry }) => comparable(entry))).toEqual(
        expected.entries().map(({ entry }) => comparable(entry)),
      );
      expect(Buffer.from(reader.newest()?.checkpoint ?? [])).toEqual(
        Buffer.from(expected.newest()?.checkpoint ?? []),
      );
      expect(topics.dead).toEqual(calm.dead);
      expect(topics.committed).toBe(calm.committed);
    }
    expect(expected.entries()).toHaveLength(8);
  });

  test("a repeated update has the same weights as the one that was thrown away", async () => {
    const topics = await prepared();
    const lane = await startLane(zones, topics);
    lane.commit(await lane.step(0));
    const thrownAway = await lane.step(0);
    const again = await startLane(zones, topics);
    const repeated = await again.step(99);
    expect(thrownAway.consumedTo).not.toBeNull();
    expect(repeated.state.trainer).toEqual(thrownAway.state.trainer);
    // Sealed anew all the same: another data key, another nonce.
    expect(repeated.outputs[1]?.value).not.toEqual(thrownAway.outputs[1]?.value);
  });
});

describe("does not start when", () => {
  async function ran(): Promise<Topics> {
    const topics = await prepared();
    await (await startLane(zones, topics)).run();
    return topics;
  }

  test.each([-1, 1])("the group offset is off by %i", async (by) => {
    const topics = await ran();
    topics.committed = (topics.committed ?? 0) + by;
    await expect(startLane(zones, topics)).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test("the group offset is gone", async () => {
    const topics = await ran();
    topics.committed = null;
    await expect(startLane(zones, topics)).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test("the newest model is missing", async () => {
    const topics = await ran();
    const newest = readerOf(zones, topics).newest();
    topics.models = topics.models.filter(
      ({ key }) => !newest?.entry.model.chunks.includes(Buffer.from(key).toString("hex")),
    );
    await expect(startLane(zones, topics)).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test("the newest entry is missing", async () => {
    const topics = await ran();
    topics.ledger.pop();
    await expect(startLane(zones, topics)).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test("an entry in the middle is missing", async () => {
    const topics = await ran();
    topics.ledger.splice(3, 1);
    await expect(startLane(zones, topics)).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test("the contributions of a genesis were skipped", async () => {
    const topics = createTopics(zones);
    await (await startLane(zones, topics)).run();
    topics.committed = 4;
    await expect(startLane(zones, topics)).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test.each([
    ["run", { runId: "ab".repeat(16) }],
    ["version", { modelVersion: "6" }],
    ["positions", { laneNext: "{}" }],
    ["place in contributions", { contributionsNext: "1" }],
    ["configuration", { configHash: "ab".repeat(32) }],
  ])("the checkpoint says another %s than its entry", async (_name, metadata) => {
    const topics = await ran();
    const tamper = ({ entries, newest }: RestoredLedger) => {
      if (newest === null) throw new Error("no model");
      const checkpoint = decodeCheckpoint(newest.checkpoint);
      const changed = { ...checkpoint, metadata: { ...checkpoint.metadata, ...metadata } };
      return { entries, newest: { ...newest, checkpoint: encodeCheckpoint(changed) } };
    };
    const start = startLane(zones, topics, { tamper });
    await expect(start).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test("an entry does not have the hash it is handed with", async () => {
    const topics = await ran();
    const entryHash = "00".repeat(32);
    const tamper = ({ entries, newest }: RestoredLedger) => ({
      entries: entries.map((item, i) => (i === entries.length - 1 ? { ...item, entryHash } : item)),
      newest: newest === null ? null : { ...newest, entryHash },
    });
    const start = startLane(zones, topics, { tamper });
    await expect(start).rejects.toMatchObject({ code: "ledger-invalid" });
  });

  test("the changelog is not one of ours", async () => {
    const topics = await ran();
    topics.changelog = Buffer.from("a0", "hex");
    await expect(startLane(zones, topics)).rejects.toMatchObject({ code: "state-mismatch" });
  });
});

describe("a run that was begun under noise rows of another version", () => {
  /** As the version before wrote it. */
  const asBefore = (topics: Topics, spendingRun: string | null) => {
    const { refusedForKey, refusedTo } = decodeDecisions(topics.changelog);
    const pair = refusedTo === null ? null : [refusedTo.sequence, refusedTo.position];
    const old = { v: 1, refusedForKey, refusedTo: pair, spendingRun };
    topics.changelog = Buffer.from(encodeCbor(old));
  };

  test("takes in nothing more, whether an update of it is committed or only tried", async () => {
    for (const isCommitted of [true, false]) {
      const topics = await prepared();
      const lane = await startLane(zones, topics);
      if (isCommitted) await lane.run();
      const { runId } = lane.state().run;
      asBefore(topics, runId);
      const before = topics.ledger.length;
      const after = await startLane(zones, topics);
      expect(after.ended).toEqual([expect.stringContaining("noise")]);
      await after.run();
      expect(topics.ledger).toHaveLength(before);
      // What it was stays known: the next start says the same.
      expect((await startLane(zones, topics)).ended).toHaveLength(1);
    }
  });

  test("goes on when nothing of it can have been released", async () => {
    const topics = await prepared();
    asBefore(topics, null);
    const lane = await startLane(zones, topics);
    await lane.run();
    expect(lane.ended).toEqual([]);
    expect(lane.state().ledger.last?.entry.step).toBeGreaterThan(0);
    expect((await startLane(zones, topics)).ended).toEqual([]);
  });
});

test("metadata of the checkpoint repeats what its entry says", async () => {
  const topics = await prepared();
  await (await startLane(zones, topics)).run();
  const newest = readerOf(zones, topics).newest();
  if (newest === null) throw new Error("no model");
  const { entry } = newest;
  expect(decodeCheckpoint(newest.checkpoint).metadata).toEqual({
    runId: entry.runId,
    modelVersion: "7",
    step: "7",
    laneNext: `{"0":${entry.laneNext[0]},"1":${entry.laneNext[1]}}`,
    contributionsNext: String(entry.contributionsNext),
    configHash: entry.configHash,
  });
});

test("a clock that jumps changes the times in the ledger and nothing else", async () => {
  const start = await prepared();
  const calm = copyOf(start);
  await (await startLane(zones, calm)).run();
  const topics = copyOf(start);
  const late = topics.contributions.splice(7);
  const lane = await startLane(zones, topics);
  await lane.run(4e12);
  topics.contributions.push(...late.slice(0, 4));
  await lane.run(-1e9);
  topics.contributions.push(...late.slice(4));
  await (await startLane(zones, topics)).run(1.7e12);
  const entries = readerOf(zones, topics).entries();
  expect(new Set(entries.slice(1).map(({ entry }) => entry.at)).size).toBe(3);
  expect(entries.map(({ entry }) => comparable(entry))).toEqual(
    readerOf(zones, calm)
      .entries()
      .map(({ entry }) => comparable(entry)),
  );
  expect(Buffer.from(readerOf(zones, topics).newest()?.checkpoint ?? [])).toEqual(
    Buffer.from(readerOf(zones, calm).newest()?.checkpoint ?? []),
  );
});

test("nothing of a run depends on settings that say only how the work is done", async () => {
  const topics = await prepared();
  await (await startLane(zones, topics)).run();
  const train = { ...SPEC.train, backend: "wasm" as const, maxStalenessUpdates: 9, tailAfterMs: 5 };
  const lane = await startLane(zones, topics, { spec: { ...SPEC, train } });
  await lane.run();
  expect(topics.ledger).toHaveLength(8);
});
