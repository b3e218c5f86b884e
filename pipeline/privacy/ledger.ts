/**
 * The ledger: a chain of signed entries, and the rules that each one must keep given all before it.
 *
 * One set of rules for everybody: aggregate checks what it is about to write, readers check what they read, and the
 * offline verifier recomputes the same from the topic alone. An entry that is edited, left out, doubled or forked breaks
 * a signature, a hash or one of the rules. What the topic alone cannot show: that its newest entries were cut off, and a
 * lie in the newest entry by the holder of the signing key that keeps every rule.
 *
 * Epsilon of an entry: each record of the source takes part in `participations` releases of each run at most, runs
 * compose as Gaussians do (mu^2 adds up; privacy/gaussian.ts), and a run counts from its first update on. So it holds for
 * every record of the source topic, also one that several runs have seen. Must not read Kafka or hold a key.
 */
import canonicalize from "canonicalize";
import type { FindSigner } from "../crypto/cose-sign1.ts";
import { contributionSensitivity, finestFractionBits } from "./contribution.ts";
import {
  analyticGaussianEpsilon,
  composedNoiseMultiplier,
  kFoldNoiseMultiplier,
} from "./gaussian.ts";
import { chunksOf, decodeLedgerEntry, type HashedEntry, type LedgerEntry } from "./ledger-entry.ts";
import { ledgerParameters } from "./ledger-network.ts";

export type { HashedEntry, LedgerEntry } from "./ledger-entry.ts";

