/**
 * Why train takes no records: the newest run has other settings than its file. Whether another run can begin is decided
 * by the same budget as aggregate's, from the ledger that train reads; so that both say the same sentence.
 *
 * Must not stop train: contributions of other settings are refused by aggregate anyway (privacy/run-config.ts).
 */
import { newRunNoise } from "../../privacy/budget.ts";
import { emptyLedger, withEntry } from "../../privacy/ledger-accounting.ts";
import type { HashedEntry, LedgerEntry } from "../../privacy/ledger-entry.ts";
import { INDEPENDENT } from "../../privacy/ledger-noise.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { sourceTopicOf } from "../../stages/aggregate/publish.ts";

const WAITS = "waits for a run of this file's settings: is it the file that aggregate has?";

/** A file's settings, and the hash of what of them fixes a run. */
export interface RunSettings {
  readonly spec: Pick<PipelineSpec, "name" | "privacy">;
  /** Configuration of this file (privacy/run-config.ts). */
  readonly own: string;
}

/** How the newest run stands to a file: it is of its settings, another may begin, or there is no budget for one. */
export type RunStand =
  | { readonly status: "own" }
  | { readonly status: "waits" | "ended"; readonly reason: string };

/** @param entries all entries up to the newest model's */
export function runStand(
  { spec, own }: RunSettings,
  newest: LedgerEntry,
  entries: readonly HashedEntry[],
): RunStand {
  if (newest.configHash === own) return { status: "own" };
  const spent = spentReason(spec, entries);
  return spent === null ? { status: "waits", reason: WAITS } : { status: "ended", reason: spent };
}

/**
 * @param options.say told when the reason changes; null: train works
 * @returns to be called with the newest model's entry and all entries up to it
 */
export function createRunWatch(
  options: RunSettings & { readonly say: (reason: string | null) => void },
): (newest: LedgerEntry, entries: readonly HashedEntry[]) => void {
  const { say } = options;
  let seen = "";
  let said: string | null = null;
  return (newest, entries) => {
    // A run of other settings stays what it is; only its first update changes what is left.
    const state = `${newest.configHash}/${newest.runId}/${newest.kind}`;
    if (state === seen) return;
    seen = state;
    const stand = runStand(options, newest, entries);
    const reason = stand.status === "own" ? null : stand.reason;
    if (reason !== said) say(reason);
    said = reason;
  };
}

/** Why there can be no run of these settings, or null when there can be. */
function spentReason(
  { name, privacy }: Pick<PipelineSpec, "name" | "privacy">,
  entries: readonly HashedEntry[],
): string | null {
  const ledger = entries.reduce(withEntry, emptyLedger(name));
  const { participations, recordsPerSubject } = privacy;
  const answer = newRunNoise(ledger, {
    privacy,
    // Rows that hang together cost what independent ones do: the budget does not depend on it.
    run: { participations, recordsPerSubject, noise: INDEPENDENT },
    sourceTopic: sourceTopicOf(name),
  });
  return answer.status === "spent" ? answer.reason : null;
}
