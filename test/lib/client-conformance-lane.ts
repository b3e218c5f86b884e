/** Conformance cases of a client: the transactional producer of a lane. */
import { randomFillSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  bytes,
  expectNamed,
  freshName,
  readPartition,
  readUpTo,
  record,
  rejection,
  sendAndPlace,
  untilCommitted,
  valuesOf,
  type World,
} from "./client-conformance.ts";

export function describeLane(world: World): void {
  describe("lane producer", () => {
    it("commits outputs and offset together", async () => {
      const client = world.client();
      const [input, output] = [await world.newTopic(2), await world.newTopic(2)];
      const group = freshName("group");
      const lane = await client.createLaneProducer(freshName("lane"));
      await lane.begin();
      await lane.send(output, 1, [record("one"), record("two")]);
      await lane.sendOffset(group, input, 1, 7);
      await lane.commit();
      await lane.close();
      expect(valuesOf(await readPartition(client, output, 1))).toEqual(["one", "two"]);
      await untilCommitted(client, [group, input, 1], 7);
      expect(await client.committedOffset(group, input, 0)).toBeNull();
    });

    it("aborts outputs and offset together, and goes on", async () => {
      const client = world.client();
      const [input, output] = [await world.newTopic(), await world.newTopic()];
      const group = freshName("group");
      const lane = await client.createLaneProducer(freshName("lane"));
      await lane.begin();
      await lane.send(output, 0, [record("aborted")]);
      await lane.sendOffset(group, input, 0, 3);
      await lane.abort();
      expect(await client.committedOffset(group, input, 0)).toBeNull();
      expect(await readPartition(client, output)).toEqual([]);
      await lane.begin();
      await lane.send(output, 0, [record("kept")]);
      await lane.sendOffset(group, input, 0, 4);
      await lane.commit();
      await lane.close();
      await untilCommitted(client, [group, input, 0], 4);
      expect(valuesOf(await readPartition(client, output))).toEqual(["kept"]);
    });

    it("writes to several topics in one transaction, each send to its one partition", async () => {
      const client = world.client();
      const topics = [await world.newTopic(3), await world.newTopic(3)];
      const lane = await client.createLaneProducer(freshName("lane"));
      await lane.begin();
      for (const [index, topic] of topics.entries()) {
        // Keys that a partitioner would spread.
        const records = ["a", "b", "c", "d", "e"].map((key) => record(key, bytes(key)));
        await lane.send(topic, index + 1, records);
      }
      for (const topic of topics) {
        expect(await readPartitionNow(world, topic)).toEqual([]);
      }
      await lane.commit();
      await lane.close();
      for (const [index, topic] of topics.entries()) {
        expect(valuesOf(await readPartition(client, topic, index + 1))).toEqual([..."abcde"]);
        for (const partition of [0, 1, 2].filter((other) => other !== index + 1)) {
          expect(await client.offsets(topic, partition)).toEqual({ earliest: 0, latest: 0 });
        }
      }
    });

    it("sends several messages' worth at once, in order", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const sent = Array.from({ length: 3_500 }, (_, index) => ({
        key: bytes(String(index)),
        value: randomFillSync(new Uint8Array(1_000)),
      }));
      const lane = await client.createLaneProducer(freshName("lane"));
      await lane.begin();
      const { first, end } = await sendAndPlace(client, lane, topic, sent);
      expect(end - first).toBe(sent.length);
      await lane.commit();
      await lane.close();
      const found = await readPartition(client, topic);
      expect(found.map(({ offset }) => offset)).toEqual(sent.map((_, index) => first + index));
      expect(
        found.every(
          ({ value }, index) => Buffer.compare(value ?? new Uint8Array(), sent[index]!.value) === 0,
        ),
      ).toBe(true);
    });

    it("refuses a record above the topic's limit, and shows nothing of its transaction", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const id = freshName("lane");
      const lane = await client.createLaneProducer(id);
      await lane.begin();
      await lane.send(topic, 0, [record("before")]);
      const value = randomFillSync(new Uint8Array(2_500_000));
      const error = await rejection(lane.send(topic, 0, [{ key: null, value }]));
      expect(error).toMatchObject({ code: "limit-exceeded" });
      await lane.close();
      const next = await client.createLaneProducer(id);
      await next.begin();
      await next.send(topic, 0, [record("after")]);
      await next.commit();
      await next.close();
      expect(valuesOf(await readPartition(client, topic))).toEqual(["after"]);
    });

    it("takes a record as large as the topic allows", async () => {
      const client = world.client();
      const topic = await world.newTopic(1, { "max.message.bytes": String(4 * 1024 * 1024) });
      const value = randomFillSync(new Uint8Array(3 * 1024 * 1024));
      const lane = await client.createLaneProducer(freshName("lane"));
      await lane.begin();
      await lane.send(topic, 0, [record("small"), { key: null, value }, record("small too")]);
      await lane.commit();
      await lane.close();
      const found = await readPartition(client, topic);
      expect(found.map((entry) => entry.value?.byteLength)).toEqual([5, value.byteLength, 9]);
      expect(Buffer.compare(found[1]?.value ?? new Uint8Array(), value)).toBe(0);
    });

    it("closes twice without harm, and leaves no transaction of its own behind once aborted", async () => {
      const lane = await world.client().createLaneProducer(freshName("lane"));
      await lane.begin();
      await lane.abort();
      await lane.close();
      await lane.close();
    });
  });

  describeFencing(world);
}

