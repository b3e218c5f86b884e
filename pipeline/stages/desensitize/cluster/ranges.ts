/**
 * Ranges of codes: how much they leave open, what range rows have, and rows parted at a code.
 *
 * Reads of typed arrays are cast: every index is below the array's length.
 */
import type { Domain } from "./domain.ts";
import type { ClusterWindow, Found } from "./group.ts";

/** Share of a domain that a range of it leaves open: 0 for one value, 1 for all. */
export function penaltyOf(domain: Domain, low: number, high: number): number {
  return domain.size === 1 ? 0 : (domain.covered(low, high) - 1) / (domain.size - 1);
}

/** Lowest and highest code that a column has in some rows. */
export function extentOf(column: Float64Array, order: Uint32Array, from: number, to: number) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = from; i < to; i++) {
    const code = column[order[i] as number] as number;
    if (code < low) low = code;
    if (code > high) high = code;
  }
  return [low, high] as const;
}

/** Reorders order[from..to-1] so that rows with codes up to `last` come first; returns where the others begin. */
export function divide(
  column: Float64Array,
  order: Uint32Array,
  span: readonly [from: number, to: number],
  last: number,
): number {
  let [left, right] = [span[0], span[1] - 1];
  while (left <= right) {
    const row = order[left] as number;
    if ((column[row] as number) <= last) {
      left++;
      continue;
    }
    order[left] = order[right] as number;
    order[right] = row;
    right--;
  }
  return left;
}

/** A group with the tight ranges and the mean codes of its rows. */
export function tightGroup({ columns }: ClusterWindow, rows: Uint32Array): Found {
  const extents = columns.map((column) => extentOf(column, rows, 0, rows.length));
  return {
    rows,
    low: extents.map(([low]) => low),
    high: extents.map(([, high]) => high),
    mean: columns.map((column) => {
      let sum = 0;
      for (const row of rows) sum += column[row] as number;
      return sum / rows.length;
    }),
  };
}
