/**
 * A lane whose records are grouped: they wait for their window, and leave with the ranges of their groups.
 *
 * Pure but for the plugin: the lane hands the same records in until their window is final, so each is judged once and
 * kept. A window ends after `windowRecords` records, or where a committed cut says; a cut is made when a record has
 * waited long enough or the lane can hold no more, and is committed alone (invariant 9). So a retry groups the same
 * records in the same way.
 */
import { SealstreamError } from "../../errors.ts";
import type { ClusterOptions } from "../../spec/pipeline-spec.ts";
import type {
  LaneBounds,
  LaneProcessor,
  Outcome,
  OutputRecord,
  StepResult,
  StreamRecord,
} from "../../stream/contract.ts";
import { fillsLane } from "../../stream/record-window.ts";
import type { WindowQuality } from "./cluster/quality.ts";
import {
  type DesensitizeState,
  encodeState,
  NO_CUT,
  restoreState,
  type WindowCut,
} from "./cluster-state.ts";
import type { Item, WindowGrouper } from "./cluster-window.ts";
import { createJudgeAhead } from "./judge-ahead.ts";
import { outcomeOf, type RowJudge } from "./judge-rows.ts";

/** What is told of a window that was grouped; its transaction may still be thrown away. */
export interface WindowReport {
  readonly lane: number;
  readonly quality: WindowQuality;
  /** How long the window's first record waited here, in ms. */
  readonly delayMs: number;
}

export interface ClusterLaneOptions extends RowJudge {
  readonly options: ClusterOptions;
  readonly bounds: LaneBounds;
  readonly grouper: WindowGrouper;
  readonly onWindow?: ((report: WindowReport) => void) | undefined;
}

export function createClusterLane(lane: ClusterLaneOptions): LaneProcessor<DesensitizeState> {
  const { options, bounds, grouper } = lane;
  const ahead = createJudgeAhead(lane);
  // Records that are not final: each is judged once, and remembers when it was first seen.
  let items: Item[] = [];

  /** Keeps what is still handed in, and judges what is new. */
  async function read(records: readonly StreamRecord[], nowMs: number): Promise<Item[]> {
    const first = records[0]?.offset ?? Number.POSITIVE_INFINITY;
    const final = items.findIndex(({ offset }) => offset >= first);
    items = final === -1 ? [] : items.slice(final);
    if (!items.every(({ offset }, i) => records[i]?.offset === offset)) items = [];
    const fresh = records.slice(items.length);
    const judged = await ahead.take(fresh, true);
    for (const [i, what] of judged.entries()) {
      items.push(grouper.itemOf(what, fresh[i]?.offset ?? -1, nowMs));
    }
    return items;
  }

  function finish(end: number, nowMs: number, rest: readonly Item[]): StepResult<DesensitizeState> {
    const window = items.slice(0, end);
    const grouped = grouper.group(window);
    const outputs: OutputRecord[] = [];
    const outcomes: Outcome[] = [];
    for (const [i, { offset }] of window.entries()) {
      const what = grouped.records[i] ?? "plugin-failed";
      if (typeof what === "string") outcomes.push(outcomeOf(offset, what));
      else outputs.push({ role: "desensitized", ...what, headers: {} });
    }
    const [first] = window;
    lane.onWindow?.({
      lane: lane.lane,
      quality: grouped.quality,
      delayMs: first === undefined ? 0 : Math.max(0, nowMs - first.seenMs),
    });
    return {
      outputs,
      outcomes,
      state: NO_CUT,
      consumedTo: (window.at(-1)?.offset ?? 0) + 1,
      wakeAtMs: rest.length > 0 ? nowMs : null,
    };
  }

  return {
    restore: restoreState,
    encode: encodeState,
    prepare: ahead.prepare,
    async process(records, state, nowMs) {
      const held = await read(records, nowMs);
      const waiting = { outputs: [], outcomes: [], state, consumedTo: null };
      const end = state.cut === null ? options.windowRecords : endOfCut(held, state.cut);
      if (end !== null && end <= held.length) return finish(end, nowMs, held.slice(end));
      const [first] = held;
      const last = held.at(-1);
      if (state.cut !== null || first === undefined || last === undefined) {
        return { ...waiting, wakeAtMs: null };
      }
      const ageMs = nowMs - first.seenMs;
      // A record of the future was seen before the clock was set back: how long ago, nobody knows.
      const due = ageMs >= options.maxDelayMs || ageMs < 0;
      if (!due && !fillsLane(records, bounds)) {
        return { ...waiting, wakeAtMs: first.seenMs + options.maxDelayMs };
      }
      // Alone in its transaction: no output may be written before the cut is committed (invariant 9).
      const cut = { to: last.offset + 1, records: held.length };
      return { ...waiting, state: { cut }, wakeAtMs: nowMs };
    },
  };
}

/**
 * Records before a committed cut, or null while they have not all been handed in.
 * @throws state-mismatch when the log does not hold the records that the cut counted
 */
function endOfCut(items: readonly Item[], cut: WindowCut): number | null {
  const last = items.findIndex(({ offset }) => offset >= cut.to - 1);
  if (last === -1) return null;
  if (items[last]?.offset === cut.to - 1 && last + 1 === cut.records) return cut.records;
  throw new SealstreamError(
    "state-mismatch",
    "The records before a committed cut are not those it counted: the topic was made anew or records expired. Start a new generation of the pipeline.",
  );
}
