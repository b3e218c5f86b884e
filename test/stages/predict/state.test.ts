/** Bytes of the predict changelog, hex-exact. */
import { expect, test } from "vitest";
import { decodeState, encodeState, restoreState } from "../../../pipeline/stages/predict/state.ts";

test.each([
  [{ lastSequence: null, nextSequence: 0, open: null }, "010000000000000000000000000000000000"],
  [{ lastSequence: 0, nextSequence: 1, open: null }, "010100000000000000000000000000000001"],
  [
    { lastSequence: 258, nextSequence: 2 ** 40, open: null },
    "010100000000000001020000010000000000",
  ],
  [
    {
      lastSequence: 7,
      nextSequence: 8,
      open: { from: 9, sinceMs: 1_700_000_000_000, cutTo: null },
    },
    "020100000000000000070000000000000008000000000000000900000".concat(
      "18bcfe568000000000000000000",
    ),
  ],
  [
    { lastSequence: null, nextSequence: 0, open: { from: 0, sinceMs: 1, cutTo: 3 } },
    "0200".concat("0".repeat(32), "0".repeat(16), "0000000000000001", "0000000000000003"),
  ],
])("%j is %s", (state, hex) => {
  expect(Buffer.from(encodeState(state)).toString("hex")).toBe(hex);
  expect(decodeState(Buffer.from(hex, "hex"))).toEqual(state);
});

test("nothing else is read", () => {
  const good = encodeState({ lastSequence: 3, nextSequence: 4, open: null });
  expect(decodeState(good.subarray(1))).toBeNull();
  for (const [at, value] of [
    [0, 2],
    [1, 3],
    [1, 0],
    [2, 255],
    [10, 255],
  ] as const) {
    const bad = good.slice();
    bad[at] = value;
    expect(decodeState(bad)).toBeNull();
    expect(() => restoreState(bad)).toThrow(expect.objectContaining({ code: "state-mismatch" }));
  }
});

test("a new lane has seen nothing", () => {
  expect(restoreState(null)).toEqual({ lastSequence: null, nextSequence: 0, open: null });
});
