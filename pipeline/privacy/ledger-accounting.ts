/**
 * What a ledger has cost: epsilon of everything that was released about a source topic, from the entries alone.
 *
 * Each record of the source takes part in `participations` releases of each run at most, runs compose as Gaussians do
 * (mu^2 adds up; gaussian.ts), and a run counts from its first update on. So it holds for every record of the source
 * topic, also one that several runs have seen.
 *
 * What it is of. A run that bounds the records of a subject in the source (`recordsPerSubject` k) is accounted for
 * subjects: all k records may lie in one update, whose sum then moves k times as far, and however they are spread the
 * releases together move no further (triangle inequality), so its noise multiplier counts as sigma / k. In the unit of
 * subjects a run without such a bound has no epsilon at all. Must not read Kafka, or round in favour of the claim.
 */
import {
  analyticGaussianEpsilon,
  composedNoiseMultiplier,
  kFoldNoiseMultiplier,
} from "./gaussian.ts";
import { type HashedEntry, type LedgerMethod, methodOf } from "./ledger-entry.ts";
import type { LedgerNoise } from "./ledger-noise.ts";

/** A run as far as accounting needs it. */
export interface LedgerRun {
  readonly runId: string;
  readonly sourceTopic: string;
  readonly noiseMultiplier: number;
  readonly participations: number;
  readonly noise: LedgerNoise;
  readonly recordsPerSubject: number | null;
  /** Updates in the ledger. */
  readonly updates: number;
}

/** What the next entry is checked against: a pure value. */
export interface LedgerSummary {
  readonly pipeline: string;
  readonly last: HashedEntry | null;
  readonly runs: readonly LedgerRun[];
  /** Recomputed epsilon of the last entry's source at its delta; 0 before the first. */
  readonly epsilon: number;
}

/** Whom an epsilon is promised to. */
export type PrivacyUnit = "record" | "subject";

/** The unit that a run with this bound is accounted in. */
export function unitOf({
  recordsPerSubject,
}: Pick<LedgerMethod, "recordsPerSubject">): PrivacyUnit {
  return recordsPerSubject === null ? "record" : "subject";
}

/**
 * Noise multiplier of one release that is as private for one `unit` as the whole run.
 * @returns 0, which is no privacy at all, for subjects in a run that does not bound their records
 */
export function effectiveNoiseMultiplier(
  run: Pick<LedgerRun, "noiseMultiplier" | "participations" | "noise" | "recordsPerSubject">,
  unit: PrivacyUnit,
): number {
  const { noiseMultiplier, participations, noise, recordsPerSubject } = run;
  // Under correlated noise the columns of two participations may point the same way: norms add up, not squares.
  const ofRecord =
    noise.kind === "independent"
      ? kFoldNoiseMultiplier(noiseMultiplier, participations)
      : noiseMultiplier / participations;
  if (unit === "record") return ofRecord;
  return recordsPerSubject === null ? 0 : ofRecord / recordsPerSubject;
}

/** The chain before its first entry. */
export function emptyLedger(pipeline: string): LedgerSummary {
  return { pipeline, last: null, runs: [], epsilon: 0 };
}

/** Noise multipliers, one a run with an update, that were spent on a source topic, as they count for one `unit`. */
export function spentNoiseMultipliers(
  summary: Pick<LedgerSummary, "runs">,
  sourceTopic: string,
  unit: PrivacyUnit,
): number[] {
  return summary.runs
    .filter((run) => run.updates > 0 && run.sourceTopic === sourceTopic)
    .map((run) => effectiveNoiseMultiplier(run, unit));
}

/** What an epsilon is asked for. */
export interface EpsilonOf {
  readonly sourceTopic: string;
  readonly delta: number;
  readonly unit: PrivacyUnit;
}

/**
 * Epsilon at `delta` of everything that was released about a source topic, over all runs.
 * @returns 0 when nothing was; Infinity for subjects when a run did not bound their records
 */
export function composedEpsilon(
  summary: Pick<LedgerSummary, "runs">,
  { sourceTopic, delta, unit }: EpsilonOf,
): number {
  const spent = spentNoiseMultipliers(summary, sourceTopic, unit);
  return analyticGaussianEpsilon(composedNoiseMultiplier(spent), delta);
}

/** The summary with one more entry, unchecked; a new value. */
export function withEntry(summary: LedgerSummary, hashed: HashedEntry): LedgerSummary {
  const { kind, runId, sourceTopic, noiseMultiplier, participations, delta } = hashed.entry;
  const { noise, recordsPerSubject } = methodOf(hashed.entry);
  const known = summary.runs.some((run) => run.runId === runId);
  const added: LedgerRun = {
    ...{ runId, sourceTopic, noiseMultiplier, participations, noise, recordsPerSubject },
    updates: 0,
  };
  const runs = (known ? summary.runs : [...summary.runs, added]).map((run) =>
    run.runId === runId && kind === "update" ? { ...run, updates: run.updates + 1 } : run,
  );
  // A run's second update spends nothing more; recomputing it would make a long ledger slow to read.
  const before = summary.last?.entry;
  const nothingNew = kind === "update" && before?.kind === "update" && before.runId === runId;
  const unit = unitOf({ recordsPerSubject });
  const epsilon = nothingNew
    ? summary.epsilon
    : composedEpsilon({ runs }, { sourceTopic, delta, unit });
  return { pipeline: summary.pipeline, last: hashed, runs, epsilon };
}
