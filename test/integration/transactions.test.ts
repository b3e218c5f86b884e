/** The lane producer and the reader against the real broker: fencing, atomicity, order, compression, isolation. */
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { createLaneProducer } from "../../pipeline/stream/kafkajs-producer.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { connect } from "../lib/kafka.ts";
import {
  kafkaParts,
  newTopic,
  PARTITIONS,
  readToEnd,
  record,
  valuesOf,
} from "../lib/transactions.ts";
import { createRandom, randomBytes } from "../stream/wire/random.ts";

let client: KafkaClient;

beforeAll(async () => {
  client = await connect(inject("brokers"));
});

afterAll(() => client.close());

describe("a lane producer", () => {
  it("fences its predecessor, whatever that one does next", async () => {
    const topic = await newTopic(client);
    const zombies = await Promise.all(
      ["send", "offset", "commit", "abort"].map(async (what) => {
        const zombie = await client.createLaneProducer(`${topic}.${what}`);
        await zombie.begin();
        await zombie.send(topic, 0, [record(`left open before ${what}`)]);
        return { what, zombie };
      }),
    );
    for (const { what, zombie } of zombies) {
      const owner = await client.createLaneProducer(`${topic}.${what}`);
      const next = {
        send: () => zombie.send(topic, 1, [record("late")]),
        offset: () => zombie.sendOffset(topic, topic, 0, 5),
        commit: () => zombie.commit(),
        abort: () => zombie.abort(),
      }[what];
      await expect(next?.()).rejects.toMatchObject({ code: "fenced" });
      // And it stays dead.
      await expect(zombie.begin()).rejects.toMatchObject({ code: "fenced" });
      await zombie.close();
      await owner.begin();
      await owner.send(topic, 0, [record(`owner after ${what}`)]);
      await owner.commit();
      await owner.close();
    }
    const owned = zombies.map(({ what }) => `owner after ${what}`);
    expect(valuesOf(await readToEnd(client, topic))).toEqual(owned);
    expect(await readToEnd(client, topic, { partition: 1 })).toEqual([]);
    expect(await client.committedOffset(topic, topic, 0)).toBeNull();
  });

  it("commits records of several partitions and the offset together, or none of them", async () => {
    const topic = await newTopic(client);
    const producer = await client.createLaneProducer(topic);
    const fill = async (value: string, offset: number) => {
      await producer.begin();
      // All at once: the order of calls is the order of records.
      await Promise.all([
        producer.send(topic, 0, [record(`${value} 0`)]),
        producer.send(topic, 1, [record(`${value} 1`)]),
        producer.sendOffset(topic, topic, 0, offset),
        producer.send(topic, 0, [record(`${value} 2`)]),
      ]);
    };
    await fill("aborted", 11);
    await producer.abort();
    expect(await client.committedOffset(topic, topic, 0)).toBeNull();
    await fill("committed", 22);
    expect(await client.committedOffset(topic, topic, 0)).toBeNull();
    expect(await readToEnd(client, topic).then(valuesOf)).toEqual([]);
    await producer.commit();
    await expect.poll(() => client.committedOffset(topic, topic, 0)).toBe(22);
    await expect
      .poll(() => readToEnd(client, topic).then(valuesOf))
      .toEqual(["committed 0", "committed 2"]);
    expect(await readToEnd(client, topic, { partition: 1 }).then(valuesOf)).toEqual([
      "committed 1",
    ]);
    await producer.begin();
    await producer.commit();
    await producer.begin();
    await producer.abort();
    await producer.close();
    await expect(producer.begin()).rejects.toMatchObject({ code: "internal" });
  });

  it.each(["none", "gzip", "zstd"] as const)(
    "keeps the order of many batches and every header, compressed with %s",
    async (compression) => {
      const topic = await newTopic(client);
      const { kafka, options } = kafkaParts(inject("brokers"), { compression });
      const producer = await createLaneProducer(kafka, options, topic);
      const random = createRandom(42);
      const sent = Array.from({ length: 12_000 }, (_, index) => ({
        key: index % 3 === 0 ? null : randomBytes(random, random(30)),
        value:
          index % 100 === 0
            ? null
            : Buffer.concat([Buffer.from(`${index} `), randomBytes(random, random(900))]),
        headers:
          index % 4 === 0
            ? { name: randomBytes(random, random(50)), __proto: Buffer.from("x") }
            : {},
      }));
      await producer.begin();
      await Promise.all([
        producer.send(topic, 0, sent.slice(0, 9_000)),
        producer.send(topic, 0, sent.slice(9_000, 9_001)),
        producer.send(topic, 0, sent.slice(9_001)),
      ]);
      await producer.commit();
      await producer.close();
      for (const maxBytes of [1 << 12, 1 << 20]) {
        const found = await readToEnd(client, topic, { partition: 0, maxBytes });
        expect(found.length).toBe(sent.length);
        const isSame = found.every(({ key, value, headers }, index) => {
          const expected = sent[index];
          const flat = (all: object) =>
            Buffer.concat(Object.entries(all).flatMap(([n, v]) => [Buffer.from(n), v]));
          return (
            expected !== undefined &&
            Buffer.compare(key ?? Buffer.from("null"), expected.key ?? Buffer.from("null")) === 0 &&
            Buffer.compare(value ?? Buffer.from("null"), expected.value ?? Buffer.from("null")) ===
              0 &&
            flat(headers).equals(flat(expected.headers))
          );
        });
        expect(isSame).toBe(true);
      }
    },
  );

  it("says limit-exceeded for a record that the topic refuses, and is dead then", async () => {
    const topic = await newTopic(client);
    const producer = await client.createLaneProducer(topic);
    await producer.begin();
    const huge = {
      key: null,
      value: randomBytes(createRandom(1), 3_000_000).map((b, i) => b ^ (i * 31)),
    };
    await expect(
      producer.send(topic, 0, [record("before"), huge, record("behind")]),
    ).rejects.toMatchObject({
      code: "limit-exceeded",
    });
    await expect(producer.commit()).rejects.toMatchObject({ code: "limit-exceeded" });
    await producer.close();
    const next = await client.createLaneProducer(topic);
    await next.close();
    expect(await readToEnd(client, topic)).toEqual([]);
  });

  it("shows committed records only, over 60 random transactions of four producers", async () => {
    const topic = await newTopic(client);
    const expected = await runRandomTransactions(topic);
    for (const [partition, values] of expected.entries()) {
      // Small fetches begin in the middle of transactions.
      for (const maxBytes of [1, 400, 1 << 20]) {
        await expect
          .poll(async () => valuesOf(await readToEnd(client, topic, { partition, maxBytes })))
          .toEqual(values);
      }
    }
  });
});

