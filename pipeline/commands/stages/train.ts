/** Wires `train`: the backend, and the newest model with what its ledger entry says of the run. */
import { randomBytes } from "node:crypto";
import { networkFromSpec } from "../../network/from-spec.ts";
import { runConfigHash } from "../../privacy/run-config.ts";
import { createTrainStage } from "../../stages/train/stage.ts";
import { createStatisticsBackend } from "../../stages/train/statistics-backend.ts";
import { createTrainBackend } from "../../stages/train/tfjs-backend.ts";
import { type DecodedModel, openModelView } from "./model-view.ts";
import type { StageWorld, WireStage } from "./world.ts";

/** Says once for each run that train waits because the run has other settings; what waits silently is never found. */
function createRunWatch({ spec, logger }: StageWorld): (model: DecodedModel) => void {
  const network = networkFromSpec(spec.features, spec.train);
  const own = runConfigHash({ spec, network });
  let said = "";
  return ({ entry: { runId, configHash } }) => {
    if (configHash === own || said === runId) return;
    said = runId;
    logger.warn({ runId }, "train waits for a run of its own settings: is its file aggregate's?");
  };
}

export const wire: WireStage = async (world) => {
  const { spec, directory, keys, counter, logger } = world;
  const models = await openModelView(world);
  const watch = createRunWatch(world);
  const backend =
    spec.train.method === "statistics"
      ? createStatisticsBackend()
      : createTrainBackend(spec.train.backend);
  let validated = 0;
  let correct = 0;
  let unusable = 0;
  const stage = createTrainStage({
    spec,
    directory,
    keysFreshAsOf: world.keysFreshAsOf,
    signer: keys.signing("train-signing"),
    kms: world.kms,
    model: () => {
      const model = models.newest();
      if (model === null) return null;
      watch(model);
      const { runId, modelVersion, configHash, laneNext } = model.entry;
      const { network, weights, iterate } = model;
      return { runId, modelVersion, configHash, laneNext, network, weights, iterate };
    },
    backend,
    random: randomBytes,
    onContribution: (result) => {
      unusable += result.unusableRows;
      if (unusable > 0) counter.note("unusable examples", unusable);
    },
    onValidation: (result) => {
      validated += result.records;
      correct += result.correct;
      counter.note("validation", `${((100 * correct) / validated).toFixed(1)} %`);
    },
  });
  return {
    ...stage,
    warmUp: async () => {
      await stage.warmUp?.();
      // With `auto` it has a name only now.
      counter.note("backend", backend.name);
      logger.info({ backend: backend.name }, "train has its backend");
    },
  };
};
