/** Reads what is committed of `keys`, `models` and `ledger` once: the newest model a set of keys opens. */
import { type TopicRole, topicName } from "../../schemas/topics.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import { createModelReader, type ModelReader } from "../privacy/model-reader.ts";
import type { KafkaClient } from "../stream/port.ts";
import { readTopic } from "../stream/tail.ts";
import { readKeys } from "./keys.ts";

/**
 * Fills a directory and a model reader from the topics.
 * @param options.directory empty, with the unwrapping keys of whoever reads
 */
export async function readModels(options: {
  readonly client: KafkaClient;
  readonly pipeline: string;
  readonly directory: KeyDirectory;
}): Promise<ModelReader> {
  const { client, pipeline, directory } = options;
  const reader = createModelReader({ pipeline, directory });
  const topic = (role: TopicRole) => topicName(pipeline, role);
  await readKeys({ client, pipeline, directory });
  await readTopic({
    client,
    topic: topic("models"),
    apply: ({ key, value }) => reader.applyModel(key, value),
  });
  await readTopic({
    client,
    topic: topic("ledger"),
    apply: ({ value, offset }) => reader.applyLedger(value, offset),
  });
  return reader;
}
