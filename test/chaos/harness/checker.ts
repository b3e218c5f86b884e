/**
 * Compares what a hop should hold with what it holds, partition by partition. Pure; knows nothing of Kafka.
 *
 * The k-th time an id is found stands for the k-th time it is expected. More often than expected is duplicated, less
 * often is missing, and what is left is out of order by as many as must be taken out for the rest to stand in order.
 * An id that nobody expects is foreign.
 */

export interface HopCounts {
  readonly expected: number;
  readonly found: number;
  readonly missing: number;
  readonly duplicated: number;
  readonly outOfOrder: number;
  readonly foreign: number;
  /** The first few of what is wrong: `lane 2 missing form-17`. Ids of made-up records only. */
  readonly examples: readonly string[];
}

export interface Hop extends HopCounts {
  readonly name: string;
}

const MOST_EXAMPLES = 5;

/** Length of the longest rising subsequence (patience sorting). */
function longestRise(numbers: readonly number[]): number {
  const tails: number[] = [];
  for (const number of numbers) {
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((tails[middle] ?? 0) < number) low = middle + 1;
      else high = middle;
    }
    tails[low] = number;
  }
  return tails.length;
}

function compareLane(
  lane: number,
  expected: readonly string[],
  found: readonly string[],
): HopCounts {
  const places = new Map<string, number[]>();
  for (const [place, id] of expected.entries()) {
    const known = places.get(id);
    if (known === undefined) places.set(id, [place]);
    else known.push(place);
  }
  const wrong: string[] = [];
  const order: number[] = [];
  let duplicated = 0;
  let foreign = 0;
  for (const id of found) {
    const left = places.get(id);
    const place = left?.shift();
    if (left === undefined) {
      foreign += 1;
      wrong.push(`lane ${lane} foreign ${id}`);
    } else if (place === undefined) {
      duplicated += 1;
      wrong.push(`lane ${lane} duplicated ${id}`);
    } else {
      order.push(place);
    }
  }
  let missing = 0;
  for (const [id, left] of places) {
    missing += left.length;
    if (left.length > 0) wrong.push(`lane ${lane} missing ${id}`);
  }
  const outOfOrder = order.length - longestRise(order);
  const turn = order.findIndex((place, index) => place < (order[index - 1] ?? -1));
  if (turn > 0) {
    wrong.push(`lane ${lane} out of order ${expected[order[turn] ?? 0]} as number ${turn}`);
  }
  const examples = wrong.slice(0, MOST_EXAMPLES);
  const counts = { expected: expected.length, found: found.length };
  return { ...counts, missing, duplicated, outOfOrder, foreign, examples };
}

/** @param expected ids by lane, in order @param found ids by lane, by rising offset */
export function compareHop(
  name: string,
  expected: readonly (readonly string[])[],
  found: readonly (readonly string[])[],
): Hop {
  const lanes = Array.from({ length: Math.max(expected.length, found.length) }, (_, lane) =>
    compareLane(lane, expected[lane] ?? [], found[lane] ?? []),
  );
  const total = (field: Exclude<keyof HopCounts, "examples">): number =>
    lanes.reduce((sum, lane) => sum + lane[field], 0);
  return {
    name,
    expected: total("expected"),
    found: total("found"),
    missing: total("missing"),
    duplicated: total("duplicated"),
    outOfOrder: total("outOfOrder"),
    foreign: total("foreign"),
    examples: lanes.flatMap(({ examples }) => examples).slice(0, MOST_EXAMPLES),
  };
}

export interface Verdict {
  readonly missing: number;
  readonly duplicated: number;
  readonly outOfOrder: number;
  readonly foreign: number;
}

/** All hops together. */
export function sumHops(hops: readonly Hop[]): Verdict {
  const sum = (field: keyof Verdict): number => hops.reduce((all, hop) => all + hop[field], 0);
  return {
    missing: sum("missing"),
    duplicated: sum("duplicated"),
    outOfOrder: sum("outOfOrder"),
    foreign: sum("foreign"),
  };
}

export function isClean({ missing, duplicated, outOfOrder, foreign }: Verdict): boolean {
  return missing + duplicated + outOfOrder + foreign === 0;
}

/** The line that a run ends with. */
export function verdictLine({ missing, duplicated, outOfOrder }: Verdict): string {
  return `missing ${missing}, duplicated ${duplicated}, out of order ${outOfOrder}`;
}