/** A run as far as accounting needs it. */
export interface LedgerRun {
  readonly runId: string;
  readonly sourceTopic: string;
  readonly noiseMultiplier: number;
  readonly participations: number;
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

export type FaultKind =
  /** Not an entry, or not canonical JSON. */
  | "malformed"
  /** Signed by nobody whom the pinned identities vouch for, or changed after it was signed. */
  | "signature"
  /** Entries before this one are missing. */
  | "gap"
  /** It claims a place in the chain that another entry has. */
  | "fork"
  /** It is in the right place, but what it says cannot be. */
  | "rule";

export interface LedgerFault {
  readonly kind: FaultKind;
  /** One sentence, of public facts only. */
  readonly message: string;
}

/** A fault at the n-th value of the topic, counted from 0. */
export interface LedgerFinding extends LedgerFault {
  readonly entry: number;
}

/** Relative slack when an epsilon is recomputed: other machines' exp and log may differ in the last digits. */
const EPSILON_TOLERANCE = 1e-9;

/** The chain before its first entry. */
export function emptyLedger(pipeline: string): LedgerSummary {
  return { pipeline, last: null, runs: [], epsilon: 0 };
}

/** Noise multipliers, one a run with an update, that were spent on a source topic. */
export function spentNoiseMultipliers(
  summary: Pick<LedgerSummary, "runs">,
  sourceTopic: string,
): number[] {
  return summary.runs
    .filter((run) => run.updates > 0 && run.sourceTopic === sourceTopic)
    .map((run) => kFoldNoiseMultiplier(run.noiseMultiplier, run.participations));
}

/**
 * Epsilon at `delta` of everything that was released about a source topic, over all runs.
 * @returns 0 when nothing was
 */
export function composedEpsilon(
  summary: Pick<LedgerSummary, "runs">,
  sourceTopic: string,
  delta: number,
): number {
  const spent = spentNoiseMultipliers(summary, sourceTopic);
  return analyticGaussianEpsilon(composedNoiseMultiplier(spent), delta);
}

/** The summary with one more entry, unchecked; a new value. */
export function withEntry(summary: LedgerSummary, hashed: HashedEntry): LedgerSummary {
  const { kind, runId, sourceTopic, noiseMultiplier, participations, delta } = hashed.entry;
  const known = summary.runs.some((run) => run.runId === runId);
  const added: LedgerRun = { runId, sourceTopic, noiseMultiplier, participations, updates: 0 };
  const runs = (known ? summary.runs : [...summary.runs, added]).map((run) =>
    run.runId === runId && kind === "update" ? { ...run, updates: run.updates + 1 } : run,
  );
  // A run's second update spends nothing more; recomputing it would make a long ledger slow to read.
  const before = summary.last?.entry;
  const nothingNew = kind === "update" && before?.kind === "update" && before.runId === runId;
  const epsilon = nothingNew ? summary.epsilon : composedEpsilon({ runs }, sourceTopic, delta);
  return { pipeline: summary.pipeline, last: hashed, runs, epsilon };
}

/** Why `entry` cannot come next, or null when it can. */
export function entryFault(summary: LedgerSummary, entry: LedgerEntry): LedgerFault | null {
  const link = linkFault(summary, entry);
  if (link !== null) return link;
  const message =
    (entry.pipeline === summary.pipeline ? null : "it is of another pipeline") ??
    constantsFault(entry) ??
    (entry.kind === "genesis" ? genesisFault(summary, entry) : updateFault(summary, entry)) ??
    epsilonFault(summary, entry);
  return message === null ? null : { kind: "rule", message: `Entry refused: ${message}.` };
}

function linkFault(summary: LedgerSummary, entry: LedgerEntry): LedgerFault | null {
  const sequence = (summary.last?.entry.sequence ?? -1) + 1;
  if (entry.sequence > sequence) {
    const message = `Entry ${entry.sequence} follows ${sequence - 1}: entries are missing.`;
    return { kind: "gap", message };
  }
  if (entry.sequence < sequence) {
    const message = `Entry ${entry.sequence} comes after ${sequence - 1}: there are two of it.`;
    return { kind: "fork", message };
  }
  if (entry.previous !== (summary.last?.entryHash ?? null)) {
    const message = `Entry ${entry.sequence} names another entry before it than the one that is there.`;
    return { kind: "fork", message };
  }
  return null;
}

/** What a single entry says about itself. */
function constantsFault(entry: LedgerEntry): string | null {
  const { l2ClipNorm, microBatchRecords, updateBatchRecords } = entry;
  if (updateBatchRecords % microBatchRecords !== 0) {
    return "its micro-batches do not divide its update batch";
  }
  const parameters = ledgerParameters(entry.network);
  const fractionBits = finestFractionBits({ places: microBatchRecords, l2ClipNorm });
  if (fractionBits === null) return "its clip and micro-batch have no grid";
  const sensitivity = contributionSensitivity({ l2ClipNorm, parameters, fractionBits });
  if (entry.sensitivity !== sensitivity) return "its sensitivity is not that of its clip and grid";
  const chunks = chunksOf(entry);
  if (new Set(chunks).size !== chunks.length) return "it doubles a chunk";
  return null;
}

function genesisFault(summary: LedgerSummary, entry: LedgerEntry): string | null {
  if (summary.runs.some(({ runId }) => runId === entry.runId)) return "its run exists already";
  if (entry.step !== 0 || entry.modelVersion !== 0) return "a run begins with version 0";
  if (entry.ranges.length > 0 || entry.contributionsHash !== null) {
    return "a run begins without contributions";
  }
  if (Object.keys(entry.laneNext).length > 0) return "a run begins without positions";
  const before = summary.last?.entry.contributionsNext ?? 0;
  return entry.contributionsNext >= before ? null : "it goes back in the contributions";
}

function updateFault(summary: LedgerSummary, entry: LedgerEntry): string | null {
  const before = summary.last?.entry;
  if (before === undefined || before.runId !== entry.runId) return "its run has no genesis here";
  if (runConstants(before) !== runConstants(entry)) return "it changes a setting within a run";
  if (entry.step !== before.step + 1 || entry.modelVersion !== before.modelVersion + 1) {
    return "its step or version does not follow";
  }
  if (entry.contributionsHash === null) return "it does not say what its noise is keyed by";
  const { ranges, microBatchRecords, updateBatchRecords } = entry;
  if (ranges.length !== updateBatchRecords / microBatchRecords) {
    return "it does not have one range a micro-batch";
  }
  if (entry.contributionsNext < before.contributionsNext + ranges.length) {
    return "it covers fewer contributions than it has ranges";
  }
  const laneNext = { ...before.laneNext };
  for (const { lane, from, to, places, modelVersion } of ranges) {
    if (places !== microBatchRecords) return "a range has another number of places";
    if (modelVersion > before.modelVersion) return "a range is of a model that did not exist";
    if (from !== (laneNext[lane] ?? from))
      return `a range of lane ${lane} leaves a gap or overlaps`;
    if (to <= from) return `a range of lane ${lane} is empty`;
    laneNext[lane] = to;
  }
  const lanes = Object.keys(laneNext);
  const same =
    lanes.length === Object.keys(entry.laneNext).length &&
    lanes.every((lane) => entry.laneNext[lane] === laneNext[lane]);
  return same ? null : "its positions are not where its ranges end";
}

/** Everything that must stay the same within a run, as one string. */
function runConstants(entry: LedgerEntry): string {
  const { configHash, network, mechanism, adjacency, sourceTopic, delta, participations } = entry;
  const { noiseMultiplier, l2ClipNorm, sensitivity, learningRate } = entry;
  const { updateBatchRecords, microBatchRecords } = entry;
  return JSON.stringify([
    ...[configHash, mechanism, adjacency, sourceTopic, delta, participations],
    ...[noiseMultiplier, l2ClipNorm, sensitivity, learningRate],
    ...[updateBatchRecords, microBatchRecords, network.inputs],
    canonicalize(network.layers),
  ]);
}

function epsilonFault(summary: LedgerSummary, entry: LedgerEntry): string | null {
  const { epsilon } = withEntry(summary, { entry, entryHash: "" });
  const close = Math.abs(entry.epsilon - epsilon) <= epsilon * EPSILON_TOLERANCE;
  return close ? null : `its epsilon is ${entry.epsilon}, recomputed it is ${epsilon}`;
}

/** What became of a value that was offered to a ledger. */
export type AppliedEntry =
  | ({ readonly status: "ok" } & HashedEntry)
  | { readonly status: "unknown-signer" }
  | { readonly status: "refused"; readonly fault: LedgerFault };

export interface Ledger {
  /** Adds a value if it is the next entry; never throws on bad input. A refused value changes nothing. */
  apply(value: Uint8Array): AppliedEntry;
  /** Accepted entries, oldest first; the same array grows. */
  entries(): readonly HashedEntry[];
  summary(): LedgerSummary;
}

/** A ledger to which values of the topic are offered in order. @param options.findSigner knows model-signing keys only */
export function createLedger(options: {
  readonly pipeline: string;
  readonly findSigner: FindSigner;
}): Ledger {
  const entries: HashedEntry[] = [];
  let summary = emptyLedger(options.pipeline);
  return {
    apply(value) {
      const decoded = decodeLedgerEntry(value, options);
      if (decoded.status === "refused") {
        if (decoded.reason === "unknown-signer") return { status: "unknown-signer" };
        return { status: "refused", fault: decodeFault(decoded.reason) };
      }
      const { entry, entryHash } = decoded;
      const fault = entryFault(summary, entry);
      if (fault !== null) return { status: "refused", fault };
      entries.push({ entry, entryHash });
      summary = withEntry(summary, { entry, entryHash });
      return { status: "ok", entry, entryHash };
    },
    entries: () => entries,
    summary: () => summary,
  };
}

function decodeFault(reason: "malformed" | "unknown-signer" | "bad-signature"): LedgerFault {
  switch (reason) {
    case "malformed":
      return { kind: "malformed", message: "Not a ledger entry of this pipeline." };
    case "unknown-signer":
      return { kind: "signature", message: "Signed by a key that no pinned identity vouches for." };
    case "bad-signature":
      return { kind: "signature", message: "The entry was changed after it was signed." };
  }
}

/** What an offline check found. */
export interface LedgerVerification {
  /** Values whose signature and form are good, with or without other faults. */
  readonly entries: readonly HashedEntry[];
  /** Empty when every value is an entry in its place that keeps every rule. */
  readonly findings: readonly LedgerFinding[];
  /** Over the entries that are good. */
  readonly summary: LedgerSummary;
}

/**
 * Recomputes a whole ledger from the values of its topic, oldest first.
 * @param options.findSigner knows the pipeline's model-signing keys only
 */
export function verifyLedger(
  values: readonly Uint8Array[],
  options: { readonly pipeline: string; readonly findSigner: FindSigner },
): LedgerVerification {
  const entries: HashedEntry[] = [];
  const findings: LedgerFinding[] = [];
  let summary = emptyLedger(options.pipeline);
  for (const [index, value] of values.entries()) {
    const decoded = decodeLedgerEntry(value, options);
    if (decoded.status === "refused") {
      findings.push({ entry: index, ...decodeFault(decoded.reason) });
      continue;
    }
    const { entry, entryHash } = decoded;
    const fault = entryFault(summary, entry);
    if (fault !== null) findings.push({ entry: index, ...fault });
    entries.push({ entry, entryHash });
    // Goes on from the faulty entry, or one edit would make a finding of every entry after it. A second entry for
    // the same place does not replace the first.
    const second = fault?.kind === "fork" && entry.sequence <= (summary.last?.entry.sequence ?? -1);
    if (!second) summary = withEntry(summary, { entry, entryHash });
  }
  return { entries, findings, summary };
}
