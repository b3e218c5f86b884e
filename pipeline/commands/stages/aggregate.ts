/** Wires `aggregate`: what it restores from is read anew from the topics after its lane was fenced. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { readModels } from "../../client/models.ts";
import { createAggregateStage } from "../../stages/aggregate/stage.ts";
import { openDirectory, type StageWorld, type WireStage } from "./world.ts";

/** Between looks at a data key that a service unwraps. */
const KEY_WAIT_MS = 20;

/** Reads keys, models and ledger to what is committed now. */
async function restore({ spec, client, keys }: StageWorld) {
  const directory = openDirectory(spec, keys, "aggregate");
  const reader = await readModels({ client, pipeline: spec.name, directory });
  let newest = reader.newest();
  // A data key in a service takes its time.
  while (directory.isBusy()) {
    await sleep(KEY_WAIT_MS);
    newest = reader.newest();
  }
  return { entries: reader.entries(), newest };
}

export const wire: WireStage = async (world) => {
  const { spec, directory, keys, counter } = world;
  return createAggregateStage({
    spec,
    directory,
    keysFreshAsOf: world.keysFreshAsOf,
    keys,
    kms: world.kms,
    restore: () => restore(world),
    random: randomBytes,
    onUpdate: ({ modelVersion, epsilon }) => {
      counter.note("model", modelVersion);
      counter.note("epsilon", epsilon.toFixed(3));
    },
  });
};
