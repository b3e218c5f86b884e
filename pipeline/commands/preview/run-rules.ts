/**
 * Runs records through the real `desensitize` stage, as a lane would, without Kafka.
 */
import { createDesensitizeStage, type DesensitizeOptions } from "../../stages/desensitize/stage.ts";
import type { LaneProcessor, Reason, StreamRecord } from "../../stream/contract.ts";

interface Numbered {
  /** From 1. */
  readonly record: number;
  readonly raw: Uint8Array;
}

/** What became of a record. `dropped`: by a plugin of the user's, without a dead letter. `waiting`: its window would need more records. */
export type Result =
  | (Numbered & { readonly status: "passes"; readonly key: Uint8Array; readonly value: Uint8Array })
  | (Numbered & { readonly status: "refused"; readonly reason: Reason })
  | (Numbered & { readonly status: "dropped" })
  | (Numbered & { readonly status: "waiting" });

type Passed = { readonly key: Uint8Array; readonly value: Uint8Array };
type Outcome =
  | ({ readonly status: "passes" } & Passed)
  | { readonly status: "refused"; readonly reason: Reason }
  | { readonly status: "dropped" };

/** One result a line, in order. @throws SealstreamError `spec-invalid`, `key-invalid`, `plugin-invalid` */
export async function runRules(
  options: DesensitizeOptions,
  lines: readonly Uint8Array[],
): Promise<Result[]> {
  const stage = createDesensitizeStage({ ...options, anyLane: true });
  try {
    const records = lines.map(
      (value, offset): StreamRecord => ({ offset, timestampMs: 0, key: null, value, headers: {} }),
    );
    const lane = await stage.openLane(0);
    return await runLane(lane, records, stage.bounds.maxBytes);
  } finally {
    await stage.close?.();
  }
}

/** As many records from `from` on as a lane would hold. */
function fitting(records: readonly StreamRecord[], from: number, maxBytes: number) {
  let bytes = 0;
  const rest = records.slice(from);
  const end = rest.findIndex(({ value }, i) => {
    bytes += value?.byteLength ?? 0;
    return i > 0 && bytes > maxBytes;
  });
  return end === -1 ? rest : rest.slice(0, end);
}

/** What a lane makes of records that nothing follows. @param maxBytes most that it is handed at once */
export async function runLane<State>(
  lane: LaneProcessor<State>,
  records: readonly StreamRecord[],
  maxBytes: number,
): Promise<Result[]> {
  const results: Result[] = [];
  // Because Awaited of a type parameter is not it, though no state is a promise.
  let state = (await lane.restore(null, 0)) as State;
  let nowMs = 0;
  while (results.length < records.length) {
    const from = results.length;
    const step = await lane.process(fitting(records, from, maxBytes), state, nowMs);
    const before = state;
    state = step.state;
    const reasons = new Map(step.outcomes.map(({ offset, reason }) => [offset, reason]));
    const passed = step.outputs
      .flatMap(({ key, value }): Passed[] => (key && value ? [{ key, value }] : []))
      .values();
    for (const { offset, value } of records.slice(from, step.consumedTo ?? from)) {
      const base = { record: offset + 1, raw: value ?? new Uint8Array() };
      const reason = reasons.get(offset);
      const output = reason === undefined ? passed.next().value : undefined;
      results.push({ ...base, ...outcomeOf(reason, output) });
    }
    if (results.length > from) continue;
    // A window that waits is closed by letting its time pass; then its end is committed, and it is grouped.
    if (step.wakeAtMs === null || (step.wakeAtMs <= nowMs && state === before)) break;
    nowMs = Math.max(nowMs, step.wakeAtMs);
  }
  const waiting = records.slice(results.length).map(({ offset, value }): Result => {
    return { record: offset + 1, raw: value ?? new Uint8Array(), status: "waiting" };
  });
  return [...results, ...waiting];
}

/** What became of one record, given its reason not to pass, or what passed. */
function outcomeOf(reason: Reason | "dropped" | undefined, output: Passed | undefined): Outcome {
  if (reason === "dropped") return { status: "dropped" };
  return output === undefined
    ? { status: "refused", reason: reason ?? "plugin-failed" }
    : { status: "passes", ...output };
}
