/**
 * Idempotent sending: every batch has a sequence number of its partition, up to five are under way, none is lost,
 * doubled or overtaken.
 *
 * Safety, from the broker's rules (KIP-98, KIP-185): a leader appends a producer's batch only if its sequence follows
 * the last one, and recognises any of the last five again. So a batch may be sent again, with the same number and the
 * same bytes, as soon as no other copy of it can still arrive: after an ANSWER that refused it. Then everything under way
 * in that partition is let land first and sent again in order, one by one. Without an answer (connection cut, time
 * up) a copy may still be on its way: within a transaction it could land in the next one, so a transactional
 * sender is dead then, for good; outside transactions the sequence number alone makes the second copy harmless.
 * One request holds one partition. Must not send anything once it is dead or closed.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { SealstreamError } from "../errors.ts";
import type { RawConnection } from "./kafkajs-internals.ts";
import { asSealstreamError, type KafkajsLink, mayPass } from "./kafkajs-link.ts";
import type { Compression, ProducerRecord } from "./port.ts";
import {
  DUPLICATE_SEQUENCE_NUMBER,
  isRetriableByLeader,
  MESSAGE_TOO_LARGE,
  NONE,
  OUT_OF_ORDER_SEQUENCE_NUMBER,
  protocolError,
  RECORD_LIST_TOO_LARGE,
} from "./wire/protocol-errors.ts";
import { nextChunk, type RecordChunk } from "./wire/record-batch-encoder.ts";
import type { WireRequest } from "./wire/request-writer.ts";
import { type ProducerIdentity, produceRequest, readProduceAnswer } from "./wire/requests.ts";

/** Brokers forget a producer after a day by default (`producer.id.expiration.ms`), or an hour where it was lowered. */
const SEQUENCE_KNOWN_MS = 600_000;

/** Bytes of one record batch: below the broker's default `max.message.bytes` of 1,048,588. */
export const MAX_BATCH_BYTES = 1_000_000;
/** A broker remembers this many batches of a producer per partition, and no more may be under way (KIP-185). */
const MOST_IN_FLIGHT = 5;
/** Sequence numbers are int32 and wrap to 0. */
const SEQUENCES = 2 ** 31;
const RETRY_FIRST_MS = 20;
const RETRY_MOST_MS = 1_000;
/** In place of an error code: there was no answer. */
const NO_ANSWER = Symbol("no answer");

export interface SenderOptions extends ProducerIdentity {
  readonly link: KafkajsLink;
  /** Null outside transactions. */
  readonly transactionalId: string | null;
  readonly compression: Compression;
  /** How long a refused batch is sent again. */
  readonly retryMs: number;
  /** Milliseconds since the epoch, for the records' timestamps. */
  readonly clock: () => number;
}

/** A batch that is under way. */
interface Flight {
  readonly request: WireRequest;
  /** Settles when its request was answered or cut. */
  landed: Promise<void>;
  code: number | typeof NO_ANSWER;
  failure: unknown;
  /** Settles when the batch is in the log, or can never be. */
  readonly settled: Promise<void>;
  readonly succeed: () => void;
  readonly fail: (error: SealstreamError) => void;
}

/** One partition that is written to. */
interface Target {
  readonly topic: string;
  readonly partition: number;
  sequence: number;
  /** In order of sequence. */
  readonly flights: Flight[];
  connection: RawConnection | null;
  /** When the leader last took a batch of ours, on a monotonic clock. */
  provenMs: number;
  /** End of the last `send` that stands in line. */
  turn: Promise<void>;
  mending: Promise<void> | null;
}

/**
 * One until the leader knows our sequence: a leader that knows none takes whatever comes first, and a second batch would
 * be written before a first one that was refused.
 */
function mostInFlight({ provenMs }: Target): number {
  return performance.now() - provenMs < SEQUENCE_KNOWN_MS ? MOST_IN_FLIGHT : 1;
}

