/** What `check` finds out about training beyond the pipeline file: whether sums fit messages, and what a run begins with. */
import { MAX_VALUE_BYTES } from "../../schemas/topics.ts";
import { SealstreamError } from "../errors.ts";
import { networkFromSpec } from "../network/from-spec.ts";
import { contributionLength } from "../network/linear-statistics.ts";
import { contributionBytes } from "../privacy/contribution.ts";
import type { Complaint } from "../spec/complaint.ts";
import type { Locate } from "../spec/load.ts";
import type { PipelineSpec } from "../spec/pipeline-spec.ts";
import { ENVELOPE_OVERHEAD_BYTES } from "../stages/train/stage.ts";
import { loadWarmStart } from "./warm-start.ts";

/** Complaints about a file whose shape has none. */
export function trainingComplaints(spec: PipelineSpec, locate: Locate): Complaint[] {
  try {
    const { method } = spec.train;
    const numbers = contributionLength(networkFromSpec(spec.features, spec.train), method);
    const bytes = contributionBytes(numbers) + ENVELOPE_OVERHEAD_BYTES;
    if (bytes > MAX_VALUE_BYTES) {
      const most = Math.floor(
        (MAX_VALUE_BYTES - contributionBytes(0) - ENVELOPE_OVERHEAD_BYTES) / 4,
      );
      const what = method === "statistics" ? "sums of squares" : "parameters";
      const message = `a contribution of ${numbers} ${what} does not fit a message, which holds ${most}: use a smaller network, or fewer features`;
      return [locate(["train", method === "statistics" ? "method" : "network"], message)];
    }
  } catch (error) {
    // What no network can be made of, the plan of predictions complains about.
    if (!(error instanceof SealstreamError)) throw error;
    return [];
  }
  try {
    loadWarmStart(spec);
    return [];
  } catch (error) {
    if (!(error instanceof SealstreamError)) throw error;
    return [locate(["train", "warmStart"], error.message)];
  }
}

/** Lines of the summary. */
export function trainingText(spec: PipelineSpec): string[] {
  const { method } = spec.train;
  const start = spec.train.warmStart === null ? null : loadWarmStart(spec);
  return [
    ...(method === "gradient"
      ? []
      : ["training    by private sums of squares: one linear system an update, no learning rate"]),
    ...(start === null
      ? []
      : [
          `warm start  the first ${start.given} of ${start.wanted} layers with weights; they must come from public data`,
        ]),
  ];
}
