/**
 * Mondrian (LeFevre, DeWitt and Ramakrishnan, 2006): cuts at the median of the widest field, window by window.
 *
 * Groups are the tight ranges of their rows, so they are narrow; but ranges of different windows overlap, and together may
 * narrow a person down. Strict: rows with the same code stay together.
 */
import type { Domain } from "./domain.ts";
import type { ClusterWindow, Found } from "./group.ts";
import { divide, extentOf, penaltyOf, tightGroup } from "./ranges.ts";
import type { Requirement } from "./requirement.ts";

/** The k-th smallest of values[0..count-1], which are reordered (Hoare's selection). */
function select(values: Float64Array, count: number, k: number): number {
  let [from, to] = [0, count - 1];
  while (from < to) {
    const pivot = values[(from + to) >> 1] as number;
    let [left, right] = [from, to];
    while (left <= right) {
      while ((values[left] as number) < pivot) left++;
      while ((values[right] as number) > pivot) right--;
      if (left > right) break;
      const swapped = values[left] as number;
      values[left++] = values[right] as number;
      values[right--] = swapped;
    }
    if (k <= right) to = right;
    else if (k >= left) from = left;
    else break;
  }
  return values[k] as number;
}

/** The last codes of the lower halves of the cuts at the median that leave k rows on both sides, the more balanced first. */
function mediansOf(
  column: Float64Array,
  order: Uint32Array,
  [from, to]: readonly [number, number],
  { scratch, k }: { readonly scratch: Float64Array; readonly k: number },
): number[] {
  const count = to - from;
  for (let i = 0; i < count; i++) scratch[i] = column[order[from + i] as number] as number;
  const median = select(scratch, count, count >> 1);
  let [below, upTo] = [0, 0];
  for (let i = 0; i < count; i++) {
    const code = scratch[i] as number;
    if (code < median) below++;
    if (code <= median) upTo++;
  }
  const cuts = count - upTo > below ? [median, median - 1] : [median - 1, median];
  const fits = (lower: number) => lower >= k && count - lower >= k;
  return cuts.filter((last) => fits(last === median ? upTo : below));
}

export function groupByMedian(
  window: ClusterWindow,
  domains: readonly Domain[],
  requirement: Requirement,
): Found[] {
  const order = Uint32Array.from({ length: window.rows }, (_, row) => row);
  const scratch = new Float64Array(window.rows);
  /** Where rows from..to-1 are parted; null when no cut leaves two groups. */
  const cut = (from: number, to: number): number | null => {
    if (to - from < 2 * requirement.k) return null;
    const fields = window.columns.map((column, field) => {
      const [low, high] = extentOf(column, order, from, to);
      return { column, penalty: penaltyOf(domains[field] as Domain, low, high) };
    });
    fields.sort((a, b) => b.penalty - a.penalty);
    for (const { column, penalty } of fields) {
      if (penalty === 0) return null;
      for (const last of mediansOf(column, order, [from, to], { scratch, k: requirement.k })) {
        const at = divide(column, order, [from, to], last);
        if (requirement.meets(order, from, at) && requirement.meets(order, at, to)) return at;
      }
    }
    return null;
  };
  const found: Found[] = [];
  const stack: [number, number][] = [[0, window.rows]];
  for (let span = stack.pop(); span !== undefined; span = stack.pop()) {
    const [from, to] = span;
    const at = cut(from, to);
    if (at === null) found.push(tightGroup(window, order.slice(from, to)));
    else stack.push([at, to], [from, at]);
  }
  return found;
}
