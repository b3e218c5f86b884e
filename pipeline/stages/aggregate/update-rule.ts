/**
 * Which rule a run's updates follow: the way in to what is done with a noisy sum.
 *
 * All of it is post-processing and costs no privacy (trainer-state.ts says what a rule promises). Must not see a
 * contribution, a key or a clock.
 */
import type { Network } from "../../network/definition.ts";
import type { Weights } from "../../network/weights.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { createGradientRule } from "./gradient-rule.ts";
import { createStatisticsRule } from "./statistics-rule.ts";
import type { UpdateRule } from "./trainer-state.ts";

export type { NoisySum, TrainerState, UpdateRule } from "./trainer-state.ts";

/**
 * The rule of a run.
 * @param warmStart weights of the first layers to begin with, of their shapes; the other layers, or all, are random
 */
export function createUpdateRule(
  spec: Pick<PipelineSpec, "features" | "train">,
  network: Network,
  warmStart: Weights | null,
): UpdateRule {
  return spec.train.method === "statistics"
    ? createStatisticsRule(spec.train, network)
    : createGradientRule(spec.train, network, warmStart);
}
