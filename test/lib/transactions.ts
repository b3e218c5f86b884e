/** What the tests of producers and readers share: topics, a kafkajs behind a proxy, and reading to the end. */
import kafkajs from "kafkajs";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import { installCodecs, installQueueFixes } from "../../pipeline/stream/kafkajs-internals.ts";
import type { Compression, KafkaClient, ProducerRecord } from "../../pipeline/stream/port.ts";
import { freshPipeline, silentLogger } from "./kafka.ts";
import type { TcpProxy } from "./tcp-proxy.ts";

export const PARTITIONS = 2;

export const textOf = (value: Uint8Array | null): string => Buffer.from(value ?? []).toString();

export const record = (value: string): ProducerRecord => ({ key: null, value: Buffer.from(value) });

export const numbered = (count: number, bytes = 0): ProducerRecord[] =>
  Array.from({ length: count }, (_, index) => record(String(index).padStart(bytes, "0")));

export const valuesOf = (records: readonly { value: Uint8Array | null }[]): string[] =>
  records.map(({ value }) => textOf(value));

export async function newTopic(client: KafkaClient): Promise<string> {
  const name = freshPipeline("transactions");
  await client.createTopics([{ name, partitions: PARTITIONS, replicationFactor: 1, config: {} }]);
  return name;
}

/** A kafkajs of its own, through a proxy if one is given, and what producers are made of. */
export function kafkaParts(
  brokers: readonly string[],
  { proxy, compression = "none" }: { proxy?: TcpProxy; compression?: Compression } = {},
) {
  installCodecs();
  installQueueFixes();
  const kafka = new kafkajs.Kafka({
    brokers: [...brokers],
    clientId: "parts",
    logLevel: kafkajs.logLevel.NOTHING,
    // Because kafkajs's type names fewer options than it passes, and the same socket.
    ...(proxy === undefined ? {} : { socketFactory: proxy.socketFactory as never }),
    retry: { initialRetryTime: 20, maxRetryTime: 500, retries: 12 },
  });
  const options = {
    brokers,
    clientId: "parts",
    compression,
    sessionTimeoutMs: 6_000,
    transactionTimeoutMs: 15_000,
    logger: silentLogger,
  };
  return { kafka, options };
}

/** Every committed record of a partition up to its end, by fetches of any size. */
export async function readToEnd(
  client: KafkaClient,
  topic: string,
  { partition = 0, maxBytes = 1 << 20 }: { partition?: number; maxBytes?: number } = {},
): Promise<StreamRecord[]> {
  const { latest } = await client.offsets(topic, partition);
  const reader = await client.createReader(topic, partition, 0);
  const records: StreamRecord[] = [];
  for (let isMore = latest > 0; isMore; ) {
    const fetched = await reader.fetch({ maxBytes, maxWaitMs: 200 });
    records.push(...fetched.records);
    // Not what an open transaction holds back.
    isMore = fetched.nextOffset < Math.min(latest, fetched.lastStableOffset);
  }
  await reader.close();
  return records;
}
