/** Conformance cases of a client: reading a partition from an explicit offset, read_committed and uncommitted. */
import { randomFillSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  bytes,
  expectNamed,
  feed,
  freshName,
  logEnd,
  readPartition,
  readUpTo,
  record,
  rejection,
  sendAndPlace,
  valuesOf,
  type World,
} from "./client-conformance.ts";
import { deleteRecordsBefore } from "./client-conformance-admin.ts";
import { until } from "./kafka.ts";

const FOUR_ZEROS = new Uint8Array(4);
const numbered = (count: number) => Array.from({ length: count }, (_, index) => record(`${index}`));

export function describeRead(world: World): void {
  describe("reader", () => {
    it("starts at the offset it is told and says where it stands", async () => {
      const client = world.client();
      const topic = await world.newTopic(2);
      await feed(client, topic, numbered(10), 1);
      const reader = await client.createReader(topic, 1, 4);
      expect(reader.position()).toBe(4);
      const found = await readUpTo(reader, 10);
      expect(found.map(({ offset }) => offset)).toEqual([4, 5, 6, 7, 8, 9]);
      expect(valuesOf(found)).toEqual(["4", "5", "6", "7", "8", "9"]);
      await reader.close();
    });

    it("answers with nothing at the end, and with what comes later", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const reader = await client.createReader(topic, 0, 0);
      for (const maxWaitMs of [0, 200]) {
        expect(await reader.fetch({ maxBytes: 1000, maxWaitMs })).toEqual({
          records: [],
          nextOffset: 0,
          lastStableOffset: 0,
          highWatermark: 0,
        });
      }
      // Longer than the test may take: it ends because data arrives.
      const waiting = reader.fetch({ maxBytes: 1000, maxWaitMs: 150_000 });
      await feed(client, topic, [record("late")]);
      expect(valuesOf((await waiting).records)).toEqual(["late"]);
      await reader.close();
    });

    it("never answers with nothing while there is something, however short the wait", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      await feed(client, topic, numbered(3));
      for (const offset of [0, 1, 2]) {
        // A new reader each time: its connections are cold.
        const reader = await client.createReader(topic, 0, offset);
        const { records } = await reader.fetch({ maxBytes: 1000, maxWaitMs: 0 });
        expect(records.at(0)?.offset).toBe(offset);
        await reader.close();
      }
    });

    it("hands out everything in order when asked for little at a time, a record above that alone", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const sent = Array.from({ length: 30 }, (_, index) => ({
        key: bytes(String(index)),
        value: randomFillSync(new Uint8Array(index % 5 === 0 ? 90_000 : 9_000)),
      }));
      await feed(client, topic, sent);
      const reader = await client.createReader(topic, 0, 0);
      const found: string[] = [];
      while (found.length < sent.length) {
        const fetched = await reader.fetch({ maxBytes: 20_000, maxWaitMs: 1_000 });
        found.push(...fetched.records.map(({ key }) => Buffer.from(key ?? []).toString()));
        expect(fetched.nextOffset).toBe(found.length);
      }
      expect(found).toEqual(sent.map((_, index) => String(index)));
      await reader.close();
    });

    it("moves beyond control records", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const lane = await client.createLaneProducer(freshName("marks"));
      const ends: number[] = [];
      for (const value of ["a", "b"]) {
        await lane.begin();
        ends.push((await sendAndPlace(client, lane, topic, [record(value)])).end);
        await lane.commit();
      }
      await lane.close();
      let latest = 0;
      await until("the last marker is written", async () => {
        latest = await logEnd(client, topic);
        return latest > (ends[1] ?? Number.NaN);
      });
      const reader = await client.createReader(topic, 0, 0);
      const found = await readUpTo(reader, latest);
      expect(valuesOf(found)).toEqual(["a", "b"]);
      expect(found.map(({ offset }) => offset + 1)).toEqual(ends);
      const last = await reader.fetch({ maxBytes: 1000, maxWaitMs: 0 });
      expect(last).toEqual({
        records: [],
        nextOffset: latest,
        lastStableOffset: latest,
        highWatermark: latest,
      });
      await reader.close();
    });

    it("stops before an open transaction and names the last stable offset; uncommitted goes on", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      await feed(client, topic, [record("plain")]);
      const lane = await client.createLaneProducer(freshName("open"));
      await lane.begin();
      const open = await sendAndPlace(client, lane, topic, [record("open")]);
      await feed(client, topic, [record("behind it")]);
      const latest = await logEnd(client, topic);
      expect(latest).toBeGreaterThan(open.end);
      const reader = await client.createReader(topic, 0, 0);
      expect(valuesOf(await readUpTo(reader, open.first))).toEqual(["plain"]);
      expect(await reader.fetch({ maxBytes: 1000, maxWaitMs: 100 })).toEqual({
        records: [],
        nextOffset: open.first,
        lastStableOffset: open.first,
        highWatermark: latest,
      });
      const uncommitted = await client.createReader(topic, 0, 0, "uncommitted");
      expect(valuesOf(await readUpTo(uncommitted, latest))).toEqual(["plain", "open", "behind it"]);
      await uncommitted.close();
      await lane.commit();
      expect(valuesOf(await readUpTo(reader, latest))).toEqual(["open", "behind it"]);
      await reader.close();
      await lane.close();
    });

    it("shows uncommitted what was aborted", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const lane = await client.createLaneProducer(freshName("aborted"));
      await lane.begin();
      await lane.send(topic, 0, [record("aborted")]);
      await lane.abort();
      await lane.close();
      expect(valuesOf(await readPartition(client, topic, 0, "uncommitted"))).toEqual(["aborted"]);
      expect(await readPartition(client, topic)).toEqual([]);
    });

    it("stops waiting when it is closed, closes twice without harm, and then reads no more", async () => {
      const client = world.client();
      const reader = await client.createReader(await world.newTopic(), 0, 0);
      // Longer than the test may take: it ends because the reader is closed, with an error or with nothing.
      const waiting = reader
        .fetch({ maxBytes: 1000, maxWaitMs: 150_000 })
        .then(({ records }) => expect(records).toEqual([]), expectNamed);
      await reader.close();
      await reader.close();
      await waiting;
      expectNamed(await rejection(reader.fetch({ maxBytes: 1000, maxWaitMs: 0 })));
    });
  });

  describeAborts(world);
  describeOutOfRange(world);
}

