/** Wires `train`: the backend, the newest model, and how many contributions still wait for an update. */
import { randomBytes } from "node:crypto";
import { createTrainStage } from "../../stages/train/stage.ts";
import { createTrainBackend } from "../../stages/train/tfjs-backend.ts";
import { openModelView } from "./model-view.ts";
import type { WireStage } from "./world.ts";

export const wire: WireStage = async (world) => {
  const { spec, directory, keys, counter } = world;
  const models = await openModelView(world);
  // Offsets of committed contributions that the newest ledger entry may not cover yet.
  let waiting: number[] = [];
  await world.follow("contributions", ({ offset }) => {
    waiting.push(offset);
  });
  let validated = 0;
  let correct = 0;
  return createTrainStage({
    spec,
    directory,
    signer: keys.signing("train-signing"),
    model: () => {
      const model = models.newest();
      return model === null
        ? null
        : {
            runId: model.entry.runId,
            modelVersion: model.entry.modelVersion,
            configHash: model.entry.configHash,
            network: model.network,
            weights: model.weights,
          };
    },
    pendingContributions: () => {
      const next = models.newest()?.entry.contributionsNext ?? 0;
      waiting = waiting.filter((offset) => offset >= next);
      return waiting.length;
    },
    backend: createTrainBackend(spec.train.backend),
    random: randomBytes,
    onContribution: () => undefined,
    onValidation: (result) => {
      validated += result.records;
      correct += result.correct;
      counter.note("validation", `${((100 * correct) / validated).toFixed(1)} %`);
    },
  });
};
