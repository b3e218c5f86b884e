/** Reads what is in `keys` into a directory, at once or as it grows. */
import { topicName } from "../../schemas/topics.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import type { KafkaClient } from "../stream/port.ts";
import { readTopic } from "../stream/tail.ts";

export interface KeysReaderOptions {
  readonly client: KafkaClient;
  readonly pipeline: string;
  /** Takes every entry that proves itself and refuses the others. */
  readonly directory: KeyDirectory;
}

/** What has come to `keys` since the last call, from the beginning at the first. */
export function createKeysReader(options: KeysReaderOptions): () => Promise<void> {
  const { client, pipeline, directory } = options;
  let position: number | undefined;
  let reading: Promise<void> | null = null;
  const readFrom = (from: number | undefined) =>
    readTopic({
      client,
      topic: topicName(pipeline, "keys"),
      ...(from === undefined ? {} : { from }),
      // Entries prove themselves, and nobody's open transaction may hold them back.
      isolation: "uncommitted",
      apply({ key, value, offset }) {
        position = offset + 1;
        directory.apply(key, value);
      },
    });
  const read = async (): Promise<void> => {
    await readFrom(position);
    // What had no place to wait for its signer's certificate finds it known now.
    if (directory.takeMissed()) await readFrom(undefined);
  };
  return () => {
    reading ??= read().finally(() => {
      reading = null;
    });
    return reading;
  };
}

/** Reads what is in `keys` now. */
export function readKeys(options: KeysReaderOptions): Promise<void> {
  return createKeysReader(options)();
}