function newFlight(request: WireRequest): Flight {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // Because `send` looks at it later, and may be gone by then.
  promise.catch(() => undefined);
  return {
    request,
    landed: Promise.resolve(),
    code: NO_ANSWER,
    failure: new SealstreamError("kafka-failed", "The broker did not answer."),
    settled: promise,
    succeed: resolve,
    fail: reject,
  };
}

function refusal(code: number, topic: string): SealstreamError {
  if (code === MESSAGE_TOO_LARGE || code === RECORD_LIST_TOO_LARGE) {
    return new SealstreamError(
      "limit-exceeded",
      `The broker finds a message for ${topic} too large: give the topic Kafka's default max.message.bytes of 1048588 or more.`,
    );
  }
  return protocolError(code, `a batch for ${topic}`);
}

export class KafkajsSender {
  readonly #options: SenderOptions;
  readonly #targets = new Map<string, Target>();
  #death: SealstreamError | null = null;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Why nothing can be sent any more, or null. */
  get death(): SealstreamError | null {
    return this.#death;
  }

  /**
   * Resolves when all in-sync replicas have the records. Calls may overlap; those for one partition keep their order.
   * @throws SealstreamError after which the sender is dead
   */
  async send(topic: string, partition: number, records: readonly ProducerRecord[]): Promise<void> {
    const target = this.#target(topic, partition);
    const flights: Flight[] = [];
    const before = target.turn;
    const { promise, resolve: endTurn } = Promise.withResolvers<void>();
    target.turn = promise;
    try {
      await before;
      for (let from = 0; from < records.length; ) {
        const chunk = nextChunk(records, from, MAX_BATCH_BYTES);
        const connection = await this.#ready(target);
        flights.push(this.#launch(target, connection, chunk));
        from = chunk.to;
      }
    } finally {
      endTurn();
    }
    for (const { settled } of flights) {
      await settled;
    }
  }

  /** Ends the sender: whatever is under way fails, nothing is written any more. */
  die(error: SealstreamError): void {
    if (this.#death !== null) {
      return;
    }
    this.#death = error;
    this.#options.link.sever();
    for (const { flights } of this.#targets.values()) {
      for (const flight of flights.splice(0)) {
        flight.fail(error);
      }
    }
  }

  #target(topic: string, partition: number): Target {
    const name = `${topic}/${partition}`;
    let target = this.#targets.get(name);
    if (target === undefined) {
      const turn = Promise.resolve();
      target = {
        topic,
        partition,
        sequence: 0,
        flights: [],
        connection: null,
        provenMs: Number.NEGATIVE_INFINITY,
        turn,
        mending: null,
      };
      this.#targets.set(name, target);
    }
    return target;
  }

