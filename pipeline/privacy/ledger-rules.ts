/**
 * The rules of the ledger: what each entry must keep, given all before it, so that its claim can be believed.
 *
 * Everything is recomputed from the entry and the summary of those before; nothing is taken on trust that follows from
 * something else. Must not read Kafka, hold a key or look at a signature.
 */
import canonicalize from "canonicalize";
import { contributionSensitivity, finestFractionBits } from "./contribution.ts";
import { columnNorm } from "./correlation/coefficients.ts";
import { type LedgerSummary, withEntry } from "./ledger-accounting.ts";
import { chunksOf, type LedgerEntry, methodOf } from "./ledger-entry.ts";
import { type LedgerNetwork, ledgerParameters } from "./ledger-network.ts";
import type { LedgerNoise } from "./ledger-noise.ts";

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

/** Relative slack when an epsilon is recomputed: other machines' exp and log may differ in the last digits. */
const EPSILON_TOLERANCE = 1e-9;
/** Relative slack of a sensitivity that has the norm of a matrix in it: powers may differ in the last digits. */
const NORM_TOLERANCE = 1e-12;

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

/** The norm of the noise that was asked for last: it is the same for every entry of a run. */
let known: { readonly noise: string; readonly norm: number } | null = null;

function normOf(noise: LedgerNoise): number {
  const name = JSON.stringify(noise);
  if (known?.noise !== name) known = { noise: name, norm: columnNorm(noise) };
  return known.norm;
}

/** What a single entry says about itself. */
function constantsFault(entry: LedgerEntry): string | null {
  const { l2ClipNorm, microBatchRecords, updateBatchRecords } = entry;
  if (updateBatchRecords % microBatchRecords !== 0) {
    return "its micro-batches do not divide its update batch";
  }
  const { noise, method } = methodOf(entry);
  const coordinates = contributionCoordinates(entry.network, method);
  if (coordinates === null) return "its statistics are not those of one linear layer";
  const fractionBits = finestFractionBits({ places: microBatchRecords, l2ClipNorm });
  if (fractionBits === null) return "its clip and micro-batch have no grid";
  const ofSum = contributionSensitivity({ l2ClipNorm, parameters: coordinates, fractionBits });
  const sensitivity = ofSum * normOf(noise);
  const slack = noise.kind === "independent" ? 0 : sensitivity * NORM_TOLERANCE;
  if (!(Math.abs(entry.sensitivity - sensitivity) <= slack)) {
    return "its sensitivity is not that of its clip, grid and noise";
  }
  const chunks = chunksOf(entry);
  if (new Set(chunks).size !== chunks.length) return "it doubles a chunk";
  return null;
}

/**
 * Numbers in a contribution: the gradient's, or those of the upper triangle of X^T X (with a column of ones) and X^T Y.
 * @returns null when the method does not fit the network
 */
export function contributionCoordinates(
  network: LedgerNetwork,
  method: "gradient" | "statistics",
): number | null {
  if (method === "gradient") return ledgerParameters(network);
  const [layer, second] = network.layers;
  const isLinear = layer?.kind === undefined && layer?.activation === "none";
  if (layer === undefined || second !== undefined || !isLinear) return null;
  const rows = network.inputs + 1;
  return (rows * (rows + 1)) / 2 + rows * layer.outputs;
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
  const { noise, recordsPerSubject, method, clipping } = methodOf(entry);
  return JSON.stringify([
    ...[configHash, mechanism, adjacency, sourceTopic, delta, participations],
    ...[noiseMultiplier, l2ClipNorm, sensitivity, learningRate],
    ...[updateBatchRecords, microBatchRecords, network.inputs],
    canonicalize(network.layers),
    ...[canonicalize(noise), recordsPerSubject, method, clipping],
  ]);
}

function epsilonFault(summary: LedgerSummary, entry: LedgerEntry): string | null {
  const { epsilon } = withEntry(summary, { entry, entryHash: "" });
  if (epsilon === Number.POSITIVE_INFINITY) {
    return "with it nothing bounds what its source has lost, or the records of a subject in it";
  }
  const close = Math.abs(entry.epsilon - epsilon) <= epsilon * EPSILON_TOLERANCE;
  return close ? null : `its epsilon is ${entry.epsilon}, recomputed it is ${epsilon}`;
}
