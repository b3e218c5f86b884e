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
    const random = createRandom(99);
    const expected: string[][] = Array.from({ length: PARTITIONS }, () => []);
    const producers = await Promise.all(
      [0, 1, 2, 3].map((n) => client.createLaneProducer(`${topic}.${n}`)),
    );
    const open = producers.map((): { partition: number; value: string }[] | null => null);
    const visible = new Set<string>();
    const log: { partition: number; value: string }[] = [];
    for (let step = 0; step < 240; step += 1) {
      const index = random(producers.length);
      const producer = producers[index];
      const mine = open[index];
      if (mine == null) {
        await producer?.begin();
        open[index] = [];
      } else if (random(3) > 0) {
        const entry = { partition: random(PARTITIONS), value: `${index} ${step}` };
        await producer?.send(topic, entry.partition, [
          { key: Buffer.alloc(4), value: Buffer.from(entry.value) },
        ]);
        mine.push(entry);
        log.push(entry);
      } else {
        const isCommit = random(2) === 0;
        await (isCommit ? producer?.commit() : producer?.abort());
        if (isCommit) for (const { value } of mine) visible.add(value);
        open[index] = null;
      }
    }
    for (const [index, producer] of producers.entries()) {
      if (open[index] !== null) await producer.abort();
      await producer.close();
    }
    for (const { partition, value } of log)
      if (visible.has(value)) expected[partition]?.push(value);
    for (const partition of [0, 1]) {
      // Small fetches begin in the middle of transactions.
      for (const maxBytes of [1, 400, 1 << 20]) {
        await expect
          .poll(async () =>
            valuesOf(await readToEnd(client, topic, { partition: partition, maxBytes })),
          )
          .toEqual(expected[partition]);
      }
    }
  });
});

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
