/** Conformance cases of a client: topics, offsets of the log, offsets of a group, opening and closing. */
import { describe, expect, it } from "vitest";
import {
  expectNamed,
  feed,
  freshName,
  openNamed,
  record,
  rejection,
  untilCommitted,
  type World,
} from "./client-conformance.ts";

export function describeTopics(world: World): void {
  describe("topics", () => {
    it("creates what does not exist, once, with its partitions", async () => {
      const client = world.client();
      const prefix = freshName("create");
      const shape = (name: string, partitions: number) => ({
        name: `${prefix}.${name}`,
        partitions,
        replicationFactor: 1,
        config: { "cleanup.policy": "delete" },
      });
      expect(await client.createTopics([shape("a", 3)])).toEqual([`${prefix}.a`]);
      expect(await client.createTopics([shape("a", 3), shape("b", 1)])).toEqual([`${prefix}.b`]);
      expect(await client.createTopics([shape("a", 3), shape("b", 1)])).toEqual([]);
      const described = await client.describeTopics([`${prefix}.b`, `${prefix}.a`, `${prefix}.c`]);
      expect([...described].sort((x, y) => x.name.localeCompare(y.name))).toEqual([
        { name: `${prefix}.a`, partitions: 3 },
        { name: `${prefix}.b`, partitions: 1 },
      ]);
      expect([...(await client.listTopics(prefix))].sort()).toEqual([`${prefix}.a`, `${prefix}.b`]);
      expect(await client.listTopics(`${prefix}.nothing`)).toEqual([]);
      expect(await client.describeTopics([`${prefix}.c`])).toEqual([]);
    });

    it("gives a topic its configuration, or says that the broker refuses it", async () => {
      const client = world.client();
      const make = (config: Record<string, string>) =>
        client.createTopics([
          { name: freshName("config"), partitions: 1, replicationFactor: 1, config },
        ]);
      expect(await make({ "cleanup.policy": "compact" })).toHaveLength(1);
      expect(await rejection(make({ "cleanup.policy": "nonsense" }))).toMatchObject({
        code: "kafka-failed",
      });
    });
  });

  describe("offsets", () => {
    it("grow with what is written, partition by partition", async () => {
      const client = world.client();
      const topic = await world.newTopic(2);
      expect(await client.offsets(topic, 1)).toEqual({ earliest: 0, latest: 0 });
      await feed(client, topic, [record("a"), record("b")], 1);
      expect(await client.offsets(topic, 1)).toEqual({ earliest: 0, latest: 2 });
      expect(await client.offsets(topic, 0)).toEqual({ earliest: 0, latest: 0 });
    });

    it("count what an open transaction has written", async () => {
      const client = world.client();
      const topic = await world.newTopic();
      const lane = await client.createLaneProducer(freshName("open"));
      try {
        await lane.begin();
        await lane.send(topic, 0, [record("a"), record("b")]);
        expect(await client.offsets(topic, 0)).toEqual({ earliest: 0, latest: 2 });
        await lane.abort();
      } finally {
        await lane.close();
      }
    });

    it("are refused by name for a partition that is not there", async () => {
      const topic = await world.newTopic(1);
      expect(await rejection(world.client().offsets(topic, 7))).toMatchObject({
        code: "topic-missing",
      });
    });

    it("of a group are null until it commits, then what it committed", async () => {
      const client = world.client();
      const topic = await world.newTopic(2);
      const group = freshName("group");
      expect(await client.committedOffset(group, topic, 0)).toBeNull();
      const producer = await client.createLaneProducer(freshName("committer"));
      for (const offset of [5, 6]) {
        await producer.begin();
        await producer.send(topic, 0, [record("x")]);
        await producer.sendOffset(group, topic, 0, offset);
        await producer.commit();
        await untilCommitted(client, [group, topic, 0], offset);
      }
      expect(await client.committedOffset(group, topic, 1)).toBeNull();
      await producer.close();
    });
  });

  describe("client", () => {
    it("closes twice without harm", async () => {
      const client = await openNamed(world.name, world.brokers());
      await client.listTopics("nothing");
      await client.close();
      await client.close();
    });

    it("says that no broker answers", async () => {
      // Port 1 is reserved and closed on every machine.
      const error = await rejection(openNamed(world.name, ["127.0.0.1:1"]));
      expect(error).toMatchObject({ code: "broker-unavailable" });
      expectNamed(error);
    });
  });
}