/** The three ways in which clients have been seen to leak aborted records (findings/kafka.md). */
function describeAborts(world: World): void {
  describe("reader and aborted transactions", () => {
    it("hides aborts that overlap and end out of order", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const a = await client.createLaneProducer(freshName("a"));
      const b = await client.createLaneProducer(freshName("b"));
      await a.begin();
      await a.send(topic, 0, [record("a aborted")]);
      await b.begin();
      await b.send(topic, 0, [record("b aborted")]);
      await a.send(topic, 0, [record("a aborted too")]);
      await b.abort();
      await b.begin();
      await b.send(topic, 0, [record("b kept")]);
      await a.abort();
      await b.commit();
      await a.close();
      await b.close();
      expect(valuesOf(await readPartition(client, topic))).toEqual(["b kept"]);
    });

    it("hides several aborts of one producer between its commits", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const lane = await client.createLaneProducer(freshName("lane"));
      for (const [index, ending] of (
        ["abort", "commit", "abort", "abort", "commit"] as const
      ).entries()) {
        await lane.begin();
        await lane.send(topic, 0, [record(`${index} ${ending}`)]);
        await lane[ending]();
      }
      await lane.close();
      expect(valuesOf(await readPartition(client, topic))).toEqual(["1 commit", "4 commit"]);
    });

    it("takes no user's key for a marker: four zero bytes, aborted and kept", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const lane = await client.createLaneProducer(freshName("zeros"));
      await lane.begin();
      await lane.send(topic, 0, [
        record("aborted", FOUR_ZEROS),
        record("aborted after it"),
        record("aborted again", FOUR_ZEROS),
      ]);
      await lane.abort();
      await lane.begin();
      await lane.send(topic, 0, [record("kept", FOUR_ZEROS), record("kept after it")]);
      await lane.commit();
      await lane.close();
      const found = await readPartition(client, topic);
      expect(valuesOf(found)).toEqual(["kept", "kept after it"]);
      expect([...(found[0]?.key ?? [])]).toEqual([0, 0, 0, 0]);
    });

    it("starts in the middle of an aborted transaction and shows none of it", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const lane = await client.createLaneProducer(freshName("middle"));
      await lane.begin();
      const { first } = await sendAndPlace(client, lane, topic, numbered(6));
      await lane.abort();
      await lane.begin();
      await lane.send(topic, 0, [record("kept")]);
      await lane.commit();
      await lane.close();
      const reader = await client.createReader(topic, 0, first + 3);
      const found = await readUpTo(reader, await logEnd(client, topic));
      expect(valuesOf(found)).toEqual(["kept"]);
      await reader.close();
    });
  });
}

