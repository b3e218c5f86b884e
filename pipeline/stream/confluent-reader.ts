/**
 * Reads one partition through librdkafka from an explicit offset, read_committed unless told otherwise.
 *
 * librdkafka fetches ahead on its own threads, so "nothing came in time" does not say that there is nothing: an empty
 * answer is given only after the broker has said that no committed record lies beyond the position. The library is
 * asked without waiting and told to signal what arrives, since a waiting call would hold one of Node's four worker
 * threads. Must not commit or store offsets. Source: librdkafka's INTRODUCTION.md, KIP-98.
 */
import { SealstreamError } from "../errors.ts";
import { bridgeLogs, connectionSettings } from "./confluent-config.ts";
import {
  CODE,
  type ConfluentLibrary,
  call,
  codeOf,
  type LibraryConsumer,
  type LibraryMessage,
  type LibraryMetadata,
  REFUSED,
  toSealstreamError,
} from "./confluent-library.ts";
import type { Headers, StreamRecord } from "./contract.ts";
import type { ClientOptions } from "./open-client.ts";
import type { FetchedRecords, Isolation, PartitionReader } from "./port.ts";

const NO_HEADERS: Headers = Object.freeze({});
const PROTOTYPE = "__proto__";
const CONNECT_TIMEOUT_MS = 10_000;
/** A signal comes only when librdkafka's queue was empty before; this looks for what a lost one announced. */
const LOOK_AGAIN_MS = 100;
/** How long the broker may hold a fetch at the log's end: the position moves beyond trailing control records after it. */
const BROKER_WAIT_MS = 100;
/** Longest a fetch goes on while the broker is away: longer than a leader election at Kafka's default settings. */
const GIVE_UP_MS = 30_000;
/** Bytes that librdkafka fetches ahead for a reader, beside what the caller holds. */
const AHEAD_KBYTES = 4_096;
const FETCH_BYTES = 1024 * 1024;
/** Back-off after an error or a full queue. librdkafka's default of a second for the latter would halve the speed. */
const ERROR_BACKOFF_MS = 100;
const QUEUE_BACKOFF_MS = 5;
/** Most records asked for at once, and what a record is taken for before one was seen. */
const MAX_TAKE = 10_000;
const FIRST_SIZE_BYTES = 16 * 1024;

/** What the broker says about a partition's ends now. */
export interface LogEnds {
  readonly earliest: number;
  readonly lastStableOffset: number;
  readonly highWatermark: number;
}

export interface ReaderOptions {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly isolation: Isolation;
  /** Asks the partition's leader. */
  readonly askEnds: () => Promise<LogEnds>;
}

function plainHeaders(headers: LibraryMessage["headers"]): Headers {
  if (headers === undefined || headers.length === 0) {
    return NO_HEADERS;
  }
  // Because a header may be called `__proto__`: the object must have no prototype.
  const result = Object.create(null) as Record<string, Uint8Array>;
  for (const header of headers) {
    const [entry] = Object.entries(header);
    if (entry !== undefined) {
      result[entry[0]] = entry[1];
    } else {
      // Because the library makes a header with that name the prototype of its object.
      const value: unknown = Object.getPrototypeOf(header);
      if (value instanceof Uint8Array) {
        result[PROTOTYPE] = value;
      }
    }
  }
  return result;
}

function sizeOf({ key, value, headers }: LibraryMessage): number {
  let bytes = (key?.byteLength ?? 0) + (value?.byteLength ?? 0);
  for (const header of headers ?? []) {
    for (const [name, content] of Object.entries(header)) {
      bytes += name.length + content.byteLength;
    }
  }
  return bytes;
}

function toRecord(message: LibraryMessage, sizeBytes: number): StreamRecord {
  return {
    offset: message.offset,
    timestampMs: message.timestamp,
    key: message.key,
    value: message.value,
    headers: plainHeaders(message.headers),
    sizeBytes,
  };
}

/** Tells one waiter that something may have arrived; remembers it when nobody waits. */
class Arrivals {
  #isSignalled = false;
  #wake: (() => void) | null = null;

  readonly signal = (): void => {
    this.#isSignalled = true;
    this.#wake?.();
  };

  /** Forget earlier signals: what they announced is about to be taken. */
  clear(): void {
    this.#isSignalled = false;
  }

