/**
 * The producer of one lane: transactions of one transactional id, on our own requests.
 *
 * Protocol (KIP-98): InitProducerId fences whoever had the id and settles what it left open; then, per transaction,
 * AddPartitionsToTxn for each partition before its first batch, the batches, AddOffsetsToTxn and TxnOffsetCommit for the
 * input offset, and, when every one of them was answered, EndTxn. A request is repeated only after an answer that
 * refused it. Whatever was not answered may still arrive, so any such error ends this producer for good: its
 * connections are cut, and the next owner's InitProducerId raises the epoch, by which brokers know late requests.
 * Failures: crash or cut anywhere, a moved leader or coordinator, a fence. Not a failure: CONCURRENT_TRANSACTIONS, while
 * the markers of the transaction before are still being written. Must not begin a transaction after an error.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { SealstreamError } from "../errors.ts";
import { asSealstreamError, type KafkajsLink, mayPass } from "./kafkajs-link.ts";
import { KafkajsSender, type SenderOptions } from "./kafkajs-sender.ts";
import type { LaneProducer, ProducerRecord } from "./port.ts";
import {
  CONCURRENT_TRANSACTIONS,
  isStaleCoordinator,
  NONE,
  protocolError,
  UNKNOWN_TOPIC_OR_PARTITION,
} from "./wire/protocol-errors.ts";
import type { WireRequest } from "./wire/request-writer.ts";
import {
  addOffsetsRequest,
  addPartitionRequest,
  type CoordinatorType,
  endTransactionRequest,
  initProducerIdRequest,
  type ProducerIdentity,
  readCodeAnswer,
  readInitProducerIdAnswer,
  readPartitionCodeAnswer,
  type Throttled,
  txnOffsetCommitRequest,
} from "./wire/requests.ts";

/** First wait after CONCURRENT_TRANSACTIONS: markers of one broker are written in about a millisecond. */
const CONCURRENT_FIRST_MS = 1;
const CONCURRENT_MOST_MS = 20;
const RETRY_FIRST_MS = 20;
const RETRY_MOST_MS = 1_000;

/**
 * Registers a producer: a fenced epoch for a transactional id, or a fresh id for null.
 * A repeated request costs an epoch and nothing else, so that this one may be repeated after a cut too.
 */
export async function initProducer(
  link: KafkajsLink,
  transactionalId: string | null,
  { transactionTimeoutMs, retryMs }: { transactionTimeoutMs: number; retryMs: number },
): Promise<ProducerIdentity> {
  const deadlineMs = performance.now() + retryMs;
  let concurrentMs = CONCURRENT_FIRST_MS;
  for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MOST_MS)) {
    const { answer, failure } = await askForProducer(link, transactionalId, transactionTimeoutMs);
    const code = answer?.errorCode;
    if (answer !== null && code === NONE) {
      return answer;
    }
    const isConcurrent = code === CONCURRENT_TRANSACTIONS;
    const passes = code === undefined ? mayPass(failure) : isConcurrent || isStaleCoordinator(code);
    if (!passes || performance.now() > deadlineMs) {
      throw code === undefined
        ? asSealstreamError(failure, "Registering a producer")
        : protocolError(code, `registering ${transactionalId ?? "a producer"}`);
    }
    await sleep(isConcurrent ? concurrentMs : waitMs);
    if (isConcurrent) {
      concurrentMs = Math.min(2 * concurrentMs, CONCURRENT_MOST_MS);
    }
  }
}

/** One attempt; never throws. */
async function askForProducer(
  link: KafkajsLink,
  transactionalId: string | null,
  transactionTimeoutMs: number,
): Promise<{ answer: ({ errorCode: number } & ProducerIdentity) | null; failure: unknown }> {
  try {
    const connection =
      transactionalId === null
        ? await link.anyBroker()
        : await link.coordinator("transaction", transactionalId);
    const request = initProducerIdRequest(link.clientId, transactionalId, transactionTimeoutMs);
    const answer = await link.ask(connection, request, readInitProducerIdAnswer);
    if (transactionalId !== null && isStaleCoordinator(answer.errorCode)) {
      link.forgetCoordinator("transaction", transactionalId);
    }
    return { answer, failure: null };
  } catch (error) {
    link.sever();
    return { answer: null, failure: error };
  }
}

export interface LaneProducerOptions extends SenderOptions {
  readonly transactionalId: string;
}

/** What the open transaction has registered with the coordinator. */
interface OpenTransaction {
  readonly partitions: Map<string, Promise<void>>;
  readonly groups: Map<string, Promise<void>>;
  /** Everything asked of this transaction so far; it ends only after all of it. */
  readonly work: Promise<void>[];
}

export class KafkajsLaneProducer implements LaneProducer {
  readonly #options: LaneProducerOptions;
  readonly #sender: KafkajsSender;
  #transaction: OpenTransaction | null = null;

  constructor(options: LaneProducerOptions) {
    this.#options = options;
    this.#sender = new KafkajsSender(options);
  }

  async begin(): Promise<void> {
    if (this.#sender.death !== null) {
      throw this.#sender.death;
    }
    if (this.#transaction !== null) {
      throw new SealstreamError("internal", "The transaction before has not ended.");
    }
    this.#transaction = { partitions: new Map(), groups: new Map(), work: [] };
  }

