/**
 * The changelog of an encrypt lane, byte for byte.
 */
import { expect, it } from "vitest";
import { encodeState, restoreState } from "../../../pipeline/stages/encrypt/state.ts";

const FIRST = `01${"0000000000000203"}${"0000000100000005"}`;
const HEX = `02${FIRST.slice(2)}${"0000000000000007"}`;
const NONE = { key: null, recordKeys: new Map(), subjects: null, counted: new Map() };

it("is 25 bytes, and comes back without data keys", () => {
  const state = { exampleSequence: 515, packSequence: 2 ** 32 + 5, recordSequence: 7, ...NONE };
  expect(Buffer.from(encodeState(state)).toString("hex")).toBe(HEX);
  expect(restoreState(Buffer.from(HEX, "hex"))).toEqual(state);
  expect(restoreState(null)).toEqual({
    ...{ exampleSequence: 0, packSequence: 0, recordSequence: 0 },
    ...NONE,
  });
});

const COUNTED = `03${HEX.slice(2)}${"ab".repeat(16)}${"0000000000000009"}${"000000000000000c"}`;

it("is 57 bytes once subjects are counted, without the counts that a step changed", () => {
  const naming = Uint8Array.from(Buffer.from("ab".repeat(16), "hex"));
  const state = {
    ...restoreState(Buffer.from(HEX, "hex")),
    subjects: { naming, subjects: 9, sealed: 12 },
  };
  const counted = new Map([["x", { hash: new Uint8Array(12), count: 1 }]]);
  expect(Buffer.from(encodeState({ ...state, counted })).toString("hex")).toBe(COUNTED);
  expect(restoreState(Buffer.from(COUNTED, "hex"))).toEqual(state);
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
  ["of version 3 with the bytes of version 2", `03${HEX.slice(2)}`],
  ["of version 4", `04${COUNTED.slice(2)}`],
  ["of version 3 and beyond 2^53", `${COUNTED.slice(0, -16)}${"ff".repeat(8)}`],
  ["beyond 2^53", `02${HEX.slice(2, 34)}${"ff".repeat(8)}`],
])("refuses a state that is %s", (_what, hex) => {
  expect(() => restoreState(Buffer.from(hex, "hex"))).toThrow(
    expect.objectContaining({ code: "state-mismatch" }),
  );
});
