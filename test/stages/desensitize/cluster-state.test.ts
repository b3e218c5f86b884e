/**
 * The changelog of a lane that groups records, byte by byte.
 */
import { describe, expect, test } from "vitest";
import {
  encodeState,
  NO_CUT,
  restoreState,
} from "../../../pipeline/stages/desensitize/cluster-state.ts";

describe("a lane's state", () => {
  test.each([
    ["none", null, NO_CUT],
    ["of a pipeline that clustered nothing", new Uint8Array(0), NO_CUT],
    ["without a cut", encodeState(NO_CUT), NO_CUT],
    [
      "with a cut",
      Buffer.from("01000000000000006700000003", "hex"),
      { cut: { to: 103, records: 3 } },
    ],
  ])("%s is restored", (_, bytes, state) => {
    expect(restoreState(bytes, 100)).toEqual(state);
  });

  test.each([
    ["of another version", "02000000000000006700000003"],
    ["cut off", "0100000000000000670000"],
    ["with a cut that has passed", "01000000000000006400000003"],
    ["with a cut of nothing", "01000000000000006700000000"],
  ])("%s is refused", (_, hex) => {
    expect(() => restoreState(Buffer.from(hex, "hex"), 100)).toThrow(/changelog of a desensitize/);
  });
});

test("a state is 13 bytes, written anew each time", () => {
  const hex = (state: Parameters<typeof encodeState>[0]) =>
    Buffer.from(encodeState(state)).toString("hex");
  expect(hex(NO_CUT)).toBe("01000000000000000000000000");
  expect(hex({ cut: { to: 2 ** 40 + 1, records: 258 } })).toBe("01000001000000000100000102");
});
