/**
 * The changelog of an encrypt lane, byte for byte.
 */
import { expect, it } from "vitest";
import { encodeState, restoreState } from "../../../pipeline/stages/encrypt/state.ts";

const FIRST = `01${"0000000000000203"}${"0000000100000005"}`;
const HEX = `02${FIRST.slice(2)}${"0000000000000007"}`;
const NONE = { key: null, recordKeys: new Map() };

it("is 25 bytes, and comes back without data keys", () => {
  const state = { exampleSequence: 515, packSequence: 2 ** 32 + 5, recordSequence: 7, ...NONE };
  expect(Buffer.from(encodeState(state)).toString("hex")).toBe(HEX);
  expect(restoreState(Buffer.from(HEX, "hex"))).toEqual(state);
  expect(restoreState(null)).toEqual({
    ...{ exampleSequence: 0, packSequence: 0, recordSequence: 0 },
    ...NONE,
  });
});

it("reads version 1, which knew no records", () => {
  expect(restoreState(Buffer.from(FIRST, "hex"))).toEqual({
    ...{ exampleSequence: 515, packSequence: 2 ** 32 + 5, recordSequence: 0 },
    ...NONE,
  });
});

it.each([
  ["empty", ""],
  ["cut short", HEX.slice(0, -2)],
  ["with more behind", `${HEX}00`],
  ["of version 1 with more behind", `${FIRST}00`],
  ["of version 2 with the bytes of version 1", `02${FIRST.slice(2)}`],
  ["of version 3", `03${HEX.slice(2)}`],
  ["beyond 2^53", `02${HEX.slice(2, 34)}${"ff".repeat(8)}`],
])("refuses a state that is %s", (_what, hex) => {
  expect(() => restoreState(Buffer.from(hex, "hex"))).toThrow(
    expect.objectContaining({ code: "state-mismatch" }),
  );
});
