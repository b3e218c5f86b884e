/**
 * Grouping, against what is asked of it by brute force: every group has k subjects (and l, and t), every row lies in what
 * is published of it, and what is published of one person over many windows is never less than a group.
 */
import { describe, expect, it } from "vitest";
import { createRandom } from "../../../../bench/lib/adult.ts";
import type { ClusterOptions } from "../../../../pipeline/spec/pipeline-spec.ts";
import {
  type ClusterWindow,
  type Group,
  type Grouping,
  groupWindow,
} from "../../../../pipeline/stages/desensitize/cluster/group.ts";
import { measureWindow } from "../../../../pipeline/stages/desensitize/cluster/quality.ts";
import {
  ADULT_DOMAINS,
  drawAdults,
  drawMixed,
  drawWindow,
  MIXED_DOMAINS,
  membersOf,
  OPTIONS,
  windowOf,
} from "./windows.ts";

const METHODS: readonly [string, Partial<ClusterOptions>][] = [
  ["nested", {}],
  ["nested with suppression", { suppressUpTo: 0.05 }],
  ["nested, generalized", { whenTooFew: "generalize" }],
  ["independent Mondrian", { acrossWindows: "independent" }],
  ["MDAV", { acrossWindows: "independent", method: "mdav" }],
];

const optionsOf = (some: Partial<ClusterOptions>): ClusterOptions => ({ ...OPTIONS, ...some });
const holds = ({ low, high }: Group, { columns }: ClusterWindow, row: number) =>
  columns.every((column, i) => column[row]! >= low[i]! && column[row]! <= high[i]!);
const subjectsOf = ({ subjects }: ClusterWindow, rows: readonly number[]) =>
  new Set(rows.map((row) => subjects[row])).size;

/** What must be true of every grouping, checked by brute force. */
function checkGrouping(window: ClusterWindow, grouping: Grouping, options: ClusterOptions): void {
  const members = membersOf(grouping);
  expect(grouping.group).toHaveLength(window.rows);
  for (const [index, group] of grouping.groups.entries()) {
    const rows = members[index]!;
    expect(rows).toHaveLength(group.rows);
    expect(rows.every((row) => holds(group, window, row))).toBe(true);
    if (index === grouping.generalized) {
      expect(group.low.every((low) => low === 0)).toBe(true);
      expect(group.high).toEqual(MIXED_DOMAINS.map(({ size }) => size - 1));
    } else expect(subjectsOf(window, rows)).toBeGreaterThanOrEqual(options.k);
  }
  const out = grouping.group.filter((index) => index === -1).length;
  if (options.whenTooFew === "generalize") expect(out).toBe(0);
}

/** Ordered or equal earth mover's distance, by the definition. */
function distanceBetween(a: readonly number[], b: readonly number[], ordered: boolean): number {
  const values = [...new Set(b)].sort((x, y) => x - y);
  const share = (list: readonly number[], value: number) =>
    list.filter((one) => one === value).length / list.length;
  const apart = values.map((value) => share(a, value) - share(b, value));
  if (!ordered) return apart.reduce((sum, one) => sum + Math.abs(one), 0) / 2;
  const moved = apart.map((_, i) => apart.slice(0, i + 1).reduce((sum, one) => sum + one, 0));
  return moved.reduce((sum, one) => sum + Math.abs(one), 0) / Math.max(1, values.length - 1);
}

