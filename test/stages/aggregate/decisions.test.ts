/** The changelog value of aggregate: exact bytes, round trips, and what a start refuses. */
import { expect, test } from "vitest";
import { encodeCbor } from "../../../pipeline/crypto/cbor.ts";
import {
  type Decisions,
  decodeDecisions,
  encodeDecisions,
  NO_DECISIONS,
} from "../../../pipeline/stages/aggregate/decisions.ts";

const RUN = "0123456789abcdef".repeat(2);
/** Written by hand from RFC 8949. */
const CASES: [Decisions, string][] = [
  [
    NO_DECISIONS,
    "a5617602696e6f697365526f7773026972656675736564546ff66b7370656e64696e6752756ef66d72656675736564466f724b657980",
  ],
  [
    {
      refusedForKey: [3, 500],
      refusedTo: { sequence: 7, position: 70_000 },
      spendingRun: RUN,
      noiseRows: 1,
    },
    "a5617602696e6f697365526f7773016972656675736564546f82071a000111706b7370656e64696e6752756e" +
      `7820${Buffer.from(RUN).toString("hex")}6d72656675736564466f724b657982031901f4`,
  ],
];

test.each(CASES)("%j has exact bytes", (decisions, bytes) => {
  expect(Buffer.from(encodeDecisions(decisions)).toString("hex")).toBe(bytes);
  expect(decodeDecisions(Buffer.from(bytes, "hex"))).toEqual(decisions);
});

test("version 1 had the first rows, once a run had begun to spend", () => {
  const old = { v: 1, refusedForKey: [4], refusedTo: null };
  const rows = (spendingRun: string | null) =>
    decodeDecisions(encodeCbor({ ...old, spendingRun })).noiseRows;
  expect([rows(RUN), rows(null)]).toEqual([1, 2]);
});

const GOOD = { v: 2, refusedForKey: [], refusedTo: null, spendingRun: null, noiseRows: 2 };
test.each([
  ["another version", { ...GOOD, v: 3 }],
  ["a field more", { ...GOOD, x: 1 }],
  ["a field less", { v: 2, refusedForKey: [], refusedTo: null, spendingRun: null }],
  ["offsets that are none", { ...GOOD, refusedForKey: [-1] }],
  ["half a position", { ...GOOD, refusedTo: [1] }],
  ["too much of a position", { ...GOOD, refusedTo: [1, 2, 3] }],
  ["rows that are no version", { ...GOOD, noiseRows: -1 }],
  ["a run id that is none", { ...GOOD, spendingRun: "x" }],
])("%s is refused", (_name, map) => {
  expect(() => decodeDecisions(encodeCbor(map))).toThrow(
    expect.objectContaining({ code: "state-mismatch" }),
  );
});

test("nothing is nothing", () => {
  expect(decodeDecisions(null)).toEqual(NO_DECISIONS);
});
