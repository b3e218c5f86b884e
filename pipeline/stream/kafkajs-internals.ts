/**
 * What is used of kafkajs 2.2.4 beyond its public interface: its cluster object, whose connections (TLS, SASL, metadata)
 * carry our own requests, and two methods of its request queue.
 *
 * kafkajs is unmaintained and pinned; every reach into it is here, and nothing of it is replaced but those two. Refuses
 * any other version, since nothing here is checked by its types. Must not hold any logic of the stream room.
 */
import type { EventEmitter } from "node:events";
import { createRequire } from "node:module";
import type { Socket } from "node:net";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import kafkajs, { type Kafka } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import { MAX_INFLATED_BYTES } from "./wire/codecs.ts";

const PINNED_VERSION = "2.2.4";

/** What goes through a connection's request queue. */
export interface QueuedRequest {
  readonly entry: {
    readonly apiKey: number;
    readonly apiName: string;
    readonly apiVersion: number;
    readonly correlationId: number;
    resolve(answer: { payload: Buffer }): void;
    reject(error: Error): void;
  };
  readonly expectResponse: true;
  readonly requestTimeout: null;
  sendRequest(): void;
}

/** One socket to a broker. Its queue matches answers to requests, times them out and keeps to the broker's throttling. */
export interface RawConnection {
  readonly host: string;
  readonly port: number;
  readonly clientId: string;
  readonly sasl: object | null;
  readonly socket: Socket | undefined;
  readonly requestQueue: {
    push(request: QueuedRequest): void;
    maybeThrottle(ms: number): void;
    destroy(): void;
  };
  isConnected(): boolean;
  isAuthenticated(): boolean;
  authenticate(): Promise<void>;
  nextCorrelationId(): number;
  rejectRequests(error: Error): void;
  disconnect(): Promise<unknown>;
}

export interface RawBroker {
  readonly versions: Readonly<
    Record<number, { minVersion: number; maxVersion: number } | undefined>
  > | null;
  /** Two connections, the second of which kafkajs keeps for its own fetches; we use the first. */
  readonly connectionPool: { readonly pool: readonly RawConnection[] };
}

/** kafkajs's `Cluster`: connections and metadata. */
export interface RawCluster {
  connect(): Promise<void>;
  addTargetTopic(topic: string): Promise<void>;
  refreshMetadata(): Promise<void>;
  findLeaderForPartitions(topic: string, partitions: number[]): Record<string, number[]>;
  findBroker(options: { nodeId: number | string }): Promise<RawBroker>;
  readonly brokerPool: {
    readonly brokers: Readonly<Record<string, RawBroker>>;
    readonly seedBroker: RawBroker | undefined;
    findConnectedBroker(): Promise<RawBroker>;
  };
}

/** The part of kafkajs's request queue that its two methods use. */
interface RequestQueue extends EventEmitter {
  throttledUntil: number;
  readonly pending: readonly unknown[];
  readonly inflight: ReadonlyMap<number, unknown>;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  checkPendingRequests(): void;
  rejectAll(error: Error): void;
}

/** kafkajs's own `CHECK_PENDING_REQUESTS_INTERVAL`. */
const CHECK_PENDING_MS = 10;
/** The queue reckons by the wall clock, which may be far from ours after a sleep: it is asked again at least so often. */
const LONGEST_CHECK_MS = 1_000;

/** The queue's own name for the event of having nothing left. */
const REQUEST_QUEUE_EMPTY = "requestQueueEmpty";
/** How long a connection that is being closed waits for answers. */
const LAST_ANSWERS_MS = 1_000;

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
 * Replaces two methods of kafkajs's request queue. Idempotent.
 *
 * One sets timers with negative delays, about which Node warns once per process, and one when nothing waits; it asks
 * again sooner than kafkajs where the delay is long. The other waits for the answers on a connection that is being closed, whose time-outs kafkajs
 * has ended by then: when the broker is gone, it waits for ever, and with it everybody who looks up metadata.
 */
export function installQueueFixes(): void {
  assertPinned();
  // Because the pinned version exports this class from this file.
  const queue = requireKafkajs("kafkajs/src/network/requestQueue/index.js") as {
    prototype: RequestQueue & {
      scheduleCheckPendingRequests(): void;
      waitForPendingRequests(): Promise<void>;
    };
  };
  queue.prototype.scheduleCheckPendingRequests = function schedule(this: RequestQueue): void {
    if (this.throttleCheckTimeoutId !== null || this.pending.length === 0) {
      return;
    }
    const waitMs = this.throttledUntil - (performance.timeOrigin + performance.now());
    this.throttleCheckTimeoutId = setTimeout(
      () => {
        this.throttleCheckTimeoutId = null;
        this.checkPendingRequests();
      },
      waitMs > 0 ? Math.min(waitMs, LONGEST_CHECK_MS) : CHECK_PENDING_MS,
    );
  };
  queue.prototype.waitForPendingRequests = function wait(this: RequestQueue): Promise<void> {
    if (this.pending.length === 0 && this.inflight.size === 0) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // Which empties the queue.
        this.rejectAll(new kafkajs.KafkaJSConnectionError("The connection was closed."));
      }, LAST_ANSWERS_MS);
      this.once(REQUEST_QUEUE_EMPTY, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  };
}

/** Registers zstd from node:zlib with kafkajs, whose group consumer may meet it; gzip is built in. Idempotent. */
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
    maxInFlightRequests: null,
  });
}
