/** kill -9 of the broker while lanes work: it comes back with its data, the lanes go on, nothing is lost or doubled. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type BrokerHandle, openBroker } from "../../pipeline/stream/broker.ts";
import type { Stage } from "../../pipeline/stream/contract.ts";
import { runStage } from "../../pipeline/stream/stage-runner.ts";
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

const LANES = 2;
const RECORDS = 6_000;

const passThrough: Stage<null> = {
  name: "desensitize",
  bounds: { maxRecords: 25, maxBytes: 1 << 20 },
  openLane: () => ({
    restore: () => null,
    process: (records) => {
      const last = records.at(-1);
      return {
        outputs: records.map(({ value }) => ({ role: "desensitized" as const, key: null, value })),
        outcomes: [],
        state: null,
        consumedTo: last === undefined ? null : last.offset + 1,
        wakeAtMs: null,
      };
    },
  }),
};

it("goes on after the broker was killed and started again", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "sealstream-broker-"));
  const open = (port: number | null): Promise<BrokerHandle> =>
    openBroker({
      brokers: [],
      cacheDir: join(import.meta.dirname, "../../build/kafka"),
      dataDir,
      port,
      environment: process.env,
      onProgress: () => undefined,
    });
  const first = await open(null);
  if (first.kind !== "embedded") {
    process.stdout.write("SKIPPED: kill -9 of the broker (no embedded broker here)\n");
    await first.stop();
    return;
  }
  const port = Number(first.brokers[0]?.split(":")[1]);
  const pipeline = freshPipeline("broker");
  const client = await connect(first.brokers);
  await ensureTopics(client, { pipeline, partitions: LANES, replicationFactor: 1 });
  const producer = await client.createPlainProducer();
  const record = (index: number) => ({
    key: null,
    value: new TextEncoder().encode(String(index)),
    partition: index % LANES,
  });
  await producer.send(
    topicName(pipeline, "raw"),
    Array.from({ length: RECORDS }, (_, index) => record(index)),
  );
  await producer.close();
  let done = 0;
  const failures: string[] = [];
  const runner = await runStage({
    client,
    pipeline,
    partitions: LANES,
    transactionIntervalMs: 0,
    stage: passThrough as Stage,
    changelog: openChangelog,
    sealDeadLetter: () => new Uint8Array(1),
    clock: Date.now,
    logger: silentLogger,
    onProgress: ({ records }) => {
      done += records;
    },
    onFailure: (code) => failures.push(code),
  });
  await until("some is done", () => done > 200);
  execFileSync("pkill", ["-KILL", "-f", `kafka.Kafka ${dataDir}`]);
  const doneBefore = done;
  const second = await open(port);
  await until("all is done", () => done >= RECORDS, 90_000);
  await runner.stop();
  const lanes = await readAll(client, topicName(pipeline, "desensitized"), LANES);
  await client.close();
  await first.stop();
  await second.stop();
  rmSync(dataDir, { recursive: true, force: true });
  expect(doneBefore).toBeLessThan(RECORDS);
  expect(failures.length).toBeGreaterThan(0);
  for (const [lane, records] of lanes.entries()) {
    const numbers = records.map(({ value }) =>
      Number(new TextDecoder().decode(value ?? undefined)),
    );
    expect(numbers).toEqual(
      Array.from({ length: RECORDS / LANES }, (_, index) => index * LANES + lane),
    );
  }
});
