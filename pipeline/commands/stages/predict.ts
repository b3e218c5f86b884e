/** Wires `predict`: the newest model, and the pool that parses and evaluates ciphertexts in killable workers. */
import { evaluationKeyForm } from "../../ckks/key-blob.ts";
import { parseParameters } from "../../ckks/parameters.ts";
import { createEvaluatorPool, workersFor } from "../../ckks/pool.ts";
import { planUnder, requirePlan } from "../../ckks/predict-plan.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import { isSealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { createPredictStage } from "../../stages/predict/stage.ts";
import { openEncryptedModelView, openModelView } from "./model-view.ts";
import type { WireStage } from "./world.ts";

export const wire: WireStage = async (world) => {
  const { spec, directory, keys, counter } = world;
  const models =
    spec.predict.model === "encrypted"
      ? await openEncryptedModelView(world)
      : await openModelView(world);
  const plan = requirePlan(spec);
  const stale = staleKeys(spec, directory);
  if (stale !== null) world.logger.warn({ reason: stale }, "packs may be refused");
  let predicted = 0;
  return createPredictStage({
    spec,
    directory,
    signer: keys.signing("result-signing"),
    model: (consumerKeyId) => models.newest(consumerKeyId),
    keysFreshAsOf: world.keysFreshAsOf,
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

/** Why the published keys no longer fit the pipeline file, or null. Packs under them are judged one by one. */
function staleKeys(spec: PipelineSpec, directory: KeyDirectory): string | null {
  const blob = directory.blob("ckks-evaluation");
  const parameters = blob && parseParameters(blob.parameters);
  if (blob === null || parameters === null) return null;
  const form = evaluationKeyForm(parameters, blob.bytes);
  try {
    if (form !== null) planUnder(spec, { parameters: parameters.id, ...form });
    return null;
  } catch (error) {
    if (isSealstreamError(error, "key-invalid")) return error.message;
    throw error;
  }
}
