/** Wires `aggregate`: what it restores from is read anew from the topics after its lane was fenced. */
import { randomBytes } from "node:crypto";
import { topicName } from "../../../schemas/topics.ts";
import { createModelReader } from "../../privacy/model-reader.ts";
import { createAggregateStage } from "../../stages/aggregate/stage.ts";
import { readTopic } from "../../stream/tail.ts";
import { openDirectory, type StageWorld, type WireStage } from "./world.ts";

/** Reads keys, models and ledger to what is committed now. */
async function restore({ spec, client, keys }: StageWorld) {
  const directory = openDirectory(spec, keys, "aggregate");
  const reader = createModelReader({ pipeline: spec.name, directory });
  const topic = (role: "keys" | "models" | "ledger") => topicName(spec.name, role);
  await readTopic({
    client,
    topic: topic("keys"),
    // Entries prove themselves, and another stage's open transaction must not hide our own model key.
    isolation: "uncommitted",
    apply: ({ key, value }) => directory.apply(key, value),
  });
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
  return { entries: reader.entries(), newest: reader.newest() };
}

export const wire: WireStage = async (world) => {
  const { spec, directory, keys, counter } = world;
  return createAggregateStage({
    spec,
    directory,
    keysFreshAsOf: world.keysFreshAsOf,
    keys,
    restore: () => restore(world),
    random: randomBytes,
    onUpdate: ({ modelVersion, epsilon }) => {
      counter.note("model", modelVersion);
      counter.note("epsilon", epsilon.toFixed(3));
    },
  });
};
