/**
 * What a lane remembers of itself in a compacted changelog topic: its position, the stage's state, and entries of its own
 * beside it (the records of a subject, say), each under a key.
 *
 * Written by the lane in every transaction, read back after fencing, before the first record. The position must equal
 * the group's committed offset: a group that lost or was given other offsets is noticed before it trains twice. The
 * value is protected by the stage's zone (a signature, where the stage has a key to sign with), because what is in here
 * is believed; a value that does not open is passed over.
 *
 * Grammar of the protected value, version 1: `u8 version = 1, u64be position, state bytes`. An absent state is empty.
 * An entry's record key is `u8 0, key`; its value is protected too, by something cheaper than a signature, since a
 * transaction holds thousands. What the guard of entries cannot see, a missing entry or an older one of the same key in
 * place of a newer, is for the stage to notice by its state.
 */
import type { ChangelogEntry } from "./contract.ts";
import type { KafkaClient, ProducerRecord } from "./port.ts";
import { readTopic } from "./tail.ts";

/** Record key of a lane's value. */
export const CHANGELOG_KEY = new TextEncoder().encode("state");

/** Protects changelog values; handed in, since this room holds no keys. */
export interface ChangelogGuard {
  protect(value: Uint8Array, lane: number): Uint8Array;
  /** The value, or null when it was not protected by this stage for this lane. */
  open(protectedValue: Uint8Array, lane: number): Uint8Array | null;
  /** @throws SealstreamError `internal` of a stage that has no entries */
  protectEntry(entry: ChangelogEntry, lane: number): Uint8Array;
  /** The value of this key, or null when it was not protected by this stage for this lane and key. */
  openEntry(
    entry: { readonly key: Uint8Array; readonly protectedValue: Uint8Array },
    lane: number,
  ): Uint8Array | null;
}

export interface ChangelogValue {
  /** Offset of the first record of the lane's input that is not final. */
  readonly position: number;
  /** Null when the stage has no state. */
  readonly state: Uint8Array | null;
}

const ENTRY_PREFIX = 0;
const VERSION = 1;
const HEADER_BYTES = 9;
/** The topic may be long between compactions, so it is searched from its end, in growing steps. */
const FIRST_SPAN = 64;
const SPAN_GROWTH = 16;

export function encodeChangelog({ position, state }: ChangelogValue): Uint8Array {
  const value = Buffer.alloc(HEADER_BYTES + (state?.byteLength ?? 0));
  value.writeUInt8(VERSION, 0);
  value.writeBigUInt64BE(BigInt(position), 1);
  value.set(state ?? [], HEADER_BYTES);
  return value;
}

/** The value, or null when the bytes are not one of this version. */
export function decodeChangelog(bytes: Uint8Array): ChangelogValue | null {
  if (bytes.byteLength < HEADER_BYTES || bytes[0] !== VERSION) {
    return null;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const position = view.getBigUint64(1);
  return position > BigInt(Number.MAX_SAFE_INTEGER)
    ? null
    : {
        position: Number(position),
        state:
          bytes.byteLength === HEADER_BYTES ? null : Uint8Array.from(bytes.subarray(HEADER_BYTES)),
      };
}

/** Newest committed value of a lane, or null when there is none. Its previous writer must have been fenced. */
export async function readChangelog(options: {
  readonly client: KafkaClient;
  readonly topic: string;
  readonly lane: number;
  readonly guard: ChangelogGuard;
}): Promise<ChangelogValue | null> {
  const { client, topic, lane, guard } = options;
  const { earliest, latest } = await client.offsets(topic, lane);
  for (let span = FIRST_SPAN; latest > earliest; span *= SPAN_GROWTH) {
    const from = Math.max(earliest, latest - span);
    const values: Uint8Array[] = [];
    await readTopic({
      client,
      topic,
      partition: lane,
      from,
      apply: ({ key, value }) => {
        if (value !== null && !isEntryKey(key)) {
          values.push(Uint8Array.from(value));
        }
      },
    });
    for (const value of values.reverse()) {
      const opened = guard.open(value, lane);
      const decoded = opened === null ? null : decodeChangelog(opened);
      if (decoded !== null) {
        return decoded;
      }
    }
    if (from === earliest) {
      return null;
    }
  }
  return null;
}

function isEntryKey(key: Uint8Array | null): key is Uint8Array {
  return key !== null && key.length > 1 && key[0] === ENTRY_PREFIX;
}

/** The records of a transaction's entries and value, in the order in which they are written. */
export function changelogRecords(
  value: ChangelogValue,
  entries: readonly ChangelogEntry[],
  { guard, lane }: { readonly guard: ChangelogGuard; readonly lane: number },
): ProducerRecord[] {
  const records = entries.map((entry): ProducerRecord => {
    const key = new Uint8Array(1 + entry.key.length);
    key[0] = ENTRY_PREFIX;
    key.set(entry.key, 1);
    return { key, value: guard.protectEntry(entry, lane) };
  });
  records.push({ key: CHANGELOG_KEY, value: guard.protect(encodeChangelog(value), lane) });
  return records;
}

/**
 * Hands over every committed entry of a lane, oldest first; one that does not open is passed over. The lane's previous
 * writer must have been fenced.
 */
export async function readEntries(options: {
  readonly client: KafkaClient;
  readonly topic: string;
  readonly lane: number;
  readonly guard: ChangelogGuard;
  readonly apply: (entry: ChangelogEntry) => void;
}): Promise<void> {
  const { client, topic, lane, guard, apply } = options;
  await readTopic({
    client,
    topic,
    partition: lane,
    apply: (record) => {
      if (record.value === null || !isEntryKey(record.key)) return;
      const key = record.key.subarray(1);
      const value = guard.openEntry({ key, protectedValue: record.value }, lane);
      if (value !== null) apply({ key, value });
    },
  });
}
