/** What there is of prediction under `predict.encrypted` of a pipeline file: stages, and a sentence where there is none. */
import { STAGES, type StageName } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";

type PredictSpec = Pick<PipelineSpec, "file" | "predict">;

/** As `check` and `plan` say it. */
export const NOT_PREDICTED = "none: predict.encrypted is false; unlabelled records are dropped";

/** The stages that a pipeline has, in the order of records. */
export function stagesOf({ predict }: PredictSpec): readonly StageName[] {
  return STAGES.filter((stage) => stage !== "predict" || predict.encrypted);
}

/**
 * For what is there only for prediction on ciphertexts.
 * @param what the start of a sentence
 * @throws usage where the file predicts nothing
 */
export function requirePrediction({ file, predict }: PredictSpec, what: string): void {
  if (predict.encrypted) return;
  throw new SealstreamError(
    "usage",
    `${what}: predict.encrypted is false in ${file}, so nothing is predicted on ciphertexts.`,
  );
}
