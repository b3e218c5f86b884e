/**
 * What fixes a run (privacy/run-config.ts), what follows from it, and the noise that what is left of the budget asks for.
 *
 * Must not know contributions or keys.
 */
import { SealstreamError } from "../../errors.ts";
import type { Network } from "../../network/definition.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import { MAX_NOISE_MULTIPLIER, newRunNoise } from "../../privacy/budget.ts";
import { contributionFractionBits, contributionSensitivity } from "../../privacy/contribution.ts";
import { columnNorm } from "../../privacy/correlation/coefficients.ts";
import { checkMixing, mixerMemoryBytes } from "../../privacy/correlation/mixer.ts";
import { planNoise } from "../../privacy/correlation/plan.ts";
import type { LedgerSummary } from "../../privacy/ledger-accounting.ts";
import { type LedgerMethod, MAX_RANGES } from "../../privacy/ledger-entry.ts";
import type { LedgerNoise } from "../../privacy/ledger-noise.ts";
import { runConfigHash } from "../../privacy/run-config.ts";
import type { AggregateStageOptions } from "./options.ts";
import { createUpdateRule, type UpdateRule } from "./update-rule.ts";

export interface RunSettings {
  /** Name of what fixes the run. */
  readonly configHash: string;
  readonly network: Network;
  /** What an update does with its noisy sum. */
  readonly rule: UpdateRule;
  /** Numbers of a contribution. */
  readonly coordinates: number;
  readonly fractionBits: number;
  /** Of one sum, L2, gradient units. */
  readonly sensitivity: number;
  /** Contributions of one update. */
  readonly contributionsPerUpdate: number;
}

/** What the mixer of correlated noise may hold: the stage has 400 MB in all. */
export const MAX_MIXER_BYTES = 256 * 1024 * 1024;

/**
 * @throws limit-exceeded when an update has more contributions than a ledger entry can list, or clip and micro-batch
 * have no fixed-point grid; spec-invalid when the network does not fit
 */
export function runSettings(options: AggregateStageOptions): RunSettings {
  const { spec, noiseMultiplier } = options;
  const { features, train } = spec;
  const { microBatchRecords, updateBatchRecords, l2ClipNorm } = train;
  const network = networkFromSpec(features, train);
  const rule = createUpdateRule(spec, network, options.warmStart ?? null);
  const { coordinates } = rule;
  const fractionBits = contributionFractionBits({ places: microBatchRecords, l2ClipNorm });
  const contributionsPerUpdate = updateBatchRecords / microBatchRecords;
  if (!(Number.isInteger(contributionsPerUpdate) && contributionsPerUpdate <= MAX_RANGES)) {
    throw new SealstreamError(
      "limit-exceeded",
      `train.updateBatchRecords must be 1 to ${MAX_RANGES} times train.microBatchRecords.`,
    );
  }
  const mixerBytes = mixerMemoryBytes(spec.privacy.noise, coordinates);
  if (mixerBytes > MAX_MIXER_BYTES) {
    throw new SealstreamError("limit-exceeded", `privacy.noise ${mixerLimitText(mixerBytes)}.`);
  }
  return {
    configHash: runConfigHash({ spec, network, noiseMultiplier }),
    network,
    rule,
    coordinates,
    fractionBits,
    sensitivity: contributionSensitivity({ l2ClipNorm, parameters: coordinates, fractionBits }),
    contributionsPerUpdate,
  };
}

/** Why correlated noise is too large, as the end of a sentence. */
export function mixerLimitText(bytes: number): string {
  const [needs, most] = [bytes, MAX_MIXER_BYTES].map((amount) => Math.ceil(amount / 2 ** 20));
  return `would keep ${needs} MiB of noise rows, at most ${most} MiB fit: take fewer updates or bands, or blt, which keeps one row a buffer`;
}

/** How a run is accounted: what its entries say of its method, and of the releases that a record takes part in. */
export function runMethod(
  { train, privacy }: AggregateStageOptions["spec"],
  noise: LedgerNoise,
): LedgerMethod & { readonly participations: number } {
  const { method, clipping } = train;
  const { recordsPerSubject, participations } = privacy;
  return { noise, recordsPerSubject, method, clipping, participations };
}

/** What a new run is noised with. */
export interface RunNoise {
  readonly noiseMultiplier: number;
  readonly noise: LedgerNoise;
}

/**
 * The noise of a new run: what is left of the budget, or what was asked for if the budget allows it.
 * @throws budget-spent when the runs before leave nothing, or not enough; limit-exceeded when what was asked for is no
 * noise multiplier, or correlated noise does not fit the grid
 */
export function newRunNoiseOf(
  options: AggregateStageOptions,
  settings: RunSettings,
  ledger: LedgerSummary,
  sourceTopic: string,
): RunNoise {
  const asked = options.noiseMultiplier;
  if (asked !== undefined && !(asked > 0 && asked <= MAX_NOISE_MULTIPLIER)) {
    throw new SealstreamError(
      "limit-exceeded",
      `A noise multiplier is above 0 and at most ${MAX_NOISE_MULTIPLIER}.`,
    );
  }
  const noise = planNoise(options.spec.privacy.noise);
  const run = runMethod(options.spec, noise);
  const { privacy } = options.spec;
  const answer = newRunNoise(ledger, { privacy, run, sourceTopic, asked });
  if (answer.status === "spent") throw new SealstreamError("budget-spent", answer.reason);
  const made = { noiseMultiplier: answer.noiseMultiplier, noise };
  requireExactMixing(settings, made);
  return made;
}

/** @throws limit-exceeded when correlated noise does not fit the grid */
export function requireExactMixing(
  settings: Pick<RunSettings, "coordinates" | "sensitivity" | "fractionBits">,
  made: RunNoise,
): void {
  checkMixing(made.noise, {
    length: settings.coordinates,
    sensitivity: settings.sensitivity * 2 ** settings.fractionBits,
    standardDeviation: rowDeviation(settings, made),
  });
}

/** Standard deviation of a value of a noise row, in grid units. */
export function rowDeviation(
  { sensitivity, fractionBits }: Pick<RunSettings, "sensitivity" | "fractionBits">,
  { noiseMultiplier, noise }: RunNoise,
): number {
  return noiseMultiplier * sensitivity * columnNorm(noise) * 2 ** fractionBits;
}
