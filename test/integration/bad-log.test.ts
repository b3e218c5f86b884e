/**
 * What an operator, retention or compaction may do to the log of `raw`, on a real broker: the lane goes on, or stops
 * with one sentence that names the topic; it loses no record in silence.
 */
import kafkajs, { type Admin, type Kafka, type Producer } from "kafkajs";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, freshPipeline, readAll, until } from "../lib/kafka.ts";
import {
  committed,
  type Instance,
  type InstanceOptions,
  passThrough,
  startInstance,
  valuesOf,
} from "../lib/lane-load.ts";

const text = new TextDecoder();

let client: KafkaClient;
let kafka: Kafka;
let admin: Admin;
let producer: Producer;
let compacted: string;
const instances: Instance[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
  kafka = new kafkajs.Kafka({
    brokers: [...inject("brokers")],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 50, retries: 20 },
  });
  admin = kafka.admin();
  await admin.connect();
  producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  // First of all, since the broker's cleaner looks only every 15 seconds.
  compacted = await writeCompacted();
});

afterAll(async () => {
  await Promise.allSettled(instances.map((instance) => instance.stop()));
  await producer?.disconnect();
  await admin?.disconnect();
  await client?.close();
});

/** @param config of its raw topic, from the beginning: a change takes a while to reach the broker */
async function newPipeline(config: Readonly<Record<string, string>> = {}): Promise<string> {
  const pipeline = freshPipeline("bad");
  const raw = { name: topicName(pipeline, "raw"), partitions: 1, replicationFactor: 1, config };
  await client.createTopics([raw]);
  await ensureTopics(client, { pipeline, partitions: 1, replicationFactor: 1 });
  return pipeline;
}

async function start(pipeline: string, options: Partial<InstanceOptions> = {}): Promise<Instance> {
  const instance = await startInstance({
    ...{ name: "only", brokers: inject("brokers"), pipeline, partitions: 1 },
    sessionTimeoutMs: 10_000,
    ...options,
  });
  instances.push(instance);
  return instance;
}

async function fill(topic: string, count: number, from = 0): Promise<void> {
  const messages = Array.from({ length: count }, (_, index) => ({
    partition: 0,
    value: String(from + index),
  }));
  await producer.send({ topic, acks: -1, messages });
}

/** Deletes what lies before an offset, as retention does. */
async function expire(topic: string, before: number): Promise<void> {
  // Because kafkajs deletes only in topics whose leaders it has heard of.
  await admin.fetchTopicOffsets(topic);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: String(before) }] });
}

it("refuses partitions that were added while it runs, naming the topic", async () => {
  const pipeline = await newPipeline();
  const topic = topicName(pipeline, "raw");
  const instance = await start(pipeline);
  await fill(topic, 10);
  await until("it works", () => committed([instance]) >= 10);
  const addedAt = performance.now();
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
  await expect(instance.runner.done).rejects.toMatchObject({
    code: "topic-missing",
    message: expect.stringContaining(topic),
  });
  process.stdout.write(
    `bad input: added partitions were noticed after ${Math.round(performance.now() - addedAt)} ms\n`,
  );
});

it("stops when the records at its position expired, and goes on without exactly those when told to", async () => {
  const pipeline = await newPipeline();
  const topic = topicName(pipeline, "raw");
  await fill(topic, 100);
  const first = await start(pipeline);
  await until("100 are final", () => committed([first]) >= 100);
  await first.stop();
  await fill(topic, 100, 100);
  await expire(topic, 150);
  const refusing = await start(pipeline);
  await expect(refusing.runner.done).rejects.toMatchObject({
    code: "state-mismatch",
    message: expect.stringMatching(/stands at 100 of .*raw\/0.*150 to 200.*whenRecordsExpired/),
  });
  await refusing.stop();
  const skipping = await start(pipeline, { skipsExpired: true });
  await until("50 more are final", () => committed([skipping]) >= 50);
  await skipping.stop();
  // Where it stands after the gap is believed by a run that skips nothing.
  await fill(topic, 10, 200);
  const strict = await start(pipeline);
  await until("10 more are final", () => committed([strict]) >= 10);
  await strict.stop();
  const [values] = await valuesOf(client, topicName(pipeline, "desensitized"), 1);
  const numbers = Array.from({ length: 210 }, (_, index) => index);
  expect(values?.map(Number)).toEqual(numbers.filter((number) => number < 100 || number >= 150));
});

