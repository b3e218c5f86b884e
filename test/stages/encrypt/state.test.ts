/**
 * The changelog of an encrypt lane, byte for byte.
 */
import { expect, it } from "vitest";
import { encodeState, restoreState } from "../../../pipeline/stages/encrypt/state.ts";

const HEX = "01" + "0000000000000203" + "0000000100000005";

it("is 17 bytes, and comes back without a data key", () => {
  const state = { exampleSequence: 515, packSequence: 2 ** 32 + 5, key: null };
  expect(Buffer.from(encodeState(state)).toString("hex")).toBe(HEX);
  expect(restoreState(Buffer.from(HEX, "hex"))).toEqual(state);
  expect(restoreState(null)).toEqual({ exampleSequence: 0, packSequence: 0, key: null });
});

it.each([
  ["empty", ""],
  ["cut short", HEX.slice(0, -2)],
  ["with more behind", `${HEX}00`],
  ["of version 2", `02${HEX.slice(2)}`],
  ["beyond 2^53", `01${"ff".repeat(8)}${"00".repeat(8)}`],
])("refuses a state that is %s", (_what, hex) => {
  expect(() => restoreState(Buffer.from(hex, "hex"))).toThrow(
    expect.objectContaining({ code: "state-mismatch" }),
  );
});
