/**
 * Linkage across windows: whoever puts together all that was ever published about a person, following a pseudonym, learns
 * no more than one region that at least k subjects had in one window.
 */
import { describe, expect, it } from "vitest";
import { createRandom } from "../../../../bench/lib/adult.ts";
import type { ClusterOptions } from "../../../../pipeline/spec/pipeline-spec.ts";
import { type Group, groupWindow } from "../../../../pipeline/stages/desensitize/cluster/group.ts";
import { drawMixed, MIXED_DOMAINS, membersOf, OPTIONS, windowOf } from "./windows.ts";

const PEOPLE = 400;
const WINDOWS = 40;

/** What was published about a person: a region, and how many subjects had it in that window. */
interface Published {
  readonly group: Group;
  readonly subjects: number;
}

/** All that is published about people who come and go. Each row of a person has the same codes. */
function publish(options: ClusterOptions): Published[][] {
  const random = createRandom(21);
  const people = Array.from({ length: PEOPLE }, () => drawMixed(random));
  const seen = people.map((): Published[] => []);
  for (let number = 0; number < WINDOWS; number++) {
    const rows = 20 + Math.floor(random() * 600);
    const present = Array.from({ length: rows }, () => Math.floor(random() ** 1.5 * PEOPLE));
    const grouping = groupWindow(windowOf(people, present), MIXED_DOMAINS, options);
    for (const [index, members] of membersOf(grouping).entries()) {
      const persons = new Set(members.map((row) => present[row]!));
      // Everybody may be anywhere in the widest range, whoever is there in this window.
      const subjects = index === grouping.generalized ? PEOPLE : persons.size;
      for (const person of persons)
        seen[person]!.push({ group: grouping.groups[index]!, subjects });
    }
  }
  return seen;
}

const inside = (inner: Group, outer: Group) =>
  inner.low.every((low, i) => low >= outer.low[i]! && inner.high[i]! <= outer.high[i]!);

/** The smallest of the regions, when each two are nested; null when they are not. */
function smallestOf(published: readonly Published[]): Published | null {
  const nested = published.every(({ group: one }) =>
    published.every(({ group: other }) => inside(one, other) || inside(other, one)),
  );
  if (!nested) return null;
  return published.find(({ group }) => published.every((other) => inside(group, other.group)))!;
}

describe("across windows", () => {
  it.each([
    ["suppress", 0],
    ["suppress", 0.05],
    ["generalize", 0],
    ["generalize", 0.05],
  ] as const)("nested groups say no more than one of them (%s, %d)", (whenTooFew, suppressUpTo) => {
    const seen = publish({ ...OPTIONS, whenTooFew, suppressUpTo });
    const smallest = seen.filter((published) => published.length > 0).map(smallestOf);
    expect(smallest).not.toContain(null);
    const subjects = smallest.map((one) => one?.subjects ?? 0);
    expect(Math.min(...subjects)).toBeGreaterThanOrEqual(OPTIONS.k);
    // Or nothing would have been linked: most people were published in several regions.
    const regions = seen.map((published) => new Set(published.map(({ group }) => `${group.low}`)));
    expect(regions.filter(({ size }) => size > 2).length).toBeGreaterThan(PEOPLE / 4);
  });

  it("independent groups do say more, which is why they are not the default", () => {
    const seen = publish({ ...OPTIONS, acrossWindows: "independent" });
    expect(seen.map(smallestOf)).toContain(null);
  });
});