/** What is visible now, without waiting for what an open transaction holds. */
async function readPartitionNow(world: World, topic: string): Promise<(string | null)[]> {
  const found: (string | null)[] = [];
  for (const partition of [0, 1, 2]) {
    const reader = await world.client().createReader(topic, partition, 0);
    found.push(...valuesOf((await reader.fetch({ maxBytes: 1000, maxWaitMs: 50 })).records));
    await reader.close();
  }
  return found;
}

function describeFencing(world: World): void {
  describe("lane producer and its successor", () => {
    it("is refused everything once taken over, and nothing of it becomes visible", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const group = freshName("group");
      const id = freshName("lane");
      const old = await client.createLaneProducer(id);
      await old.begin();
      await old.send(topic, 0, [record("left open")]);
      await old.sendOffset(group, topic, 0, 11);
      const owner = await client.createLaneProducer(id);
      expect(await client.committedOffset(group, topic, 0)).toBeNull();
      for (const work of [() => old.send(topic, 0, [record("late")]), () => old.commit()]) {
        expectNamed(await rejection(work()));
      }
      await old.close();
      await owner.begin();
      await owner.send(topic, 0, [record("owner's")]);
      await owner.sendOffset(group, topic, 0, 12);
      await owner.commit();
      await owner.close();
      expect(valuesOf(await readPartition(client, topic))).toEqual(["owner's"]);
      await untilCommitted(client, [group, topic, 0], 12);
    });

    it("is refused at its commit, and at its next transaction", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const id = freshName("lane");
      const sleeper = await client.createLaneProducer(id);
      const second = await client.createLaneProducer(id);
      const work = async (): Promise<void> => {
        await sleeper.begin();
        await sleeper.send(topic, 0, [record("a zombie's")]);
        await sleeper.commit();
      };
      expectNamed(await rejection(work()));
      await sleeper.close();
      await second.begin();
      await second.send(topic, 0, [record("second's")]);
      const third = await client.createLaneProducer(id);
      expectNamed(await rejection(second.commit()));
      await second.close();
      await third.begin();
      await third.send(topic, 0, [record("third's")]);
      await third.commit();
      await third.close();
      expect(valuesOf(await readPartition(client, topic))).toEqual(["third's"]);
    });

    it("finds the offset and the records of its predecessor's last commit at once", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const group = freshName("group");
      const id = freshName("lane");
      // A lane starts so: whatever the one before committed must be there when the fence stands, markers and all.
      for (const offset of [1, 2, 3, 4, 5]) {
        const lane = await client.createLaneProducer(id);
        expect(await client.committedOffset(group, topic, 0)).toBe(
          offset === 1 ? null : offset - 1,
        );
        await lane.begin();
        await lane.send(topic, 0, [record(`${offset}`)]);
        await lane.sendOffset(group, topic, 0, offset);
        await lane.commit();
        await lane.close();
      }
    });

    it("settles what a dead one left open: its records are never seen, readers go on", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const group = freshName("group");
      const id = freshName("lane");
      const dead = await client.createLaneProducer(id);
      await dead.begin();
      const { first, end } = await sendAndPlace(client, dead, topic, [record("unfinished")]);
      await dead.sendOffset(group, topic, 0, 5);
      await dead.close();
      const reader = await client.createReader(topic, 0, first);
      const before = await reader.fetch({ maxBytes: 1000, maxWaitMs: 50 });
      expect(before).toMatchObject({ records: [], nextOffset: first, lastStableOffset: first });
      const successor = await client.createLaneProducer(id);
      expect(await client.committedOffset(group, topic, 0)).toBeNull();
      await successor.close();
      expect(await readUpTo(reader, end)).toEqual([]);
      await reader.close();
    });
  });
}
