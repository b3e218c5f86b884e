/** Windows for the tests of grouping: random and skewed, with subjects that recur. */
import {
  ADULT_FIELDS,
  createRandom,
  drawPerson,
  type Random,
} from "../../../../bench/lib/adult.ts";
import type { ClusterDomain, ClusterOptions } from "../../../../pipeline/spec/pipeline-spec.ts";
import {
  createDomain,
  type Domain,
} from "../../../../pipeline/stages/desensitize/cluster/domain.ts";
import type {
  ClusterWindow,
  Grouping,
} from "../../../../pipeline/stages/desensitize/cluster/group.ts";

export const OPTIONS: ClusterOptions = {
  k: 5,
  windowRecords: 1000,
  maxDelayMs: 1000,
  method: "mondrian",
  acrossWindows: "nested",
  publish: "range",
  whenTooFew: "suppress",
  suppressUpTo: 0,
  sensitive: null,
};

/** Fields of every kind. */
const MIXED: readonly ClusterDomain[] = [
  { kind: "number", range: [-50, 200] },
  { kind: "date", range: ["1930-01-01", "2012-12-31"] },
  { kind: "digits", length: 5 },
  { kind: "text" },
  {
    kind: "hierarchy",
    paths: ["a", "b", "c", "d", "e", "f", "g"].map((leaf, i) => [leaf, `g${i % 3}`]),
  },
];
export const MIXED_DOMAINS: readonly Domain[] = MIXED.map(createDomain);
export const ADULT_DOMAINS: readonly Domain[] = ADULT_FIELDS.map(({ domain }) =>
  createDomain(domain),
);

/** Codes of a person, clustered around few places so that rows repeat, with some far away. */
export function drawMixed(random: Random): number[] {
  const centre = Math.floor(random() * 4) / 4;
  return MIXED_DOMAINS.map(({ size }) => {
    const share = random() < 0.1 ? random() : (centre + random() ** 3 / 4) % 1;
    return Math.floor(share * size);
  });
}

/** A window of people, who keep their codes; one may have several rows. */
export function windowOf(
  people: readonly (readonly number[])[],
  present: readonly number[],
  sensitive: Uint32Array | null = null,
): ClusterWindow {
  const numbers = new Map([...new Set(present)].map((person, number) => [person, number]));
  return {
    rows: present.length,
    columns: (people[0] ?? []).map((_, field) =>
      Float64Array.from(present, (person) => people[person]![field]!),
    ),
    subjects: Uint32Array.from(present, (person) => numbers.get(person)!),
    sensitive,
  };
}

export function drawWindow(seed: number, rows: number, subjects = rows): ClusterWindow {
  const random = createRandom(seed);
  const people = Array.from({ length: subjects }, () => drawMixed(random));
  const present = Array.from({ length: rows }, () => Math.floor(random() * subjects));
  const sensitive = Uint32Array.from(present, () => Math.floor(random() ** 2 * 8));
  return windowOf(people, present, sensitive);
}

export function drawAdults(seed: number, rows: number): ClusterWindow {
  const random = createRandom(seed);
  const drawn = Array.from({ length: rows }, () => drawPerson(random));
  const people = drawn.map(({ values }) =>
    values.map((value, field) => ADULT_DOMAINS[field]!.encode(value)!),
  );
  return windowOf(
    people,
    [...people.keys()],
    Uint32Array.from(drawn, ({ income }) => income),
  );
}

/** Rows of each group. */
export function membersOf({ group, groups }: Grouping): number[][] {
  const members = groups.map((): number[] => []);
  for (const [row, index] of group.entries()) if (index !== -1) members[index]!.push(row);
  return members;
}
