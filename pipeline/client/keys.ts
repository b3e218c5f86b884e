/** Reads what is in `keys` now into a directory. */
import { topicName } from "../../schemas/topics.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import type { KafkaClient } from "../stream/port.ts";
import { readTopic } from "../stream/tail.ts";

/** @param options.directory takes every entry that proves itself and refuses the others */
export async function readKeys(options: {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly directory: KeyDirectory;
}): Promise<void> {
  const { client, pipeline, directory } = options;
  await readTopic({
    client,
    topic: topicName(pipeline, "keys"),
    // Entries prove themselves, and nobody's open transaction may hold them back.
    isolation: "uncommitted",
    apply: ({ key, value }) => directory.apply(key, value),
  });
}
