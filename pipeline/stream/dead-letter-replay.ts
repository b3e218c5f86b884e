/**
 * The Kafka side of replaying dead letters: which were replayed already, and replaying some in one transaction.
 *
 * One transaction holds the record in the stage's input topic (same partition; where `raw` is partitioned by the subject,
 * its subject's), a receipt in the letter's own partition of
 * the `.dead` topic, and the offset of the group `<pipeline>.<stage>.replay`. So a crash replays nothing twice and loses
 * nothing, and a receipt never expires before its letter, since it lies behind it in the same log.
 *
 * Why receipts and not the group's offset alone: with `--reason` or `--offset` letters in front stay behind, and one
 * offset cannot say which. Why not append those that stay behind again: a letter would change its name each time, and a
 * copy of a letter could be replayed twice. Receipts name the letter and the offset that its record came from: the same
 * record is replayed once, however often its letter stands in the topic. The group's offset is the first letter that was
 * not replayed: its lag is what monitoring shows of waiting letters, and nothing is decided by it.
 *
 * Why one transactional id for all stages and partitions of a pipeline: letters with the same record id may lie in two
 * partitions, or in two stages. Two replays fence each other, wherever they work; the one that came first fails.
 *
 * Order, as for lanes: fence first, only then read receipts, and read them to the end of the log: another transaction
 * that is open in front of a receipt hides it from read_committed, so the reader waits for that one.
 *
 * Grammar of a receipt's payload: `u8 version = 1, 1..500 times (u64be offset of the letter, u64be offset of its record)`.
 * Must not judge letters, nor hold keys: the payload is protected by what is handed in.
 */
import {
  deadTopicName,
  STAGE_INPUT,
  type StageName,
  stageGroup,
  topicName,
} from "../../schemas/topics.ts";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import type { StreamRecord } from "./contract.ts";
import { OffsetSet } from "./dead-letter-offsets.ts";
import type { KafkaClient, LaneProducer, ProducerRecord } from "./port.ts";

/** Stages whose letters can be replayed: what the others refuse is sealed and bound to its place. */
export type ReplayableStage = Extract<StageName, "desensitize" | "encrypt">;

/** Where letters lie. */
export interface DeadPlace {
  readonly pipeline: string;
  readonly stage: StageName;
  readonly partition: number;
}

/** Protects receipts; handed in, since this room holds no keys. */
export interface ReceiptGuard {
  protect(payload: Uint8Array, place: DeadPlace): Uint8Array;
  /** The payload, or null when it was not protected by the owner for this place. */
  open(value: Uint8Array, place: DeadPlace): Uint8Array | null;
}

/** A letter and the offset of its record in the stage's input topic. */
export interface ReceiptEntry {
  readonly letter: number;
  readonly source: number;
}

/** What receipts say about a partition of a `.dead` topic. */
export interface Replayed {
  /** Offsets of letters. */
  readonly letters: OffsetSet;
  /** Offsets in the stage's input topic. */
  readonly sources: OffsetSet;
}

export const RECEIPT_HEADER = "sealstream-type";
const RECEIPT_TYPE = new TextEncoder().encode("replayed");
const VERSION = 1;
const ENTRY_BYTES = 16;
/** Letters in one transaction: a receipt of 8 kB, and a signature costs little over so many. */
export const MAX_ENTRIES = 500;

const FETCH_BYTES = 4 * 1024 * 1024;
const FETCH_WAIT_MS = 250;

/** Names of a place's topics and of the replay's group. */
export function deadNames({ pipeline, stage }: Omit<DeadPlace, "partition">) {
  const role = STAGE_INPUT[stage];
  return {
    input: topicName(pipeline, role),
    dead: deadTopicName(pipeline, role),
    group: `${stageGroup(pipeline, stage)}.replay`,
  };
}

/** Transactional id of every replay of a pipeline. */
export function replayTransactionalId(pipeline: string): string {
  return `${pipeline}.dead-letters.replay`;
}

export function encodeReceipt(entries: readonly ReceiptEntry[]): Uint8Array {
  if (entries.length === 0 || entries.length > MAX_ENTRIES) {
    throw new SealstreamError("internal", `A receipt names 1 to ${MAX_ENTRIES} letters.`);
  }
  const payload = Buffer.alloc(1 + entries.length * ENTRY_BYTES);
  payload.writeUInt8(VERSION, 0);
  for (const [index, { letter, source }] of entries.entries()) {
    payload.writeBigUInt64BE(BigInt(letter), 1 + index * ENTRY_BYTES);
    payload.writeBigUInt64BE(BigInt(source), 9 + index * ENTRY_BYTES);
  }
  return payload;
}

