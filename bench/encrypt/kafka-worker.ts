/**
 * A process that writes records to a topic and reads them back, in the clear or sealed, through our own lane producer
 * and partition reader: the work of `npm run bench -- encrypt` on Kafka.
 *
 * Argument: KafkaWorkerSettings as JSON. A message KafkaJob is answered with {rate} in records per second, or {fault}.
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
import type { KafkaClient, LaneProducer, ProducerRecord } from "../../pipeline/stream/port.ts";
import { benchDataKey } from "./in-process.ts";

export interface KafkaWorkerSettings {
  readonly brokers: readonly string[];
  /** Begins the transactional ids. */
  readonly prefix: string;
  readonly plainTopic: string;
  readonly sealedTopic: string;
}

export interface KafkaJob {
  readonly what: "produce" | "consume";
  readonly how: KafkaHow;
  readonly records: number;
}

/** In the clear; sealed before it is sent; sealed while the batch before it is under way. */
export type KafkaHow = "plain" | "sealed" | "overlapped";

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

function contextOf(recordId: Uint8Array): EnvelopeContext {
  return { pipeline: PIPELINE, topic: "examples", lane: 0, recordId, schemaVersion: 1 };
}

const dataKey: DataKey = await benchDataKey(PIPELINE);
let sequence = 0;

function batchFrom(first: number, count: number, sealed: boolean): ProducerRecord[] {
  return Array.from({ length: count }, (_, i) => {
    const { key, value } = sources[(first + i) % DISTINCT]!;
    if (!sealed) return { key, value };
    const context = contextOf(key);
    return {
      key,
      value: sealEnvelope({ dataKey, plaintext: value, context, sequence: sequence++ }),
    };
  });
}

async function sendBatch(producer: LaneProducer, topic: string, records: ProducerRecord[]) {
  await producer.begin();
  await producer.send(topic, 0, records);
  await producer.commit();
}

async function produce(producer: LaneProducer, topic: string, job: KafkaJob): Promise<number> {
  const sealed = job.how !== "plain";
  const start = performance.now();
  let underWay: Promise<void> = Promise.resolve();
  for (let first = 0; first < job.records; first += BATCH) {
    const records = batchFrom(first, Math.min(BATCH, job.records - first), sealed);
    await underWay;
    underWay = sendBatch(producer, topic, records);
    if (job.how !== "overlapped") await underWay;
  }
  await underWay;
  return (job.records * 1000) / (performance.now() - start);
}

function readValue(key: Uint8Array | null, value: Uint8Array | null, sealed: boolean): number {
  if (key === null || value === null) throw new Error("a record has no key or value");
  if (!sealed) return value.length;
  const opened = openEnvelope({ envelope: value, context: contextOf(key), findKey: () => dataKey });
  if (opened.status !== "ok") throw new Error(`an envelope is ${opened.status}`);
  return opened.plaintext.length;
}

async function consume(client: KafkaClient, topic: string, job: KafkaJob): Promise<number> {
  const reader = await client.createReader(topic, 0, 0);
  const start = performance.now();
  let [records, bytes] = [0, 0];
  let next = reader.fetch(FETCH);
  while (records < job.records) {
    const fetched = await next;
    // Always, as a stage does: the next fetch is under way while this one is worked on.
    next = reader.fetch(FETCH);
    for (const { key, value } of fetched.records) {
      bytes += readValue(key, value, job.how !== "plain");
    }
    records += fetched.records.length;
  }
  const elapsedMs = performance.now() - start;
  await next;
  await reader.close();
  if (bytes !== records * VALUE_BYTES) throw new Error("bytes are missing");
  return (records * 1000) / elapsedMs;
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
const producer = await client.createLaneProducer(`${settings.prefix}-lane`);

async function work(job: KafkaJob): Promise<number> {
  const topic = job.how === "plain" ? settings.plainTopic : settings.sealedTopic;
  return job.what === "produce" ? produce(producer, topic, job) : consume(client, topic, job);
}

process.on("message", (message) => {
  // Because only the parent writes to the channel.
  work(message as KafkaJob).then(
    (rate) => process.send?.({ rate }),
    (error: unknown) => process.send?.({ fault: String(error) }),
  );
});
process.once("disconnect", () => process.exit(0));
process.send?.({ ready: true });
