/**
 * Finding the rows at fault, with a plugin that is a function: which rows are blamed, in how many runs, and how the
 * parts are put together again.
 */
import { describe, expect, test } from "vitest";
import { type ErrorCode, SealstreamError } from "../../pipeline/errors.ts";
import { STATUS_NAMES } from "../../pipeline/wasm/abi.ts";
import {
  type InputColumn,
  type PluginResult,
  packBatch,
  valueAt,
} from "../../pipeline/wasm/columns.ts";
import { type RunRange, runIsolated } from "../../pipeline/wasm/isolate.ts";

interface Call {
  readonly from: number;
  readonly to: number;
  readonly deadlineMs: number;
}

/** Doubles even rows, refuses every fifth, writes null for every third; fails ranges with a bad row. */
function pluginOf(rows: number, bad: readonly number[], code: ErrorCode = "plugin-failed") {
  const calls: Call[] = [];
  const run: RunRange = async (from, to, deadlineMs) => {
    calls.push({ from, to, deadlineMs });
    if (bad.some((row) => row >= from && row < to)) throw new SealstreamError(code, "failed");
    return resultOf(from, to);
  };
  return { calls, run, expected: (row: number) => rowsOf(row), rows };
}

function isRefused(row: number): boolean {
  return row % 5 === 4;
}

/** What row `row` becomes: nothing, one output row or two. */
function rowsOf(row: number): (string | null)[] {
  if (isRefused(row)) return [];
  const one = row % 3 === 0 ? null : `row ${row}`;
  return row % 2 === 0 ? [one, `again ${row}`] : [one];
}

function resultOf(from: number, to: number): PluginResult {
  const rowIndex: number[] = [];
  const column: (Uint8Array | null)[] = [];
  for (let row = from; row < to; row++) {
    for (const text of rowsOf(row)) {
      rowIndex.push(row - from);
      column.push(text === null ? null : Buffer.from(text));
    }
  }
  const status = Uint8Array.from({ length: to - from }, (_, i) => (isRefused(from + i) ? 5 : 0));
  const columns: InputColumn[] = [column, column.toReversed()];
  return {
    status,
    rowIndex: Uint32Array.from(rowIndex),
    columns: packBatch(columns, 0, column.length).columns,
  };
}

/** Status names, and what each row became, read back from a result. */
function read(result: PluginResult): { statuses: string[]; rows: (string | null)[][] } {
  const rows: (string | null)[][] = Array.from(result.status, () => []);
  result.rowIndex.forEach((row, i) => {
    const value = valueAt(result.columns[0]!, i);
    rows[row]!.push(value === null ? null : Buffer.from(value).toString());
  });
  return { statuses: Array.from(result.status, (code) => STATUS_NAMES[code]!), rows };
}

describe("blame", () => {
  test.each([
    [1, [0]],
    [2, [1]],
    [100, []],
    [100, [0]],
    [100, [99]],
    [101, [50, 51, 52]],
    [64, [0, 13, 14, 40, 63]],
  ])("of %i rows, exactly %j are blamed and the others come out whole", async (rows, bad) => {
    const { run, calls } = pluginOf(rows, bad);
    const { statuses, rows: out } = read(await runIsolated(rows, 1000, run));
    for (let row = 0; row < rows; row++) {
      const isBad = (bad as number[]).includes(row);
      expect(statuses[row]).toBe(isBad ? "plugin-failed" : isRefused(row) ? "not-json" : "ok");
      expect(out[row]).toEqual(isBad ? [] : rowsOf(row));
    }
    if (bad.length === 0) expect(calls).toEqual([{ from: 0, to: rows, deadlineMs: 1000 }]);
  });

  test.each(["plugin-failed", "limit-exceeded", "worker-died"] as const)(
    "a run may fail with %s",
    async (code) => {
      const { statuses } = read(await runIsolated(8, 1000, pluginOf(8, [3], code).run));
      expect(statuses.indexOf("plugin-failed")).toBe(3);
    },
  );

  test("what is no fault of a row is thrown", async () => {
    await expect(runIsolated(8, 1000, pluginOf(8, [3], "internal").run)).rejects.toMatchObject({
      code: "internal",
    });
  });

  test("a plugin that fails on the empty batch is thrown, not blamed on rows", async () => {
    const run: RunRange = async () => {
      throw new SealstreamError("plugin-failed", "failed");
    };
    await expect(runIsolated(8, 1000, run)).rejects.toMatchObject({ code: "plugin-failed" });
    await expect(runIsolated(0, 1000, run)).rejects.toMatchObject({ code: "plugin-failed" });
  });
});

describe("bounds", () => {
  test("one culprit costs two runs a halving, and the empty batch once", async () => {
    const { run, calls } = pluginOf(4096, [1234]);
    await runIsolated(4096, 1000, run);
    expect(calls.length).toBe(2 * 12 + 1 + 1);
    expect(calls.filter(({ from, to }) => from === to).length).toBe(1);
  });

  test("parts get their share of the time, at least an eighth, and a single row all of it", async () => {
    const { run, calls } = pluginOf(64, [0]);
    await runIsolated(64, 800, run);
    const timeOf = (count: number) => calls.find(({ from, to }) => to - from === count)?.deadlineMs;
    expect([64, 32, 16, 8, 4, 2, 1, 0].map(timeOf)).toEqual([
      800, 400, 200, 100, 100, 100, 800, 800,
    ]);
  });

  test.each([
    ["plugin-failed", 8191],
    ["worker-died", 64],
  ] as const)(
    "when all fail with %s there are at most %i failing runs and one empty one",
    async (code, most) => {
      const rows = 4096;
      const { run, calls } = pluginOf(
        rows,
        Array.from({ length: rows }, (_, i) => i),
        code,
      );
      const { statuses } = read(await runIsolated(rows, 1000, run));
      expect(calls.length).toBe(most + 1);
      expect(new Set(statuses)).toEqual(new Set(["plugin-failed"]));
      expect(statuses.length).toBe(rows);
    },
  );
});
