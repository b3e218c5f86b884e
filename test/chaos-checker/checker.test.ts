/** The chaos check can fail: what was dropped, repeated, swapped or made up is counted as that, and as nothing else. */
import { describe, expect, it } from "vitest";
import { compareHop, sumHops, verdictLine } from "../chaos/harness/checker.ts";
import { topicOf } from "../chaos/harness/collect.ts";
import { parseLine, printedBytes } from "../chaos/harness/console-reader.ts";
import { FAULT_KINDS, planFaults } from "../chaos/harness/fault-plan.ts";
import { bundlesOf, expectedRanges } from "../chaos/harness/hops.ts";
import { createRandom } from "../chaos/harness/random.ts";

const EXPECTED = [
  ["a", "b", "c", "d"],
  ["e", "f"],
];
const compare = (found: string[][]) => compareHop("hop", EXPECTED, found);

describe("the comparison of a hop", () => {
  it("finds nothing where there is nothing", () => {
    const hop = compare(EXPECTED);
    expect(hop).toMatchObject({ expected: 6, found: 6, missing: 0, duplicated: 0, outOfOrder: 0 });
    expect(verdictLine(sumHops([hop, hop]))).toBe("missing 0, duplicated 0, out of order 0");
  });

  it("counts a dropped, a repeated and a swapped record", () => {
    const dropped = compare([
      ["a", "b", "d"],
      ["e", "f"],
    ]);
    expect(dropped).toMatchObject({ missing: 1, duplicated: 0, outOfOrder: 0, foreign: 0 });
    const repeated = compare([
      ["a", "b", "c", "d", "a"],
      ["e", "f"],
    ]);
    expect(repeated).toMatchObject({ missing: 0, duplicated: 1, outOfOrder: 0, foreign: 0 });
    const swapped = compare([
      ["a", "c", "b", "d"],
      ["e", "f"],
    ]);
    expect(swapped).toMatchObject({ missing: 0, duplicated: 0, outOfOrder: 1, foreign: 0 });
    expect(verdictLine(sumHops([dropped, repeated, swapped]))).toBe(
      "missing 1, duplicated 1, out of order 1",
    );
  });

  it("takes a record of another lane for foreign there and missing here", () => {
    const moved = compare([
      ["a", "b", "c"],
      ["e", "f", "d"],
    ]);
    expect(moved).toMatchObject({ missing: 1, foreign: 1 });
    expect(moved.examples).toEqual(["lane 0 missing d", "lane 1 foreign d"]);
  });

  it("expects an id as often as it was given", () => {
    expect(compareHop("hop", [["a", "a"]], [["a", "a"]])).toMatchObject({ missing: 0 });
    expect(compareHop("hop", [["a", "a"]], [["a"]])).toMatchObject({ missing: 1 });
    expect(compareHop("hop", [["a", "a"]], [["a", "a", "a"]])).toMatchObject({ duplicated: 1 });
  });

  it("finds a lane that nobody expects", () => {
    expect(compareHop("hop", [], [["1"]])).toMatchObject({ foreign: 1 });
  });
});

describe("what the console consumer prints", () => {
  it("is read back, bytes included", () => {
    const line = "Partition:2\tOffset:17\tsealstream-type:chunk|b:\\x00c\tk\\x09\\x5C\tv";
    expect(parseLine(line)).toEqual({
      partition: 2,
      offset: 17,
      headers: { "sealstream-type": "chunk", b: "\\x00c" },
      key: "k\\x09\\x5C",
      value: "v",
    });
    expect(parseLine("Partition:0\tOffset:0\tNO_HEADERS\t(there is none)")).toMatchObject({
      key: null,
      value: null,
    });
    expect([...printedBytes("k\\x09\\x5C")]).toEqual([107, 9, 92]);
    expect(() => parseLine("[2026-01-01] WARN something")).toThrow("no record");
  });
});

describe("topics that are read together", () => {
  it("are told apart by their headers", () => {
    const of = (headers: Record<string, string>) => record(0, "k", headers);
    const first = ["raw", "examples", "packs"] as const;
    expect(topicOf(first, of({}))).toBe("raw");
    expect(topicOf(first, of({ "sealstream-split": "train" }))).toBe("examples");
    expect(topicOf(first, of({ "sealstream-type": "chunk" }))).toBe("packs");
    const second = ["desensitized", "predictions", "contributions"] as const;
    expect(topicOf(second, of({ "sealstream-lane": "0" }))).toBe("contributions");
    const third = ["raw.dead", "desensitized.dead", "ledger"] as const;
    expect(topicOf(third, of({ "__connect.errors.topic": "flow-1.desensitized" }))).toBe(
      "desensitized.dead",
    );
    expect(topicOf(third, of({}))).toBe("ledger");
  });
});

const record = (offset: number, key: string, headers: Record<string, string> = {}) => ({
  partition: 0,
  offset,
  key,
  headers,
  value: null,
});
const ID = "A".repeat(16);
const chunk = (offset: number, index: number, id = ID) =>
  record(offset, `${id}\\x00\\x00\\x00\\x0${index}`, { "sealstream-type": "chunk" });
const manifest = (offset: number, id = ID) => record(offset, id, { "sealstream-type": "manifest" });

describe("what follows from the records", () => {
  it("finds bundles, and bundles that are not whole", () => {
    const other = "B".repeat(16);
    const whole = [chunk(0, 0), chunk(1, 1), manifest(2), chunk(4, 0, other), manifest(5, other)];
    expect(bundlesOf("packs", [whole])).toEqual({
      ids: [[Buffer.from(ID).toString("hex"), Buffer.from(other).toString("hex")]],
      findings: [],
    });
    for (const broken of [
      [chunk(0, 0), manifest(2), manifest(3)],
      [chunk(0, 1), manifest(2)],
      [chunk(0, 0), chunk(1, 0, other), manifest(2, other)],
      [chunk(0, 0)],
    ]) {
      expect(bundlesOf("packs", [broken]).findings).not.toEqual([]);
    }
  });

  it("cuts micro-batches after every sixteenth place", () => {
    const lane = Array.from({ length: 40 }, (_, offset) =>
      record(offset + Math.floor(offset / 10), "l", {
        "sealstream-split": offset === 3 ? "validate" : "train",
      }),
    );
    expect(expectedRanges([lane])).toEqual([["0/0-18", "0/18-36"]]);
  });
});

describe("the plan of faults", () => {
  it("is the same for the same seed, other for another, and holds every kind", () => {
    const plan = (seed: number) =>
      planFaults({
        random: createRandom(seed),
        durationMs: 60_000,
        everyMs: [2_000, 5_000],
        instances: 2,
        nodes: 3,
      });
    expect(plan(5)).toEqual(plan(5));
    expect(plan(5)).not.toEqual(plan(6));
    for (let seed = 0; seed < 100; seed += 1) {
      expect(new Set(plan(seed).map(({ kind }) => kind))).toEqual(new Set(FAULT_KINDS));
    }
  });
});
