/** When a stage's lanes stop because too many records are refused: `deadLetters` of the pipeline file. */
import type { StageName } from "../../schemas/topics.ts";
import type { SealstreamError } from "../errors.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import { DeadLetterRate, deadLetterRateError } from "../stream/dead-letter-rate.ts";
import type { LaneProgress } from "../stream/lane-options.ts";

export type Judge = (progress: LaneProgress) => SealstreamError | null;

/** Makes a lane's judge; one that is never against it where the file does not list the stage. */
export function createJudge(spec: PipelineSpec, stage: StageName): Judge {
  const { maxShare, windowRecords, stages } = spec.deadLetters;
  if (!stages.includes(stage)) {
    return () => null;
  }
  const rate = new DeadLetterRate({ maxShare, windowRecords });
  return ({ lane, records, deadLetters, reasons }) =>
    rate.add(records, deadLetters, reasons)
      ? deadLetterRateError({ stage, lane, maxShare, windowRecords, found: rate.current() })
      : null;
}