it.each([false, true])(
  "notices while running that records expired (skipping them: %s)",
  async (skipsExpired) => {
    const pipeline = await newPipeline();
    const topic = topicName(pipeline, "raw");
    const opened = Promise.withResolvers<void>();
    let held = 0;
    const instance = await start(pipeline, {
      skipsExpired,
      stage: passThrough({ maxRecords: 50, maxBytes: 1 << 20 }, async (records) => {
        held = Math.max(held, (records.at(-1)?.offset ?? -1) + 1);
        await (records.length > 0 ? opened.promise : undefined);
      }),
    });
    await fill(topic, 40);
    await until("it holds some", () => held > 0);
    await fill(topic, 40, 40);
    await until("it waits with a full window", async () => {
      await fill(topic, 40, (await client.offsets(topic, 0)).latest);
      return (await client.offsets(topic, 0)).latest >= 200;
    });
    const { latest } = await client.offsets(topic, 0);
    await expire(topic, latest);
    await fill(topic, 10, latest);
    const heldThen = held;
    opened.resolve();
    if (!skipsExpired) {
      await expect(instance.runner.done).rejects.toMatchObject({
        code: "state-mismatch",
        message: expect.stringContaining(`${topic}/0`),
      });
    }
    const values = async () =>
      ((await valuesOf(client, topicName(pipeline, "desensitized"), 1))[0] ?? []).map(Number);
    if (skipsExpired) {
      await until("it went on behind the gap", async () => (await values()).includes(latest + 9));
    }
    await instance.stop();
    const out = await values();
    const before = out.filter((number) => number < latest);
    expect(before).toEqual(Array.from({ length: before.length }, (_, index) => index));
    expect(before.length).toBeGreaterThanOrEqual(heldThen);
    expect(out.slice(before.length)).toEqual(
      skipsExpired ? Array.from({ length: 10 }, (_, index) => latest + index) : [],
    );
  },
);

/** A `raw` whose cleaner will leave gaps: of each key only the last record stays. */
async function writeCompacted(): Promise<string> {
  const pipeline = await newPipeline({
    "cleanup.policy": "compact",
    "segment.ms": "200",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "500",
  });
  const topic = topicName(pipeline, "raw");
  for (let round = 0; round < 12; round += 1) {
    const messages = Array.from({ length: 50 }, (_, index) => ({
      partition: 0,
      key: `key ${(index * 7 + round) % 60}`,
      value: `${round}:${index}`,
      timestamp: String(Date.now() - 60_000 + round * 5_000),
    }));
    await producer.send({ topic, acks: -1, messages });
  }
  return pipeline;
}

it("reads across the gaps that compaction leaves, to its very end", async () => {
  const topic = topicName(compacted, "raw");
  const raw = async () => (await readAll(client, topic, 1)).flat();
  await until("the cleaner left gaps", async () => (await raw()).length < 400, 60_000);
  const instance = await start(compacted);
  const { latest } = await client.offsets(topic, 0);
  await until("it stands at the end", async () => {
    const position = await client.committedOffset(`${compacted}.desensitize`, topic, 0);
    return position === latest;
  });
  await instance.stop();
  const [values] = await valuesOf(client, topicName(compacted, "desensitized"), 1);
  // What the cleaner removed while the lane read may be in the output; nothing that stayed may be missing.
  const kept = (await raw()).map(({ value }) => text.decode(value ?? undefined));
  expect(values?.filter((value) => kept.includes(value))).toEqual(kept);
  process.stdout.write(`bad input: ${kept.length} records at ${latest} offsets\n`);
});
