/**
 * What is left of a privacy budget for a new run, from the ledger alone.
 *
 * A run is charged as a whole with its first update, whatever its length (one pass: a record is in as many releases as
 * `participations` says); so within a run the budget never runs out, and it ends where new settings would begin another
 * run that there is no room for. Aggregate decides by it, train says by it why there will be no run of its settings.
 * Must not know settings that only say how the work is done.
 */
import {
  analyticGaussianEpsilon,
  analyticGaussianNoiseMultiplier,
  composedNoiseMultiplier,
  remainingNoiseMultiplier,
} from "./gaussian.ts";
import {
  effectiveNoiseMultiplier,
  type LedgerRun,
  type LedgerSummary,
  spentNoiseMultipliers,
  unitOf,
} from "./ledger-accounting.ts";

/** A budget and how a run would spend it. */
export interface BudgetQuestion {
  readonly privacy: {
    /** Of everything that is released about the source, over all runs. */
    readonly epsilon: number;
    readonly delta: number;
  };
  /** What of the run its noise multiplier is divided by. */
  readonly run: Pick<LedgerRun, "participations" | "noise" | "recordsPerSubject">;
  readonly sourceTopic: string;
  /** Noise multiplier that was asked for instead of what is left. */
  readonly asked?: number | undefined;
}

export type BudgetAnswer =
  | { readonly status: "ok"; readonly noiseMultiplier: number }
  /** `reason` says what has been spent and what can be done, in one sentence or two of public facts. */
  | { readonly status: "spent"; readonly reason: string };

/** Relative slack of the budget: the two searches of gaussian.ts agree to 12 digits, not to the last bit. */
const BUDGET_TOLERANCE = 1e-9;
/** Nothing is learnt under more noise than this, and a noise row of it still fits the integers of a double. */
export const MAX_NOISE_MULTIPLIER = 1e5;

/** The noise multiplier of a new run, or why there can be none. */
export function newRunNoise(
  summary: Pick<LedgerSummary, "runs">,
  { privacy, run, sourceTopic, asked }: BudgetQuestion,
): BudgetAnswer {
  const { epsilon, delta } = privacy;
  const unit = unitOf(run);
  const spent = spentNoiseMultipliers(summary, sourceTopic, unit);
  if (spent.includes(0)) {
    const reason = `The privacy of subjects cannot be promised for ${sourceTopic}: a run before did not bound the records of a subject. Take privacy.recordsPerSubject out, or start a new generation of the pipeline.`;
    return { status: "spent", reason };
  }
  // The multiplier that counts is in proportion to the one that the rows are made with.
  const share = effectiveNoiseMultiplier({ ...run, noiseMultiplier: 1 }, unit);
  if (asked === undefined) {
    const left = remainingNoiseMultiplier(analyticGaussianNoiseMultiplier(epsilon, delta), spent);
    if (left !== null && left / share <= MAX_NOISE_MULTIPLIER) {
      return { status: "ok", noiseMultiplier: left / share };
    }
  } else {
    const composed = composedNoiseMultiplier([...spent, asked * share]);
    const total = analyticGaussianEpsilon(composed, delta);
    if (total <= epsilon * (1 + BUDGET_TOLERANCE)) return { status: "ok", noiseMultiplier: asked };
  }
  const used = analyticGaussianEpsilon(composedNoiseMultiplier(spent), delta);
  const reason = `The privacy budget of ${sourceTopic} is spent: its runs have used epsilon ${used.toFixed(3)} of ${epsilon} at delta ${delta}. Raise privacy.epsilon, or take the settings of the last run back.`;
  return { status: "spent", reason };
}
