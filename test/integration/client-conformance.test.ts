/**
 * One suite over the Kafka port, run for every client that is installed; one that is not is skipped by name.
 *
 * Between clients, what one writes the other reads, and one fences the other: both speak the same protocol or neither
 * is right.
 */
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import {
  bytes,
  CANDIDATES,
  expectNamed,
  freshName,
  openNamed,
  readPartition,
  record,
  rejection,
  untilCommitted,
  valuesOf,
  type World,
} from "../lib/client-conformance.ts";
import { describeGroup } from "../lib/client-conformance-group.ts";
import { describeLane } from "../lib/client-conformance-lane.ts";
import { describeProduce } from "../lib/client-conformance-produce.ts";
import {
  type Compacted,
  describeCompacted,
  describeRead,
  writeCompacted,
} from "../lib/client-conformance-read.ts";
import { describeTopics } from "../lib/client-conformance-topics.ts";

const brokers = (): readonly string[] => inject("brokers");
const worlds: World[] = [];
const clients = new Map<string, KafkaClient>();
/** Written before everything else, so that the cleaner has done its work when the last case looks. */
let compacted: Compacted | null = null;

for (const { name, missing } of CANDIDATES) {
  if (missing !== null) {
    process.stderr.write(`SKIPPED: ${name} client (${missing})\n`);
    describe.skip(`${name} client (${missing})`, () => {
      it("conforms", () => undefined);
    });
    continue;
  }
  const client = (): KafkaClient => {
    const open = clients.get(name);
    if (open === undefined) {
      throw new Error(`the ${name} client is not open`);
    }
    return open;
  };
  worlds.push({
    name,
    brokers,
    client,
    async newTopic(partitions = 1, config = {}) {
      const topic = freshName("topic");
      await client().createTopics([{ name: topic, partitions, replicationFactor: 1, config }]);
      return topic;
    },
  });
}

beforeAll(async () => {
  for (const { name } of worlds) {
    clients.set(name, await openNamed(name, brokers()));
  }
  const [world] = worlds;
  compacted = world === undefined ? null : await writeCompacted(world);
});

afterAll(async () => {
  await Promise.all([...clients.values()].map((client) => client.close()));
});

describe.each(worlds)("$name client", (world) => {
  describeTopics(world);
  describeProduce(world);
  describeRead(world);
  describeLane(world);
  describeGroup(world);
});

const pairs = worlds.flatMap((writer) =>
  worlds.filter((reader) => reader !== writer).map((reader) => ({ writer, reader })),
);

describe.each(pairs)("$writer.name client before $reader.name client", ({ writer, reader }) => {
  it("is read byte for byte", async () => {
    const topic = await writer.newTopic();
    const lane = await writer.client().createLaneProducer(freshName("lane"));
    await lane.begin();
    await lane.send(topic, 0, [
      {
        key: bytes("k"),
        value: bytes("v"),
        headers: { a: bytes("1"), b: new Uint8Array([0, 255]) },
      },
      { key: null, value: null },
      { key: new Uint8Array(), value: new Uint8Array() },
    ]);
    await lane.commit();
    await lane.close();
    const own = await readPartition(writer.client(), topic);
    const others = await readPartition(reader.client(), topic);
    const shown = ({ offset, timestampMs, key, value, headers }: (typeof own)[number]) => ({
      offset,
      timestampMs,
      key: key === null ? null : [...key],
      value: value === null ? null : [...value],
      headers: Object.entries(headers).map(([name, content]) => [name, [...content]]),
    });
    expect(others.map(shown)).toEqual(own.map(shown));
    expect(own).toHaveLength(3);
  });

  it("is fenced by it", async () => {
    const topic = await writer.newTopic();
    const id = freshName("lane");
    const group = freshName("group");
    const old = await writer.client().createLaneProducer(id);
    await old.begin();
    await old.send(topic, 0, [record("left open")]);
    await old.sendOffset(group, topic, 0, 1);
    const owner = await reader.client().createLaneProducer(id);
    expectNamed(await rejection(old.commit()));
    await old.close();
    expect(await reader.client().committedOffset(group, topic, 0)).toBeNull();
    await owner.begin();
    await owner.send(topic, 0, [record("owner's")]);
    await owner.sendOffset(group, topic, 0, 2);
    await owner.commit();
    await owner.close();
    for (const { client } of [writer, reader]) {
      expect(valuesOf(await readPartition(client(), topic))).toEqual(["owner's"]);
      await untilCommitted(client(), [group, topic, 0], 2);
    }
  });
});

describe.each(worlds)("$name client, at last", (world) => {
  describeCompacted(world, () => {
    if (compacted === null) {
      throw new Error("nothing was written");
    }
    return compacted;
  });
});