  async wait(ms: number): Promise<void> {
    if (this.#isSignalled || ms <= 0) {
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
    this.#wake = null;
  }
}

class ConfluentReader implements PartitionReader {
  readonly #consumer: LibraryConsumer;
  readonly #options: ReaderOptions;
  readonly #arrivals: Arrivals;
  /** Taken from the library and not handed out yet, because the caller had asked for fewer bytes. */
  #held: StreamRecord[] = [];
  /** Position that the library has reached: beyond everything held. */
  #reached: number;
  #position: number;
  #sizeGuess = FIRST_SIZE_BYTES;
  /** As the broker last said; the ends only grow. */
  #ends: LogEnds | null = null;
  #closing: Promise<void> | null = null;

  constructor(consumer: LibraryConsumer, options: ReaderOptions, arrivals: Arrivals) {
    this.#consumer = consumer;
    this.#options = options;
    this.#arrivals = arrivals;
    this.#reached = options.offset;
    this.#position = options.offset;
    consumer.on("partition.eof", ({ offset }) => {
      this.#reached = Math.max(this.#reached, offset);
    });
  }

  position(): number {
    return this.#position;
  }

  async fetch(options: { maxBytes: number; maxWaitMs: number }): Promise<FetchedRecords> {
    const startedMs = performance.now();
    const answerMs = startedMs + options.maxWaitMs;
    let askAtMs = answerMs;
    for (;;) {
      this.#checkOpen();
      await this.#take(options.maxBytes);
      const before = this.#position;
      const records = this.#handOut(options.maxBytes);
      if (records.length > 0 || this.#position > before) {
        return this.#answer(records);
      }
      const nowMs = performance.now();
      if (nowMs >= askAtMs) {
        if (await this.#isAtEnd()) {
          return this.#answer([]);
        }
        if (nowMs > startedMs + options.maxWaitMs + GIVE_UP_MS) {
          throw new SealstreamError(
            "kafka-failed",
            `Reading ${this.#where} brought nothing for ${GIVE_UP_MS / 1_000} s: see whether its leader is there.`,
          );
        }
        askAtMs = nowMs + LOOK_AGAIN_MS;
      }
      await this.#arrivals.wait(Math.min(LOOK_AGAIN_MS, askAtMs - performance.now()));
    }
  }

  close(): Promise<void> {
    this.#closing ??= call<unknown>((done) => this.#consumer.disconnect(done)).then(
      () => undefined,
      // Because nothing depends on how a handle that committed nothing ends.
      () => undefined,
    );
    this.#arrivals.signal();
    return this.#closing;
  }

