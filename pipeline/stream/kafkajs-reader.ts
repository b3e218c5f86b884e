/**
 * Reads one partition through kafkajs from an explicit offset, read_committed.
 *
 * One reader has its own connections: a broker answers one request of a connection at a time, so a long poll would
 * hold up everything behind it. Retries what a moved leader or a cut connection causes; anything else is thrown.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Kafka } from "kafkajs";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import type { Headers, StreamRecord } from "./contract.ts";
import {
  createCluster,
  ISOLATION_LEVEL,
  type RawCluster,
  type RawPartition,
  type RawRecord,
} from "./kafkajs-internals.ts";
import type { FetchedRecords, Isolation, PartitionReader } from "./port.ts";
import { readCommitted } from "./read-committed.ts";

const NO_HEADERS: Headers = Object.freeze({});
const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 2_000;
/** About half a minute of retries: longer than a leader election at Kafka's default settings. */
const MAX_RETRIES = 20;

interface Entry {
  readonly offset: number;
  readonly key: Uint8Array | null;
  readonly isControl: boolean;
  readonly inTransaction: boolean;
  readonly producerId: string;
  readonly raw: RawRecord;
}

function plainHeaders(raw: RawRecord["headers"]): Headers {
  if (raw === undefined) {
    return NO_HEADERS;
  }
  let result: Record<string, Uint8Array> | null = null;
  for (const [name, value] of Object.entries(raw)) {
    const last = Array.isArray(value) ? value.at(-1) : value;
    if (last !== undefined) {
      // Because a header may be called `__proto__`: the object must have no prototype.
      result ??= Object.create(null) as Record<string, Uint8Array>;
      result[name] = last;
    }
  }
  return result ?? NO_HEADERS;
}

function toEntry(raw: RawRecord): Entry {
  return {
    offset: Number(raw.offset),
    key: raw.key,
    isControl: raw.isControlRecord === true,
    inTransaction: raw.batchContext?.inTransaction === true,
    producerId: String(raw.batchContext?.producerId ?? ""),
    raw,
  };
}

function toRecord({ offset, raw }: Entry): StreamRecord {
  return {
    offset,
    timestampMs: Number(raw.timestamp),
    key: raw.key,
    value: raw.value,
    headers: plainHeaders(raw.headers),
  };
}

/** Offset after the last record batch: a compacted batch ends beyond its last kept record. */
function endOf(entries: readonly Entry[], position: number): number {
  const last = entries.at(-1);
  if (last === undefined) {
    return position;
  }
  const context = last.raw.batchContext;
  const batchEnd =
    context === undefined ? last.offset : Number(context.firstOffset) + context.lastOffsetDelta;
  return Math.max(position, last.offset + 1, batchEnd + 1);
}

/** The little of kafkajs's errors that decides about a retry. */
interface ClientError {
  readonly name?: string;
  readonly type?: string;
  readonly host?: string;
  readonly port?: number;
}

export interface ReaderOptions {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly isolation: Isolation;
}

class KafkajsReader implements PartitionReader {
  readonly #cluster: RawCluster;
  readonly #topic: string;
  readonly #partition: number;
  readonly #isolation: Isolation;
  #position: number;
  #closed = false;

  constructor(cluster: RawCluster, options: ReaderOptions) {
    this.#cluster = cluster;
    this.#topic = options.topic;
    this.#partition = options.partition;
    this.#isolation = options.isolation;
    this.#position = options.offset;
  }