  send(topic: string, partition: number, records: readonly ProducerRecord[]): Promise<void> {
    return this.#within(async ({ partitions }) => {
      if (records.length === 0) {
        return;
      }
      const name = `${topic}/${partition}`;
      let added = partitions.get(name);
      if (added === undefined) {
        added = this.#addPartition(topic, partition);
        partitions.set(name, added);
      }
      await added;
      await this.#sender.send(topic, partition, records);
    });
  }

  sendOffset(group: string, topic: string, partition: number, offset: number): Promise<void> {
    return this.#within(async ({ groups }) => {
      let added = groups.get(group);
      if (added === undefined) {
        added = this.#addOffsets(group);
        groups.set(group, added);
      }
      await added;
      const fields = { ...this.#options, group, topic, partition, offset };
      await this.#ask(
        { type: "group", key: group },
        txnOffsetCommitRequest(this.#options.link.clientId, fields),
        readPartitionCodeAnswer,
      );
    });
  }

  commit(): Promise<void> {
    return this.#end(true);
  }

  async abort(): Promise<void> {
    if (this.#transaction !== null) {
      await this.#end(false);
    }
  }

  close(): Promise<void> {
    this.#sender.die(new SealstreamError("internal", "The producer was closed by its user."));
    this.#options.link.close();
    return Promise.resolve();
  }

  /** Runs a part of the open transaction; its failure is the producer's end. */
  #within(work: (transaction: OpenTransaction) => Promise<void>): Promise<void> {
    const transaction = this.#transaction;
    if (transaction === null) {
      const error = new SealstreamError("internal", "No transaction was begun on this producer.");
      return Promise.reject(this.#sender.death ?? error);
    }
    const done = this.#mortally(() => work(transaction));
    transaction.work.push(done);
    return done;
  }

  async #mortally(work: () => Promise<void>): Promise<void> {
    try {
      if (this.#sender.death !== null) {
        throw this.#sender.death;
      }
      await work();
    } catch (error) {
      const failure = asSealstreamError(error, `A transaction of ${this.#options.transactionalId}`);
      this.#sender.die(failure);
      throw failure;
    }
  }

  async #end(isCommit: boolean): Promise<void> {
    const transaction = this.#transaction;
    if (transaction === null) {
      throw this.#sender.death ?? new SealstreamError("internal", "No transaction was begun.");
    }
    await this.#mortally(async () => {
      // A batch that arrives after the end would belong to the next transaction.
      await Promise.all(transaction.work);
      if (transaction.partitions.size + transaction.groups.size > 0) {
        const { link, transactionalId } = this.#options;
        await this.#ask(
          { type: "transaction", key: transactionalId },
          endTransactionRequest(link.clientId, { ...this.#options, isCommit }),
          readCodeAnswer,
        );
      }
      this.#transaction = null;
    });
  }

  #addPartition(topic: string, partition: number): Promise<void> {
    const { link, transactionalId } = this.#options;
    return this.#ask(
      { type: "transaction", key: transactionalId },
      addPartitionRequest(link.clientId, { ...this.#options, topic, partition }),
      readPartitionCodeAnswer,
    );
  }

  #addOffsets(group: string): Promise<void> {
    const { link, transactionalId } = this.#options;
    return this.#ask(
      { type: "transaction", key: transactionalId },
      addOffsetsRequest(link.clientId, { ...this.#options, group }),
      readCodeAnswer,
    );
  }

  /** Asks a coordinator until it agrees; repeats after refusals that pass, never after silence. */
  async #ask(
    { type, key }: { type: CoordinatorType; key: string },
    request: WireRequest,
    read: (payload: Buffer) => Throttled<{ errorCode: number }>,
  ): Promise<void> {
    const { link, retryMs, transactionalId } = this.#options;
    const deadlineMs = performance.now() + retryMs;
    let concurrentMs = CONCURRENT_FIRST_MS;
    let retryWaitMs = RETRY_FIRST_MS;
    for (;;) {
      const connection = await this.#coordinator(type, key, deadlineMs);
      const { errorCode } = await link.ask(connection, request, read);
      if (errorCode === NONE) {
        return;
      }
      const isStale = isStaleCoordinator(errorCode);
      const isConcurrent = errorCode === CONCURRENT_TRANSACTIONS;
      const mayRepeat = isStale || isConcurrent || errorCode === UNKNOWN_TOPIC_OR_PARTITION;
      if (!mayRepeat || performance.now() > deadlineMs) {
        throw protocolError(errorCode, `${request.api.name} of ${transactionalId}`);
      }
      if (isStale) {
        link.forgetCoordinator(type, key);
      }
      if (isConcurrent) {
        await sleep(concurrentMs);
        concurrentMs = Math.min(2 * concurrentMs, CONCURRENT_MOST_MS);
      } else {
        await sleep(retryWaitMs);
        retryWaitMs = Math.min(2 * retryWaitMs, RETRY_MOST_MS);
      }
      if (this.#sender.death !== null) {
        throw this.#sender.death;
      }
    }
  }

  /** The coordinator's connection; looks for it until the deadline. Nothing of this request is under way. */
  async #coordinator(type: CoordinatorType, key: string, deadlineMs: number) {
    const { link } = this.#options;
    for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MOST_MS)) {
      try {
        return await link.coordinator(type, key);
      } catch (error) {
        link.forgetCoordinator(type, key);
        if (!mayPass(error) || performance.now() > deadlineMs) {
          throw asSealstreamError(error, `Finding the coordinator of ${type} ${key}`);
        }
      }
      await sleep(waitMs);
      if (this.#sender.death !== null) {
        throw this.#sender.death;
      }
    }
  }
}