  get #where(): string {
    return `${this.#options.topic}/${this.#options.partition}`;
  }

  #checkOpen(): void {
    if (this.#closing !== null) {
      throw new SealstreamError("kafka-failed", "The reader was closed.");
    }
  }

  /** Takes over what librdkafka holds, up to about `maxBytes`. */
  async #take(maxBytes: number): Promise<void> {
    if (this.#held.length > 0) {
      return;
    }
    this.#arrivals.clear();
    const count = Math.min(MAX_TAKE, Math.max(1, Math.floor(maxBytes / this.#sizeGuess)));
    let messages: readonly LibraryMessage[];
    try {
      messages = await call<LibraryMessage[]>((done) => this.#consumer.consume(count, done));
    } catch (error) {
      this.#checkOpen();
      this.#judge(error);
      return;
    }
    let largest = 0;
    for (const message of messages) {
      const size = sizeOf(message);
      largest = Math.max(largest, size);
      this.#held.push(toRecord(message, size));
      this.#reached = Math.max(this.#reached, message.offset + 1);
    }
    if (largest > 0) {
      this.#sizeGuess = largest;
    }
  }

  /** Hands out what is held up to `maxBytes`, at least one record, and moves the position. */
  #handOut(maxBytes: number): StreamRecord[] {
    let bytes = 0;
    let count = 0;
    for (const record of this.#held) {
      bytes += record.sizeBytes ?? 0;
      if (count > 0 && bytes > maxBytes) {
        break;
      }
      count += 1;
    }
    const records = this.#held.splice(0, count);
    const last = records.at(-1);
    if (this.#held.length === 0) {
      this.#position = this.#reached;
    } else if (last !== undefined) {
      this.#position = last.offset + 1;
    }
    return records;
  }

  async #answer(records: readonly StreamRecord[]): Promise<FetchedRecords> {
    const nextOffset = this.#position;
    if (this.#ends === null || nextOffset >= this.#ends.lastStableOffset) {
      this.#ends = await this.#ask();
    }
    const { lastStableOffset, highWatermark } = this.#ends;
    return { records, nextOffset, lastStableOffset, highWatermark };
  }

  async #ask(): Promise<LogEnds> {
    try {
      return await this.#options.askEnds();
    } catch (error) {
      throw toSealstreamError(error, `Asking for the end of ${this.#where}`);
    }
  }

  /**
   * Whether nothing that we may see lies beyond the position now.
   * @throws SealstreamError `state-mismatch` when the position is not in the log
   */
  async #isAtEnd(): Promise<boolean> {
    let ends: LogEnds;
    try {
      ends = await this.#options.askEnds();
    } catch {
      // Because the broker may be away for a moment; the fetch gives up by itself when it stays away.
      return false;
    }
    this.#ends = ends;
    if (this.#position < ends.earliest || this.#position > ends.highWatermark) {
      throw this.#outOfRange();
    }
    const { isolation } = this.#options;
    return (
      this.#position >= (isolation === "committed" ? ends.lastStableOffset : ends.highWatermark)
    );
  }

  #outOfRange(): SealstreamError {
    return new SealstreamError(
      "state-mismatch",
      `Offset ${this.#position} of ${this.#where} is no longer in the log: its records expired or the topic was made anew. Check retention, then start a new generation of the pipeline.`,
    );
  }

  /** Throws what waiting cannot mend; everything else librdkafka mends itself. */
  #judge(error: unknown): void {
    const code = codeOf(error);
    if (code === CODE.autoOffsetReset) {
      throw this.#outOfRange();
    }
    if (code === CODE.notImplemented) {
      throw new SealstreamError(
        "kafka-failed",
        `${this.#where} holds records compressed with a codec that this build of the confluent client lacks: produce with none or gzip.`,
      );
    }
    if (
      code === CODE.unknownTopic ||
      code === CODE.unknownPartition ||
      code === CODE.unknownTopicOrPartition
    ) {
      throw new SealstreamError("topic-missing", `Topic partition ${this.#where} does not exist.`);
    }
    // Because a reader uses no group, it may lack the right to one.
    if (code === null || (REFUSED.includes(code) && code !== CODE.groupAuthorization)) {
      throw toSealstreamError(error, `Reading ${this.#where}`);
    }
  }
}

/** Opens a reader at an offset. @throws SealstreamError `topic-missing` */
export async function createConfluentReader(
  library: ConfluentLibrary,
  options: ClientOptions,
  request: ReaderOptions,
): Promise<PartitionReader> {
  const { topic, partition, offset, isolation } = request;
  const arrivals = new Arrivals();
  const consumer = bridgeLogs(
    new library.KafkaConsumer(
      {
        ...connectionSettings(options),
        // Asked for by the library; nothing joins it and nothing is committed to it.
        "group.id": `${options.clientId}-reader`,
        "enable.auto.commit": false,
        "enable.auto.offset.store": false,
        "enable.partition.eof": true,
        "isolation.level": `read_${isolation}`,
        "allow.auto.create.topics": false,
        "fetch.wait.max.ms": BROKER_WAIT_MS,
        "fetch.error.backoff.ms": ERROR_BACKOFF_MS,
        "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
        "fetch.message.max.bytes": FETCH_BYTES,
        "fetch.max.bytes": FETCH_BYTES,
        "queued.max.messages.kbytes": AHEAD_KBYTES,
        queue_non_empty_cb: arrivals.signal,
      },
      // An offset that is not in the log is an error and never a jump.
      { "auto.offset.reset": "error" },
    ),
    options.logger,
  );
  consumer.setDefaultConsumeTimeout(0);
  const reader = new ConfluentReader(consumer, request, arrivals);
  try {
    const metadata = await call<LibraryMetadata>((done) =>
      consumer.connect({ topic, allTopics: false, timeout: CONNECT_TIMEOUT_MS }, done),
    );
    const found = metadata.topics.find(({ name }) => name === topic);
    if (found?.partitions.some(({ id }) => id === partition) !== true) {
      throw new SealstreamError("topic-missing", `Topic ${topic} has no partition ${partition}.`);
    }
    consumer.assign([{ topic, partition, offset }]);
  } catch (error) {
    await reader.close();
    throw toSealstreamError(error, `Opening a reader of ${topic}/${partition}`);
  }
  return reader;
}
