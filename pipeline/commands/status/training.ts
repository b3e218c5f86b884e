/**
 * What the ledger says of training: the newest model, what it has cost and for whom, and whether it can go on.
 *
 * Everything is recomputed from signed entries. What no topic says (weights that are no numbers any more, a process that
 * waits for a key) is in `/ready` of the stages. Must not read Kafka.
 */
import { networkFromSpec } from "../../network/from-spec.ts";
import type { LedgerVerification } from "../../privacy/ledger.ts";
import { methodOf } from "../../privacy/ledger-entry.ts";
import { runConfigHash } from "../../privacy/run-config.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { runStand } from "../stages/run-watch.ts";

export interface TrainingStand {
  readonly entries: number;
  /** Faults that `ledger --verify` names. */
  readonly faults: number;
  /** Null before the first. */
  readonly model: {
    readonly runId: string;
    readonly version: number;
    /** When it was made, as its maker says. */
    readonly at: string;
    readonly ageMs: number;
  } | null;
  readonly privacy: {
    readonly epsilon: number;
    readonly budget: number;
    readonly delta: number;
    readonly unit: "record" | "subject";
    readonly recordsPerSubject: number | null;
  };
  /** `waits`, `ended`: the settings of the file are not those of the newest run. */
  readonly training: {
    readonly status: "not-begun" | "goes-on" | "waits" | "ended";
    readonly reason: string | null;
  };
}

/** @param nowMs milliseconds since the epoch */
export function trainingStand(
  spec: PipelineSpec,
  { entries, findings, summary }: LedgerVerification,
  nowMs: number,
): TrainingStand {
  const newest = summary.last?.entry ?? null;
  const { recordsPerSubject } = newest === null ? spec.privacy : methodOf(newest);
  return {
    entries: entries.length,
    faults: findings.length,
    model:
      newest === null
        ? null
        : {
            ...{ runId: newest.runId, version: newest.modelVersion, at: newest.at },
            // Clocks differ: a model of the future is new.
            ageMs: Math.max(0, nowMs - Date.parse(newest.at)),
          },
    privacy: {
      ...{ epsilon: summary.epsilon, budget: spec.privacy.epsilon, recordsPerSubject },
      delta: newest?.delta ?? spec.privacy.delta,
      unit: recordsPerSubject === null ? "record" : "subject",
    },
    training: progressOf(spec, { entries, summary }),
  };
}

function progressOf(
  spec: PipelineSpec,
  { entries, summary }: Pick<LedgerVerification, "entries" | "summary">,
): TrainingStand["training"] {
  if (summary.last === null) return { status: "not-begun", reason: null };
  const own = runConfigHash({ spec, network: networkFromSpec(spec.features, spec.train) });
  const stand = runStand({ spec, own }, summary.last.entry, entries);
  return stand.status === "own" ? { status: "goes-on", reason: null } : stand;
}
