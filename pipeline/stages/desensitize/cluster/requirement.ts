/**
 * What a group of rows must have to be published: k distinct subjects, l distinct sensitive values, and sensitive values
 * spread nearly as in the whole window (t-closeness).
 *
 * Must not know where rows lie. Reads of typed arrays are cast: every index is below the array's length.
 */
import { SealstreamError } from "../../../errors.ts";
import type { ClusterOptions } from "../../../spec/pipeline-spec.ts";
import type { ClusterWindow } from "./group.ts";

export interface Requirement {
  readonly k: number;
  /** Whether rows[from..to-1] may be a group. */
  meets(rows: Uint32Array, from: number, to: number): boolean;
  /** Distinct subjects in rows[from..to-1], counted up to `enough`. */
  countSubjects(rows: Uint32Array, from: number, to: number, enough: number): number;
}

/** Counts distinct values of a column in slices of rows, without clearing anything between counts. @param none not counted */
function createCounter(column: Uint32Array, none = -1) {
  const seen = new Uint32Array(column.reduce((max, value) => Math.max(max, value), 0) + 1);
  let stamp = 0;
  return (rows: Uint32Array, from: number, to: number, enough: number): number => {
    stamp++;
    let count = 0;
    for (let i = from; i < to && count < enough; i++) {
      const value = column[rows[i] as number] as number;
      if (seen[value] === stamp || value === none) continue;
      seen[value] = stamp;
      count++;
    }
    return count;
  };
}

/** The values of a column as their ranks among the values that occur. */
function ranksOf(column: Uint32Array): { ranks: Uint32Array; count: number } {
  const values = [...new Set(column)].sort((a, b) => a - b);
  const rankOf = new Map(values.map((value, rank) => [value, rank]));
  return { ranks: column.map((value) => rankOf.get(value) ?? 0), count: values.length };
}

/**
 * The earth mover's distance, 0 to 1, between the sensitive values of some rows and those of the whole window: with the
 * ordered distance of Li, Li and Venkatasubramanian (2007) for numbers, by rank among the values of the window; with the
 * equal distance for others. The same as pycanon's. The function is 0 for a window with one value.
 */
export function createDistance(
  sensitive: Uint32Array,
  ordered: boolean,
): (rows: Uint32Array, from: number, to: number) => number {
  const { ranks, count } = ranksOf(sensitive);
  const whole = new Float64Array(count);
  for (const rank of ranks) whole[rank] = (whole[rank] as number) + 1 / ranks.length;
  const counts = new Uint32Array(count);
  return (rows, from, to) => {
    if (count < 2) return 0;
    counts.fill(0);
    for (let i = from; i < to; i++) {
      const rank = ranks[rows[i] as number] as number;
      counts[rank] = (counts[rank] as number) + 1;
    }
    let sum = 0;
    let moved = 0;
    for (let rank = 0; rank < count; rank++) {
      const more = (counts[rank] as number) / (to - from) - (whole[rank] as number);
      moved = ordered ? moved + more : more;
      sum += Math.abs(moved);
    }
    return ordered ? sum / (count - 1) : sum / 2;
  };
}

/** Distances that differ by less are rounding of the same. */
const TOLERANCE = 1e-9;

/** @throws internal when l-diversity or t-closeness is asked for and the window has no sensitive values */
export function createRequirement(window: ClusterWindow, options: ClusterOptions): Requirement {
  const { k, sensitive: asked } = options;
  const countSubjects = createCounter(window.subjects);
  const checks: ((rows: Uint32Array, from: number, to: number) => boolean)[] = [];
  if (asked !== null) {
    if (window.sensitive === null) {
      throw new SealstreamError("internal", "cluster: a window lacks its sensitive values");
    }
    const { lDiversity, tCloseness } = asked;
    if (lDiversity !== null) {
      const count = createCounter(window.sensitive, window.sensitiveNone);
      checks.push((rows, from, to) => count(rows, from, to, lDiversity) === lDiversity);
    }
    if (tCloseness !== null) {
      const distance = createDistance(window.sensitive, window.sensitiveOrdered ?? false);
      checks.push((rows, from, to) => distance(rows, from, to) <= tCloseness + TOLERANCE);
    }
  }
  return {
    k,
    countSubjects,
    meets: (rows, from, to) =>
      to - from >= k &&
      countSubjects(rows, from, to, k) === k &&
      checks.every((check) => check(rows, from, to)),
  };
}
