/**
 * Reads one partition from an explicit offset, read_committed, with our own Fetch requests over a link of its own.
 *
 * One reader has its own connection: a broker answers one request of a connection at a time, so a long poll would
 * hold up everything behind it. Retries what a moved leader or a cut connection causes; anything else is thrown.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Kafka } from "kafkajs";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { asSealstreamError, KafkajsLink, mayPass } from "./kafkajs-link.ts";
import type { FetchedRecords, Isolation, PartitionReader } from "./port.ts";
import {
  isRetriableByLeader,
  NONE,
  OFFSET_OUT_OF_RANGE,
  protocolError,
} from "./wire/protocol-errors.ts";
import { decodeBatches } from "./wire/record-batch-decoder.ts";
import { type FetchAnswer, fetchRequest, readFetchAnswer } from "./wire/requests.ts";

const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 2_000;
/** About half a minute of retries: longer than a leader election at Kafka's default settings. */
const MAX_RETRIES = 20;

export interface ReaderOptions {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly isolation: Isolation;
}

class KafkajsReader implements PartitionReader {
  readonly #link: KafkajsLink;
  readonly #options: ReaderOptions;
  readonly #where: string;
  #position: number;
  #isClosed = false;

  constructor(link: KafkajsLink, options: ReaderOptions) {
    this.#link = link;
    this.#options = options;
    this.#where = `${options.topic}/${options.partition}`;
    this.#position = options.offset;
  }

  async fetch(options: { maxBytes: number; maxWaitMs: number }): Promise<FetchedRecords> {
    const answer = await this.#answer(options);
    const from = this.#position;
    const isolated = this.#options.isolation === "committed";
    const { records, nextOffset } = decodeBatches(answer.batches, {
      where: this.#where,
      from,
      aborted: isolated ? answer.aborted : [],
    });
    this.#position = nextOffset;
    const { lastStableOffset, highWatermark } = answer;
    return { records, nextOffset, lastStableOffset, highWatermark };
  }

  position(): number {
    return this.#position;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#link.close();
    return Promise.resolve();
  }

  async #answer(options: { maxBytes: number; maxWaitMs: number }): Promise<FetchAnswer> {
    for (let attempt = 0; ; attempt += 1) {
      const { answer, failure } = await this.#attempt(options);
      if (answer?.errorCode === NONE) {
        return answer;
      }
      await this.#recover(answer === null ? failure : this.#refusal(answer.errorCode), attempt);
    }
  }

  async #attempt(options: {
    maxBytes: number;
    maxWaitMs: number;
  }): Promise<{ answer: FetchAnswer | null; failure: unknown }> {
    try {
      return { answer: await this.#request(options), failure: null };
    } catch (error) {
      // Because an answer may still be under way that the next request must not meet.
      this.#link.sever();
      return { answer: null, failure: error };
    }
  }

  /** The leader's answer for our partition at our position. */
  async #request(options: { maxBytes: number; maxWaitMs: number }): Promise<FetchAnswer> {
    const { topic, partition } = this.#options;
    const connection = await this.#link.leader(topic, partition);
    const request = fetchRequest(this.#link.clientId, {
      ...this.#options,
      ...options,
      offset: this.#position,
    });
    return this.#link.ask(connection, request, (payload) =>
      readFetchAnswer(payload, topic, partition),
    );
  }

  /** What an error code of the broker means; those that pass are returned, not thrown. */
  #refusal(code: number): SealstreamError {
    if (code === OFFSET_OUT_OF_RANGE) {
      throw new SealstreamError(
        "state-mismatch",
        `Offset ${this.#position} of ${this.#where} is no longer in the log: its records expired or the topic was made anew. Check retention, then start a new generation of the pipeline.`,
      );
    }
    const error = protocolError(code, `reading ${this.#where}`);
    if (!isRetriableByLeader(code)) {
      throw error;
    }
    return error;
  }

  /** Waits before another attempt, or throws what no attempt can mend. */
  async #recover(failure: unknown, attempt: number): Promise<void> {
    if (this.#isClosed) {
      throw new SealstreamError("kafka-failed", "The reader was closed.");
    }
    if (!mayPass(failure) || (attempt >= MAX_RETRIES && isMissing(failure))) {
      throw asSealstreamError(failure, `Reading ${this.#where}`);
    }
    if (attempt >= MAX_RETRIES) {
      throw new SealstreamError("kafka-failed", `Reading ${this.#where} failed ${attempt} times.`, {
        cause: failure,
      });
    }
    await sleep(Math.min(RETRY_FIRST_MS * 2 ** attempt, RETRY_MOST_MS));
    try {
      await this.#link.refresh();
    } catch {
      // Because the next fetch fails the same way and is counted there.
      this.#link.sever();
    }
  }
}

/** Whether the topic is not there, rather than its brokers. */
function isMissing(error: unknown): boolean {
  // Because kafkajs's protocol errors carry `type` beside what Error has.
  const { type } = error as { type?: string };
  return type === "UNKNOWN_TOPIC_OR_PARTITION" || isSealstreamError(error, "topic-missing");
}

/** Opens a reader at an offset. @throws SealstreamError `topic-missing`; a broker that is down is waited for in `fetch` */
export async function createKafkajsReader(
  kafka: Kafka,
  options: ReaderOptions,
): Promise<PartitionReader> {
  const link = new KafkajsLink(kafka);
  try {
    await link.leader(options.topic, options.partition);
  } catch (error) {
    link.sever();
    if (isMissing(error)) {
      const where = `${options.topic}/${options.partition}`;
      throw new SealstreamError("topic-missing", `There is no ${where}.`, { cause: error });
    }
    if (!mayPass(error)) {
      throw asSealstreamError(error, "Connecting to Kafka");
    }
  }
  return new KafkajsReader(link, options);
}
