/** The window of records that are not final: bounds, order, and what is dropped. */
import { describe, expect, it } from "vitest";
import { RecordWindow } from "../../pipeline/stream/record-window.ts";

const record = (offset: number, bytes = 10) => ({
  offset,
  timestampMs: 0,
  key: null,
  value: new Uint8Array(bytes),
  headers: {},
});
const offsets = (window: RecordWindow) => window.view().map(({ offset }) => offset);

describe("RecordWindow", () => {
  it("closes at its record bound, shows no more than that, and opens again", () => {
    const window = new RecordWindow({ maxRecords: 3, maxBytes: 1_000 });
    window.push([record(5), record(7), record(8), record(9)]);
    expect(window.hasRoom).toBe(false);
    expect(offsets(window)).toEqual([5, 7, 8]);
    expect(window.drop(8)).toBe(2);
    expect(window.position).toBe(8);
    expect(offsets(window)).toEqual([8, 9]);
    expect(window.hasRoom).toBe(true);
  });

  it("closes at its byte bound, headers included", () => {
    const window = new RecordWindow({ maxRecords: 100, maxBytes: 25 });
    window.push([record(1)]);
    expect(window.hasRoom).toBe(true);
    window.push([{ ...record(2), headers: { h: new Uint8Array(5) } }]);
    expect(window.hasRoom).toBe(false);
    expect(window.drop(99)).toBe(2);
    expect(window.hasRoom).toBe(true);
    expect(window.position).toBeNull();
  });
});
