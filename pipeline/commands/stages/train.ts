/** Wires `train`: the backend, and the newest model with what its ledger entry says of the run. */
import { randomBytes } from "node:crypto";
import { networkFromSpec } from "../../network/from-spec.ts";
import { runConfigHash } from "../../privacy/run-config.ts";
import { createDriftDetector } from "../../stages/train/drift.ts";
import { createTrainStage } from "../../stages/train/stage.ts";
import { createStatisticsBackend } from "../../stages/train/statistics-backend.ts";
import { createTrainBackend } from "../../stages/train/tfjs-backend.ts";
import { openModelView } from "./model-view.ts";
import { createRunWatch } from "./run-watch.ts";
import type { WireStage } from "./world.ts";

export const wire: WireStage = async (world) => {
  const { spec, directory, keys, counter, logger, metrics } = world;
  const models = await openModelView(world);
  const own = runConfigHash({ spec, network: networkFromSpec(spec.features, spec.train) });
  const watch = createRunWatch({ spec, own, say: world.halt });
  const backend =
    spec.train.method === "statistics"
      ? createStatisticsBackend()
      : createTrainBackend(spec.train.backend);
  let validated = 0;
  let correct = 0;
  let unusable = 0;
  let drifts = 0;
  const drift = createDriftDetector();
  const stage = createTrainStage({
    spec,
    directory,
    keysFreshAsOf: world.keysFreshAsOf,
    signer: keys.signing("train-signing"),
    kms: world.kms,
    model: () => {
      const model = models.newest();
      if (model === null) return null;
      watch(model.entry, models.reader.entries());
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
    onValidation: ({ lane, modelVersion, records, correct: right }) => {
      validated += records;
      correct += right;
      // Said with its name, because nobody should take it for part of what epsilon bounds.
      const accuracy = ((100 * correct) / validated).toFixed(1);
      counter.note("validation", `${accuracy} % (not covered by epsilon)`);
      const error = 1 - right / records;
      const alarms = Array.from({ length: records }, () => drift.add(error)).filter(Boolean).length;
      metrics.validation({ lane, records, correct: right, drifts: alarms });
      if (alarms === 0) return;
      drifts += alarms;
      counter.note("drift alarms", drifts);
      logger.warn({ lane, modelVersion }, "the validation error has risen: concept drift");
    },
  });
  return {
    ...stage,
    warmUp: async () => {
      await stage.warmUp?.();
      // With `auto` it has a name only now.
      counter.note("backend", backend.name);
      metrics.backend(backend.name);
      logger.info({ backend: backend.name }, "train has its backend");
    },
  };
};
