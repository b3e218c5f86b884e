/**
 * How good the groups of a window are: what they hide, and what they cost.
 *
 * Figures only, no codes and no values, so that they may be logged and counted.
 */
import type { ClusterOptions } from "../../../spec/pipeline-spec.ts";
import type { Domain } from "./domain.ts";
import type { ClusterWindow, Grouping } from "./group.ts";
import { penaltyOf } from "./ranges.ts";
import { createDistance } from "./requirement.ts";

export interface WindowQuality {
  /** Rows of the window; groups without the generalized one; rows not published; rows at the widest range. */
  readonly rows: number;
  readonly groups: number;
  readonly suppressed: number;
  readonly generalized: number;
  /** Distinct subjects of the smallest group; null without groups. The generalized rows do not count. */
  readonly smallestGroup: number | null;
  /**
   * Normalized certainty penalty, 0 to 1: the share of its domain that a published cell leaves open, averaged over cells
   * of published rows. 0: single values; 1: all at their widest range, or nothing published.
   */
  readonly ncp: number;
  /** Discernibility: the sum of squares of group sizes; each row that is not published counts as many as the window. */
  readonly discernibility: number;
  /** Distinct sensitive values of the group with fewest; null without a sensitive field or groups. */
  readonly distinctSensitive: number | null;
  /** Greatest earth mover's distance of a group from the window; null without a sensitive field. */
  readonly tCloseness: number | null;
}

/** Rows of each group. */
function membersOf({ group, groups }: Grouping): Uint32Array[] {
  const members = groups.map(({ rows }) => new Uint32Array(rows));
  const filled = new Uint32Array(groups.length);
  for (const [row, index] of group.entries()) {
    const list = members[index];
    if (list === undefined) continue;
    list[filled[index] as number] = row;
    filled[index] = (filled[index] as number) + 1;
  }
  return members;
}

/** Distinct values of a column in the group that has fewest, `none` not counted; null without groups. */
function leastDistinct(
  column: Uint32Array,
  groups: readonly Uint32Array[],
  none = -1,
): number | null {
  const counts = groups.map((rows) => {
    const values = new Set(Array.from(rows, (row) => column[row]));
    values.delete(none);
    return values.size;
  });
  return counts.length === 0 ? null : counts.reduce((least, count) => Math.min(least, count));
}

/** @param domains one a field, in the order of the window's columns */
export function measureWindow(
  window: ClusterWindow,
  domains: readonly Domain[],
  grouping: Grouping,
  options: ClusterOptions,
): WindowQuality {
  const { group, groups, generalized } = grouping;
  const members = membersOf(grouping);
  const kept = members.filter((_, index) => index !== generalized);
  const suppressed = group.reduce((sum, index) => sum + (index === -1 ? 1 : 0), 0);
  const published = window.rows - suppressed;
  const penalty = groups.reduce((sum, { rows, low, high }) => {
    const cells = domains.map((domain, i) => penaltyOf(domain, low[i] ?? 0, high[i] ?? 0));
    return sum + (rows * cells.reduce((a, b) => a + b, 0)) / domains.length;
  }, 0);
  const { sensitive } = options.sensitive === null ? { sensitive: null } : window;
  const distance = sensitive && createDistance(sensitive, window.sensitiveOrdered ?? false);
  return {
    rows: window.rows,
    groups: kept.length,
    suppressed,
    generalized: groups[generalized]?.rows ?? 0,
    smallestGroup: leastDistinct(window.subjects, kept),
    ncp: published === 0 ? 1 : penalty / published,
    discernibility: groups.reduce((sum, { rows }) => sum + rows * rows, suppressed * window.rows),
    distinctSensitive: sensitive && leastDistinct(sensitive, kept, window.sensitiveNone),
    tCloseness:
      distance && kept.reduce((max, rows) => Math.max(max, distance(rows, 0, rows.length)), 0),
  };
}