  async fetch(options: { maxBytes: number; maxWaitMs: number }): Promise<FetchedRecords> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#fetchOnce(options);
      } catch (error) {
        if (this.#closed) {
          throw new SealstreamError("kafka-failed", "The reader was closed.");
        }
        await this.#recover(error, attempt);
      }
    }
  }

  position(): number {
    return this.#position;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#cluster.disconnect();
  }

  async #fetchOnce(options: { maxBytes: number; maxWaitMs: number }): Promise<FetchedRecords> {
    const answer = await this.#request(options);
    const entries = answer.messages.map(toEntry);
    const aborted = (answer.abortedTransactions ?? []).map(({ producerId, firstOffset }) => ({
      producerId: String(producerId),
      firstOffset: Number(firstOffset),
    }));
    const from = this.#position;
    const records = readCommitted(entries, aborted)
      .filter(({ offset }) => offset >= from)
      .map(toRecord);
    this.#position = endOf(entries, from);
    return {
      records,
      nextOffset: this.#position,
      lastStableOffset: Number(answer.lastStableOffset),
      highWatermark: Number(answer.highWatermark),
    };
  }

  /** The leader's answer for our partition at our position. */
  async #request({
    maxBytes,
    maxWaitMs,
  }: {
    maxBytes: number;
    maxWaitMs: number;
  }): Promise<RawPartition> {
    const topic = this.#topic;
    const partition = this.#partition;
    await this.#cluster.refreshMetadataIfNecessary();
    const nodeId = Object.keys(this.#cluster.findLeaderForPartitions(topic, [partition])).at(0);
    if (nodeId === undefined) {
      throw new SealstreamError("topic-missing", `Topic ${topic} has no partition ${partition}.`);
    }
    const broker = await this.#cluster.findBroker({ nodeId });
    const { responses } = await broker.fetch({
      isolationLevel: ISOLATION_LEVEL[this.#isolation],
      maxWaitTime: maxWaitMs,
      minBytes: 1,
      maxBytes,
      topics: [
        { topic, partitions: [{ partition, fetchOffset: String(this.#position), maxBytes }] },
      ],
    });
    const answer = responses
      .find(({ topicName }) => topicName === topic)
      ?.partitions.find((candidate) => candidate.partition === partition);
    if (answer === undefined) {
      throw new SealstreamError(
        "kafka-failed",
        `The broker did not answer for ${topic}/${partition}.`,
      );
    }
    return answer;
  }

  /** Waits before another attempt, or throws what no attempt can mend. */
  async #recover(error: unknown, attempt: number): Promise<void> {
    if (isSealstreamError(error) && error.code !== "kafka-failed") {
      throw error;
    }
    const where = `${this.#topic}/${this.#partition}`;
    // Because everything kafkajs throws is an Error object whose fields are all optional here.
    const client = error as ClientError;
    if (client.type === "OFFSET_OUT_OF_RANGE" || client.name === "KafkaJSOffsetOutOfRange") {
      throw new SealstreamError(
        "state-mismatch",
        `Offset ${this.#position} of ${where} is no longer in the log: its records expired or the topic was made anew. Check retention, then start a new generation of the pipeline.`,
      );
    }
    if (client.name === "KafkaJSNotImplemented") {
      throw new SealstreamError(
        "kafka-failed",
        `${where} holds records compressed with a codec that is not supported: produce with none, gzip or zstd.`,
      );
    }
    if (attempt >= MAX_RETRIES) {
      throw new SealstreamError("kafka-failed", `Reading ${where} failed ${attempt} times.`, {
        cause: error,
      });
    }
    if (client.host !== undefined && client.port !== undefined) {
      this.#cluster.removeBroker({ host: client.host, port: client.port });
    }
    await sleep(Math.min(RETRY_FIRST_MS * 2 ** attempt, RETRY_MOST_MS));
    try {
      await this.#cluster.connect();
      await this.#cluster.refreshMetadata();
    } catch {
      // Because the next fetch fails the same way and is counted there.
    }
  }
}

/** Opens a reader at an offset. */
export async function createKafkajsReader(
  kafka: Kafka,
  options: ReaderOptions,
): Promise<PartitionReader> {
  const cluster = createCluster(kafka);
  await cluster.connect();
  await cluster.addTargetTopic(options.topic);
  return new KafkajsReader(cluster, options);
}