describe.each(METHODS)("%s", (_, some) => {
  const options = optionsOf(some);

  it("gives every group k subjects, whatever the window", () => {
    for (let seed = 0; seed < 60; seed++) {
      const rows = 1 + ((seed * 37) % 400);
      const window = drawWindow(seed, rows, seed % 3 === 0 ? Math.ceil(rows / 4) : rows);
      const grouping = groupWindow(window, MIXED_DOMAINS, options);
      checkGrouping(window, grouping, options);
      const total = subjectsOf(window, [...window.subjects.keys()]);
      if (total < options.k) expect(grouping.groups.length).toBe(grouping.generalized + 1);
      else
        expect(measureWindow(window, MIXED_DOMAINS, grouping, options).groups).toBeGreaterThan(0);
    }
  });

  it("makes more than one group where it can", () => {
    const window = drawWindow(7, 1000);
    expect(groupWindow(window, MIXED_DOMAINS, options).groups.length).toBeGreaterThan(15);
  });

  it("leaves no more rows out than it may", () => {
    for (let seed = 0; seed < 20; seed++) {
      const window = drawWindow(seed, 300);
      const { group } = groupWindow(window, MIXED_DOMAINS, options);
      const out = group.filter((index) => index === -1).length;
      expect(out).toBeLessThanOrEqual(300 * options.suppressUpTo);
    }
  });

  it("counts subjects, not rows", () => {
    const people = Array.from({ length: 8 }, () => drawMixed(createRandom(1)));
    const present = Array.from({ length: 400 }, (_, i) => i % 4);
    const few = groupWindow(windowOf(people, present), MIXED_DOMAINS, options);
    expect(few.groups.length).toBe(few.generalized + 1);
    const enough = groupWindow(windowOf(people, [...present, 4]), MIXED_DOMAINS, options);
    expect(enough.generalized).toBe(-1);
    expect(enough.groups).toHaveLength(1);
  });

  it.each([
    ["l", { lDiversity: 4, tCloseness: null }, false],
    ["t, equal distance", { lDiversity: null, tCloseness: 0.3 }, false],
    ["t, ordered distance", { lDiversity: null, tCloseness: 0.15 }, true],
    ["l and t", { lDiversity: 3, tCloseness: 0.2 }, true],
  ])("gives every group %s", (_, asked, sensitiveOrdered) => {
    const sensitive = { field: "x", ...asked };
    let groups = 0;
    for (let seed = 0; seed < 20; seed++) {
      const window = { ...drawWindow(seed, 300), sensitiveOrdered };
      const all = [...window.sensitive!];
      const grouping = groupWindow(window, MIXED_DOMAINS, { ...options, sensitive });
      checkGrouping(window, grouping, options);
      groups += grouping.groups.length;
      for (const rows of membersOf(grouping)) {
        const values = rows.map((row) => all[row]!);
        expect(new Set(values).size).toBeGreaterThanOrEqual(asked.lDiversity ?? 1);
        const distance = distanceBetween(values, all, sensitiveOrdered);
        expect(distance).toBeLessThanOrEqual((asked.tCloseness ?? 1) + 1e-6);
      }
    }
    expect(groups).toBeGreaterThan(40);
  });

  it("gives nothing when the window itself lacks l", () => {
    const sensitive = { field: "x", lDiversity: 9, tCloseness: null };
    const window = drawWindow(3, 300);
    const grouping = groupWindow(window, MIXED_DOMAINS, { ...options, sensitive });
    expect(grouping.groups.length).toBe(grouping.generalized + 1);
    expect(grouping.generalized === -1).toBe(options.whenTooFew === "suppress");
  });

  it("does not overlook that the sensitive values are missing", () => {
    const sensitive = { field: "x", lDiversity: 2, tCloseness: null };
    const window = { ...drawWindow(3, 300), sensitive: null };
    expect(() => groupWindow(window, MIXED_DOMAINS, { ...options, sensitive })).toThrow(
      /sensitive/,
    );
  });

  it("is the same for the same window, and takes any number of rows", () => {
    const window = drawWindow(5, 700);
    expect(groupWindow(window, MIXED_DOMAINS, options)).toEqual(
      groupWindow(window, MIXED_DOMAINS, options),
    );
    const none = groupWindow(windowOf([drawMixed(createRandom(1))], []), MIXED_DOMAINS, options);
    expect(none.groups).toEqual([]);
  });

  it("takes rows that are all alike as one group, at one point", () => {
    const people = Array.from({ length: 500 }, () => drawMixed(createRandom(9)));
    const window = windowOf(people, [...people.keys()]);
    const grouping = groupWindow(window, MIXED_DOMAINS, options);
    const sizes = grouping.groups.map(({ rows }) => rows);
    expect(sizes.reduce((sum, rows) => sum + rows, 0)).toBe(500);
    for (const { low, high } of grouping.groups) expect(low).toEqual(high);
  });
});

