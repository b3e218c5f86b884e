/**
 * Follows one partition from its start for as long as the process lives: how stages see `keys`, `ledger`, `models`.
 *
 * A tail has no group and commits nothing: every instance reads the whole topic. It applies records in order and says
 * when it has caught up with what was there when it started.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isSealstreamError } from "../errors.ts";
import type { StreamRecord } from "./contract.ts";
import { errorName } from "./error-name.ts";
import type { Clock, FetchedRecords, Isolation, KafkaClient, Logger } from "./port.ts";

const FETCH_BYTES = 4 * 1024 * 1024;
const FETCH_WAIT_MS = 250;
const RESTART_MS = 500;

export interface Tail {
  /** Milliseconds since the epoch: every record that was in the topic before that time has been applied. */
  freshAsOf(): number;
  /** Resolves when everything that was committed at the start has been applied. */
  readonly caughtUp: Promise<void>;
  /** Settles when the tail has ended; rejects when `apply` threw, since a view with a hole must not be used. */
  readonly done: Promise<void>;
  stop(): Promise<void>;
}

export interface TailOptions {
  readonly client: KafkaClient;
  readonly topic: string;
  readonly partition?: number;
  readonly isolation?: Isolation;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly apply: (record: StreamRecord) => void;
  /** Called after each non-empty batch was applied. */
  readonly onChange?: () => void;
}

/** Starts following a topic. */
export async function followTopic(options: TailOptions): Promise<Tail> {
  const { client, topic, logger } = options;
  const partition = options.partition ?? 0;
  const caughtUp = Promise.withResolvers<void>();
  caughtUp.promise.catch(() => undefined);
  const { earliest, latest } = await client.offsets(topic, partition);
  let reader = await client.createReader(topic, partition, earliest, options.isolation);
  let freshAsOfMs = Number.NEGATIVE_INFINITY;
  let stopping = false;

  /** One fetch; null after a failure that trying again may mend. */
  async function fetchOrReopen(): Promise<FetchedRecords | null> {
    try {
      return await reader.fetch({ maxBytes: FETCH_BYTES, maxWaitMs: FETCH_WAIT_MS });
    } catch (error) {
      if (stopping || (isSealstreamError(error) && !error.retriable)) {
        throw error;
      }
      logger.warn({ topic, error: errorName(error) }, "tail reads again after a failure");
      const position = reader.position();
      await reader.close();
      await sleep(RESTART_MS);
      reader = await client.createReader(topic, partition, position, options.isolation);
      return null;
    }
  }

  async function step(): Promise<void> {
    const before = reader.position();
    const startedMs = options.clock();
    const fetched = await fetchOrReopen();
    if (fetched === null) {
      return;
    }
    for (const record of fetched.records) {
      options.apply(record);
    }
    if (fetched.records.length > 0) {
      options.onChange?.();
    }
    if (fetched.nextOffset >= fetched.highWatermark) {
      freshAsOfMs = startedMs;
    }
    // What an open transaction holds back is not committed: its owner may be dead, and wait for this very tail to start.
    const end = options.isolation === "uncommitted" ? latest : fetched.lastStableOffset;
    const idle = fetched.nextOffset === before && end >= latest;
    if (fetched.nextOffset >= Math.min(latest, end) || idle) {
      caughtUp.resolve();
    }
  }

  async function run(): Promise<void> {
    try {
      while (!stopping) {
        await step();
      }
    } catch (error) {
      caughtUp.reject(error);
      if (!stopping) {
        throw error;
      }
    } finally {
      await reader.close();
    }
  }

  const done = run();
  // Because a tail may fail before anybody waits on it; whoever waits later still sees the failure.
  done.catch(() => undefined);
  return {
    caughtUp: caughtUp.promise,
    done,
    freshAsOf: () => freshAsOfMs,
    async stop() {
      stopping = true;
      await reader.close();
      await done.catch(() => undefined);
    },
  };
}

/** Reads a partition once, from its start or an offset, up to what is committed now. */
export async function readTopic(options: {
  readonly client: KafkaClient;
  readonly topic: string;
  readonly partition?: number;
  /** First offset; unless said, the first in the log. */
  readonly from?: number;
  readonly isolation?: Isolation;
  readonly apply: (record: StreamRecord) => void;
}): Promise<void> {
  const { client, topic } = options;
  const partition = options.partition ?? 0;
  const { earliest, latest } = await client.offsets(topic, partition);
  const from = options.from ?? earliest;
  if (latest <= from) {
    return;
  }
  const reader = await client.createReader(topic, partition, from, options.isolation);
  try {
    while (reader.position() < latest) {
      const before = reader.position();
      const fetched = await reader.fetch({ maxBytes: FETCH_BYTES, maxWaitMs: FETCH_WAIT_MS });
      for (const record of fetched.records) {
        options.apply(record);
      }
      // An open transaction, or an end that compaction emptied: nothing more is committed now.
      if (fetched.nextOffset === before) {
        return;
      }
    }
  } finally {
    await reader.close();
  }
}
