/**
 * A lane's state in a compacted changelog topic: one key, the newest value wins.
 *
 * Written by the lane in the transaction that made the state; read back after fencing, before the first record.
 * The topic may be long between compactions, so it is searched from its end.
 */
import type { KafkaClient } from "./port.ts";

/** Record key of a lane's state. */
export const CHANGELOG_KEY = new TextEncoder().encode("state");

const FIRST_SPAN = 64;
const SPAN_GROWTH = 16;
const FETCH_BYTES = 1024 * 1024;
const FETCH_WAIT_MS = 200;

async function lastValue(
  client: KafkaClient,
  topic: string,
  partition: number,
  from: number,
  to: number,
): Promise<Uint8Array | null> {
  const reader = await client.createReader(topic, partition, from);
  try {
    let value: Uint8Array | null = null;
    while (reader.position() < to) {
      const before = reader.position();
      const fetched = await reader.fetch({ maxBytes: FETCH_BYTES, maxWaitMs: FETCH_WAIT_MS });
      for (const record of fetched.records) {
        if (record.offset < to && record.value !== null) {
          value = Uint8Array.from(record.value);
        }
      }
      // The end of a compacted log may hold nothing that a reader ever sees.
      if (fetched.nextOffset === before && fetched.lastStableOffset >= to) {
        break;
      }
    }
    return value;
  } finally {
    await reader.close();
  }
}

/** Newest committed state of a lane, or null when there is none. Its previous writer must have been fenced. */
export async function readChangelog(
  client: KafkaClient,
  topic: string,
  partition: number,
): Promise<Uint8Array | null> {
  const { earliest, latest } = await client.offsets(topic, partition);
  for (let span = FIRST_SPAN; latest > earliest; span *= SPAN_GROWTH) {
    const from = Math.max(earliest, latest - span);
    const value = await lastValue(client, topic, partition, from, latest);
    if (value !== null || from === earliest) {
      return value;
    }
  }
  return null;
}