/** The entries, or null when the bytes are no receipt of this version. */
export function decodeReceipt(payload: Uint8Array): ReceiptEntry[] | null {
  const count = (payload.byteLength - 1) / ENTRY_BYTES;
  if (payload[0] !== VERSION || !Number.isInteger(count) || count < 1 || count > MAX_ENTRIES) {
    return null;
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const entries = Array.from({ length: count }, (_, index) => ({
    letter: Number(view.getBigUint64(1 + index * ENTRY_BYTES)),
    source: Number(view.getBigUint64(9 + index * ENTRY_BYTES)),
  }));
  const isWhole = entries.every(
    ({ letter, source }) => Number.isSafeInteger(letter) && Number.isSafeInteger(source),
  );
  return isWhole ? entries : null;
}

/** Whether a record of a `.dead` topic claims to be a receipt: then it is no letter. */
export function isReceipt({ headers }: StreamRecord): boolean {
  const type = headers[RECEIPT_HEADER];
  return type !== undefined && Buffer.compare(type, RECEIPT_TYPE) === 0;
}

/**
 * Reads `from`..`to` of a partition to its end, waiting for transactions that are open in front of `to`.
 * @param options `to` unless said is the end of the log now; `apply` returns false to stop early
 * @throws SealstreamError `kafka-failed` when nothing becomes readable for `patienceMs`
 */
export async function readThrough(options: {
  readonly client: KafkaClient;
  readonly topic: string;
  readonly partition: number;
  readonly from?: number;
  readonly to?: number;
  /** Longer than a transaction may stay open. */
  readonly patienceMs: number;
  readonly apply: (record: StreamRecord) => boolean | undefined | Promise<boolean | undefined>;
}): Promise<void> {
  const { client, topic, partition, patienceMs, apply } = options;
  const { earliest, latest } = await client.offsets(topic, partition);
  const from = Math.max(options.from ?? earliest, earliest);
  const to = Math.min(options.to ?? latest, latest);
  if (from >= to) {
    return;
  }
  const reader = await client.createReader(topic, partition, from);
  try {
    let idleMs = 0;
    while (reader.position() < to) {
      const before = reader.position();
      const { records } = await reader.fetch({ maxBytes: FETCH_BYTES, maxWaitMs: FETCH_WAIT_MS });
      for (const record of records) {
        if (record.offset < to && (await apply(record)) === false) {
          return;
        }
      }
      idleMs = reader.position() === before ? idleMs + FETCH_WAIT_MS : 0;
      if (idleMs > patienceMs) {
        throw new SealstreamError(
          "kafka-failed",
          `${topic}/${partition} cannot be read to its end: a transaction has stayed open before offset ${to}; try again when it has ended.`,
        );
      }
    }
  } finally {
    await reader.close();
  }
}

/** Reads the receipts of a partition. To be believed for a replay, only after its producer was made. */
export async function readReplayed(options: {
  readonly client: KafkaClient;
  readonly place: DeadPlace;
  readonly guard: ReceiptGuard;
  readonly patienceMs: number;
}): Promise<Replayed> {
  const { client, place, guard, patienceMs } = options;
  const replayed = { letters: new OffsetSet(), sources: new OffsetSet() };
  await readThrough({
    client,
    topic: deadNames(place).dead,
    partition: place.partition,
    patienceMs,
    apply: (record) => {
      if (!isReceipt(record) || record.value === null) {
        return undefined;
      }
      const payload = guard.open(record.value, place);
      for (const { letter, source } of (payload && decodeReceipt(payload)) ?? []) {
        replayed.letters.add(letter);
        replayed.sources.add(source);
      }
      return undefined;
    },
  });
  return replayed;
}

/** A record to put back, and where it and its letter lie. */
export interface ReplayItem extends ReceiptEntry {
  /** Of the stage's input: the letter's own, unless the record lay in the wrong one. */
  readonly partition: number;
  readonly record: ProducerRecord;
}

/**
 * Replays letters of one partition in one transaction, in the order given.
 * @param options `position`: what the group commits, the first letter that is not replayed
 * @throws SealstreamError `fenced` when another replay has taken over, `kafka-failed` when the outcome is not known
 */
export async function commitReplay(options: {
  readonly producer: LaneProducer;
  readonly place: DeadPlace;
  readonly guard: ReceiptGuard;
  readonly items: readonly ReplayItem[];
  readonly position: number;
}): Promise<void> {
  const { producer, place, guard, items, position } = options;
  const { input, dead, group } = deadNames(place);
  const { partition } = place;
  const value = guard.protect(encodeReceipt(items), place);
  try {
    await producer.begin();
    for (const [target, group] of Map.groupBy(items, (item) => item.partition)) {
      await producer.send(
        input,
        target,
        group.map(({ record }) => record),
      );
    }
    const headers = { [RECEIPT_HEADER]: RECEIPT_TYPE };
    await producer.send(dead, partition, [{ key: null, value, headers }]);
    await producer.sendOffset(group, dead, partition, position);
    await producer.commit();
  } catch (error) {
    const isFenced = isSealstreamError(error, "fenced");
    throw new SealstreamError(
      isFenced ? "fenced" : "kafka-failed",
      isFenced
        ? "Another replay of this pipeline has taken over: nothing is replayed twice; let one run at a time."
        : "Kafka failed in the middle of a replay: run it again; what was replayed already stays as it is.",
      { cause: error },
    );
  }
}
