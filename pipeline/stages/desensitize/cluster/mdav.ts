/**
 * MDAV (Domingo-Ferrer and Mateo-Sanz, 2002; Domingo-Ferrer and Torra, 2005): groups of nearest rows, k subjects each.
 *
 * Distances are Euclidean between codes scaled to 0..1 of each field. Twice a round: the row farthest from the centre of
 * what is left, with its nearest until k subjects are in; then the same from the row farthest from that one. Groups that
 * may not stand alone (the last, or for l-diversity or t-closeness) are joined. Takes rows^2 / k steps: half a second and
 * more for 10,000 rows. Ranges of different windows overlap.
 */
import type { Domain } from "./domain.ts";
import type { ClusterWindow, Found } from "./group.ts";
import { tightGroup } from "./ranges.ts";
import type { Requirement } from "./requirement.ts";

/** Rows as points, `width` numbers each. */
interface Points {
  readonly width: number;
  readonly at: Float64Array;
}

function pointsOf({ rows, columns }: ClusterWindow, domains: readonly Domain[]): Points {
  const width = columns.length;
  const at = new Float64Array(rows * width);
  for (const [field, column] of columns.entries()) {
    const scale = 1 / Math.max(1, (domains[field]?.size ?? 1) - 1);
    for (let row = 0; row < rows; row++) at[row * width + field] = (column[row] as number) * scale;
  }
  return { width, at };
}

function centreOf({ width, at }: Points, rows: Uint32Array): Float64Array {
  const centre = new Float64Array(width);
  for (const row of rows) {
    const base = row * width;
    for (let field = 0; field < width; field++) {
      centre[field] = (centre[field] as number) + (at[base + field] as number) / rows.length;
    }
  }
  return centre;
}

/** Squared distances of rows from a point, into `out`; returns the place of the farthest. */
function measureFrom(
  { width, at }: Points,
  rows: Uint32Array,
  point: Float64Array,
  out: Float64Array,
): number {
  let farthest = 0;
  for (let i = 0; i < rows.length; i++) {
    const base = (rows[i] as number) * width;
    let sum = 0;
    for (let field = 0; field < width; field++) {
      const apart = (at[base + field] as number) - (point[field] as number);
      sum += apart * apart;
    }
    out[i] = sum;
    if (sum > (out[farthest] as number)) farthest = i;
  }
  return farthest;
}

/** The `wanted` smallest of distances[0..count-1], as places, the nearest first; ties by place. */
function nearest(distances: Float64Array, count: number, wanted: number): number[] {
  const places: number[] = [];
  let worst = Infinity;
  for (let i = 0; i < count; i++) {
    const distance = distances[i] as number;
    if (places.length === wanted && distance >= worst) continue;
    if (places.length === wanted) places.pop();
    let slot = places.length;
    while (slot > 0 && (distances[places[slot - 1] as number] as number) > distance) slot--;
    places.splice(slot, 0, i);
    worst = distances[places[places.length - 1] as number] as number;
  }
  return places;
}

/** Takes the nearest rows until k subjects are among them out of rows[0..count-1]; null when there are not so many. */
function takeNearest(
  requirement: Requirement,
  rows: Uint32Array,
  count: number,
  distances: Float64Array,
): Uint32Array | null {
  const { k, countSubjects } = requirement;
  for (let wanted = k; ; wanted = Math.min(count, wanted * 2)) {
    const places = nearest(distances, count, wanted);
    const taken = Uint32Array.from(places, (place) => rows[place] as number);
    if (countSubjects(taken, 0, taken.length, k) < k) {
      if (wanted >= count) return null;
      continue;
    }
    let length = k;
    while (countSubjects(taken, 0, length, k) < k) length++;
    // From the last place down, so that the row that fills a gap is never one that goes.
    const gone = places.slice(0, length).sort((a, b) => b - a);
    for (const [i, place] of gone.entries()) rows[place] = rows[count - 1 - i] as number;
    return taken.slice(0, length);
  }
}

function concat(first: Uint32Array, second: Uint32Array): Uint32Array<ArrayBuffer> {
  const both = new Uint32Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** Groups of k subjects each, the last of what is left: what may not stand alone is yet to be joined. */
function gather(points: Points, rows: Uint32Array, requirement: Requirement): Uint32Array[] {
  const { k, countSubjects } = requirement;
  const distances = new Float64Array(rows.length);
  const pointOf = (row: number) => points.at.subarray(row * points.width, (row + 1) * points.width);
  const groups: Uint32Array[] = [];
  let count = rows.length;
  let from: Float64Array | null = null;
  while (count > 0 && countSubjects(rows, 0, count, 2 * k) >= 2 * k) {
    const left = rows.subarray(0, count);
    const centre: Float64Array = from ?? centreOf(points, left);
    const first = pointOf(rows[measureFrom(points, left, centre, distances)] as number);
    measureFrom(points, left, first, distances);
    const taken = takeNearest(requirement, rows, count, distances);
    if (taken === null) break;
    groups.push(taken);
    count -= taken.length;
    from = from === null ? first : null;
  }
  return count === 0 ? groups : [...groups, rows.slice(0, count)];
}

/** Joins groups that may not stand alone to one another, and what is left over to the nearest that may be joined. */
function joinUnfit(
  points: Points,
  groups: readonly Uint32Array[],
  requirement: Requirement,
): readonly Uint32Array[] {
  const { meets } = requirement;
  const fit: Uint32Array[] = [];
  let joined = new Uint32Array(0);
  for (const rows of groups) {
    if (meets(rows, 0, rows.length)) fit.push(rows);
    else joined = concat(joined, rows);
    if (joined.length === 0 || !meets(joined, 0, joined.length)) continue;
    fit.push(joined);
    joined = new Uint32Array(0);
  }
  if (joined.length === 0) return fit;
  const centre = centreOf(points, joined);
  const apart = fit.map((rows) => {
    const other = centreOf(points, rows);
    return other.reduce((sum, value, field) => sum + (value - (centre[field] as number)) ** 2, 0);
  });
  const byDistance = [...fit.keys()].sort((a, b) => (apart[a] as number) - (apart[b] as number));
  for (const index of byDistance) {
    const both = concat(fit[index] as Uint32Array, joined);
    if (meets(both, 0, both.length)) return fit.with(index, both);
  }
  // The whole window may be a group, or nothing would have been gathered.
  return [fit.reduce(concat, joined)];
}

export function groupByDistance(
  window: ClusterWindow,
  domains: readonly Domain[],
  requirement: Requirement,
): Found[] {
  const points = pointsOf(window, domains);
  const rows = Uint32Array.from({ length: window.rows }, (_, row) => row);
  return joinUnfit(points, gather(points, rows, requirement), requirement).map((group) =>
    tightGroup(window, group),
  );
}
