/**
 * Producing through librdkafka: transactional for lanes, idempotent for people who feed `raw`.
 *
 * A send resolves when every record's delivery report has come and none holds an error. What becomes of an error is
 * not decided here: the lane throws the producer away. Must not retry a transaction. Source: KIP-98, KIP-360,
 * librdkafka's INTRODUCTION.md ("Transactional producer").
 */
import { SealstreamError } from "../errors.ts";
import { bridgeLogs, connectionSettings } from "./confluent-config.ts";
import {
  CODE,
  type ConfluentLibrary,
  call,
  codeOf,
  type DeliveryReport,
  type LibraryConsumer,
  type LibraryError,
  type LibraryProducer,
  type LibrarySettings,
  toSealstreamError,
} from "./confluent-library.ts";
import type { ClientOptions } from "./open-client.ts";
import type { LaneProducer, PlainProducer, ProducerRecord } from "./port.ts";

/** Bytes of records in one batch: below the broker's default `max.message.bytes` of 1,048,588. */
const BATCH_BYTES = 1_000_000;
/** A record above the batch size goes alone and the broker judges it; this only bounds what is tried. */
const MAX_RECORD_BYTES = 64 * 1024 * 1024;
/** Bytes and records that wait in librdkafka's memory; a send that has more waits for the first to be delivered. */
const QUEUE_KBYTES = 65_536;
const QUEUE_RECORDS = 100_000;
/** Long enough for the loop of one send to fill a batch, short beside a transaction's round trips. */
const LINGER_MS = 1;
const CONNECT_TIMEOUT_MS = 10_000;
/** Longest one transaction request is waited for: longer than a coordinator's election at Kafka's defaults. */
const REQUEST_TIMEOUT_MS = 30_000;
/** A producer that is thrown away owes nobody its queue: sends have waited for their reports. */
const CLOSE_FLUSH_MS = 200;

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The delivery reports of one send. */
class Deliveries {
  #outstanding = 0;
  #failure: LibraryError | null = null;
  #changed: () => void = () => undefined;

  expect(): void {
    this.#outstanding += 1;
  }

  settle(error: LibraryError | null): void {
    this.#outstanding -= 1;
    this.#failure ??= error;
    this.#changed();
  }

  /** No more reports will come. */
  abandon(): void {
    this.#outstanding = 0;
    this.#failure ??= { code: CODE.destroyed };
    this.#changed();
  }

  /** Waits until at most `most` reports are outstanding. @throws LibraryError the first that a report held */
  async until(most: number): Promise<void> {
    while (this.#outstanding > most) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#changed = resolve;
      await promise;
    }
    if (this.#failure !== null) {
      throw this.#failure;
    }
  }

  get outstanding(): number {
    return this.#outstanding;
  }
}

/** One librdkafka producer: enqueues records and sorts their delivery reports to the sends that wait. */
class Handle {
  readonly producer: LibraryProducer;
  readonly #sends = new Set<Deliveries>();
  #closing: Promise<void> | null = null;

  constructor(producer: LibraryProducer) {
    this.producer = producer;
    producer.on("delivery-report", (error: LibraryError | null, { opaque }: DeliveryReport) => {
      if (opaque instanceof Deliveries) {
        opaque.settle(error);
      }
    });
  }

  async send(
    topic: string,
    records: readonly ProducerRecord[],
    partitionOf: (record: number) => number | null,
  ): Promise<void> {
    const deliveries = new Deliveries();
    this.#sends.add(deliveries);
    try {
      for (const [index, record] of records.entries()) {
        await this.#enqueue(topic, partitionOf(index), record, deliveries);
      }
      await deliveries.until(0);
    } catch (error) {
      const code = codeOf(error);
      if (code === CODE.messageTooLarge || code === CODE.recordListTooLarge) {
        throw tooLarge(topic);
      }
      throw toSealstreamError(error, `Sending to ${topic}`);
    } finally {
      this.#sends.delete(deliveries);
    }
  }

  async #enqueue(
    topic: string,
    partition: number | null,
    record: ProducerRecord,
    deliveries: Deliveries,
  ): Promise<void> {
    const headers = Object.entries(record.headers ?? {}).map(([name, value]) => ({
      // Because a header may be called `__proto__`: a computed name makes a property of it.
      [name]: asBuffer(value),
    }));
    const key = record.key === null ? null : asBuffer(record.key);
    const value = record.value === null ? null : asBuffer(record.value);
    for (;;) {
      try {
        this.producer.produce(topic, partition, value, key, null, deliveries, headers);
        deliveries.expect();
        return;
      } catch (error) {
        if (codeOf(error) !== CODE.queueFull || deliveries.outstanding === 0) {
          throw error;
        }
        await deliveries.until(deliveries.outstanding - 1);
      }
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#disconnect();
    return this.#closing;
  }

  async #disconnect(): Promise<void> {
    try {
      await call<unknown>((done) => this.producer.disconnect(CLOSE_FLUSH_MS, done));
    } catch {
      // Because the object is being thrown away and whatever it left open is fenced by its successor.
    }
    for (const deliveries of this.#sends) {
      deliveries.abandon();
    }
  }
}

