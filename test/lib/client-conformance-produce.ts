/** Conformance cases of a client: the plain producer, and what a record is when it comes back. */
import { randomFillSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { bytes, feed, readPartition, valuesOf, type World } from "./client-conformance.ts";

/** Keys with Java's murmur2 of them: org.apache.kafka.common.utils.UtilsTest.testMurmur2. */
const MURMUR2: readonly (readonly [string, number])[] = [
  ["21", -973932308],
  ["foobar", -790332482],
  ["a-little-bit-long-string", -985981536],
  ["a-little-bit-longer-string", -1486304829],
  ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
  ["abc", 479470107],
];
const PARTITIONS = 7;

async function readTopicOf(world: World, topic: string, partitions: number) {
  const all: StreamRecord[][] = [];
  for (let partition = 0; partition < partitions; partition += 1) {
    all.push(await readPartition(world.client(), topic, partition));
  }
  return all;
}

export function describeProduce(world: World): void {
  describe("plain producer", () => {
    it("puts keyed records where Java's default partitioner puts them", async () => {
      const topic = await world.newTopic(PARTITIONS);
      const producer = await world.client().createPlainProducer();
      await producer.send(
        topic,
        MURMUR2.map(([key]) => ({ key: bytes(key), value: bytes(key), partition: null })),
      );
      await producer.close();
      const found = await readTopicOf(world, topic, PARTITIONS);
      for (const [key, hash] of MURMUR2) {
        const partition = (hash & 0x7fffffff) % PARTITIONS;
        expect(valuesOf(found[partition] ?? [])).toContain(key);
      }
      expect(found.flat()).toHaveLength(MURMUR2.length);
    });

    it("keeps one key in one partition and its order, and loses no unkeyed record", async () => {
      const topic = await world.newTopic(3);
      const producer = await world.client().createPlainProducer();
      const keyed = Array.from({ length: 50 }, (_, index) => `k${index}`);
      for (const half of [keyed.slice(0, 20), keyed.slice(20)]) {
        await producer.send(
          topic,
          half.map((value) => ({ key: bytes("same"), value: bytes(value), partition: null })),
        );
      }
      const unkeyed = Array.from({ length: 20 }, (_, index) => `u${index}`);
      await producer.send(
        topic,
        unkeyed.map((value) => ({ key: null, value: bytes(value), partition: null })),
      );
      await producer.close();
      const found = await readTopicOf(world, topic, 3);
      const homes = found.filter((records) => records.some(({ key }) => key !== null));
      expect(homes).toHaveLength(1);
      expect(valuesOf(homes[0]?.filter(({ key }) => key !== null) ?? [])).toEqual(keyed);
      const rest = valuesOf(found.flat().filter(({ key }) => key === null));
      expect(rest.sort()).toEqual(unkeyed.sort());
    });

    it("obeys a named partition, whatever the key", async () => {
      const topic = await world.newTopic(3);
      const producer = await world.client().createPlainProducer();
      await producer.send(
        topic,
        [2, 0, 2].map((partition) => ({ key: bytes("k"), value: bytes("v"), partition })),
      );
      await producer.close();
      const found = await readTopicOf(world, topic, 3);
      expect(found.map((records) => records.length)).toEqual([1, 0, 2]);
    });

    it("tells null from empty in keys and values, and keeps every byte", async () => {
      const topic = await world.newTopic();
      const empty = new Uint8Array();
      const allBytes = Uint8Array.from({ length: 256 }, (_, index) => index);
      const sent = [
        { key: null, value: null },
        { key: null, value: empty },
        { key: empty, value: null },
        { key: empty, value: empty },
        { key: new Uint8Array(4), value: allBytes },
        // A view into a larger buffer: only its own bytes count.
        { key: allBytes.subarray(3, 5), value: allBytes.subarray(250) },
      ];
      await feed(world.client(), topic, sent);
      const found = await readPartition(world.client(), topic);
      const plain = (part: Uint8Array | null) => (part === null ? null : [...part]);
      expect(found.map(({ key, value }) => [plain(key), plain(value)])).toEqual(
        sent.map(({ key, value }) => [plain(key), plain(value)]),
      );
      expect(found.every(({ timestampMs }) => timestampMs > Date.UTC(2024, 0))).toBe(true);
    });

    it("keeps headers: bytes, empty values, odd names, the last of a repeated name", async () => {
      const topic = await world.newTopic();
      const odd = "__proto__";
      const headers = {
        plain: bytes("one"),
        ünïcode: bytes("two"),
        7: bytes("x"),
        bin: new Uint8Array([0, 255]),
      };
      await feed(world.client(), topic, [
        { key: null, value: bytes("with"), headers },
        { key: null, value: bytes("empty"), headers: { nothing: new Uint8Array() } },
        { key: null, value: bytes("odd"), headers: { [odd]: bytes("p"), constructor: bytes("c") } },
        { key: null, value: bytes("without") },
      ]);
      const found = await readPartition(world.client(), topic);
      const shown = found.map((entry) =>
        Object.entries(entry.headers)
          .map(([name, value]) => [name, [...value]])
          .sort(),
      );
      const expected = (entries: Record<string, Uint8Array>) =>
        Object.entries(entries)
          .map(([name, value]) => [name, [...value]])
          .sort();
      expect(shown).toEqual([
        expected(headers),
        [["nothing", []]],
        [
          [odd, [...bytes("p")]],
          ["constructor", [...bytes("c")]],
        ].sort(),
        [],
      ]);
    });

    it("sends more than one message's worth in order, and refuses one that is too large", async () => {
      const topic = await world.newTopic();
      const value = new Uint8Array(60_000).fill(120);
      const sent = Array.from({ length: 40 }, (_, index) => ({
        key: bytes(String(index)),
        value,
      }));
      await feed(world.client(), topic, sent);
      const found = await readPartition(world.client(), topic);
      expect(found.map(({ key }) => Buffer.from(key ?? []).toString())).toEqual(
        sent.map((_, index) => String(index)),
      );
      const large = randomFillSync(new Uint8Array(3_000_000));
      await expect(feed(world.client(), topic, [{ key: null, value: large }])).rejects.toThrow();
      expect(await readPartition(world.client(), topic)).toHaveLength(sent.length);
    });

    it("closes twice without harm, and sends nothing when asked to", async () => {
      const topic = await world.newTopic();
      const producer = await world.client().createPlainProducer();
      await producer.send(topic, []);
      await producer.close();
      await producer.close();
      expect(await readPartition(world.client(), topic)).toEqual([]);
    });
  });
}
