/** The lane on a real broker: exactly once, dead letters, changelog, fencing, consumedTo, aborted records unseen. */
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type {
  LaneProcessor,
  Outcome,
  OutputRecord,
  Stage,
} from "../../pipeline/stream/contract.ts";
import type { LaneProgress } from "../../pipeline/stream/lane-options.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { runStage, type StageRunner } from "../../pipeline/stream/stage-runner.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { topicName } from "../../schemas/topics.ts";
import {
  connect,
  freshPipeline,
  openChangelog,
  readAll,
  silentLogger,
  until,
} from "../lib/kafka.ts";

const PARTITIONS = 2;
const text = new TextDecoder();
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

let client: KafkaClient;
const runners: StageRunner[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
});

afterAll(async () => {
  await Promise.all(runners.map((runner) => runner.stop()));
  await client.close();
});

async function newPipeline(): Promise<string> {
  const pipeline = freshPipeline("lane");
  await ensureTopics(client, { pipeline, partitions: PARTITIONS, replicationFactor: 1 });
  return pipeline;
}

async function start(
  pipeline: string,
  stage: Stage,
  progress: LaneProgress[] = [],
): Promise<StageRunner> {
  const runner = await runStage({
    client,
    pipeline,
    partitions: PARTITIONS,
    transactionIntervalMs: 0,
    stage,
    changelog: openChangelog,
    sealDeadLetter: ({ record }) => bytes(`sealed ${record.offset}`),
    clock: Date.now,
    logger: silentLogger,
    onProgress: (entry) => progress.push(entry),
  });
  runners.push(runner);
  return runner;
}

async function produce(pipeline: string, count: number, from = 0): Promise<void> {
  const producer = await client.createPlainProducer();
  await producer.send(
    topicName(pipeline, "raw"),
    Array.from({ length: count }, (_, index) => ({
      key: bytes(`k${from + index}`),
      value: bytes(`v${from + index}`),
      partition: (from + index) % PARTITIONS,
    })),
  );
  await producer.close();
}

const passThrough: Stage<null> = {
  name: "desensitize",
  bounds: { maxRecords: 100, maxBytes: 1 << 20 },
  openLane: () => ({
    restore: () => null,
    process: (records) => {
      const outcomes: Outcome[] = [];
      const outputs: OutputRecord[] = [];
      for (const record of records) {
        if (text.decode(record.value ?? bytes("")).endsWith("7")) {
          outcomes.push({ offset: record.offset, kind: "dead-letter", reason: "schema" });
        } else {
          outputs.push({ role: "desensitized", key: record.key, value: record.value });
        }
      }
      const last = records.at(-1);
      return {
        outputs,
        outcomes,
        state: null,
        consumedTo: last === undefined ? null : last.offset + 1,
        wakeAtMs: null,
      };
    },
  }),
};

