/**
 * A lane's state in a compacted changelog topic: one key, the newest value wins.
 *
 * Written by the lane in the transaction that made the state; read back after fencing, before the first record.
 * The topic may be long between compactions, so it is searched from its end.
 */
import type { KafkaClient } from "./port.ts";
import { readTopic } from "./tail.ts";

/** Record key of a lane's state. */
export const CHANGELOG_KEY = new TextEncoder().encode("state");

const FIRST_SPAN = 64;
const SPAN_GROWTH = 16;

/** Newest committed state of a lane, or null when there is none. Its previous writer must have been fenced. */
export async function readChangelog(
  client: KafkaClient,
  topic: string,
  partition: number,
): Promise<Uint8Array | null> {
  const { earliest, latest } = await client.offsets(topic, partition);
  for (let span = FIRST_SPAN; latest > earliest; span *= SPAN_GROWTH) {
    const from = Math.max(earliest, latest - span);
    let value: Uint8Array | null = null;
    await readTopic({
      client,
      topic,
      partition,
      from,
      apply: (record) => {
        value = record.value === null ? value : Uint8Array.from(record.value);
      },
    });
    if (value !== null || from === earliest) {
      return value;
    }
  }
  return null;
}
