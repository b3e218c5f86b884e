/**
 * Fields of a schema whose names look like paths: no rule can name them, and nothing takes them for what a rule names.
 *
 * The fuzz found the first: a field `[]` was taken for the element of an array, and records with it were refused.
 */
import { readFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import type { ClusterOptions } from "../../../pipeline/spec/pipeline-spec.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { processAll, recordsOf, type SpecParts, secrets, specWith } from "./fixtures.ts";

const wasm = readFileSync(wasmPath("desensitize"));

const opened: { close?(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((stage) => stage.close?.()));
});

async function outOf(parts: SpecParts, ...records: readonly object[]) {
  const stage = createDesensitizeStage({ spec: specWith(parts), secrets, wasm });
  opened.push(stage);
  const lane = await stage.openLane(0);
  const { outputs, outcomes } = await processAll(lane, recordsOf(...records));
  const values = outputs.map(({ value }) => JSON.parse(Buffer.from(value ?? []).toString()));
  return { values, outcomes };
}

test("names of brackets, dots and nothing are known, and dropped", async () => {
  const names = ["[]", "", "a[]", "a.b", "."];
  const properties = Object.fromEntries(["id", ...names].map((name) => [name, {}]));
  const parts = {
    id: "id",
    schema: { type: "object", properties },
    rules: [{ field: "id", action: "keep" }],
  } as const;
  const record = Object.fromEntries([["id", "x"], ...names.map((name) => [name, "secret"])]);
  expect(await outOf(parts, record)).toEqual({ values: [{ id: "x" }], outcomes: [] });
});

test("a field with a dot in its name is not the clustered one inside an object", async () => {
  const cluster: ClusterOptions = {
    ...{ k: 2, windowRecords: 2, maxDelayMs: 1000, method: "mondrian", acrossWindows: "nested" },
    ...{ publish: "range", whenTooFew: "suppress", suppressUpTo: 0, sensitive: null },
  };
  const parts: SpecParts = {
    id: "id",
    schema: { type: "object", properties: { "o.n": {}, id: {}, o: {} } },
    rules: [
      { field: "id", action: "keep" },
      { field: "o.n", action: "cluster", domain: { kind: "number", range: [0, 9] }, cluster },
    ],
  };
  const record = (id: string, n: number) => ({ "o.n": 9, id, o: { n } });
  expect(await outOf(parts, record("a", 1), record("b", 1))).toEqual({
    values: [
      { id: "a", o: { n: "1" } },
      { id: "b", o: { n: "1" } },
    ],
    outcomes: [],
  });
});
