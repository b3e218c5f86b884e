/**
 * What fixes a run (privacy/run-config.ts), what follows from it, and the noise that what is left of the budget asks for.
 *
 * Must not know contributions or keys.
 */
import { SealstreamError } from "../../errors.ts";
import { type Network, parameterCount } from "../../network/definition.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import { contributionFractionBits, contributionSensitivity } from "../../privacy/contribution.ts";
import {
  analyticGaussianEpsilon,
  analyticGaussianNoiseMultiplier,
  composedNoiseMultiplier,
  remainingNoiseMultiplier,
} from "../../privacy/gaussian.ts";
import { type LedgerSummary, spentNoiseMultipliers } from "../../privacy/ledger-accounting.ts";
import { MAX_RANGES } from "../../privacy/ledger-entry.ts";
import { runConfigHash } from "../../privacy/run-config.ts";
import type { AggregateStageOptions } from "./options.ts";

export interface RunSettings {
  /** Name of what fixes the run. */
  readonly configHash: string;
  readonly network: Network;
  readonly parameters: number;
  readonly fractionBits: number;
  /** L2, gradient units. */
  readonly sensitivity: number;
  /** Contributions of one update. */
  readonly contributionsPerUpdate: number;
}

/** Relative slack of the budget: the two searches of privacy/gaussian.ts agree to 12 digits, not to the last bit. */
const BUDGET_TOLERANCE = 1e-9;
/** Nothing is learnt under more noise than this, and a noise row of it still fits the integers of a double. */
const MAX_NOISE_MULTIPLIER = 1e5;

/**
 * @throws limit-exceeded when an update has more contributions than a ledger entry can list, or clip and micro-batch
 * have no fixed-point grid; spec-invalid when the network does not fit
 */
export function runSettings(options: AggregateStageOptions): RunSettings {
  const { spec, noiseMultiplier } = options;
  const { features, train } = spec;
  const { microBatchRecords, updateBatchRecords, l2ClipNorm } = train;
  const network = networkFromSpec(features, train);
  const parameters = parameterCount(network);
  const fractionBits = contributionFractionBits({ places: microBatchRecords, l2ClipNorm });
  const contributionsPerUpdate = updateBatchRecords / microBatchRecords;
  if (!(Number.isInteger(contributionsPerUpdate) && contributionsPerUpdate <= MAX_RANGES)) {
    throw new SealstreamError(
      "limit-exceeded",
      `train.updateBatchRecords must be 1 to ${MAX_RANGES} times train.microBatchRecords.`,
    );
  }
  return {
    configHash: runConfigHash({ spec, network, noiseMultiplier }),
    network,
    parameters,
    fractionBits,
    sensitivity: contributionSensitivity({ l2ClipNorm, parameters, fractionBits }),
    contributionsPerUpdate,
  };
}

/**
 * The noise multiplier of a new run: what is left of the budget, or the one that was asked for if the budget allows it.
 * @throws budget-spent when the runs before leave nothing, or not enough; limit-exceeded when what was asked for is no
 * noise multiplier
 */
export function newRunNoiseMultiplier(
  options: AggregateStageOptions,
  ledger: LedgerSummary,
  sourceTopic: string,
): number {
  const { epsilon, delta } = options.spec.privacy;
  const spent = spentNoiseMultipliers(ledger, sourceTopic, "record");
  const asked = options.noiseMultiplier;
  if (asked !== undefined && !(asked > 0 && asked <= MAX_NOISE_MULTIPLIER)) {
    throw new SealstreamError(
      "limit-exceeded",
      `A noise multiplier is above 0 and at most ${MAX_NOISE_MULTIPLIER}.`,
    );
  }
  if (asked === undefined) {
    const total = analyticGaussianNoiseMultiplier(epsilon, delta);
    const left = remainingNoiseMultiplier(total, spent);
    if (left !== null && left <= MAX_NOISE_MULTIPLIER) return left;
  } else {
    const composed = composedNoiseMultiplier([...spent, asked]);
    const composedEpsilon = analyticGaussianEpsilon(composed, delta);
    if (composedEpsilon <= epsilon * (1 + BUDGET_TOLERANCE)) return asked;
  }
  const used = analyticGaussianEpsilon(composedNoiseMultiplier(spent), delta);
  throw new SealstreamError(
    "budget-spent",
    `The privacy budget of ${sourceTopic} is spent: its runs have used epsilon ${used.toFixed(3)} of ${epsilon} at delta ${delta}. Raise privacy.epsilon, or take the settings of the last run back.`,
  );
}
