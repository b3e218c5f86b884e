/** Helpers of the tests that talk to the real broker. */
import { randomBytes } from "node:crypto";
import type { ChangelogGuard } from "../../pipeline/stream/changelog.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { KafkaClient, Logger } from "../../pipeline/stream/port.ts";
import { readTopic } from "../../pipeline/stream/tail.ts";

export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** A changelog that anybody could write: for tests of the lane itself. */
export const openChangelog: ChangelogGuard = {
  protect: (value) => value,
  open: (value) => value,
  protectEntry: ({ value }) => value,
  openEntry: ({ protectedValue }) => protectedValue,
};

/** A pipeline name that no other test uses. */
export function freshPipeline(prefix: string): string {
  return `${prefix}-${randomBytes(4).toString("hex")}`;
}

export function connect(
  brokers: readonly string[],
  overrides: { sessionTimeoutMs?: number } = {},
): Promise<KafkaClient> {
  return createKafkajsClient({
    brokers,
    clientId: "test",
    compression: "zstd",
    sessionTimeoutMs: overrides.sessionTimeoutMs ?? 6_000,
    transactionTimeoutMs: 15_000,
    logger: silentLogger,
  });
}

/** Every committed record of a topic, partition by partition. */
export async function readAll(
  client: KafkaClient,
  topic: string,
  partitions: number,
): Promise<StreamRecord[][]> {
  const all: StreamRecord[][] = [];
  for (let partition = 0; partition < partitions; partition += 1) {
    const records: StreamRecord[] = [];
    await readTopic({ client, topic, partition, apply: (record) => records.push(record) });
    all.push(records);
  }
  return all;
}

/** Waits for a condition; fails with what it waited for. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      throw new Error(`timed out waiting until ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