/** Begins, sends, commits and aborts by chance; gives each partition's committed values in order. */
async function runRandomTransactions(topic: string): Promise<string[][]> {
  const random = createRandom(99);
  const producers = await Promise.all(
    [0, 1, 2, 3].map((n) => client.createLaneProducer(`${topic}.${n}`)),
  );
  const open = new Map<number, string[]>();
  const committed = new Set<string>();
  const log: { readonly partition: number; readonly value: string }[] = [];
  for (let step = 0; step < 240; step += 1) {
    const index = random(producers.length);
    const producer = producers[index];
    const mine = open.get(index);
    if (mine === undefined) {
      await producer?.begin();
      open.set(index, []);
    } else if (random(3) > 0) {
      const entry = { partition: random(PARTITIONS), value: `${index} ${step}` };
      const value = Buffer.from(entry.value);
      await producer?.send(topic, entry.partition, [{ key: Buffer.alloc(4), value }]);
      mine.push(entry.value);
      log.push(entry);
    } else if (random(2) === 0) {
      await producer?.commit();
      for (const value of mine) committed.add(value);
      open.delete(index);
    } else {
      await producer?.abort();
      open.delete(index);
    }
  }
  for (const [index, producer] of producers.entries()) {
    if (open.has(index)) await producer.abort();
    await producer.close();
  }
  return Array.from({ length: PARTITIONS }, (_, partition) =>
    log
      .filter((entry) => entry.partition === partition && committed.has(entry.value))
      .map(({ value }) => value),
  );
}

describe("a reader", () => {
  it("says state-mismatch beyond the log and topic-missing without one", async () => {
    const topic = await newTopic(client);
    const reader = await client.createReader(topic, 0, 1_000);
    await expect(reader.fetch({ maxBytes: 1_000, maxWaitMs: 10 })).rejects.toMatchObject({
      code: "state-mismatch",
    });
    await reader.close();
    await expect(client.createReader(topic, 9, 0)).rejects.toMatchObject({ code: "topic-missing" });
    await expect(client.createReader(`${topic}.none`, 0, 0)).rejects.toMatchObject({
      code: "topic-missing",
    });
  });
});
