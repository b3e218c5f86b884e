/**
 * The Kafka port on kafkajs 2.2.4: admin, transactional producers, group membership.
 *
 * What kafkajs does wrongly is not used: its consumer only holds the group membership (all partitions paused), reads
 * go through `kafkajs-reader.ts`, every transactional send targets exactly one partition (multi-partition sends lose
 * records when a leader moves), and a producer that saw an error is thrown away. Source: measurements kept with the
 * project's design notes; KIP-98, KIP-360 for the protocol.
 */
import kafkajs, {
  type Admin,
  type ITopicConfig,
  type Kafka as KafkaType,
  type Message,
  type Producer,
  type Transaction,
} from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { installCodecs } from "./kafkajs-internals.ts";
import { createKafkajsReader } from "./kafkajs-reader.ts";
import type {
  Compression,
  GroupMembership,
  KafkaClient,
  LaneProducer,
  Logger,
  PlainProducer,
  ProducerRecord,
} from "./port.ts";

const { Kafka, CompressionTypes, logLevel, Partitioners, PartitionAssigners } = kafkajs;

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
/** Paused consumers still heartbeat once per this wait. */
const GROUP_POLL_MS = 250;
const CREATE_TOPIC_RETRIES = 5;

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

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The protocol error name kafkajs puts on its errors. */
function errorType(error: unknown): string | undefined {
  // Because kafkajs's protocol errors carry `type` beside what Error has.
  return (error as { type?: string } | null)?.type;
}

/** Requests on a closed kafkajs object may settle late; their failure has no reader. */
async function quietly(work: Promise<unknown>): Promise<void> {
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
      await this.#current().send({
        topic,
        acks: -1,
        compression: this.#compression,
        messages: chunk.map((record) => toMessage(record, partition)),
      });
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

function createLogBridge(logger: Logger) {
  return () =>
    ({ namespace, level, log }: { namespace: string; level: number; log: { message: string } }) => {
      // Only the library's own fixed sentence is passed on: its extra fields may name anything.
      const fields = { client: "kafkajs", namespace };
      if (level === logLevel.ERROR || level === logLevel.WARN) {
        logger.debug(fields, log.message);
      }
    };
}

async function createTopicsWithRetry(admin: Admin, topics: ITopicConfig[]): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await admin.createTopics({ topics, waitForLeaders: true, timeout: 20_000 });
      return;
    } catch (error) {
      // Because a fresh cluster may answer UNKNOWN_TOPIC_OR_PARTITION until its metadata has settled.
      if (attempt >= CREATE_TOPIC_RETRIES) {
        throw new SealstreamError("kafka-failed", "The broker would not create the topics.", {
          cause: error,
        });
      }
      await sleep(200 * 2 ** attempt);
    }
  }
}

async function joinGroup(
  kafka: KafkaType,
  options: KafkajsOptions,
  { group, topic, onAssignment, onCrash }: Parameters<KafkaClient["joinGroup"]>[0],
): Promise<GroupMembership> {
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: options.sessionTimeoutMs,
    rebalanceTimeout: options.sessionTimeoutMs * 2,
    heartbeatInterval: Math.max(100, Math.floor(options.sessionTimeoutMs / 6)),
    maxWaitTimeInMs: GROUP_POLL_MS,
    allowAutoTopicCreation: false,
    partitionAssigners: [PartitionAssigners.roundRobin],
    retry: { initialRetryTime: 100, maxRetryTime: 2_000, retries: 20 },
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    // Nothing is fetched through the group: the lanes read from explicit offsets.
    consumer.pause([{ topic }]);
    onAssignment(payload.memberAssignment[topic] ?? []);
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) {
      onCrash(payload.error);
    }
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: () => Promise.resolve(),
  });
  return { close: () => quietly(consumer.disconnect()) };
}

/** Connects to a cluster. @throws SealstreamError `broker-unavailable` when no broker answers */
export async function createKafkajsClient(options: KafkajsOptions): Promise<KafkaClient> {
  installCodecs();
  const kafka = new Kafka({
    clientId: options.clientId,
    brokers: [...options.brokers],
    logLevel: logLevel.WARN,
    logCreator: createLogBridge(options.logger),
    connectionTimeout: 5_000,
    retry: { initialRetryTime: 20, maxRetryTime: 1_000, retries: 12 },
  });
  const admin = kafka.admin();
  try {
    await admin.connect();
  } catch (error) {
    throw new SealstreamError(
      "broker-unavailable",
      `No Kafka broker answers at ${options.brokers.join(", ")}: check KAFKA_BROKERS or kafka.brokers, or start one with "sealstream broker".`,
      { cause: error },
    );
  }
  return {
    async describeTopics(names) {
      const existing = new Set(await admin.listTopics());
      const present = names.filter((name) => existing.has(name));
      if (present.length === 0) {
        return [];
      }
      const { topics } = await admin.fetchTopicMetadata({ topics: present });
      return topics.map(({ name, partitions }) => ({ name, partitions: partitions.length }));
    },
    async listTopics(prefix) {
      return (await admin.listTopics()).filter((name) => name.startsWith(prefix));
    },
    async createTopics(topics) {
      const existing = new Set(await admin.listTopics());
      const missing = topics.filter(({ name }) => !existing.has(name));
      if (missing.length > 0) {
        await createTopicsWithRetry(
          admin,
          missing.map(({ name, partitions, replicationFactor, config }) => ({
            topic: name,
            numPartitions: partitions,
            replicationFactor,
            configEntries: Object.entries(config).map(([key, value]) => ({ name: key, value })),
          })),
        );
      }
      return missing.map(({ name }) => name);
    },
    async offsets(topic, partition) {
      const found = (await admin.fetchTopicOffsets(topic)).find(
        (entry) => entry.partition === partition,
      );
      if (found === undefined) {
        throw new SealstreamError("topic-missing", `Topic ${topic} has no partition ${partition}.`);
      }
      return { earliest: Number(found.low), latest: Number(found.high) };
    },
    async committedOffset(group, topic, partition) {
      const [answer] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
      const offset = Number(
        answer?.partitions.find((entry) => entry.partition === partition)?.offset ?? -1,
      );
      return offset < 0 ? null : offset;
    },
    createReader: (topic, partition, offset) =>
      createKafkajsReader(kafka, topic, partition, offset),
    async createLaneProducer(transactionalId) {
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
    },
    createPlainProducer: () => createPlainProducer(kafka, admin, options),
    joinGroup: (request) => joinGroup(kafka, options, request),
    close: () => quietly(admin.disconnect()),
  };
}

async function createPlainProducer(
  kafka: KafkaType,
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
