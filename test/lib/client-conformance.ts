/**
 * The world of the client conformance suite: which clients there are, fresh topics, and what was delivered.
 *
 * Every case is written once against the port and run for every client. Expected offsets come from what the broker
 * reports about the log before and after a send, never from assumptions about markers.
 */
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { expect } from "vitest";
import { isSealstreamError } from "../../pipeline/errors.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { type ClientName, openClient } from "../../pipeline/stream/open-client.ts";
import type {
  Isolation,
  KafkaClient,
  LaneProducer,
  PartitionReader,
  ProducerRecord,
} from "../../pipeline/stream/port.ts";
import { silentLogger, until } from "./kafka.ts";

const CONFLUENT_LIBRARY = "@confluentinc/kafka-javascript";

/** What the cases of one client are given. */
export interface World {
  readonly name: ClientName;
  readonly brokers: () => readonly string[];
  readonly client: () => KafkaClient;
  /** Creates a topic that no other case uses. */
  readonly newTopic: (partitions?: number, config?: Record<string, string>) => Promise<string>;
}

/** A client to try, or why it cannot be. */
export interface Candidate {
  readonly name: ClientName;
  readonly missing: string | null;
}

function isInstalled(library: string): boolean {
  try {
    createRequire(import.meta.url).resolve(library);
    return true;
  } catch {
    return false;
  }
}

export const CANDIDATES: readonly Candidate[] = [
  { name: "kafkajs", missing: null },
  {
    name: "confluent",
    missing: isInstalled(CONFLUENT_LIBRARY) ? null : `${CONFLUENT_LIBRARY} is not installed`,
  },
];

export function openNamed(name: ClientName, brokers: readonly string[]): Promise<KafkaClient> {
  return openClient(name, {
    brokers,
    clientId: "conformance",
    // A codec that every build of every client has.
    compression: "gzip",
    sessionTimeoutMs: 6_000,
    transactionTimeoutMs: 15_000,
    logger: silentLogger,
  });
}

export function freshName(prefix: string): string {
  return `conformance-${prefix}-${randomBytes(5).toString("hex")}`;
}

const text = new TextDecoder();
export const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
/** The values of records as text. */
export const valuesOf = (records: readonly StreamRecord[]): (string | null)[] =>
  records.map(({ value }) => (value === null ? null : text.decode(value)));
export const record = (value: string, key: Uint8Array | null = null): ProducerRecord => ({
  key,
  value: bytes(value),
});

/** Fetches until the reader stands at `end`. @returns everything fetched on the way */
export async function readUpTo(reader: PartitionReader, end: number): Promise<StreamRecord[]> {
  const records: StreamRecord[] = [];
  while (reader.position() < end) {
    const from = reader.position();
    const fetched = await reader.fetch({ maxBytes: 1 << 20, maxWaitMs: 250 });
    expect(fetched.nextOffset).toBe(reader.position());
    expect(fetched.nextOffset).toBeGreaterThanOrEqual(from);
    expect(fetched.lastStableOffset).toBeLessThanOrEqual(fetched.highWatermark);
    for (const { offset } of fetched.records) {
      expect(offset).toBeGreaterThanOrEqual(from);
      expect(offset).toBeLessThan(fetched.nextOffset);
    }
    records.push(...fetched.records);
  }
  return records;
}

/**
 * Everything visible in a partition from its first offset up to its end, with strictly rising offsets. Waits for the
 * markers of transactions that have just ended: a commit is answered before they are written. None may be open.
 */
export async function readPartition(
  client: KafkaClient,
  topic: string,
  partition = 0,
  isolation: Isolation = "committed",
): Promise<StreamRecord[]> {
  const end = await logEnd(client, topic, partition);
  const { earliest } = await client.offsets(topic, partition);
  const reader = await client.createReader(topic, partition, earliest, isolation);
  try {
    const records = await readUpTo(reader, end);
    for (const [index, { offset }] of records.entries()) {
      expect(offset).toBeGreaterThan(records[index - 1]?.offset ?? -1);
    }
    return records;
  } finally {
    await reader.close();
  }
}

/** The end of a partition's log, open transactions included, as the broker says in answer to an uncommitted read. */
export async function logEnd(client: KafkaClient, topic: string, partition = 0): Promise<number> {
  const { earliest } = await client.offsets(topic, partition);
  const reader = await client.createReader(topic, partition, earliest, "uncommitted");
  const { highWatermark } = await reader.fetch({ maxBytes: 1_000, maxWaitMs: 0 });
  await reader.close();
  return highWatermark;
}

/** Sends records of a transaction and says where the broker put them. */
export async function sendAndPlace(
  client: KafkaClient,
  producer: LaneProducer,
  topic: string,
  records: readonly ProducerRecord[],
): Promise<{ first: number; end: number }> {
  const first = await logEnd(client, topic);
  await producer.send(topic, 0, records);
  const end = await logEnd(client, topic);
  return { first, end };
}

/** Waits until a group's offset is `offset`: a commit is answered before the group's markers are written. */
export async function untilCommitted(
  client: KafkaClient,
  [group, topic, partition]: readonly [string, string, number],
  offset: number,
): Promise<void> {
  await until(
    `group ${group} stands at ${offset}`,
    async () => (await client.committedOffset(group, topic, partition)) === offset,
  );
}

/** Writes records outside transactions to one partition. */
export async function feed(
  client: KafkaClient,
  topic: string,
  records: readonly ProducerRecord[],
  partition = 0,
): Promise<void> {
  const producer = await client.createPlainProducer();
  try {
    await producer.send(
      topic,
      records.map((entry) => ({ ...entry, partition })),
    );
  } finally {
    await producer.close();
  }
}

/** What a promise rejects with; fails when it resolves. */
export async function rejection(work: Promise<unknown>): Promise<unknown> {
  const outcome = await work.then(
    () => ({ error: null }),
    (error: unknown) => ({ error }),
  );
  expect(outcome.error, "should have been refused").not.toBeNull();
  return outcome.error;
}

/** An error that can be told from others without reading its text. */
export function expectNamed(error: unknown): void {
  expect(error).toBeInstanceOf(Error);
  const { name, type } = error as { name?: string; type?: string };
  const named = isSealstreamError(error) || type !== undefined || (name ?? "Error") !== "Error";
  expect(named, "an error must have a code, a type or a name of its own").toBe(true);
}