function describeOutOfRange(world: World): void {
  describe("reader outside the log", () => {
    it("refuses an offset beyond the end", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      await feed(client, topic, numbered(3));
      const reader = await client.createReader(topic, 0, 8);
      const error = await rejection(reader.fetch({ maxBytes: 1000, maxWaitMs: 10_000 }));
      expect(error).toMatchObject({ code: "state-mismatch" });
      await reader.close();
    });

    it("refuses an offset whose records are gone, and never jumps over them", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      await feed(client, topic, numbered(6));
      await deleteRecordsBefore(world.brokers(), topic, 0, 4);
      expect(await client.offsets(topic, 0)).toEqual({ earliest: 4, latest: 6 });
      const reader = await client.createReader(topic, 0, 2);
      const error = await rejection(reader.fetch({ maxBytes: 1000, maxWaitMs: 10_000 }));
      expect(error).toMatchObject({ code: "state-mismatch" });
      await reader.close();
      const rest = await client.createReader(topic, 0, 4);
      expect(valuesOf(await readUpTo(rest, 6))).toEqual(["4", "5"]);
      await rest.close();
    });

    it("refuses a partition that is not there", async () => {
      const client = world.client();
      const topic = await world.newTopic(1);
      const open = async (): Promise<void> => {
        const reader = await client.createReader(topic, 5, 0);
        await reader.fetch({ maxBytes: 1000, maxWaitMs: 100 }).finally(() => reader.close());
      };
      expect(await rejection(open())).toMatchObject({ code: "topic-missing" });
    });
  });
}

/** A compacted topic and what was written to it: offset i holds `keys[i]` and a value that begins with i. */
export interface Compacted {
  readonly topic: string;
  readonly keys: readonly string[];
}

/** Values large enough that a segment (at least 1 MiB since KIP-1030) is full after ten of them. */
const COMPACTED_VALUE_BYTES = 110_000;

/** Writes a topic that the broker's cleaner will compact by and by. */
export async function writeCompacted(world: World): Promise<Compacted> {
  const topic = await world.newTopic(1, {
    "cleanup.policy": "compact",
    "segment.bytes": String(1024 * 1024),
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "1",
    "delete.retention.ms": "1",
  });
  const keys = Array.from({ length: 40 }, (_, index) => `key${index % 4}`);
  const records = keys.map((key, index) => {
    const value = randomFillSync(Buffer.alloc(COMPACTED_VALUE_BYTES));
    value.writeUInt32BE(index);
    return { key: bytes(key), value };
  });
  await feed(world.client(), topic, records);
  return { topic, keys };
}

export function describeCompacted(world: World, written: () => Compacted): void {
  describe("reader of a compacted topic", () => {
    it("goes over the gaps: every key's last record, offsets as written, up to the end", async () => {
      const client = world.client();
      const { topic, keys } = written();
      const { latest } = await client.offsets(topic, 0);
      expect(latest).toBe(keys.length);
      let found = await readPartition(client, topic);
      await until(
        "the cleaner has left gaps",
        async () => {
          found = await readPartition(client, topic);
          return found.length < keys.length;
        },
        120_000,
      );
      for (const { offset, key, value } of found) {
        expect(Buffer.from(key ?? []).toString()).toBe(keys[offset]);
        expect(Buffer.from(value ?? []).readUInt32BE()).toBe(offset);
      }
      const offsets = new Set(found.map(({ offset }) => offset));
      for (const key of new Set(keys)) {
        expect(offsets.has(keys.lastIndexOf(key))).toBe(true);
      }
      // From inside a gap.
      const gap = keys.findIndex((_, offset) => !offsets.has(offset));
      const reader = await client.createReader(topic, 0, gap);
      const rest = await readUpTo(reader, latest);
      expect(rest.map(({ offset }) => offset)).toEqual(
        found.map(({ offset }) => offset).filter((offset) => offset >= gap),
      );
      await reader.close();
    });
  });
}
