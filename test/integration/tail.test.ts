/** Tails on a real broker: caught up, live, held back by an open transaction or not, and how fresh they are. */
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { Isolation, KafkaClient } from "../../pipeline/stream/port.ts";
import { followTopic, type Tail } from "../../pipeline/stream/tail.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, freshPipeline, silentLogger, until } from "../lib/kafka.ts";

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

let client: KafkaClient;
let topic: string;
const tails: Tail[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
  const pipeline = freshPipeline("tail");
  await ensureTopics(client, { pipeline, partitions: 1, replicationFactor: 1 });
  topic = topicName(pipeline, "keys");
});

afterAll(async () => {
  await Promise.all(tails.map((tail) => tail.stop()));
  await client.close();
});

async function follow(isolation: Isolation): Promise<{ tail: Tail; seen: string[] }> {
  const seen: string[] = [];
  const apply = ({ value }: { value: Uint8Array | null }) => {
    seen.push(new TextDecoder().decode(value ?? undefined));
  };
  const tail = await followTopic({
    client,
    topic,
    isolation,
    clock: Date.now,
    logger: silentLogger,
    apply,
  });
  tails.push(tail);
  return { tail, seen };
}

it("shows entries behind somebody's open transaction only where every record proves itself", async () => {
  const put = async (id: string, value: string, commit: boolean) => {
    const producer = await client.createLaneProducer(`${topic}.${id}`);
    await producer.begin();
    await producer.send(topic, 0, [{ key: bytes(id), value: bytes(value) }]);
    if (commit) {
      await producer.commit();
      await producer.close();
    }
    return producer;
  };
  await put("first", "first", true);
  const open = await put("open", "left open", false);
  await put("behind", "behind", true);
  const committed = await follow("committed");
  const uncommitted = await follow("uncommitted");
  await uncommitted.tail.caughtUp;
  expect(uncommitted.seen).toEqual(["first", "left open", "behind"]);
  const asked = Date.now();
  await until("the uncommitted tail is fresh", () => uncommitted.tail.freshAsOf() > asked);
  expect(committed.seen).toEqual(["first"]);
  expect(committed.tail.freshAsOf()).toBeLessThan(asked);
  await open.abort();
  await open.close();
  await until("the committed tail has all", () => committed.seen.length === 2);
  expect(committed.seen).toEqual(["first", "behind"]);
  const later = Date.now();
  await until("the committed tail is fresh", () => committed.tail.freshAsOf() > later);
});
