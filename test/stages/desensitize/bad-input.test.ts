/**
 * Every bad input of issue 5 through the stage with the real plugin: the right answer or a dead letter, for a lane that
 * groups records and one that does not. Its good neighbours leave as if it had not been there.
 */
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import type { ClusterOptions, DesensitizeRule } from "../../../pipeline/spec/pipeline-spec.ts";
import { NO_CUT } from "../../../pipeline/stages/desensitize/cluster-state.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { BAD_INPUTS, HEAD } from "./bad-input-cases.ts";
import { KEY, processAll, recordsOf, secrets, specWith } from "./fixtures.ts";

const CLUSTER: ClusterOptions = {
  ...{ k: 2, windowRecords: 3, maxDelayMs: 1000, method: "mondrian", acrossWindows: "nested" },
  ...{ publish: "range", whenTooFew: "suppress", suppressUpTo: 0, sensitive: null },
};
const PLAIN: readonly DesensitizeRule[] = [
  { field: "id", action: "keep" },
  { field: "points", action: "keep" },
  { field: "name", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
  { field: "email", action: "pseudonymize", key: { env: "PSEUDONYM_KEY" } },
  { field: "income", action: "generalize", to: { width: 10_000 } },
  { field: "address.city", action: "generalize", to: { prefix: 3 } },
  { field: "items[].iban", action: "hash" },
];
const GROUPED: readonly DesensitizeRule[] = [
  ...PLAIN,
  {
    field: "age",
    action: "cluster",
    domain: { kind: "number", range: [0, 127] },
    cluster: CLUSTER,
  },
  { field: "zip", action: "cluster", domain: { kind: "digits", length: 5 }, cluster: CLUSTER },
];
const NAMES = [
  "id",
  "age",
  "zip",
  "points",
  "name",
  "email",
  "income",
  "address",
  "items",
  "secret",
];
const schema = {
  type: "object",
  properties: Object.fromEntries(NAMES.map((name) => [name, {}])),
};

const stages = [
  // Without rules of their own the members of HEAD are kept, so that the outcome can be told.
  {
    ...{ kind: "a lane of single records", rules: [...PLAIN, ...kept("age", "zip")] },
    head: HEAD,
  },
  // All of a group are of one age and place, so that its range is that value, as a text.
  { kind: "a lane that groups", rules: GROUPED, head: '"id":"x","age":"41","zip":"10115"' },
];

function kept(...fields: readonly string[]): DesensitizeRule[] {
  return fields.map((field) => ({ field, action: "keep" }));
}

describe.each(stages)("$kind", ({ rules, head }) => {
  const spec = specWith({ schema, rules, id: "id", maxBytes: 2 ** 20 });
  const wasm = readFileSync(wasmPath("desensitize"));
  const stage = createDesensitizeStage({ spec, secrets, wasm });
  afterAll(() => stage.close?.());

  test.each(BAD_INPUTS)("$name", async ({ record, becomes }) => {
    const lane = await stage.openLane(0);
    const good = `{${HEAD}}`;
    const { outputs, outcomes, consumedTo } = await processAll(lane, recordsOf(good, record, good));
    const texts = outputs.map(({ value }) => Buffer.from(value ?? []).toString());
    expect(consumedTo).toBe(103);
    if (typeof becomes === "string") {
      expect(outcomes).toEqual([{ offset: 101, kind: "dead-letter", reason: becomes }]);
      expect(texts).toEqual([`{${head}}`, `{${head}}`]);
      return;
    }
    const long = createHmac("sha256", KEY).update("x".repeat(1_000_000)).digest("hex");
    const members = becomes.members.replace("PSEUDONYM", `"${long}"`);
    expect(outcomes).toEqual([]);
    expect(texts).toEqual([
      `{${head}}`,
      `{${head}${members === "" ? "" : `,${members}`}}`,
      `{${head}}`,
    ]);
  });

  test("an empty batch", async () => {
    const lane = await stage.openLane(0);
    expect(await lane.process([], NO_CUT, 0)).toEqual({
      ...{ outputs: [], outcomes: [], state: NO_CUT, consumedTo: null, wakeAtMs: null },
    });
  });

  test("all of them in one batch, each as if alone", async () => {
    // A window of three records takes each refused one with two good ones.
    const refused = BAD_INPUTS.filter(({ becomes }) => typeof becomes === "string");
    const good = `{${HEAD}}`;
    const lane = await stage.openLane(0);
    let records = recordsOf(...refused.flatMap(({ record }) => [record, good, good]));
    const outcomes: unknown[] = [];
    let count = 0;
    while (records.length > 0) {
      const result = await processAll(lane, records);
      outcomes.push(...result.outcomes.map(({ reason }) => reason));
      count += result.outputs.length;
      const to = result.consumedTo ?? Number.POSITIVE_INFINITY;
      records = records.filter(({ offset }) => offset >= to);
    }
    expect(outcomes).toEqual(refused.map(({ becomes }) => becomes));
    expect(count).toBe(refused.length * 2);
  });
});

describe("grouped values", () => {
  test.each([
    ["beyond double", '"age":1e400', "wrong-type"],
    ["not a number", '"age":"4I"', "wrong-type"],
    ["outside the domain", '"age":128', "wrong-type"],
    ["half a surrogate pair", '"age":"\\ud834"', "not-utf8"],
    ["null", '"age":null', "missing-field"],
    ["an object", '"age":{"years":41}', "wrong-type"],
    ["an array", '"age":[41]', "wrong-type"],
    ["none", '"points":1', "missing-field"],
    ["a string of 1 MB", `"age":"${"4".repeat(1_000_000)}"`, "wrong-type"],
  ])("%s", async (_, members, reason) => {
    const spec = specWith({ schema, rules: GROUPED, id: "id", maxBytes: 2 ** 20 });
    const wasm = readFileSync(wasmPath("desensitize"));
    const stage = createDesensitizeStage({ spec, secrets, wasm });
    const lane = await stage.openLane(0);
    const good = `{${HEAD}}`;
    const bad = `{"id":"x","zip":"10115",${members}}`;
    const { outputs, outcomes } = await processAll(lane, recordsOf(bad, good, good));
    await stage.close?.();
    expect(outcomes).toEqual([{ offset: 100, kind: "dead-letter", reason }]);
    expect(outputs.length).toBe(2);
  });
});
