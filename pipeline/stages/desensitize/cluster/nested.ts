/**
 * Groups that are regions of one fixed tree, so that windows cannot be linked to narrow a person down.
 *
 * The tree depends on the domains alone: its root is all codes of all fields; each region is halved at `domain.middle` in
 * the field where that says most (`worthOf`, ties by field order). Of any two of its regions, one holds the other or they
 * share nothing. What is published of a row is the region of its group, never the tighter range of its rows. So all that
 * is ever published about one person, in any window, lane or run, is a chain of nested regions, and its intersection is
 * its smallest member: published as it is, in a window where at least k distinct subjects had it. Rows that fit no side
 * of a cut are never published at the region above it, for that would say on which side they are: either all rows stay
 * at the region above, or those few are not published at all.
 * Not covered: what is published about the others. Who follows pseudonyms over windows may see another member of a group at a
 * narrower region elsewhere and rule it out, so that fewer than k candidates are left; nor who knows when a person was seen,
 * nor values that change from one window to the next.
 */
import type { Domain } from "./domain.ts";
import type { ClusterWindow, Found } from "./group.ts";
import { divide, extentOf, penaltyOf } from "./ranges.ts";
import type { Requirement } from "./requirement.ts";

/** Cuts of a field that are looked ahead: a cut between groups of a hierarchy may say something only with the next. */
const LOOK_AHEAD = 3;

type Span = readonly [from: number, to: number];

/** Rows order[from..to-1], all in the region low..high. */
interface Node {
  readonly from: number;
  readonly to: number;
  readonly low: number[];
  readonly high: number[];
  /** What a cut of each field is worth; see worthOf. */
  readonly worth: number[];
}

interface Cut {
  /** The halves that may be groups. */
  readonly fit: readonly Node[];
  /** Rows in a half that may not. */
  readonly out: number;
  /** Penalty that the cut saves, for each row left out. */
  readonly benefit: number;
}

/** The mean penalty of what low..high becomes by so many cuts. */
function penaltyAfter(domain: Domain, low: number, high: number, cuts: number): number {
  if (cuts === 0 || low === high) return penaltyOf(domain, low, high);
  const middle = domain.middle(low, high);
  const lower = penaltyAfter(domain, low, middle, cuts - 1);
  return (lower + penaltyAfter(domain, middle + 1, high, cuts - 1)) / 2;
}

/**
 * Penalty that a cut of low..high saves, 0 to 1: the most per cut of the next few, or of all down to single values.
 * Data has no say in it.
 */
export function worthOf(domain: Domain, low: number, high: number): number {
  if (low === high) return 0;
  const penalty = penaltyOf(domain, low, high);
  let worth = penalty / Math.ceil(Math.log2(high - low + 1));
  // More cuts than so many can save no more than all of the penalty.
  for (let cuts = 1; cuts <= LOOK_AHEAD && worth < penalty / cuts; cuts++) {
    worth = Math.max(worth, (penalty - penaltyAfter(domain, low, high, cuts)) / cuts);
  }
  return worth;
}

/** The field in which a region is cut; -1 when it is one point. */
function fieldToCut({ worth }: Node): number {
  let best = -1;
  let most = 0;
  for (let field = 0; field < worth.length; field++) {
    if ((worth[field] as number) <= most) continue;
    most = worth[field] as number;
    best = field;
  }
  return best;
}

/** Cuts windows by the tree of some domains. */
function createCutter(
  { columns }: ClusterWindow,
  domains: readonly Domain[],
  requirement: Requirement,
  order: Uint32Array,
) {
  const halfOf = (node: Node, field: number, [first, end]: Span, [from, to]: Span): Node => ({
    from,
    to,
    low: node.low.with(field, first),
    high: node.high.with(field, end),
    worth: node.worth.with(field, worthOf(domains[field] as Domain, first, end)),
  });
  /** Reorders the node's rows by half; null when neither half may be a group. */
  const cutAt = (node: Node, field: number, last: number): Cut | null => {
    const { from, to, low, high, worth } = node;
    const at = divide(columns[field] as Float64Array, order, [from, to], last);
    const halves: readonly (readonly [codes: Span, rows: Span])[] = [
      [
        [low[field] as number, last],
        [from, at],
      ],
      [
        [last + 1, high[field] as number],
        [at, to],
      ],
    ];
    const fit = halves
      .filter(([, rows]) => requirement.meets(order, ...rows))
      .map(([codes, rows]) => halfOf(node, field, codes, rows));
    if (fit.length === 0) return null;
    const kept = fit.reduce((sum, half) => sum + half.to - half.from, 0);
    const out = to - from - kept;
    return { fit, out, benefit: ((worth[field] as number) * kept) / out };
  };
  /**
   * Narrows the node's region to the smallest one whose halves both have rows, for a half without rows needs no group,
   * and cuts it there. Null when it cannot be cut.
   */
  return (node: Node): Cut | null => {
    const { from, to, low, high, worth } = node;
    const extents = new Map<number, readonly [number, number]>();
    for (let field = fieldToCut(node); field !== -1; field = fieldToCut(node)) {
      const domain = domains[field] as Domain;
      const last = domain.middle(low[field] as number, high[field] as number);
      const extent =
        extents.get(field) ?? extentOf(columns[field] as Float64Array, order, from, to);
      extents.set(field, extent);
      if (extent[0] <= last && extent[1] > last) return cutAt(node, field, last);
      if (extent[1] <= last) high[field] = last;
      else low[field] = last + 1;
      worth[field] = worthOf(domain, low[field] as number, high[field] as number);
    }
    return null;
  };
}

/**
 * The regions of a window. While the budget lasts, cuts that leave a few rows without a group are made too, first those
 * that save most for each row.
 *
 * @param budget rows that may be left without a group
 */
export function groupByTree(
  window: ClusterWindow,
  domains: readonly Domain[],
  requirement: Requirement,
  budget: number,
): Found[] {
  const order = Uint32Array.from({ length: window.rows }, (_, row) => row);
  const cut = createCutter(window, domains, requirement, order);
  const low = domains.map(() => 0);
  const high = domains.map(({ size }) => size - 1);
  const worth = domains.map((domain) => worthOf(domain, 0, domain.size - 1));
  const open: Node[] = [{ from: 0, to: window.rows, low, high, worth }];
  const costly: { readonly node: Node; readonly next: Cut }[] = [];
  const final: Node[] = [];
  let left = budget;
  for (;;) {
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      const next = cut(node);
      if (next?.out === 0) open.push(...next.fit);
      else if (next !== null && next.out <= left) costly.push({ node, next });
      else final.push(node);
    }
    let best = -1;
    for (const [index, { next }] of costly.entries()) {
      if (next.out <= left && next.benefit > (costly[best]?.next.benefit ?? 0)) best = index;
    }
    const [chosen] = best === -1 ? [] : costly.splice(best, 1);
    if (chosen === undefined) break;
    left -= chosen.next.out;
    open.push(...chosen.next.fit);
  }
  return [...final, ...costly.map(({ node }) => node)].map(({ from, to, ...region }) => ({
    rows: order.slice(from, to),
    low: region.low,
    high: region.high,
    mean: region.low.map((code, field) => (code + (region.high[field] as number)) / 2),
  }));
}
