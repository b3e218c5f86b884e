/**
 * A lane whose records are grouped: they wait for their window, and leave with the ranges of their groups.
 *
 * Pure but for the plugin: the lane hands the same records in until their window is final, so each is judged once and
 * kept. A window ends when it has `windowRecords` records, when one has waited long enough, or when the lane can hold no
 * more. Wherever it ends, that is committed first and alone (invariant 9): a retry, which may see fewer records at first,
 * groups the same records in the same way.
 */
import { SealstreamError } from "../../errors.ts";
import type { ClusterOptions } from "../../spec/pipeline-spec.ts";
import type { LaneBounds, LaneProcessor, StepResult, StreamRecord } from "../../stream/contract.ts";
import { sizeOf } from "../../stream/record-window.ts";
import type { WindowQuality } from "./cluster/quality.ts";
import {
  type DesensitizeState,
  encodeState,
  NO_CUT,
  restoreState,
  type WindowCut,
} from "./cluster-state.ts";
import type { WindowGrouper } from "./cluster-window.ts";
import { createJudgeAhead } from "./judge-ahead.ts";
import { type RowJudge, settle } from "./judge-rows.ts";

/** What is told of a window that was grouped; its transaction may still be thrown away. */
export interface WindowReport {
  readonly lane: number;
  readonly quality: WindowQuality;
  /** How long the window's first record waited here, in ms. */
  readonly delayMs: number;
}

export interface ClusterLaneOptions extends RowJudge {
  /** The lane's number, for reports. */
  readonly number: number;
  readonly options: ClusterOptions;
  readonly bounds: LaneBounds;
  readonly grouper: WindowGrouper;
  readonly onWindow?: ((report: WindowReport) => void) | undefined;
}

interface Item {
  readonly offset: number;
  readonly seenMs: number;
  readonly record: ReturnType<WindowGrouper["waitingOf"]>;
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
      const offset = fresh[i]?.offset ?? -1;
      items.push({ offset, seenMs: nowMs, record: grouper.waitingOf(what) });
    }
    return items;
  }

  function finish(end: number, nowMs: number): StepResult<DesensitizeState> {
    const window = items.slice(0, end);
    const grouped = grouper.group(window);
    const [first] = window;
    lane.onWindow?.({
      lane: lane.number,
      quality: grouped.quality,
      delayMs: first === undefined ? 0 : Math.max(0, nowMs - first.seenMs),
    });
    return {
      ...settle(window, grouped.records, lane.subjects?.headers),
      state: NO_CUT,
      consumedTo: (window.at(-1)?.offset ?? 0) + 1,
      wakeAtMs: items.length > end ? nowMs : null,
    };
  }

  return {
    restore: restoreState,
    encode: encodeState,
    prepare: ahead.prepare,
    async process(records, state, nowMs) {
      const held = await read(records, nowMs);
      const waiting = { outputs: [], outcomes: [], state, consumedTo: null };
      if (state.cut !== null) {
        const end = endOfCut(held, state.cut);
        if (end === null) return { ...waiting, wakeAtMs: null };
        return finish(end, nowMs);
      }
      const [first] = held;
      if (first === undefined) return { ...waiting, wakeAtMs: null };
      const most = mostOfWindow(records, options.windowRecords, bounds);
      const ageMs = nowMs - first.seenMs;
      // A record of the future was seen before the clock was set back: how long ago, nobody knows.
      const due = ageMs >= options.maxDelayMs || ageMs < 0;
      if (!due && held.length < most) {
        return { ...waiting, wakeAtMs: first.seenMs + options.maxDelayMs };
      }
      // Alone in its transaction: no output may be written before the cut is committed (invariant 9).
      const window = held.slice(0, most);
      const cut = { to: (window.at(-1)?.offset ?? 0) + 1, records: window.length };
      return { ...waiting, state: { cut }, wakeAtMs: nowMs };
    },
  };
}

/**
 * Most records of a window that begins here: as many as any lane can hold, since one that starts again must hold a
 * committed window whole.
 */
function mostOfWindow(
  records: readonly StreamRecord[],
  windowRecords: number,
  { maxBytes }: LaneBounds,
): number {
  let bytes = 0;
  let most = 0;
  while (most < windowRecords && bytes < maxBytes) {
    const record = records[most];
    // Not full yet.
    if (record === undefined) return windowRecords;
    bytes += sizeOf(record);
    most += 1;
  }
  return most;
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
