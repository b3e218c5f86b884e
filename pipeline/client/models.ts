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
  /** Not beyond this version of the newest run: its model is then the reader's newest, while topic models has it. */
  readonly modelVersion?: number | undefined;
}): Promise<ModelReader> {
  const { client, pipeline, directory, modelVersion } = options;
  const reader = createModelReader({ pipeline, directory });
  const topic = (role: TopicRole) => topicName(pipeline, role);
  await readKeys({ client, pipeline, directory });
  await readTopic({
    client,
    topic: topic("models"),
    apply: ({ key, value }) => reader.applyModel(key, value),
  });
  const entries: { readonly value: Uint8Array | null; readonly offset: number }[] = [];
  await readTopic({
    client,
    topic: topic("ledger"),
    apply: ({ value, offset }) => {
      entries.push({ value, offset });
    },
  });
  const most = modelVersion === undefined ? entries.length : countUpTo(modelVersion);
  for (const { value, offset } of entries.slice(0, most)) reader.applyLedger(value, offset);
  return reader;

  /** How many values of the ledger come before the first that is beyond a version of the newest run. */
  function countUpTo(version: number): number {
    const whole = createModelReader({ pipeline, directory });
    const applied = entries.map(({ value, offset }) => {
      whole.applyLedger(value, offset);
      return whole.entries().at(-1)?.entry;
    });
    const run = applied.at(-1)?.runId;
    const beyond = applied.findIndex(
      (entry) => entry?.runId === run && (entry?.modelVersion ?? 0) > version,
    );
    return beyond === -1 ? entries.length : beyond;
  }
}
