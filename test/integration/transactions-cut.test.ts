/** Producers and a reader behind a network that cuts connections and loses answers: nothing lost, doubled or late. */
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { KafkajsAdmin } from "../../pipeline/stream/kafkajs-admin.ts";
import { createLaneProducer, createPlainProducer } from "../../pipeline/stream/kafkajs-producer.ts";
import { createKafkajsReader } from "../../pipeline/stream/kafkajs-reader.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { connect } from "../lib/kafka.ts";
import { createTcpProxy, type TcpProxy } from "../lib/tcp-proxy.ts";
import {
  kafkaParts,
  newTopic,
  numbered,
  readToEnd,
  record,
  textOf,
  valuesOf,
} from "../lib/transactions.ts";

let client: KafkaClient;
let proxy: TcpProxy;

beforeAll(async () => {
  client = await connect(inject("brokers"));
  proxy = createTcpProxy();
});

afterEach(() => proxy.swallowAnswers(false));

afterAll(async () => {
  await client.close();
  await proxy.close();
});

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => null,
    (error: unknown) => error,
  );

describe("a network that fails", () => {
  it("a transaction whose answers are lost is dead, and leaves nothing that its successor would commit", async () => {
    const topic = await newTopic(client);
    const { kafka, options } = kafkaParts(inject("brokers"), { proxy });
    const producer = await createLaneProducer(kafka, options, topic);
    await producer.begin();
    await producer.send(topic, 0, [record("acknowledged, not committed")]);
    proxy.swallowAnswers(true);
    const before = proxy.sentBytes();
    const sending = failure(producer.send(topic, 0, numbered(9_000, 500)));
    await expect.poll(() => proxy.sentBytes()).toBeGreaterThan(before + 3_000_000);
    proxy.cut();
    expect(await sending).toMatchObject({ code: "kafka-failed" });
    proxy.swallowAnswers(false);
    const after = proxy.sentBytes();
    await expect(producer.send(topic, 0, [record("late")])).rejects.toMatchObject({
      code: "kafka-failed",
    });
    await expect(producer.commit()).rejects.toMatchObject({ code: "kafka-failed" });
    await expect(producer.begin()).rejects.toMatchObject({ code: "kafka-failed" });
    await producer.close();
    expect(proxy.sentBytes()).toBe(after);
    const successor = await createLaneProducer(kafka, options, topic);
    await successor.begin();
    await successor.send(topic, 0, [record("successor")]);
    await successor.commit();
    await successor.close();
    expect(valuesOf(await readToEnd(client, topic))).toEqual(["successor"]);
  });

  it("a commit whose answer is lost is an error, and its outcome is all or nothing", async () => {
    const topic = await newTopic(client);
    const { kafka, options } = kafkaParts(inject("brokers"), { proxy });
    const producer = await createLaneProducer(kafka, options, topic);
    await producer.begin();
    await producer.send(topic, 0, numbered(10));
    await producer.sendOffset(topic, topic, 0, 10);
    proxy.swallowAnswers(true);
    const before = proxy.sentBytes();
    const committing = failure(producer.commit());
    await expect.poll(() => proxy.sentBytes()).toBeGreaterThan(before);
    proxy.cut();
    proxy.swallowAnswers(false);
    expect(await committing).toMatchObject({ code: "kafka-failed" });
    await producer.close();
    const successor = await createLaneProducer(kafka, options, topic);
    await successor.close();
    const offset = await client.committedOffset(topic, topic, 0);
    expect([0, 10]).toContain(offset ?? 0);
    expect((await readToEnd(client, topic)).length).toBe(offset ?? 0);
  });

  it.each([
    ["in the middle of a request", 1_300_000, false],
    ["with its answers lost", 2_500_000, true],
  ])(
    "a plain producer cut %s doubles, loses and overtakes nothing",
    async (_, bytes, isSwallowing) => {
      const topic = await newTopic(client);
      const { kafka, options } = kafkaParts(inject("brokers"), { proxy });
      // Metadata on another way: only the producer's own answers are to be lost.
      const admin = new KafkajsAdmin(kafkaParts(inject("brokers")).kafka);
      const producer = await createPlainProducer(kafka, admin, options);
      await producer.send(topic, [{ ...record("first"), partition: 0 }]);
      proxy.swallowAnswers(isSwallowing);
      const cuts = proxy.cuts();
      proxy.cutAfter(bytes);
      const records = numbered(12_000, 500).map((one) => ({ ...one, partition: 0 }));
      const sending = producer.send(topic, records);
      await expect.poll(() => proxy.cuts()).toBeGreaterThan(cuts);
      proxy.swallowAnswers(false);
      await sending;
      await producer.send(topic, [{ ...record("last"), partition: 0 }]);
      await producer.close();
      await admin.close();
      const values = valuesOf(await readToEnd(client, topic));
      expect(values).toEqual([
        "first",
        ...numbered(12_000, 500).map(({ value }) => textOf(value)),
        "last",
      ]);
    },
  );

  it("nothing is written after close", async () => {
    const topic = await newTopic(client);
    const { kafka, options } = kafkaParts(inject("brokers"), { proxy });
    const producer = await createLaneProducer(kafka, options, topic);
    await producer.begin();
    const sending = failure(producer.send(topic, 0, numbered(20_000, 500)));
    await producer.close();
    expect(await sending).toMatchObject({ code: "internal" });
    const after = proxy.sentBytes();
    await expect(producer.send(topic, 0, [record("late")])).rejects.toMatchObject({
      code: "internal",
    });
    const successor = await client.createLaneProducer(topic);
    await successor.close();
    expect(proxy.sentBytes()).toBe(after);
    expect(await readToEnd(client, topic)).toEqual([]);
  });

  it("a reader goes on after a cut, at its position", async () => {
    const topic = await newTopic(client);
    const producer = await client.createPlainProducer();
    await producer.send(
      topic,
      numbered(5_000, 500).map((one) => ({ ...one, partition: 0 })),
    );
    await producer.close();
    const { kafka } = kafkaParts(inject("brokers"), { proxy });
    const reader = await createKafkajsReader(kafka, {
      topic,
      partition: 0,
      offset: 0,
      isolation: "committed",
    });
    const records: StreamRecord[] = [];
    for (let turn = 0; records.length < 5_000; turn += 1) {
      if (turn % 2 === 1) proxy.cut();
      records.push(...(await reader.fetch({ maxBytes: 300_000, maxWaitMs: 100 })).records);
    }
    await reader.close();
    await expect(reader.fetch({ maxBytes: 1, maxWaitMs: 1 })).rejects.toMatchObject({
      code: "kafka-failed",
    });
    expect(records.map(({ offset }) => offset)).toEqual(
      Array.from({ length: 5_000 }, (_, index) => index),
    );
  });
});