describe("nested", () => {
  const options = optionsOf({ suppressUpTo: 0.02 });

  it("does not depend on the order of the rows", () => {
    const window = drawWindow(11, 600);
    const turned: ClusterWindow = {
      ...window,
      columns: window.columns.map((column) => column.toReversed()),
      subjects: window.subjects.toReversed(),
    };
    const one = groupWindow(window, MIXED_DOMAINS, optionsOf({}));
    const other = groupWindow(turned, MIXED_DOMAINS, optionsOf({}));
    const published = ({ group, groups }: Grouping) =>
      Array.from(group, (index) => [groups[index]?.low, groups[index]?.high]);
    expect(published(other).reverse()).toEqual(published(one));
  });

  it("publishes groups of one window that share nothing", () => {
    const { groups } = groupWindow(drawWindow(2, 2000), MIXED_DOMAINS, options);
    const apart = (a: Group, b: Group) =>
      a.low.some((low, i) => low > b.high[i]! || a.high[i]! < b.low[i]!);
    for (const [i, one] of groups.entries()) {
      for (const other of groups.slice(i + 1)) expect(apart(one, other)).toBe(true);
    }
  });

  it("says nothing of the rows in a region but that they are in it", () => {
    const window = drawWindow(2, 300);
    for (const { low, high, mean } of groupWindow(window, MIXED_DOMAINS, options).groups) {
      expect(mean).toEqual(low.map((code, i) => (code + high[i]!) / 2));
    }
  });

  it("never publishes at a wider range what it left out of a narrower one", () => {
    const generalize = optionsOf({ whenTooFew: "generalize", suppressUpTo: 0.05 });
    for (let seed = 0; seed < 10; seed++) {
      const grouping = groupWindow(drawWindow(seed, 500), MIXED_DOMAINS, generalize);
      expect(grouping.generalized).toBe(-1);
    }
  });

  it("narrows groups by what it suppresses, and never by a record too much", () => {
    const window = drawAdults(1, 5000);
    const ncp = [0, 0.01, 0.05].map((suppressUpTo) => {
      const chosen = optionsOf({ k: 10, suppressUpTo });
      const grouping = groupWindow(window, ADULT_DOMAINS, chosen);
      const quality = measureWindow(window, ADULT_DOMAINS, grouping, chosen);
      expect(quality.suppressed).toBeLessThanOrEqual(5000 * suppressUpTo);
      return quality.ncp;
    });
    expect(ncp[1]).toBeLessThan(0.95 * ncp[0]!);
    expect(ncp[2]).toBeLessThan(0.85 * ncp[1]!);
  });
});

describe("independent groups", () => {
  it("have the tight ranges and the means of their rows", () => {
    for (const some of [METHODS[3]![1], METHODS[4]![1]]) {
      const window = drawWindow(4, 500);
      const grouping = groupWindow(window, MIXED_DOMAINS, optionsOf(some));
      for (const [index, rows] of membersOf(grouping).entries()) {
        const { low, high, mean } = grouping.groups[index]!;
        for (const [field, column] of window.columns.entries()) {
          const codes = rows.map((row) => column[row]!);
          expect(low[field]).toBe(Math.min(...codes));
          expect(high[field]).toBe(Math.max(...codes));
          expect(mean[field]).toBeCloseTo(
            codes.reduce((sum, code) => sum + code, 0) / codes.length,
            3,
          );
        }
      }
    }
  });

  it("of Mondrian cannot be cut at the median of any field", () => {
    const options = optionsOf(METHODS[3]![1]);
    const window = drawWindow(8, 400);
    const grouping = groupWindow(window, MIXED_DOMAINS, options);
    for (const rows of membersOf(grouping)) {
      for (const column of window.columns) {
        const codes = rows.map((row) => column[row]!).sort((a, b) => a - b);
        const median = codes[codes.length >> 1]!;
        for (const last of [median, median - 1]) {
          const below = rows.filter((row) => column[row]! <= last);
          const above = rows.filter((row) => column[row]! > last);
          const both = [below, above].map((half) => subjectsOf(window, half));
          expect(Math.min(...both)).toBeLessThan(options.k);
        }
      }
    }
  });

  it("of MDAV have k subjects, the last fewer than twice as many", () => {
    const grouping = groupWindow(
      drawWindow(8, 403, 100_000),
      MIXED_DOMAINS,
      optionsOf(METHODS[4]![1]),
    );
    const sizes = grouping.groups.map(({ rows }) => rows).sort((a, b) => a - b);
    expect(sizes.slice(0, -1).every((rows) => rows <= 6)).toBe(true);
    expect(sizes.at(-1)).toBeLessThan(12);
  });
});
