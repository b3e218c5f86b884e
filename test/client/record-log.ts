/** A cluster that holds nothing but `keys` and the lanes of `records`, for readers. */
import type { OutputRecord, StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";

export type Written = Pick<StreamRecord, "key" | "value">;

export interface RecordLog {
  readonly client: KafkaClient;
  readonly keys: Written[];
  /** By lane; may grow while somebody reads. */
  readonly lanes: readonly Written[][];
}

/** What a stage wrote of one role. */
export function written(outputs: readonly OutputRecord[], role: string): Written[] {
  return outputs.filter((one) => one.role === role).map(({ key, value }) => ({ key, value }));
}

export function createRecordLog(keys: Written[], lanes: readonly Written[][]): RecordLog {
  const logOf = (topic: string, partition: number): Written[] =>
    topic.endsWith(".keys") ? keys : (lanes[partition] ?? []);
  const client: Pick<KafkaClient, "offsets" | "createReader"> = {
    offsets: async (topic, partition) => ({
      earliest: 0,
      latest: logOf(topic, partition).length,
    }),
    createReader: async (topic, partition, from) => {
      const log = logOf(topic, partition);
      let position = from;
      return {
        position: () => position,
        close: async () => undefined,
        fetch: async ({ maxWaitMs }) => {
          if (position >= log.length) {
            await new Promise((resolve) => setTimeout(resolve, Math.min(maxWaitMs, 5)));
          }
          const records = log.slice(position, position + 2).map((record, index) => ({
            ...{ offset: position + index, timestampMs: 0, headers: {} },
            ...record,
          }));
          position += records.length;
          const end = { lastStableOffset: log.length, highWatermark: log.length };
          return { records, nextOffset: position, ...end };
        },
      };
    },
  };
  // Because readers use nothing else of a client.
  return { client: client as KafkaClient, keys, lanes };
}