function tooLarge(topic: string): SealstreamError {
  return new SealstreamError(
    "limit-exceeded",
    `The broker finds a message for ${topic} too large: give the topic Kafka's default max.message.bytes of 1048588 or more.`,
  );
}

async function openHandle(
  library: ConfluentLibrary,
  options: ClientOptions,
  settings: LibrarySettings,
): Promise<Handle> {
  const producer = bridgeLogs(
    new library.Producer(
      {
        ...connectionSettings(options),
        "enable.idempotence": true,
        acks: -1,
        "compression.type": options.compression,
        "batch.size": BATCH_BYTES,
        "message.max.bytes": MAX_RECORD_BYTES,
        "queue.buffering.max.kbytes": QUEUE_KBYTES,
        "queue.buffering.max.messages": QUEUE_RECORDS,
        "linger.ms": LINGER_MS,
        dr_cb: true,
        ...settings,
      },
      // Java's default: murmur2 of the key, any partition without one.
      { partitioner: "murmur2_random" },
    ),
    options.logger,
  );
  const handle = new Handle(producer);
  try {
    await call((done) => producer.connect({ allTopics: false, timeout: CONNECT_TIMEOUT_MS }, done));
  } catch (error) {
    await handle.close();
    throw toSealstreamError(error, "Connecting a producer");
  }
  producer.setPollInBackground(true);
  return handle;
}

class ConfluentLaneProducer implements LaneProducer {
  readonly #handle: Handle;
  readonly #groupOf: (group: string) => Promise<LibraryConsumer>;
  #isOpen = false;

  constructor(handle: Handle, groupOf: (group: string) => Promise<LibraryConsumer>) {
    this.#handle = handle;
    this.#groupOf = groupOf;
  }

  async begin(): Promise<void> {
    await this.#request("Beginning a transaction", (producer, done) =>
      producer.beginTransaction(done),
    );
    this.#isOpen = true;
  }

  send(topic: string, partition: number, records: readonly ProducerRecord[]): Promise<void> {
    return this.#handle.send(topic, records, () => partition);
  }

  async sendOffset(group: string, topic: string, partition: number, offset: number): Promise<void> {
    // A consumer that never joined has no member id: the transactional id alone fences, as the design has it.
    const consumer = await this.#groupOf(group);
    const offsets = [{ topic, partition, offset }];
    await this.#request("Adding an offset to a transaction", (producer, done) =>
      producer.sendOffsetsToTransaction(offsets, consumer, REQUEST_TIMEOUT_MS, done),
    );
  }

  async commit(): Promise<void> {
    await this.#request("Committing a transaction", (producer, done) =>
      producer.commitTransaction(REQUEST_TIMEOUT_MS, done),
    );
    this.#isOpen = false;
  }

  async abort(): Promise<void> {
    if (!this.#isOpen) {
      return;
    }
    await this.#request("Aborting a transaction", (producer, done) =>
      producer.abortTransaction(REQUEST_TIMEOUT_MS, done),
    );
    this.#isOpen = false;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  async #request(
    doing: string,
    start: (producer: LibraryProducer, done: (error?: LibraryError | null) => void) => void,
  ): Promise<void> {
    try {
      await call((done) => start(this.#handle.producer, done));
    } catch (error) {
      throw toSealstreamError(error, doing);
    }
  }
}

/**
 * Makes a lane's producer and fences whoever had its transactional id.
 * @param groupOf a consumer of a group that never joins it, for the offsets of a transaction
 */
export async function createLaneProducer(
  library: ConfluentLibrary,
  options: ClientOptions,
  transactionalId: string,
  groupOf: (group: string) => Promise<LibraryConsumer>,
): Promise<LaneProducer> {
  const handle = await openHandle(library, options, {
    "transactional.id": transactionalId,
    "transaction.timeout.ms": options.transactionTimeoutMs,
  });
  try {
    // InitProducerId: settles what the previous owner left open, then takes its place.
    await call((done) => handle.producer.initTransactions(REQUEST_TIMEOUT_MS, done));
  } catch (error) {
    await handle.close();
    throw toSealstreamError(error, "Taking over a lane");
  }
  return new ConfluentLaneProducer(handle, groupOf);
}

/** Makes a producer outside transactions. */
export async function createPlainProducer(
  library: ConfluentLibrary,
  options: ClientOptions,
): Promise<PlainProducer> {
  const handle = await openHandle(library, options, {});
  return {
    send: (topic, records) =>
      handle.send(topic, records, (index) => records[index]?.partition ?? null),
    close: () => handle.close(),
  };
}
