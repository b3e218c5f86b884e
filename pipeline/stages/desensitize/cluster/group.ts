/**
 * Groups the rows of one window so that what leaves of each row is shared by at least k distinct subjects.
 *
 * A window is columns of codes (see domain.ts). Pure: the same window gives the same groups. Three ways: regions of one
 * fixed tree (nested.ts), median cuts of this window alone (mondrian.ts), nearest rows (mdav.ts). Must not know Kafka,
 * clocks or records.
 */
import type { ClusterOptions } from "../../../spec/pipeline-spec.ts";
import type { Domain } from "./domain.ts";
import { groupByDistance } from "./mdav.ts";
import { groupByMedian } from "./mondrian.ts";
import { groupByTree } from "./nested.ts";
import { createRequirement } from "./requirement.ts";

export interface ClusterWindow {
  readonly rows: number;
  /** One a field, each `rows` codes. */
  readonly columns: readonly Float64Array[];
  /** The number of each row's subject, 0 and up: equal for equal subjects. */
  readonly subjects: Uint32Array;
  /** The number of each row's sensitive value, rising with the value where `sensitiveOrdered`; null: none asked for. */
  readonly sensitive: Uint32Array | null;
  /** The number of rows without a sensitive value: it adds nothing to l-diversity. Default: every row has one. */
  readonly sensitiveNone?: number;
  /** Whether sensitive values are numbers, so that t-closeness counts how far they are apart; default false. */
  readonly sensitiveOrdered?: boolean;
}

export interface Group {
  readonly rows: number;
  /** The region that is published: lowest and highest code of each field, both included. */
  readonly low: readonly number[];
  readonly high: readonly number[];
  /** For `publish: mean`: the mean code of each field; of a nested group the middle of its region, whatever is in it. */
  readonly mean: readonly number[];
}

export interface Grouping {
  /** The group of each row, an index of `groups`; -1: the row could not be grouped and is not published. */
  readonly group: Int32Array;
  readonly groups: readonly Group[];
  /** The group of all that could not be grouped but is published, with every field at its widest range; -1: none. */
  readonly generalized: number;
}

/** What a method found: rows of each group, and the region of each. Rows in none are those that could not be grouped. */
export interface Found {
  readonly rows: Uint32Array;
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly mean: readonly number[];
}

function widest(domains: readonly Domain[], rows: number): Group {
  return {
    rows,
    low: domains.map(() => 0),
    high: domains.map(({ size }) => size - 1),
    mean: domains.map(({ size }) => (size - 1) / 2),
  };
}

function findGroups(
  window: ClusterWindow,
  domains: readonly Domain[],
  options: ClusterOptions,
): readonly Found[] {
  const requirement = createRequirement(window, options);
  const rows = Uint32Array.from({ length: window.rows }, (_, row) => row);
  if (!requirement.meets(rows, 0, rows.length)) return [];
  if (options.method === "mdav") return groupByDistance(window, domains, requirement);
  if (options.acrossWindows === "independent") return groupByMedian(window, domains, requirement);
  // Because what is left out of a region must not be published at a wider one instead.
  const share = options.whenTooFew === "suppress" ? options.suppressUpTo : 0;
  const budget = Math.floor(share * window.rows);
  return groupByTree(window, domains, requirement, budget);
}

/** Groups a window. Rows that could not be grouped are left out or get the widest range, as `whenTooFew` says. */
export function groupWindow(
  window: ClusterWindow,
  domains: readonly Domain[],
  options: ClusterOptions,
): Grouping {
  const found = findGroups(window, domains, options);
  const group = new Int32Array(window.rows).fill(-1);
  for (const [index, { rows }] of found.entries()) {
    for (const row of rows) group[row] = index;
  }
  const groups: Group[] = found.map(({ rows, low, high, mean }) => ({
    rows: rows.length,
    low,
    high,
    mean,
  }));
  const left = window.rows - groups.reduce((sum, { rows }) => sum + rows, 0);
  if (left === 0 || options.whenTooFew === "suppress") return { group, groups, generalized: -1 };
  const generalized = groups.push(widest(domains, left)) - 1;
  for (const [row, index] of group.entries()) if (index === -1) group[row] = generalized;
  return { group, groups, generalized };
}
