/**
 * The inside of kafkajs that its public face does not give: a fetch from an explicit offset, and its codec table.
 *
 * kafkajs's own consumer filters aborted records wrongly and moves positions behind the caller's back, so Sealstream
 * uses it for group membership only and fetches here. Nothing outside `pipeline/stream/` may import this file, and it
 * refuses every kafkajs version but the pinned one, since internals have no promise.
 */
import { createRequire } from "node:module";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import kafkajs, { type Kafka } from "kafkajs";
import { SealstreamError } from "../errors.ts";

const PINNED_VERSION = "2.2.4";

/** Most bytes one compressed record batch may inflate to: 64 batches of Kafka's default 1 MB. */
const MAX_INFLATED_BYTES = 64 * 1024 * 1024;

/** A record as kafkajs decodes it out of a fetch response. */
export interface RawRecord {
  readonly offset: string;
  readonly timestamp: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Record<string, Buffer | Buffer[] | undefined> | undefined;
  readonly isControlRecord: boolean;
  readonly batchContext:
    | {
        readonly producerId: string;
        readonly inTransaction: boolean;
        readonly firstOffset: string;
        readonly lastOffsetDelta: number;
      }
    | undefined;
}

export interface RawPartition {
  readonly partition: number;
  readonly errorCode: number;
  readonly highWatermark: string;
  readonly lastStableOffset: string;
  /** Null in answers to uncommitted reads. */
  readonly abortedTransactions: readonly { producerId: string; firstOffset: string }[] | null;
  readonly messages: readonly RawRecord[];
}

export interface RawBroker {
  fetch(request: {
    isolationLevel: number;
    maxWaitTime: number;
    minBytes: number;
    maxBytes: number;
    topics: {
      topic: string;
      partitions: { partition: number; fetchOffset: string; maxBytes: number }[];
    }[];
  }): Promise<{ responses: { topicName: string; partitions: RawPartition[] }[] }>;
}

/** kafkajs's `Cluster`: connections and metadata. One per reader, since a long poll holds its connection. */
export interface RawCluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  addTargetTopic(topic: string): Promise<void>;
  refreshMetadata(): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>;
  findBroker(options: { nodeId: string }): Promise<RawBroker>;
  removeBroker(address: { host: string; port: number }): void;
}

/** Isolation levels of the fetch request (KIP-98). */
export const ISOLATION_LEVEL = { uncommitted: 0, committed: 1 } as const;

/** The part of kafkajs's request queue that sets a timer. */
interface RequestQueue {
  throttledUntil: number;
  readonly pending: readonly unknown[];
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
}

/** kafkajs's own `CHECK_PENDING_REQUESTS_INTERVAL`. */
const CHECK_PENDING_MS = 10;

const requireKafkajs = createRequire(import.meta.url);

/** @throws SealstreamError `internal` on any version but the pinned one */
function assertPinned(): void {
  // Because package.json has a `version` in every npm package.
  const { version } = requireKafkajs("kafkajs/package.json") as { version: string };
  if (version !== PINNED_VERSION) {
    throw new SealstreamError(
      "internal",
      `Sealstream needs kafkajs ${PINNED_VERSION} and found ${version}: install the pinned version.`,
    );
  }
}

/**
 * Replaces the one method of kafkajs that sets timers with negative delays, about which Node warns once per process.
 * The delay is the same otherwise. Idempotent.
 */
export function installTimerFix(): void {
  assertPinned();
  // Because the pinned version exports this class from this file.
  const queue = requireKafkajs("kafkajs/src/network/requestQueue/index.js") as {
    prototype: RequestQueue & { scheduleCheckPendingRequests(): void };
  };
  queue.prototype.scheduleCheckPendingRequests = function schedule(this: RequestQueue): void {
    if (this.throttleCheckTimeoutId !== null) {
      return;
    }
    const waitMs = this.throttledUntil - (performance.timeOrigin + performance.now());
    const soonMs = this.pending.length > 0 ? CHECK_PENDING_MS : 1;
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null;
        this.checkPendingRequests();
      },
      waitMs > 0 ? waitMs : soonMs,
    );
  };
}

/** Registers zstd from node:zlib with kafkajs; gzip is built in. Idempotent. */
export function installCodecs(): void {
  kafkajs.CompressionCodecs[kafkajs.CompressionTypes.ZSTD] = () => ({
    compress: (encoder: { buffer: Buffer }) => Promise.resolve(zstdCompressSync(encoder.buffer)),
    decompress: (buffer: Buffer) =>
      Promise.resolve(zstdDecompressSync(buffer, { maxOutputLength: MAX_INFLATED_BYTES })),
  });
}

/** Makes kafkajs's cluster object, as its own consumer does. @throws SealstreamError `internal` on any other version */
export function createCluster(kafka: Kafka): RawCluster {
  assertPinned();
  const symbol = Object.getOwnPropertySymbols(kafka).find(
    (candidate) => candidate.description === "private:Kafka:createCluster",
  );
  if (symbol === undefined) {
    throw new SealstreamError("internal", "kafkajs has lost its cluster factory.");
  }
  // Because the pinned version stores exactly this function under that symbol (kafkajs src/index.js).
  const create = (kafka as unknown as Record<symbol, (options: object) => RawCluster>)[symbol];
  if (create === undefined) {
    throw new SealstreamError("internal", "kafkajs has lost its cluster factory.");
  }
  return create({
    metadataMaxAge: 300_000,
    allowAutoTopicCreation: false,
    maxInFlightRequests: 1,
    isolationLevel: ISOLATION_LEVEL.committed,
  });
}