  #throwIfDead(): void {
    if (this.#death !== null) {
      throw this.#death;
    }
  }

  /** Waits until one more batch may go out, and says on which connection: while any is under way, on the same. */
  async #ready(target: Target): Promise<RawConnection> {
    for (;;) {
      this.#throwIfDead();
      const oldest = target.flights.at(0);
      if (target.mending !== null) {
        await target.mending;
      } else if (target.flights.length >= mostInFlight(target)) {
        await oldest?.settled;
      } else if (target.connection?.isConnected()) {
        return target.connection;
      } else if (oldest === undefined) {
        target.connection = await this.#leader(target);
      } else {
        // The connection is gone: what is under way on it lands first.
        await oldest.landed;
        await target.mending;
      }
    }
  }

  #launch(target: Target, connection: RawConnection, chunk: RecordChunk): Flight {
    const { link, clock } = this.#options;
    const { topic, partition, sequence: baseSequence } = target;
    const timestampMs = Math.trunc(clock());
    const fields = { ...this.#options, topic, partition, baseSequence, timestampMs };
    const flight = newFlight(produceRequest(link.clientId, fields, chunk));
    target.sequence = (baseSequence + chunk.to - chunk.from) % SEQUENCES;
    target.flights.push(flight);
    flight.landed = this.#fly(flight, connection).then(() => this.#land(target, flight));
    return flight;
  }

  /** One attempt; never throws. */
  async #fly(flight: Flight, connection: RawConnection): Promise<void> {
    try {
      const answer = await this.#options.link.ask(connection, flight.request, readProduceAnswer);
      flight.code = answer.errorCode;
    } catch (error) {
      flight.code = NO_ANSWER;
      flight.failure = error;
    }
  }

  #land(target: Target, flight: Flight): void {
    if (this.#death !== null) {
      return;
    }
    if (flight.code === NONE) {
      target.flights.splice(target.flights.indexOf(flight), 1);
      target.provenMs = performance.now();
      flight.succeed();
    } else if (target.mending === null) {
      target.mending = this.#mend(target).finally(() => {
        target.mending = null;
      });
    }
  }

  /** Lets everything land, then sends what was refused again, in order; or dies. Never throws. */
  async #mend(target: Target): Promise<void> {
    const deadlineMs = performance.now() + this.#options.retryMs;
    target.connection = null;
    try {
      // Those that succeed meanwhile leave the list.
      await Promise.all(target.flights.map(({ landed }) => landed));
      for (const [index, flight] of target.flights.entries()) {
        // Because a batch behind a refused one is out of order, and only that.
        if (!(index > 0 && flight.code === OUT_OF_ORDER_SEQUENCE_NUMBER)) {
          this.#throwUnlessRepeatable(target, flight);
        }
      }
      for (let flight = target.flights.at(0); flight !== undefined; flight = target.flights.at(0)) {
        await this.#repeat(target, flight, deadlineMs);
        target.flights.shift();
        flight.succeed();
      }
    } catch (error) {
      this.die(asSealstreamError(error, `Sending to ${target.topic}`));
    }
  }

  /** Sends a batch again until it is in the log. */
  async #repeat(target: Target, flight: Flight, deadlineMs: number): Promise<void> {
    for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MOST_MS)) {
      await sleep(waitMs);
      this.#throwIfDead();
      // A leader that moved while its broker lives still stands in the metadata.
      await this.#lookAgain();
      const connection = await this.#leader(target, deadlineMs);
      this.#throwIfDead();
      await this.#fly(flight, connection);
      if (flight.code === NONE || flight.code === DUPLICATE_SEQUENCE_NUMBER) {
        target.connection = connection;
        target.provenMs = performance.now();
        return;
      }
      this.#throwUnlessRepeatable(target, flight);
      if (performance.now() > deadlineMs) {
        throw flight.code === NO_ANSWER ? flight.failure : refusal(flight.code, target.topic);
      }
    }
  }

  #throwUnlessRepeatable({ topic }: Target, { code, failure }: Flight): void {
    if (code === NO_ANSWER) {
      if (this.#options.transactionalId !== null) {
        throw failure;
      }
      this.#options.link.sever();
    } else if (!isRetriableByLeader(code)) {
      throw refusal(code, topic);
    }
  }

  /** The leader as it is known now; asks anew until the deadline where there is none. Nothing is under way to it. */
  async #leader(
    { topic, partition }: Target,
    deadlineMs = performance.now() + this.#options.retryMs,
  ): Promise<RawConnection> {
    const { link } = this.#options;
    for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(2 * waitMs, RETRY_MOST_MS)) {
      this.#throwIfDead();
      try {
        return await link.leader(topic, partition);
      } catch (error) {
        if (!mayPass(error) || performance.now() > deadlineMs) {
          throw asSealstreamError(error, `Finding the leader of ${topic}/${partition}`);
        }
      }
      await sleep(waitMs);
      await this.#lookAgain();
    }
  }

  /** Refreshes the metadata, or gives the connections up where that fails. */
  async #lookAgain(): Promise<void> {
    try {
      await this.#options.link.refresh();
    } catch {
      // Because the next attempt fails the same way, and is counted against the deadline.
      this.#options.link.sever();
    }
  }
}
