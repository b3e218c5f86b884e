/** What is wrong, or weaker than it looks, in a plan: complaints and warnings with the line of the file. */
import type { PlanOutcome, PredictPlan } from "../../ckks/predict-plan.ts";
import type { Complaint } from "../../spec/complaint.ts";
import type { Locate } from "../../spec/load.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { amount } from "./units.ts";

/** Below this share of a full pack a record pays for more than ten. */
const TINY_FILL = 0.1;

/** Why the file cannot be run; empty when it can. */
export function planComplaints(outcome: PlanOutcome, locate: Locate): Complaint[] {
  if (outcome.status === "ok") return [];
  return [locate(outcome.key.split("."), outcome.message)];
}

/** What a careful reader would ask about. */
export function planWarnings(
  spec: PipelineSpec,
  outcome: PlanOutcome,
  locate: Locate,
): Complaint[] {
  if (outcome.status === "refused") return [];
  const { plan } = outcome;
  return [...precisionWarning(plan, locate), ...fillWarning(spec, plan, locate)];
}

function precisionWarning(plan: PredictPlan, locate: Locate): Complaint[] {
  const { precisionBits, precisionGoal, name } = plan;
  if (precisionBits >= precisionGoal) return [];
  const message = `about ${precisionBits.toFixed(1)} right bits are all that is predicted, under ${name}: no set that may be used reaches ${precisionGoal}. Expect an error of ${amount(2 ** -precisionBits)} in a logit, or use a smaller network`;
  return [locate(["predict", "precisionBits"], message)];
}

function fillWarning(spec: PipelineSpec, plan: PredictPlan, locate: Locate): Complaint[] {
  const { expectedRecords, packRecords, packing, bytesPerRecordIn } = plan;
  if (expectedRecords === null || packing !== "batch") return [];
  if (expectedRecords >= packRecords * TINY_FILL) return [];
  const remedy =
    spec.predict.packing === "batch"
      ? "raise encrypt.packs.lingerMs, or use packing auto"
      : "raise encrypt.packs.lingerMs";
  const message = `a pack would leave with about ${amount(expectedRecords)} of ${amount(packRecords)} records: ${amount(bytesPerRecordIn.atFill)} bytes a record instead of ${amount(bytesPerRecordIn.whenFull)}; ${remedy}`;
  return [locate(["encrypt", "packs", "rate"], message)];
}
