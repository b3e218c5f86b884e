/**
 * Finds records of one partition by rising offset: what a letter says is compared with what it was made of.
 *
 * Reads on from where it stands while that is near, and starts anew where it is not. Holds one fetch.
 */
import type { StreamRecord } from "../../stream/contract.ts";
import type { KafkaClient, PartitionReader } from "../../stream/port.ts";

export type FoundSource =
  | { readonly status: "found"; readonly record: StreamRecord }
  /** Retention removed it. */
  | { readonly status: "expired" }
  /** Nothing committed lies at that offset. */
  | { readonly status: "nothing" };

/** Offsets that are cheaper to read over than to open another connection for. */
const NEAR_OFFSETS = 2_000;
const FETCH = { maxBytes: 1024 * 1024, maxWaitMs: 250 };
/** A record that was refused is committed and lies in front of its letter: waiting for it is never needed for long. */
const MOST_EMPTY_FETCHES = 20;

export class SourceReader {
  readonly #client: KafkaClient;
  readonly #topic: string;
  readonly #partition: number;
  /** Asked for once: what a letter tells of lay there before the letter did. */
  #bounds: { readonly earliest: number; readonly latest: number } | null = null;
  #reader: PartitionReader | null = null;
  #held: readonly StreamRecord[] = [];
  /** First offset of what is held. */
  #heldFrom = 0;

  constructor(client: KafkaClient, topic: string, partition: number) {
    this.#client = client;
    this.#topic = topic;
    this.#partition = partition;
  }

  async find(offset: number): Promise<FoundSource> {
    this.#bounds ??= await this.#client.offsets(this.#topic, this.#partition);
    const { earliest, latest } = this.#bounds;
    if (offset < earliest) return { status: "expired" };
    if (offset >= latest) return { status: "nothing" };
    const reader = await this.#readerFor(offset);
    for (let empty = 0; reader.position() <= offset && empty < MOST_EMPTY_FETCHES; ) {
      const before = reader.position();
      const { records } = await reader.fetch(FETCH);
      this.#held = records;
      this.#heldFrom = before;
      empty = reader.position() === before ? empty + 1 : 0;
    }
    const record = this.#held.find((held) => held.offset === offset);
    return record === undefined ? { status: "nothing" } : { status: "found", record };
  }

  async close(): Promise<void> {
    await this.#reader?.close();
    this.#reader = null;
  }

  async #readerFor(offset: number): Promise<PartitionReader> {
    const at = this.#reader?.position() ?? 0;
    const isNear = offset >= this.#heldFrom && offset < at + NEAR_OFFSETS;
    if (this.#reader !== null && isNear) return this.#reader;
    await this.close();
    this.#held = [];
    this.#heldFrom = offset;
    this.#reader = await this.#client.createReader(this.#topic, this.#partition, offset);
    return this.#reader;
  }
}
