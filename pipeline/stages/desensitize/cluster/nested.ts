/**
 * Groups that are regions of one fixed tree, so that windows cannot be linked to narrow a person down.
 *
 * The tree depends on the domains alone: its root is all codes of all fields; each region is halved in the field that
 * says least (the widest, ties by field order) at `domain.middle`. Of any two of its regions, one holds the other or they
 * share nothing. What is published of a row is the region of its group, never the tighter range of its rows. So all that
 * is ever published about one person, in any window, lane or run, is a chain of nested regions, and its intersection is
 * its smallest member: published as it is, in a window where at least k distinct subjects had it. Rows that fit no side
 * of a cut are never published at the region above it, for that would say on which side they are.
 * Not covered: who knows in which windows a person occurs and can follow a pseudonym needs no region at all.
 */
import type { Domain } from "./domain.ts";
import type { ClusterWindow, Found } from "./group.ts";
import { divide, extentOf, penaltyOf } from "./ranges.ts";
import type { Requirement } from "./requirement.ts";

/** Rows order[from..to-1], all in the region low..high. */
interface Node {
  readonly from: number;
  readonly to: number;
  readonly low: number[];
  readonly high: number[];
}

/** The field in which a region is cut; -1 when it is one point. */
function fieldToCut(domains: readonly Domain[], low: readonly number[], high: readonly number[]) {
  let best = -1;
  let most = 0;
  for (const [field, domain] of domains.entries()) {
    const [from, to] = [low[field] as number, high[field] as number];
    if (from === to) continue;
    const penalty = penaltyOf(domain, from, to);
    if (penalty <= most) continue;
    most = penalty;
    best = field;
  }
  return best;
}

/**
 * Narrows the node's region to the smallest one whose halves both have rows, and cuts the rows there: a half without
 * rows needs no group. Null when the region is one point.
 */
function cut(
  { columns }: ClusterWindow,
  domains: readonly Domain[],
  order: Uint32Array,
  { from, to, low, high }: Node,
): { field: number; last: number; at: number } | null {
  const extents = columns.map((column) => extentOf(column, order, from, to));
  for (;;) {
    const field = fieldToCut(domains, low, high);
    const [domain, extent, column] = [domains[field], extents[field], columns[field]];
    if (domain === undefined || extent === undefined || column === undefined) return null;
    const last = domain.middle(low[field] as number, high[field] as number);
    if (extent[1] <= last) high[field] = last;
    else if (extent[0] > last) low[field] = last + 1;
    else return { field, last, at: divide(column, order, [from, to], last) };
  }
}

/** @param budget rows that may be left out so that others can be cut further */
export function groupByTree(
  window: ClusterWindow,
  domains: readonly Domain[],
  requirement: Requirement,
  budget: number,
): Found[] {
  const order = Uint32Array.from({ length: window.rows }, (_, row) => row);
  const whole: Node = {
    from: 0,
    to: window.rows,
    low: domains.map(() => 0),
    high: domains.map(({ size }) => size - 1),
  };
  const found: Found[] = [];
  let left = budget;
  // Level by level: the first to spend of the budget are the nodes with the most rows.
  const queue = [whole];
  for (const node of queue) {
    const where = cut(window, domains, order, node);
    const { low, high } = node;
    if (where !== null) {
      const { field, last, at } = where;
      const lower: Node = {
        ...node,
        to: at,
        low: [...node.low],
        high: node.high.with(field, last),
      };
      const upper: Node = {
        ...node,
        from: at,
        low: node.low.with(field, last + 1),
        high: [...node.high],
      };
      const fit = [lower, upper].filter(({ from, to }) => requirement.meets(order, from, to));
      const out = node.to - node.from - fit.reduce((sum, { from, to }) => sum + to - from, 0);
      if (fit.length > 0 && out <= left) {
        left -= out;
        queue.push(...fit);
        continue;
      }
    }
    found.push({
      rows: order.slice(node.from, node.to),
      low,
      high,
      mean: low.map((code, field) => (code + (high[field] as number)) / 2),
    });
  }
  return found;
}
