/**
 * The quality report, against pycanon (test/vectors/cluster) and figures worked out by hand.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { ClusterOptions } from "../../../../pipeline/spec/pipeline-spec.ts";
import {
  createDomain,
  type Domain,
} from "../../../../pipeline/stages/desensitize/cluster/domain.ts";
import type {
  ClusterWindow,
  Grouping,
} from "../../../../pipeline/stages/desensitize/cluster/group.ts";
import { measureWindow } from "../../../../pipeline/stages/desensitize/cluster/quality.ts";
import { OPTIONS } from "./windows.ts";

interface Case {
  readonly group: readonly number[];
  readonly subject: readonly number[];
  readonly value: readonly number[];
  readonly expected: { k: number; l: number; tOrdered: number; tEqual: number };
}

const cases = JSON.parse(
  readFileSync(new URL("../../../vectors/cluster/pycanon.json", import.meta.url), "utf8"),
) as readonly Case[];
const SENSITIVE: ClusterOptions = {
  ...OPTIONS,
  sensitive: { field: "x", lDiversity: 2, tCloseness: 0.2 },
};
const DOMAINS: readonly Domain[] = [
  createDomain({ kind: "number", range: [0, 10] }),
  createDomain({
    kind: "hierarchy",
    paths: [
      ["a", "x"],
      ["b", "x"],
      ["c", "y"],
      ["d", "y"],
      ["e", "y"],
    ],
  }),
];

/** Rows of group numbers, each group the range of its rows' codes. */
function groupingOf(numbers: readonly number[], columns: readonly (readonly number[])[]): Grouping {
  const names = [...new Set(numbers.filter((number) => number >= 0))];
  const codesOf = (name: number, column: readonly number[]) =>
    column.filter((_, row) => numbers[row] === name);
  return {
    group: Int32Array.from(numbers, (number) => names.indexOf(number)),
    groups: names.map((name) => ({
      rows: numbers.filter((number) => number === name).length,
      low: columns.map((column) => Math.min(...codesOf(name, column))),
      high: columns.map((column) => Math.max(...codesOf(name, column))),
      mean: [],
    })),
    generalized: -1,
  };
}

describe("quality", () => {
  it("has cases of all kinds to compare", () => {
    expect(cases).toHaveLength(12);
    expect(new Set(cases.map(({ expected }) => expected.k)).size).toBeGreaterThan(4);
  });

  it.each(cases.map((one, i) => [i, one] as const))(
    "is what pycanon finds, case %d",
    (_, { group, subject, value, expected }) => {
      const column = group.map((number) => number % 11);
      const window = (sensitiveOrdered: boolean): ClusterWindow => ({
        rows: group.length,
        columns: [Float64Array.from(column)],
        subjects: Uint32Array.from(subject),
        sensitive: Uint32Array.from(value),
        sensitiveOrdered,
      });
      const grouping = groupingOf(group, [column]);
      const measure = (ordered: boolean) =>
        measureWindow(window(ordered), DOMAINS.slice(0, 1), grouping, SENSITIVE);
      expect(measure(true).smallestGroup).toBe(expected.k);
      expect(measure(true).distinctSensitive).toBe(expected.l);
      expect(measure(true).tCloseness).toBeCloseTo(expected.tOrdered, 9);
      expect(measure(false).tCloseness).toBeCloseTo(expected.tEqual, 9);
    },
  );

  const columns = [
    [0, 5, 2, 2, 9, 10],
    [0, 1, 2, 2, 0, 4],
  ];
  const window: ClusterWindow = {
    rows: 6,
    columns: columns.map((column) => Float64Array.from(column)),
    subjects: Uint32Array.of(0, 1, 2, 2, 3, 4),
    sensitive: null,
  };

  it("counts what is published", () => {
    const quality = measureWindow(
      window,
      DOMAINS,
      groupingOf([0, 0, 1, 1, 2, 2], columns),
      OPTIONS,
    );
    expect(quality).toEqual({
      rows: 6,
      groups: 3,
      suppressed: 0,
      generalized: 0,
      smallestGroup: 1,
      // 0..5 of 0..10 and x, 2 of 5 values; one point; 9..10 and all.
      ncp: expect.closeTo((2 * (0.5 + 0.25) + 0 + 2 * (0.1 + 1)) / 12, 12),
      discernibility: 12,
      distinctSensitive: null,
      tCloseness: null,
    });
  });

  it("counts what is not published, and what is published at the widest range", () => {
    const left = groupingOf([0, 0, -1, -1, 1, 1], columns);
    expect(measureWindow(window, DOMAINS, left, OPTIONS)).toMatchObject({
      groups: 2,
      suppressed: 2,
      smallestGroup: 2,
      discernibility: 8 + 12,
      ncp: expect.closeTo((2 * (0.5 + 0.25) + 2 * (0.1 + 1)) / 8, 12),
    });
    const whole = { rows: 2, low: [0, 0], high: [10, 4], mean: [] };
    const widest: Grouping = {
      group: Int32Array.of(0, 0, 2, 2, 1, 1),
      groups: [...left.groups, whole],
      generalized: 2,
    };
    expect(measureWindow(window, DOMAINS, widest, OPTIONS)).toMatchObject({
      groups: 2,
      suppressed: 0,
      generalized: 2,
      smallestGroup: 2,
      ncp: expect.closeTo((2 * (0.5 + 0.25) + 2 * (0.1 + 1) + 4) / 12, 12),
    });
  });

  it("says that nothing is known where nothing is published", () => {
    expect(
      measureWindow(window, DOMAINS, groupingOf([-1, -1, -1, -1, -1, -1], columns), OPTIONS),
    ).toMatchObject({
      groups: 0,
      ncp: 1,
      smallestGroup: null,
      discernibility: 36,
    });
  });
});
