/**
 * Memory is bounded by configuration, whatever waits in the topic: a process with a heap of 96 MB works off hundreds of
 * megabytes of small records, of large ones, and of batches that inflate to many times their size. A stage that is slow
 * neither loses its lanes nor is handed more; one that never finishes anything is stopped with a sentence.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import type { Stage } from "../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, freshPipeline, until } from "../lib/kafka.ts";
import {
  committed,
  type Instance,
  passThrough,
  startInstance,
  valuesOf,
} from "../lib/lane-load.ts";

const LANES = 2;
const HEAP_MB = 96;
/**
 * Well below the lags: Node itself (110 MiB), the heap, and for each lane its window of 4 MiB, fetches and requests of
 * a few MiB with their compressed twins.
 */
const MOST_RSS_MIB = 420;
const SESSION_TIMEOUT_MS = 3_000;
const encoder = new TextEncoder();

let client: KafkaClient;
const instances: Instance[] = [];
const workers: ChildProcess[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
});

afterAll(async () => {
  for (const worker of workers) {
    worker.kill("SIGKILL");
  }
  await Promise.allSettled(instances.map((instance) => instance.stop()));
  await client.close();
});

async function newPipeline(): Promise<string> {
  const pipeline = freshPipeline("bounds");
  await ensureTopics(client, { pipeline, partitions: LANES, replicationFactor: 1 });
  return pipeline;
}

/** Writes `count` records over the lanes, `size` of them a send. */
async function produce(
  pipeline: string,
  {
    count,
    perSend,
    value,
  }: { count: number; perSend: number; value: (index: number) => Uint8Array },
): Promise<void> {
  const producer = await client.createPlainProducer();
  for (let from = 0; from < count; from += perSend) {
    await producer.send(
      topicName(pipeline, "raw"),
      Array.from({ length: Math.min(perSend, count - from) }, (_, index) => ({
        key: null,
        value: value(from + index),
        partition: (from + index) % LANES,
      })),
    );
  }
  await producer.close();
}

/** Runs a process with a small heap until `count` records are final. @returns its largest RSS in MiB */
async function workOff(pipeline: string, count: number): Promise<{ rssMiB: number; ms: number }> {
  const startedAt = performance.now();
  const worker = spawn(
    process.execPath,
    [
      `--max-old-space-size=${HEAP_MB}`,
      join(import.meta.dirname, "bounded-worker.ts"),
      ...[pipeline, String(LANES), inject("brokers").join(",")],
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  workers.push(worker);
  let last = { records: 0, rssMiB: 0, failures: 0 };
  let words = "";
  worker.stderr?.on("data", (chunk: Buffer) => {
    words = (words + String(chunk)).slice(-2_000);
  });
  if (worker.stdout !== null) {
    createInterface({ input: worker.stdout }).on("line", (line) => {
      // Because the worker prints exactly this.
      last = JSON.parse(line) as typeof last;
    });
  }
  await until(
    `${count} records are final`,
    () => {
      if (worker.exitCode !== null || worker.signalCode !== null) {
        throw new Error(`the process ended at ${last.records} of ${count} records: ${words}`);
      }
      return last.records >= count;
    },
    120_000,
  );
  const ms = performance.now() - startedAt;
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  worker.kill("SIGTERM");
  await ended;
  expect(last.records).toBe(count);
  return { rssMiB: last.rssMiB, ms };
}

const SMALL = "small record ".repeat(15);
const LAGS = [
  {
    name: "400,000 records of 200 bytes that shrink to a fiftieth",
    count: 400_000,
    perSend: 8_000,
    value: (index: number) => encoder.encode(`${index} ${SMALL}`),
  },
  {
    name: "600 records of 500 kB that do not shrink",
    count: 600,
    perSend: 8,
    value: () => randomBytes(500_000),
  },
  {
    name: "800 records of 500 kB that shrink to nothing",
    count: 800,
    perSend: 8,
    value: (index: number) => new Uint8Array(500_000).fill(index % 256),
  },
];

it.each(LAGS)(`works off $name in a heap of ${HEAP_MB} MB`, async ({ name, ...lag }) => {
  const pipeline = await newPipeline();
  await produce(pipeline, lag);
  const { rssMiB, ms } = await workOff(pipeline, lag.count);
  const megabytes = Math.round((lag.count * lag.value(0).byteLength) / 1e6);
  process.stdout.write(
    `bounds: ${name} (${megabytes} MB): largest RSS ${rssMiB} MiB, ${Math.round(ms)} ms\n`,
  );
  expect(rssMiB).toBeLessThan(MOST_RSS_MIB);
});

async function start(pipeline: string, stage: Stage): Promise<Instance> {
  const instance = await startInstance({
    ...{ name: "only", brokers: inject("brokers"), pipeline, partitions: LANES },
    ...{ sessionTimeoutMs: SESSION_TIMEOUT_MS, stage },
  });
  instances.push(instance);
  return instance;
}

it("waits for a stage that takes longer than the session, and hands it no more than its bounds", async () => {
  const pipeline = await newPipeline();
  const count = 3_000;
  const bounds = { maxRecords: 400, maxBytes: 40_000 };
  const given: number[] = [];
  let slow = true;
  const instance = await start(
    pipeline,
    passThrough(bounds, async (records) => {
      given.push(records.length);
      if (slow && records.length > 0) {
        await new Promise((resolve) => setTimeout(resolve, SESSION_TIMEOUT_MS * 1.5));
        slow = false;
      }
    }),
  );
  await until("it has its lanes", () => instance.lanes().length === LANES);
  const assignments = instance.assignments.length;
  await produce(pipeline, {
    count,
    perSend: count,
    value: (index) => encoder.encode(`${index} ${"x".repeat(100)}`),
  });
  await until("all is final", () => committed([instance]) >= count);
  await instance.stop();
  expect(Math.max(...given)).toBeLessThanOrEqual(bounds.maxRecords);
  expect(instance.failures).toEqual([]);
  expect(instance.assignments.slice(assignments).flatMap((lanes) => lanes.length)).toEqual(
    instance.assignments.slice(assignments).map(() => LANES),
  );
  const lanes = await valuesOf(client, topicName(pipeline, "desensitized"), LANES);
  for (const [lane, values] of lanes.entries()) {
    expect(values.map((value) => Number(value.split(" ")[0]))).toEqual(
      Array.from({ length: count / LANES }, (_, index) => index * LANES + lane),
    );
  }
});

it("stops a stage that never finishes anything, saying what to raise", async () => {
  const pipeline = await newPipeline();
  const never: Stage<null> = {
    name: "desensitize",
    bounds: { maxRecords: 100, maxBytes: 1 << 20 },
    openLane: () => ({
      restore: () => null,
      process: () => ({
        ...{ outputs: [], outcomes: [], state: null },
        ...{ consumedTo: null, wakeAtMs: null },
      }),
    }),
  };
  // Because the runner hands a stage only states that this stage made.
  const instance = await start(pipeline, never as Stage);
  await produce(pipeline, {
    count: 300,
    perSend: 300,
    value: (index) => encoder.encode(String(index)),
  });
  await expect(instance.runner.done).rejects.toMatchObject({
    code: "limit-exceeded",
    message: expect.stringMatching(/desensitize .*raise the stage's bounds/),
  });
});
