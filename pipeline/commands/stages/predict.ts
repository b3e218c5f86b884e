/** Wires `predict`: the newest model, and the pool that parses and evaluates ciphertexts in killable workers. */
import type { PlannedPacks } from "../../ckks/engine.ts";
import { createEvaluatorPool, workersFor } from "../../ckks/pool.ts";
import type { PredictPlan } from "../../ckks/predict-plan.ts";
import { requirePlan } from "../../ckks/predict-plan.ts";
import { createPredictStage } from "../../stages/predict/stage.ts";
import { requirePrediction } from "../predicted.ts";
import { openEncryptedModelView, openModelView } from "./model-view.ts";
import { createPublishedPlans } from "./published-plan.ts";
import type { WireStage } from "./world.ts";

/** How `encrypt` packs under a plan (`owner-packing.ts`). */
function plannedPacks(plan: PredictPlan | null): PlannedPacks | undefined {
  if (plan === null) return undefined;
  const { slots, batch } = plan.packings;
  return {
    slotsScaleBits: slots?.inputScaleBits ?? null,
    batchLimbs: batch?.inputLimbs ?? null,
  };
}

export const wire: WireStage = async (world) => {
  requirePrediction(world.spec, "There is no stage predict");
  const { spec, directory, keys, counter } = world;
  const models =
    spec.predict.model === "encrypted"
      ? await openEncryptedModelView(world)
      : await openModelView(world);
  const published = createPublishedPlans(spec, directory);
  const plan = published.newest()?.plan ?? requirePlan(spec);
  let predicted = 0;
  return createPredictStage({
    spec,
    directory,
    signer: keys.signing("result-signing"),
    model: (consumerKeyId) => models.newest(consumerKeyId),
    keysFreshAsOf: world.keysFreshAsOf,
    keyFit: {
      isReady: () => published.newest() !== null,
      serves: (consumerKeyId) => published.plan(consumerKeyId) !== null,
      planned: (consumerKeyId) => plannedPacks(published.plan(consumerKeyId)),
    },
    parameters: plan.parameters,
    evaluator: createEvaluatorPool({ workers: workersFor(spec.predict.workers, plan.memoryMiB) }),
    onPack: ({ rows }) => {
      predicted += rows;
      counter.note("predicted", predicted);
    },
    onModelRefused: ({ modelVersion, reason }) => {
      counter.note("model refused", modelVersion);
      world.logger.warn({ modelVersion, reason }, "a model cannot be evaluated and is passed over");
    },
  });
};
