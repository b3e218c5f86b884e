/**
 * Producing through kafkajs: transactional for lanes, idempotent for people who feed `raw`.
 *
 * Every request targets exactly one partition: kafkajs silently loses records of wider requests when a leader moves
 * (the retry skips brokers that had already answered). A lane's producer that saw an error is thrown away.
 */
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs, {
  type Admin,
  type Kafka,
  type Message,
  type Producer,
  type Transaction,
} from "kafkajs";
import { SealstreamError } from "../errors.ts";
import type { Compression, LaneProducer, Logger, PlainProducer, ProducerRecord } from "./port.ts";

const { CompressionTypes, Partitioners } = kafkajs;

export interface KafkajsOptions {
  readonly brokers: readonly string[];
  readonly clientId: string;
  readonly compression: Compression;
  readonly sessionTimeoutMs: number;
  readonly transactionTimeoutMs: number;
  readonly logger: Logger;
}

/** Bytes of records in one produce request: below the broker's default `max.message.bytes` of 1,048,588. */
const MAX_REQUEST_BYTES = 1_000_000;
/** Upper bound of what a record costs beside its key, value and headers (varints, attributes). */
const RECORD_OVERHEAD_BYTES = 64;
/** `sendOffsets` answers CONCURRENT_TRANSACTIONS while the markers of the transaction before are still written. */
const CONCURRENT_RETRY_MS = 5;
const CONCURRENT_RETRIES = 400;
const COMPRESSION: Readonly<Record<Compression, number>> = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  zstd: CompressionTypes.ZSTD,
};

function asBuffer(bytes: Uint8Array | null): Buffer | null {
  return bytes === null ? null : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function recordBytes(record: ProducerRecord): number {
  let bytes =
    RECORD_OVERHEAD_BYTES + (record.key?.byteLength ?? 0) + (record.value?.byteLength ?? 0);
  for (const [name, value] of Object.entries(record.headers ?? {})) {
    bytes += name.length * 3 + value.byteLength + 10;
  }
  return bytes;
}

/** Cuts records into requests below {@link MAX_REQUEST_BYTES}; one record above it goes alone and the broker judges. */
export function chunkByBytes<R extends ProducerRecord>(records: readonly R[]): R[][] {
  const chunks: R[][] = [];
  let chunk: R[] = [];
  let bytes = 0;
  for (const record of records) {
    const size = recordBytes(record);
    if (chunk.length > 0 && bytes + size > MAX_REQUEST_BYTES) {
      chunks.push(chunk);
      chunk = [];
      bytes = 0;
    }
    chunk.push(record);
    bytes += size;
  }
  if (chunk.length > 0) {
    chunks.push(chunk);
  }
  return chunks;
}

function toMessage(record: ProducerRecord, partition: number | null): Message {
  const headers: Record<string, Buffer> = {};
  for (const [name, value] of Object.entries(record.headers ?? {})) {
    headers[name] = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  return {
    key: asBuffer(record.key),
    value: asBuffer(record.value),
    headers,
    ...(partition === null ? {} : { partition }),
  };
}

/** The protocol error name kafkajs puts on its errors. */
function errorType(error: unknown): string | undefined {
  // Because kafkajs's protocol errors carry `type` beside what Error has.
  return (error as { type?: string } | null)?.type;
}

function tooLarge(topic: string): SealstreamError {
  return new SealstreamError(
    "limit-exceeded",
    `The broker finds a message for ${topic} too large: give the topic Kafka's default max.message.bytes of 1048588 or more.`,
  );
}

/** Requests on a closed kafkajs object may settle late; their failure has no reader. */
export async function quietly(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch {
    // Because the object is being thrown away and whatever it left open is fenced by its successor.
  }
}

class KafkajsLaneProducer implements LaneProducer {
  readonly #producer: Producer;
  readonly #compression: number;
  #transaction: Transaction | null = null;

  constructor(producer: Producer, compression: number) {
    this.#producer = producer;
    this.#compression = compression;
  }

  #current(): Transaction {
    if (this.#transaction === null) {
      throw new SealstreamError("internal", "No transaction was begun on this producer.");
    }
    return this.#transaction;
  }

  async begin(): Promise<void> {
    this.#transaction = await this.#producer.transaction();
  }

  async send(topic: string, partition: number, records: readonly ProducerRecord[]): Promise<void> {
    for (const chunk of chunkByBytes(records)) {
      try {
        await this.#current().send({
          topic,
          acks: -1,
          compression: this.#compression,
          messages: chunk.map((record) => toMessage(record, partition)),
        });
      } catch (error) {
        throw errorType(error) === "MESSAGE_TOO_LARGE" ? tooLarge(topic) : error;
      }
    }
  }

  async sendOffset(group: string, topic: string, partition: number, offset: number): Promise<void> {
    const topics = [{ topic, partitions: [{ partition, offset: String(offset) }] }];
    for (let attempt = 0; ; attempt += 1) {
      try {
        await this.#current().sendOffsets({ consumerGroupId: group, topics });
        return;
      } catch (error) {
        if (errorType(error) !== "CONCURRENT_TRANSACTIONS" || attempt >= CONCURRENT_RETRIES) {
          throw error;
        }
        await sleep(CONCURRENT_RETRY_MS);
      }
    }
  }

  async commit(): Promise<void> {
    await this.#current().commit();
    this.#transaction = null;
  }

  async abort(): Promise<void> {
    await this.#transaction?.abort();
    this.#transaction = null;
  }

  async close(): Promise<void> {
    await quietly(this.#producer.disconnect());
  }
}

/** Makes a lane's producer and fences whoever had its transactional id. */
export async function createLaneProducer(
  kafka: Kafka,
  options: KafkajsOptions,
  transactionalId: string,
): Promise<LaneProducer> {
  const producer = kafka.producer({
    transactionalId,
    idempotent: true,
    maxInFlightRequests: 1,
    transactionTimeout: options.transactionTimeoutMs,
    allowAutoTopicCreation: false,
    createPartitioner: Partitioners.DefaultPartitioner,
    retry: { initialRetryTime: 5, maxRetryTime: 500, retries: 30 },
  });
  await producer.connect();
  // Starting and aborting a transaction forces InitProducerId, which fences and settles the previous owner.
  const transaction = await producer.transaction();
  await transaction.abort();
  return new KafkajsLaneProducer(producer, COMPRESSION[options.compression]);
}

/** Makes a producer outside transactions. */
export async function createPlainProducer(
  kafka: Kafka,
  admin: Admin,
  options: KafkajsOptions,
): Promise<PlainProducer> {
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  const choosePartition = Partitioners.DefaultPartitioner();
  return {
    async send(topic, records) {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      const partitionMetadata = topics.at(0)?.partitions ?? [];
      const messages = records.map((record) => {
        const message = toMessage(record, record.partition);
        return { record, partition: choosePartition({ topic, partitionMetadata, message }) };
      });
      // One partition a request: kafkajs loses records of wider requests when a leader moves.
      for (const [partition, group] of Map.groupBy(messages, (entry) => entry.partition)) {
        for (const chunk of chunkByBytes(group.map(({ record }) => record))) {
          await producer.send({
            topic,
            acks: -1,
            compression: COMPRESSION[options.compression],
            messages: chunk.map((record) => toMessage(record, partition)),
          });
        }
      }
    },
    close: () => quietly(producer.disconnect()),
  };
}
