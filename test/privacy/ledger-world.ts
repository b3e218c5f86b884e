/** A ledger that keeps every rule: two runs of two updates each. */
import { createSigningKey } from "../../pipeline/crypto/key-handles.ts";
import {
  contributionFractionBits,
  contributionSensitivity,
} from "../../pipeline/privacy/contribution.ts";
import {
  emptyLedger,
  type LedgerSummary,
  withEntry,
} from "../../pipeline/privacy/ledger-accounting.ts";
import {
  encodeLedgerEntry,
  entryHash,
  type LedgerEntry,
} from "../../pipeline/privacy/ledger-entry.ts";

export const PIPELINE = "digits";
export const SIGNER = createSigningKey("model-signing", new Uint8Array(32).fill(7));
export const STRANGER = createSigningKey("model-signing", new Uint8Array(32).fill(8));
export const options = {
  pipeline: PIPELINE,
  findSigner: (kid: Uint8Array) =>
    Buffer.compare(kid, SIGNER.kid) === 0 ? { publicKey: SIGNER.publicKey } : null,
};

const PLACES = 4;
const digest = (fill: number) => fill.toString(16).padStart(2, "0").repeat(32);

/** A genesis of a run; the summary must be where it is appended. */
export function genesisEntry(
  summary: LedgerSummary,
  run: number,
  changes: Partial<LedgerEntry> = {},
): LedgerEntry {
  const fractionBits = contributionFractionBits({ places: PLACES, l2ClipNorm: 1 });
  const draft: LedgerEntry = {
    version: 1,
    pipeline: PIPELINE,
    sequence: (summary.last?.entry.sequence ?? -1) + 1,
    previous: summary.last?.entryHash ?? null,
    kind: "genesis",
    runId: digest(run).slice(0, 32),
    modelVersion: 0,
    step: 0,
    configHash: digest(100 + run),
    network: { inputs: 3, layers: [{ outputs: 2, activation: "none" }] },
    mechanism: "gaussian",
    noiseMultiplier: 2 + run,
    l2ClipNorm: 1,
    sensitivity: contributionSensitivity({ l2ClipNorm: 1, parameters: 8, fractionBits }),
    updateBatchRecords: 8,
    microBatchRecords: PLACES,
    learningRate: 0.5,
    adjacency: "zero-out",
    sourceTopic: "digits.examples",
    ranges: [],
    laneNext: {},
    contributionsNext: summary.last?.entry.contributionsNext ?? 0,
    contributionsHash: null,
    participations: 1,
    epsilon: 0,
    delta: 1e-5,
    model: {
      sha256: digest(50),
      bytes: 500,
      chunks: [digest(60 + (summary.last?.entry.sequence ?? 0))],
    },
    at: "2026-01-02T03:04:05.678Z",
    ...changes,
  };
  return { ...draft, epsilon: withEntry(summary, { entry: draft, entryHash: "" }).epsilon };
}

/** The update that comes next. */
export function updateEntry(summary: LedgerSummary): LedgerEntry {
  if (summary.last === null) throw new Error("no genesis");
  const { entry: before, entryHash: previous } = summary.last;
  const ranges = [0, 1].map((lane) => {
    const from = before.laneNext[lane] ?? 10 * (lane + 1);
    const { modelVersion } = before;
    return { lane, from, to: from + 6, places: PLACES, modelVersion };
  });
  const draft: LedgerEntry = {
    ...before,
    sequence: before.sequence + 1,
    previous,
    kind: "update",
    modelVersion: before.modelVersion + 1,
    step: before.step + 1,
    ranges,
    laneNext: Object.fromEntries(ranges.map(({ lane, to }) => [lane, to])),
    contributionsNext: before.contributionsNext + 3,
    contributionsHash: digest(70 + before.sequence),
    model: { sha256: digest(50), bytes: 500, chunks: [digest(60 + before.sequence)] },
  };
  return { ...draft, epsilon: withEntry(summary, { entry: draft, entryHash: "" }).epsilon };
}

/** genesis, update, update, genesis, update, update. */
export function chainOf(
  runs = 2,
  updates = 2,
  changes: readonly Partial<LedgerEntry>[] = [],
): LedgerEntry[] {
  const entries: LedgerEntry[] = [];
  let summary = emptyLedger(PIPELINE);
  const append = (entry: LedgerEntry) => {
    entries.push(entry);
    summary = withEntry(summary, { entry, entryHash: entryHash(entry) });
  };
  for (let run = 0; run < runs; run += 1) {
    append(genesisEntry(summary, run, changes[run]));
    for (let update = 0; update < updates; update += 1) append(updateEntry(summary));
  }
  return entries;
}

export function sign(entries: readonly LedgerEntry[]): Uint8Array[] {
  return entries.map((entry) => encodeLedgerEntry(entry, SIGNER));
}
