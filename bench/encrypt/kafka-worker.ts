/**
 * A process that writes records to a topic and reads them back, in the clear or sealed, through our own lane producer
 * and partition reader: the work of `npm run bench -- encrypt` on Kafka.
 *
 * Argument: KafkaWorkerSettings as JSON. A message KafkaJob is answered with a KafkaResult, or {fault}.
 * Ends on SIGTERM and when its parent is gone.
 */
import { randomBytes } from "node:crypto";
import type { DataKey } from "../../pipeline/crypto/data-key.ts";
import {
  type EnvelopeContext,
  openEnvelope,
  sealEnvelope,
} from "../../pipeline/crypto/envelope.ts";
import { createKafkajsClient } from "../../pipeline/stream/kafkajs-client.ts";
import type { LaneProducer, ProducerRecord } from "../../pipeline/stream/port.ts";
import { benchDataKey } from "./in-process.ts";

export interface KafkaWorkerSettings {
  readonly brokers: readonly string[];
  /** Begins the transactional ids. */
  readonly prefix: string;
  readonly plainTopic: string;
  readonly sealedTopic: string;
  readonly lanes: number;
}

export interface KafkaJob {
  readonly what: "produce" | "consume";
  readonly sealed: boolean;
  /** Partitions at once, from the first on: each is a lane of its own, as in a stage. */
  readonly lanes: number;
  /** Of every lane. */
  readonly records: number;
}

export interface KafkaResult {
  /** Records per second. */
  readonly rate: number;
  /** Of this process, all threads, in microseconds per record: says what it costs where cores are not free. */
  readonly cpu: number;
}

const VALUE_BYTES = 1024;
/** Records of one transaction, and of the send in it. */
const BATCH = 2000;
const DISTINCT = 4096;
const PIPELINE = "digits";
const FETCH = { maxBytes: 1 << 20, maxWaitMs: 500 };

interface Source {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

const sources: readonly Source[] = Array.from({ length: DISTINCT }, (_, i) => ({
  key: Buffer.from(`record-${i}`),
  value: new Uint8Array(randomBytes(VALUE_BYTES)),
}));

/** One partition: its producer, and the data key of what is sealed for it. */
interface Lane {
  readonly lane: number;
  readonly producer: LaneProducer;
  readonly dataKey: DataKey;
  sequence: number;
}

function contextOf(lane: number, recordId: Uint8Array): EnvelopeContext {
  return { pipeline: PIPELINE, topic: "examples", lane, recordId, schemaVersion: 1 };
}

function batchFrom(lane: Lane, first: number, count: number, sealed: boolean): ProducerRecord[] {
  return Array.from({ length: count }, (_, i) => {
    const { key, value } = sources[(first + i) % DISTINCT]!;
    if (!sealed) return { key, value };
    const { dataKey } = lane;
    const context = contextOf(lane.lane, key);
    const sequence = lane.sequence++;
    return { key, value: sealEnvelope({ dataKey, plaintext: value, context, sequence }) };
  });
}

async function produce(lane: Lane, topic: string, { records, sealed }: KafkaJob): Promise<void> {
  for (let first = 0; first < records; first += BATCH) {
    const batch = batchFrom(lane, first, Math.min(BATCH, records - first), sealed);
    await lane.producer.begin();
    await lane.producer.send(topic, lane.lane, batch);
    await lane.producer.commit();
  }
}

function readValue(
  { lane, dataKey }: Lane,
  { key, value }: { readonly key: Uint8Array | null; readonly value: Uint8Array | null },
  sealed: boolean,
): number {
  if (key === null || value === null) throw new Error("a record has no key or value");
  if (!sealed) return value.length;
  const context = contextOf(lane, key);
  const opened = openEnvelope({ envelope: value, context, findKey: () => dataKey });
  if (opened.status !== "ok") throw new Error(`an envelope is ${opened.status}`);
  return opened.plaintext.length;
}

async function consume(lane: Lane, topic: string, job: KafkaJob): Promise<void> {
  const reader = await client.createReader(topic, lane.lane, 0);
  let [records, bytes] = [0, 0];
  let next = reader.fetch(FETCH);
  while (records < job.records) {
    const fetched = await next;
    // For both: the next fetch is under way while this one is worked on.
    next = reader.fetch(FETCH);
    for (const record of fetched.records) bytes += readValue(lane, record, job.sealed);
    records += fetched.records.length;
  }
  await next;
  await reader.close();
  if (bytes !== records * VALUE_BYTES) throw new Error("bytes are missing");
}

// Because the parent is ours and hands in exactly this.
const settings = JSON.parse(process.argv[2] ?? "") as KafkaWorkerSettings;
const silent = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const client = await createKafkajsClient({
  brokers: settings.brokers,
  clientId: "bench-encrypt",
  compression: "none",
  sessionTimeoutMs: 10_000,
  transactionTimeoutMs: 60_000,
  logger: silent,
});
const lanes: readonly Lane[] = await Promise.all(
  Array.from({ length: settings.lanes }, async (_, lane) => ({
    lane,
    producer: await client.createLaneProducer(`${settings.prefix}-lane-${lane}`),
    dataKey: await benchDataKey(PIPELINE, lane),
    sequence: 0,
  })),
);

async function work(job: KafkaJob): Promise<KafkaResult> {
  const topic = job.sealed ? settings.sealedTopic : settings.plainTopic;
  const run = job.what === "produce" ? produce : consume;
  const used = lanes.slice(0, job.lanes);
  const records = job.lanes * job.records;
  const start = performance.now();
  const before = process.cpuUsage();
  await Promise.all(used.map((lane) => run(lane, topic, job)));
  const { user, system } = process.cpuUsage(before);
  return {
    rate: (records * 1000) / (performance.now() - start),
    cpu: (user + system) / records,
  };
}

process.on("message", (message) => {
  // Because only the parent writes to the channel.
  work(message as KafkaJob).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ fault: String(error) }),
  );
});
process.once("disconnect", () => process.exit(0));
process.send?.({ ready: true });
