/** The ledger as a person reads it: one line an entry, one line a run. */
import { effectiveNoiseMultiplier, type LedgerSummary } from "../../privacy/ledger-accounting.ts";
import { type LedgerEntry, methodOf } from "../../privacy/ledger-entry.ts";
import type { LedgerNoise } from "../../privacy/ledger-noise.ts";
import { type TextColumn, textTable } from "../text-table.ts";

const COLUMNS: readonly TextColumn<LedgerEntry>[] = [
  ["entry", ({ sequence }) => String(sequence)],
  ["run", ({ runId }) => runId.slice(0, 8), "left"],
  ["model", ({ modelVersion }) => String(modelVersion)],
  ["kind", ({ kind }) => kind, "left"],
  ["places", ({ ranges }) => String(ranges.reduce((sum, { places }) => sum + places, 0))],
  ["noise", (entry) => noiseText(methodOf(entry).noise), "left"],
  ["multiplier", ({ noiseMultiplier }) => noiseMultiplier.toFixed(3)],
  ["clip", ({ l2ClipNorm }) => String(Number(l2ClipNorm.toPrecision(4)))],
  ["B", ({ updateBatchRecords }) => String(updateBatchRecords)],
  ["epsilon", ({ epsilon }) => epsilon.toFixed(4)],
  ["delta", ({ delta }) => delta.toExponential()],
  ["time", ({ at }) => at, "left"],
];

export function noiseText(noise: LedgerNoise): string {
  switch (noise.kind) {
    case "independent":
      return "independent";
    case "toeplitz":
      return `toeplitz/${noise.updates}`;
    case "banded":
      return `banded ${noise.coefficients.length}/${noise.updates}`;
    case "blt":
      return `blt ${noise.decay.length}/${noise.updates}`;
  }
}

/** A head line and one line an entry, columns aligned; nothing for no entries. */
export function ledgerTable(entries: readonly LedgerEntry[]): string[] {
  return textTable(COLUMNS, entries);
}

/** Whom an epsilon speaks of, as `check`, `ledger` and `status` say it. @param bound records of a subject, at most */
export function whomText(bound: number | null): string {
  return bound === null ? "for each record" : `for each subject of at most ${bound} records`;
}

/** What each run is and has cost by itself. */
export function runLines({ runs }: Pick<LedgerSummary, "runs">): string[] {
  return runs.map((run) => {
    const bound =
      run.recordsPerSubject === null
        ? "records"
        : `subjects of at most ${run.recordsPerSubject} records`;
    const unit = run.recordsPerSubject === null ? "record" : "subject";
    const counts = effectiveNoiseMultiplier(run, unit).toFixed(3);
    const spent = run.updates === 0 ? "no update, costs nothing" : `${run.updates} updates`;
    return `run ${run.runId.slice(0, 8)}: ${spent}; ${noiseText(run.noise)} noise, counts as multiplier ${counts} for ${bound}`;
  });
}
