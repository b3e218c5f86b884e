/**
 * Exactly once under faults, with separate processes: a zombie that is stopped past its session and wakes up again,
 * kill -9 in the middle of transactions, a late joiner. Every record arrives once, in order, and the changelog agrees.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { readChangelog } from "../../pipeline/stream/changelog.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { changelogTopicName, topicName } from "../../schemas/topics.ts";
import { connect, freshPipeline, openChangelog, readAll, until } from "../lib/kafka.ts";

const PARTITIONS = 4;
const RECORDS = 36_000;
const text = new TextDecoder();

let client: KafkaClient;
const workers: ChildProcess[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
});

afterAll(async () => {
  for (const worker of workers) {
    worker.kill("SIGKILL");
  }
  await client.close();
});

function startWorker(pipeline: string): ChildProcess & { seen: () => number } {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, "lane-worker.ts"), pipeline, inject("brokers").join(",")],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  let seen = 0;
  child.stdout?.on("data", (chunk: Buffer) => {
    seen += String(chunk)
      .split("\n")
      .reduce((sum, line) => sum + Number(line), 0);
  });
  workers.push(child);
  return Object.assign(child, { seen: () => seen });
}

it("loses nothing and doubles nothing through a zombie and two kills", async () => {
  const pipeline = freshPipeline("chaos");
  await ensureTopics(client, { pipeline, partitions: PARTITIONS, replicationFactor: 1 });
  const producer = await client.createPlainProducer();
  const record = (index: number) => ({
    key: null,
    value: new TextEncoder().encode(String(index)),
    partition: index % PARTITIONS,
  });
  await producer.send(
    topicName(pipeline, "desensitized"),
    Array.from({ length: RECORDS }, (_, index) => record(index)),
  );
  await producer.close();

  const first = startWorker(pipeline);
  const second = startWorker(pipeline);
  await until("both work", () => first.seen() > 0 && second.seen() > 0);
  first.kill("SIGSTOP");
  // Longer than the session timeout of 3 s: the group gives the zombie's lanes away.
  const before = second.seen();
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  first.kill("SIGCONT");
  await until("the other one went on", () => second.seen() > before);
  process.stdout.write(
    `before the kills: ${first.seen()} + ${second.seen()} of ${RECORDS} records\n`,
  );
  second.kill("SIGKILL");
  const third = startWorker(pipeline);
  await until("the third works", () => third.seen() > 0 || first.seen() + second.seen() >= RECORDS);
  first.kill("SIGKILL");
  startWorker(pipeline);
  const output = topicName(pipeline, "examples");
  await until(
    "everything arrived",
    async () => (await readAll(client, output, PARTITIONS)).flat().length >= RECORDS,
    90_000,
  );
  // Time for a duplicate to show.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const lanes = await readAll(client, output, PARTITIONS);
  for (const [lane, records] of lanes.entries()) {
    const numbers = records.map(({ value }) => Number(text.decode(value ?? undefined)));
    expect(numbers).toEqual(
      Array.from({ length: RECORDS / PARTITIONS }, (_, index) => index * PARTITIONS + lane),
    );
    const changelog = await readChangelog({
      client,
      topic: changelogTopicName(pipeline, "encrypt"),
      lane,
      guard: openChangelog,
    });
    expect(Number(text.decode(changelog?.state ?? undefined))).toBe(RECORDS / PARTITIONS);
  }
});
