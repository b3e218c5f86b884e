/**
 * A slice of the fuzz for CI: one seed that stays, and one that is another each time and is told when it finds something.
 *
 * And that the fuzz can find: a model that was told other rules than the plugin must disagree, and a marker that leaves
 * must be seen in every form that it is looked for in.
 */
import { expect, test } from "vitest";
import { BUILDS } from "../plugins/desensitize/guest.ts";
import { createRandom } from "../plugins/desensitize/random.ts";
import { runFuzz } from "./fuzz.ts";
import { engineAccepts } from "./json-reader.ts";
import { findMarker, formsOf, MARKER_KINDS, randomMarker } from "./markers.ts";
import { reduceJson, reduceList, shrink } from "./shrink.ts";
import { tellFinding } from "./tell.ts";

const DOCUMENTS = 12_000;
const STATUSES = [
  ...["ok", "wrong-type", "not-json", "not-utf8", "record-id", "unknown-field", "duplicate-field"],
  ...["too-large", "missing-field", "tombstone"],
];

function fuzzSlice(seed: number) {
  const { tally, finding } = runFuzz({ seed, documents: DOCUMENTS, builds: BUILDS });
  if (finding !== null) expect.fail(tellFinding(finding, shrink(finding, BUILDS)));
  expect(tally.documents).toBe(DOCUMENTS);
  return tally;
}

test("random documents under random rules, with a seed that stays", () => {
  const { statuses, marked } = fuzzSlice(20_261_121);
  // Worth something only if every answer comes up, and markers do.
  for (const status of STATUSES) expect(statuses.get(status) ?? 0, status).toBeGreaterThan(0);
  expect(statuses.get("ok")).toBeGreaterThan(DOCUMENTS / 4);
  expect(statuses.get("unsure") ?? 0).toBeLessThan(DOCUMENTS / 1000);
  expect(marked).toBeGreaterThan(DOCUMENTS / 20);
});

test("random documents under random rules, with a seed of this run", () => {
  const { seed } = createRandom();
  const { statuses, marked } = fuzzSlice(seed);
  // A dozen rule sets may all be odd ones: less is asked for than of the seed that stays.
  expect(statuses.get("ok"), `seed ${seed}`).toBeGreaterThan(DOCUMENTS / 20);
  expect(marked, `seed ${seed}`).toBeGreaterThan(0);
});

test("a marker is found in every form", () => {
  const random = createRandom();
  for (const kind of MARKER_KINDS) {
    const marker = randomMarker(kind, random);
    expect(Buffer.byteLength(marker)).toBe(8);
    for (const form of formsOf(marker)) {
      expect(
        findMarker(marker, `{"v":"..${form}.."}`),
        `seed ${random.seed}, ${form}`,
      ).not.toBeNull();
    }
    const mixed = marker.split("").map((unit, i) => {
      return i % 2 === 0 ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    });
    expect(findMarker(marker, `{"v":"${mixed.join("")}"}`)).toBe(marker);
    for (const before of ["", "a", "ab"]) {
      const base64 = Buffer.from(`${before}${marker}rest`).toString("base64");
      expect(findMarker(marker, base64), `seed ${random.seed}, ${base64}`).not.toBeNull();
    }
    expect(findMarker(marker, JSON.stringify({ v: "something else", n: 1 }))).toBeNull();
  }
});

test("lists are made small as long as they stay bad", () => {
  const isBad = (list: readonly number[]): boolean => list.includes(3) && list.includes(90);
  expect(
    reduceList(
      Array.from({ length: 100 }, (_, i) => i),
      isBad,
    ),
  ).toEqual([3, 90]);
  const json = Buffer.from('{"a":[1,{"b":2,"c":[]}],"d":{"e":"bad","f":0},"g":null}');
  const hasBad = (bytes: readonly number[]): boolean => {
    const text = Buffer.from(bytes).toString();
    return text.includes("bad") && engineAccepts(text);
  };
  expect(Buffer.from(reduceJson([...json], hasBad)).toString()).toBe('{"a":{"e":"bad"}}');
});
