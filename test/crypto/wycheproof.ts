/**
 * Vectors of Project Wycheproof (test/vectors/crypto/wycheproof), and what becomes of them here. Must not: be a test.
 *
 * A case is refused when it is invalid, or when it is of those that we refuse on purpose; every other one opens to
 * exactly what it says, "acceptable" or not.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

export interface Vector {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: "valid" | "acceptable" | "invalid";
}

/** All cases of a file, each with the parameters of its group. */
export function vectorsOf<Fields>(name: string): (Vector & Fields)[] {
  const file = new URL(`../vectors/crypto/wycheproof/${name}.json.gz`, import.meta.url);
  const { groups } = JSON.parse(gunzipSync(readFileSync(file)).toString("utf8"));
  return groups.flatMap(({ tests, ...group }: { tests: object[] }) =>
    tests.map((one) => ({ ...group, ...one })),
  );
}

/** What became of the cases of a file. */
export interface Verdict {
  /** Cases that were not treated as they should be: none. */
  readonly wrong: readonly string[];
  readonly opened: number;
  readonly invalid: number;
  /** Number of cases that are refused on purpose, by the reason. */
  readonly onPurpose: Readonly<Record<string, number>>;
}

/**
 * @param rules `onPurpose`: why a case that is not invalid is refused here all the same, or null; `expected`: what the
 * case says, in hex; `run`: what our function makes of it, in hex, or null when it refuses
 */
export function judge<V extends Vector>(
  cases: readonly V[],
  rules: {
    readonly onPurpose: (one: V) => string | null;
    readonly expected: (one: V) => string;
    readonly run: (one: V) => string | null;
  },
): Verdict {
  const wrong: string[] = [];
  const onPurpose: Record<string, number> = {};
  let [opened, invalid] = [0, 0];
  for (const one of cases) {
    const reason = one.result === "invalid" ? null : rules.onPurpose(one);
    if (one.result === "invalid") invalid += 1;
    else if (reason !== null) onPurpose[reason] = (onPurpose[reason] ?? 0) + 1;
    else opened += 1;
    const expected = one.result === "invalid" || reason !== null ? null : rules.expected(one);
    const actual = rules.run(one);
    if (actual === expected) continue;
    const what = actual === null ? "refused" : expected === null ? "taken" : "another result";
    wrong.push(`${one.tcId} [${one.result}: ${one.flags}] ${one.comment}: ${what}`);
  }
  return { wrong, opened, invalid, onPurpose };
}

/** The first of the flags that a case has, or null. */
export function flagOf(one: Vector, ...flags: readonly string[]): string | null {
  return flags.find((flag) => one.flags.includes(flag)) ?? null;
}