describe("lane", () => {
  it("moves every record once, in its partition, and refused ones to the dead-letter topic", async () => {
    const pipeline = await newPipeline();
    await produce(pipeline, 500);
    const progress: LaneProgress[] = [];
    const runner = await start(pipeline, passThrough as Stage, progress);
    await until(
      "500 records are final",
      () => progress.reduce((sum, { records }) => sum + records, 0) >= 500,
    );
    await runner.stop();
    const out = await readAll(client, topicName(pipeline, "desensitized"), PARTITIONS);
    expect(out.flat().length).toBe(450);
    for (const [partition, records] of out.entries()) {
      const numbers = records.map(({ value }) => Number(text.decode(value ?? bytes("")).slice(1)));
      expect(numbers.every((number) => number % PARTITIONS === partition)).toBe(true);
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    }
    const dead = (await readAll(client, `${pipeline}.raw.dead`, PARTITIONS)).flat();
    expect(dead.length).toBe(50);
    for (const { key, value, headers } of dead) {
      expect(key).toBeNull();
      const offset = text.decode(headers["__connect.errors.offset"]);
      expect(text.decode(value ?? bytes(""))).toBe(`sealed ${offset}`);
      expect(text.decode(headers["__connect.errors.exception.class.name"])).toBe("schema");
      const all = Object.values(headers)
        .map((header) => text.decode(header))
        .join(" ");
      expect(all).not.toMatch(/\bv\d|\bk\d/);
    }
  });

  it("hands unfinished records in again and keeps the changelog across a restart", async () => {
    const pipeline = await newPipeline();
    // Groups of ten become one output; the changelog counts groups. Uses `encrypt`, which has a changelog.
    const seen: { position: number; count: number }[] = [];
    const tens: Stage<number> = {
      name: "encrypt",
      bounds: { maxRecords: 1000, maxBytes: 1 << 20 },
      openLane: (): LaneProcessor<number> => ({
        restore: (changelog, position) => {
          const count = changelog === null ? 0 : Number(text.decode(changelog));
          seen.push({ position, count });
          return count;
        },
        encode: (count) => bytes(String(count)),
        process: (records, count) => {
          const ready = records.slice(0, records.length - (records.length % 10));
          const last = ready.at(-1);
          const outputs: OutputRecord[] = [];
          for (let index = 0; index < ready.length; index += 10) {
            outputs.push({
              role: "examples",
              key: null,
              value: bytes(`${count + index / 10}:${ready[index]?.offset}`),
            });
          }
          return {
            outputs,
            outcomes: [],
            state: count + ready.length / 10,
            consumedTo: last === undefined ? null : last.offset + 1,
            wakeAtMs: null,
          };
        },
      }),
    };
    const producer = await client.createPlainProducer();
    const feed = (count: number, from: number) =>
      producer.send(
        topicName(pipeline, "desensitized"),
        Array.from({ length: count }, (_, index) => ({
          key: null,
          value: bytes(`r${from + index}`),
          partition: 0,
        })),
      );
    await feed(25, 0);
    const progress: LaneProgress[] = [];
    const first = await start(pipeline, tens as Stage, progress);
    await until(
      "20 are final",
      () => progress.reduce((sum, { records }) => sum + records, 0) === 20,
    );
    await first.stop();
    await feed(16, 25);
    const again: LaneProgress[] = [];
    const second = await start(pipeline, tens as Stage, again);
    await until(
      "20 more are final",
      () => again.reduce((sum, { records }) => sum + records, 0) === 20,
    );
    await second.stop();
    await producer.close();
    const [lane0] = await readAll(client, topicName(pipeline, "examples"), PARTITIONS);
    expect(lane0?.map(({ value }) => text.decode(value ?? bytes("")))).toEqual([
      "0:0",
      "1:10",
      "2:20",
      "3:30",
    ]);
    expect(seen).toContainEqual({ position: 20, count: 2 });
  });

  it("fences a previous owner and hides what it left open", async () => {
    const pipeline = await newPipeline();
    const topic = topicName(pipeline, "desensitized");
    const id = `${pipeline}.zombie`;
    const zombie = await client.createLaneProducer(id);
    await zombie.begin();
    await zombie.send(topic, 0, [{ key: null, value: bytes("left open") }]);
    const owner = await client.createLaneProducer(id);
    await expect(zombie.commit()).rejects.toThrow();
    await owner.begin();
    await owner.send(topic, 0, [{ key: null, value: bytes("committed") }]);
    await owner.commit();
    await zombie.close();
    await owner.close();
    const [records] = await readAll(client, topic, 1);
    expect(records?.map(({ value }) => text.decode(value ?? bytes("")))).toEqual(["committed"]);
  });

  it("shows no aborted record, whatever its key and however transactions overlap", async () => {
    const pipeline = await newPipeline();
    const topic = topicName(pipeline, "desensitized");
    const a = await client.createLaneProducer(`${pipeline}.a`);
    const b = await client.createLaneProducer(`${pipeline}.b`);
    const put = (producer: typeof a, value: string, key: Uint8Array | null = null) =>
      producer.send(topic, 0, [{ key, value: bytes(value) }]);
    await a.begin();
    await put(a, "a1 aborted");
    await b.begin();
    await put(b, "b1 aborted", new Uint8Array(4));
    await put(a, "a2 aborted", new Uint8Array(4));
    await put(b, "b2 aborted");
    await b.abort();
    await a.abort();
    await a.begin();
    await put(a, "a3 aborted");
    await a.abort();
    await a.begin();
    await put(a, "a4 kept", new Uint8Array(4));
    await a.commit();
    await a.close();
    await b.close();
    const [records] = await readAll(client, topic, 1);
    expect(records?.map(({ value }) => text.decode(value ?? bytes("")))).toEqual(["a4 kept"]);
  });

  it("stops with state-mismatch when the group's offsets were set back, and believes no forged changelog", async () => {
    const pipeline = await newPipeline();
    await produce(pipeline, 40);
    const progress: LaneProgress[] = [];
    const first = await start(pipeline, passThrough as Stage, progress);
    await until(
      "all is final",
      () => progress.reduce((sum, { records }) => sum + records, 0) >= 40,
    );
    await first.stop();
    const meddler = await client.createLaneProducer(`${pipeline}.meddler`);
    await meddler.begin();
    // Not a value of the grammar: passed over.
    await meddler.send(`${pipeline}.desensitize.changelog`, 0, [
      { key: bytes("state"), value: bytes("forged") },
    ]);
    await meddler.sendOffset(`${pipeline}.desensitize`, topicName(pipeline, "raw"), 0, 3);
    await meddler.commit();
    await meddler.close();
    const second = await start(pipeline, passThrough as Stage);
    await expect(second.done).rejects.toMatchObject({ code: "state-mismatch" });
    const out = (await readAll(client, topicName(pipeline, "desensitized"), PARTITIONS)).flat();
    expect(out.length).toBe(36);
  });

  it("stops with state-mismatch when the group stands beyond the log", async () => {
    const pipeline = await newPipeline();
    const producer = await client.createLaneProducer(`${pipeline}.meddler`);
    await producer.begin();
    await producer.send(topicName(pipeline, "desensitized"), 0, [{ key: null, value: bytes("x") }]);
    await producer.sendOffset(`${pipeline}.desensitize`, topicName(pipeline, "raw"), 0, 99);
    await producer.commit();
    await producer.close();
    const runner = await start(pipeline, passThrough as Stage);
    await expect(runner.done).rejects.toMatchObject({ code: "state-mismatch" });
  });
});
