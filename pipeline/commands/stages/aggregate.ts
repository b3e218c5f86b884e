/** Wires `aggregate`: what it restores from is read anew from the topics after its lane was fenced. */
import { randomBytes } from "node:crypto";
import { readModels } from "../../client/models.ts";
import { createAggregateStage } from "../../stages/aggregate/stage.ts";
import { openDirectory, type StageWorld, type WireStage } from "./world.ts";

/** Reads keys, models and ledger to what is committed now. */
async function restore({ spec, client, keys }: StageWorld) {
  const directory = openDirectory(spec, keys, "aggregate");
  const reader = await readModels({ client, pipeline: spec.name, directory });
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
