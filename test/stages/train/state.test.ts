/** The changelog value of a train lane: exact bytes, round trips, and what a start refuses. */
import { expect, test } from "vitest";
import {
  decodeState,
  encodeState,
  restoreState,
  type TrainState,
} from "../../../pipeline/stages/train/state.ts";

const mismatch = expect.objectContaining({ code: "state-mismatch" });
const CASES: [TrainState, string][] = [
  [{ nextFrom: 0, lastSequence: null, cut: null }, `0100${"00".repeat(28)}`],
  [{ nextFrom: 258, lastSequence: 0, cut: null }, `01010000000000000102${"00".repeat(20)}`],
  [
    { nextFrom: 2 ** 40 + 1, lastSequence: 7, cut: { to: 2 ** 40 + 9, places: 5 } },
    "0103000001000000000100000000000000070000010000000009" + "00000005",
  ],
];

test.each(CASES)("%j has exact bytes", (state, hex) => {
  expect(Buffer.from(encodeState(state)).toString("hex")).toBe(hex);
  expect(decodeState(Buffer.from(hex, "hex"))).toEqual(state);
});

test("a flipped bit is another state or none", () => {
  for (const [state] of CASES) {
    const bytes = encodeState(state);
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Uint8Array.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeState(flipped)).not.toEqual(state);
    }
  }
});

test.each([
  "",
  "01",
  `0200${"00".repeat(28)}`,
  `0104${"00".repeat(28)}`,
  `0100${"00".repeat(27)}01`,
])("%s is refused", (hex) => {
  expect(decodeState(Buffer.from(hex, "hex"))).toBeNull();
  expect(() => restoreState(Buffer.from(hex, "hex"), 100)).toThrow(mismatch);
});

test("a lane that never committed begins at its position", () => {
  expect(restoreState(null, 17)).toEqual({ nextFrom: 17, lastSequence: null, cut: null });
});

test("a lane that passed validation records goes on from its last range", () => {
  const state = { nextFrom: 10, lastSequence: 3, cut: null };
  expect(restoreState(encodeState(state), 14)).toEqual(state);
});

test("S9: a position before the end of the last range is refused, one behind it is the lane's to check", () => {
  const ahead = encodeState({ nextFrom: 10, lastSequence: 3, cut: null });
  for (const position of [0, 9]) expect(() => restoreState(ahead, position)).toThrow(mismatch);
  expect(restoreState(ahead, 10).nextFrom).toBe(10);
  const passed = encodeState({ nextFrom: 10, lastSequence: 3, cut: { to: 12, places: 1 } });
  expect(restoreState(passed, 11).cut).toEqual({ to: 12, places: 1 });
  expect(() => restoreState(passed, 12)).toThrow(mismatch);
});
