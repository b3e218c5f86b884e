/**
 * Finds the rows that make a plugin fail, so that only they are refused: halves what failed and tries again.
 *
 * Knows nothing of workers: whoever calls it says how to run a range of rows. The number of failing runs has a
 * bound; past it every row that has not been decided is refused too, so a batch ends in any case.
 */
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { STATUS_PLUGIN_FAILED } from "./abi.ts";
import type { PackedColumn, PluginResult } from "./columns.ts";

/** Runs rows `from`..`to - 1` within a time; throws plugin-failed, limit-exceeded or worker-died. */
export type RunRange = (from: number, to: number, deadlineMs: number) => Promise<PluginResult>;

/**
 * What failing runs may cost together: all rows of a batch of 4,096 may trap and each be found, so that which rows are
 * refused does not depend on how they are cut into batches...
 */
const FAILURE_BUDGET = 8192;
/** ...or 64 runs that last until their deadline, since those cost seconds and not microseconds. */
const SLOW_FAILURE_COST = 128;

/** A part of a batch is given its share of the time, but at least this part of it: starting up is not shared. */
const LEAST_DEADLINE_SHARE = 1 / 8;

interface Segment {
  readonly from: number;
  readonly to: number;
  /** `null`: the rows are refused. */
  readonly result: PluginResult | null;
}

/** Whether a failed run says something about its rows, and not about the host. */
function isRowsFault(error: unknown): boolean {
  return (
    isSealstreamError(error, "plugin-failed") ||
    isSealstreamError(error, "limit-exceeded") ||
    isSealstreamError(error, "worker-died")
  );
}

function concatBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function concatColumns(columns: readonly PackedColumn[]): PackedColumn {
  const rows = columns.reduce((sum, { offsets }) => sum + offsets.length - 1, 0);
  const offsets = new Uint32Array(rows + 1);
  const nullCount = columns.reduce((sum, column) => sum + column.nullCount, 0);
  const validity = nullCount > 0 ? new Uint8Array((rows + 7) >> 3) : null;
  let row = 0;
  let base = 0;
  for (const column of columns) {
    for (let i = 1; i < column.offsets.length; i++, row++) {
      offsets[row + 1] = base + (column.offsets[i] ?? 0);
      const bits = column.validity;
      const isNull = bits !== null && (((bits[(i - 1) >> 3] ?? 0) >> ((i - 1) & 7)) & 1) === 0;
      if (validity !== null && !isNull) {
        validity[row >> 3] = (validity[row >> 3] ?? 0) | (1 << (row & 7));
      }
    }
    base += column.data.length;
  }
  return { data: concatBytes(columns.map(({ data }) => data)), offsets, validity, nullCount };
}

/** One result out of segments that lie one after the other. */
function joinSegments(segments: readonly Segment[], rows: number): PluginResult {
  const status = new Uint8Array(rows).fill(STATUS_PLUGIN_FAILED);
  const answered = segments.filter((segment) => segment.result !== null);
  const rowIndex = new Uint32Array(
    answered.reduce((sum, { result }) => sum + (result?.rowIndex.length ?? 0), 0),
  );
  let at = 0;
  for (const { from, result } of answered) {
    if (result === null) continue;
    status.set(result.status, from);
    for (const row of result.rowIndex) rowIndex[at++] = row + from;
  }
  const counts = new Set(answered.map(({ result }) => result?.columns.length));
  if (counts.size > 1) {
    throw new SealstreamError("plugin-failed", "the plugin changed its number of columns");
  }
  const [columns = 0] = counts;
  return {
    status,
    rowIndex,
    columns: Array.from({ length: columns }, (_, i) =>
      concatColumns(answered.flatMap(({ result }) => result?.columns[i] ?? [])),
    ),
  };
}

/** Time for a part of a batch. A single row is about to be blamed: it gets all the time there is, and so does none. */
function timeFor(count: number, rows: number, deadlineMs: number): number {
  const share = count <= 1 ? 1 : Math.max(count / rows, LEAST_DEADLINE_SHARE);
  return Math.ceil(deadlineMs * share);
}

/**
 * Runs all rows; when that fails, finds out which of them are to blame and refuses those (status plugin-failed).
 * @throws what an empty batch throws, when the plugin fails without any row
 */
export async function runIsolated(
  rows: number,
  deadlineMs: number,
  run: RunRange,
): Promise<PluginResult> {
  const segments: Segment[] = [];
  const waiting: { from: number; to: number }[] = [{ from: 0, to: rows }];
  let cost = 0;

  const tryRange = async (from: number, to: number): Promise<Segment | null> => {
    try {
      return { from, to, result: await run(from, to, timeFor(to - from, rows, deadlineMs)) };
    } catch (error) {
      if (rows === 0 || !isRowsFault(error)) throw error;
      // Before any row is blamed: a plugin that fails on nothing is broken, and no record is at fault.
      if (cost === 0) await run(0, 0, deadlineMs);
      cost += isSealstreamError(error, "worker-died") ? SLOW_FAILURE_COST : 1;
      return null;
    }
  };

  for (let range = waiting.pop(); range !== undefined; range = waiting.pop()) {
    const { from, to } = range;
    const answered = cost < FAILURE_BUDGET ? await tryRange(from, to) : null;
    if (answered !== null) {
      segments.push(answered);
    } else if (to - from === 1 || cost >= FAILURE_BUDGET) {
      segments.push({ from, to, result: null });
    } else {
      const middle = from + ((to - from) >> 1);
      waiting.push({ from: middle, to }, { from, to: middle });
    }
  }
  const [first] = segments;
  if (segments.length === 1 && first !== undefined && first.result !== null) return first.result;
  return joinSegments(segments, rows);
}
