/**
 * The desensitize stage with the real plugin in its real worker: what leaves, what is refused and why.
 */
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import {
  type DesensitizeState,
  NO_CUT,
} from "../../../pipeline/stages/desensitize/cluster-state.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import type { StepResult, StreamRecord } from "../../../pipeline/stream/contract.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { hostileGuest } from "../../wasm/hostile-guest.ts";
import { KEY, recordsOf, type SpecParts, secrets, specWith } from "./fixtures.ts";

const wasm = readFileSync(wasmPath("desensitize"));

const opened: { close?(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((stage) => stage.close?.()));
});

function stageWith(parts: SpecParts = {}) {
  const stage = createDesensitizeStage({ spec: specWith(parts), secrets, wasm });
  opened.push(stage);
  return stage;
}

async function process(
  records: readonly StreamRecord[],
  parts: SpecParts = {},
): Promise<StepResult<DesensitizeState>> {
  const lane = await stageWith(parts).openLane(0);
  const state = await lane.restore(null, 100);
  return lane.process(records, state, 0);
}

function textsOf({ outputs }: StepResult<DesensitizeState>): [key: string, value: string][] {
  return outputs.map(({ key, value }) => [
    Buffer.from(key!).toString(),
    Buffer.from(value!).toString(),
  ]);
}

const pseudonym = (text: string) => createHmac("sha256", KEY).update(text).digest("hex");

test("a record leaves with its rules done, under its id, with nothing of its key and headers", async () => {
  const raw = {
    name: "Leonard",
    note: "private",
    formId: "f1",
    email: "leo@example.com",
    age: 41,
    pixels: [1, 2],
  };
  const result = await process(recordsOf(raw));
  expect(textsOf(result)).toEqual([
    [
      "f1",
      JSON.stringify({
        name: "L******",
        formId: "f1",
        email: pseudonym("leo@example.com"),
        age: 41,
        pixels: [1, 2],
      }),
    ],
  ]);
  expect(result).toMatchObject({ outcomes: [], state: NO_CUT, consumedTo: 101, wakeAtMs: null });
  expect(result.outputs[0]).toMatchObject({ role: "desensitized", headers: {} });
});

test("every bad input is a dead letter with its reason, and the lane goes on", async () => {
  const good = { formId: "a", age: 1 };
  const cases: [string, Parameters<typeof recordsOf>[number]][] = [
    ["tombstone", null],
    ["too-large", { ...good, note: "x".repeat(1000) }],
    ["not-utf8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ["not-json", '{"formId":"a","age":1'],
    ["not-json", ""],
    ["wrong-type", "[]"],
    ["unknown-field", { ...good, ssn: "078-05-1120" }],
    ["missing-field", { formId: "a" }],
    ["wrong-type", { ...good, age: "1" }],
    ["duplicate-field", '{"formId":"a","age":1,"age":2}'],
    ["record-id", { age: 1 }],
    ["record-id", { formId: "", age: 1 }],
  ];
  const records = recordsOf(
    ...cases.flatMap(([, value], i) => [value, { formId: `good ${i}`, age: i }]),
  );
  const result = await process(records);
  expect(result.outcomes).toEqual(
    cases.map(([reason], i) => ({ offset: 100 + 2 * i, kind: "dead-letter", reason })),
  );
  expect(textsOf(result)).toEqual(
    cases.map((_, i) => [`good ${i}`, `{"formId":"good ${i}","age":${i}}`]),
  );
  expect(result.consumedTo).toBe(100 + records.length);
});

test("the size limit is the last size that passes", async () => {
  const record = Buffer.from('{"formId":"a","age":1}');
  const padded = Buffer.concat([record, Buffer.alloc(100 - record.length, " ")]);
  const maxBytes = 100;
  expect((await process(recordsOf(padded), { maxBytes })).outputs.length).toBe(1);
  const over = Buffer.concat([padded, Buffer.from(" ")]);
  expect((await process(recordsOf(over), { maxBytes })).outcomes).toMatchObject([
    { reason: "too-large" },
  ]);
});

test("a record that grows above what a topic takes is refused", async () => {
  const schema = { type: "object", properties: { id: {}, v: {} } };
  const rules = [
    { field: "id", action: "keep" },
    { field: "v", action: "mask", keepFirst: 0, keepLast: 0, with: "😀" },
  ] as const;
  const grown = (length: number) => recordsOf({ id: "a", v: "x".repeat(length) });
  const parts = { schema, rules, id: "id", maxBytes: 2 ** 20 };
  // Around a mask of four bytes each stand {"id":"a","v":""}.
  const most = Math.floor((MAX_VALUE_BYTES - 17) / 4);
  expect((await process(grown(most), parts)).outputs.length).toBe(1);
  expect((await process(grown(most + 1), parts)).outcomes).toMatchObject([{ reason: "too-large" }]);
});

test("nothing in: nothing out, and nothing new is final", async () => {
  expect(await process([])).toEqual({
    outputs: [],
    outcomes: [],
    state: NO_CUT,
    consumedTo: null,
    wakeAtMs: null,
  });
});

test("only refused records: all are final", async () => {
  expect(await process(recordsOf(null, null))).toMatchObject({ outputs: [], consumedTo: 102 });
});

test("what the plugin cannot judge is judged by the whole schema", async () => {
  const schema = {
    type: "object",
    properties: {
      formId: { type: "string", pattern: "^f[0-9]+$" },
      pixels: { type: "array", items: { type: "number", minimum: 0, maximum: 16 }, maxItems: 4 },
    },
    required: ["formId"],
  };
  const rules = [
    { field: "formId", action: "keep" },
    { field: "pixels", action: "keep" },
  ] as const;
  const records = recordsOf(
    { formId: "f1", pixels: [0, 16] },
    { formId: "x1", pixels: [] },
    { formId: "f2", pixels: [17] },
    { formId: "f3", pixels: [1, 2, 3, 4, 5] },
    { formId: "f4", pixels: ["1"] },
    { formId: "f5", other: 1 },
    { formId: "f6" },
  );
  const result = await process(records, { schema, rules });
  expect(textsOf(result).map(([key]) => key)).toEqual(["f1", "f6"]);
  expect(result.outcomes.map(({ offset, reason }) => [offset, reason])).toEqual([
    [101, "schema"],
    [102, "schema"],
    [103, "schema"],
    [104, "schema"],
    [105, "unknown-field"],
  ]);
});

test("fields that the schema allows without naming them never leave", async () => {
  const schema = { type: "object", properties: { formId: {} }, additionalProperties: true };
  const rules = [{ field: "formId", action: "keep" }] as const;
  const result = await process(recordsOf({ formId: "a", ssn: "078-05-1120" }), { schema, rules });
  expect(textsOf(result)).toEqual([["a", '{"formId":"a"}']]);
});

test("lanes share the plugin and do not mix", async () => {
  const stage = stageWith();
  const lanes = await Promise.all([0, 1, 2, 3].map((lane) => stage.openLane(lane)));
  const results = await Promise.all(
    lanes.map((lane, i) =>
      lane.process(recordsOf({ formId: `lane ${i}`, age: i }, null), NO_CUT, 0),
    ),
  );
  expect(results.map((result) => textsOf(result)[0]![0])).toEqual(lanes.map((_, i) => `lane ${i}`));
  for (const { outcomes } of results)
    expect(outcomes).toMatchObject([{ offset: 101, reason: "tombstone" }]);
});

test("a full batch passes, every record as itself", async () => {
  const stage = stageWith();
  await stage.warmUp?.();
  const lane = await stage.openLane(0);
  const { maxRecords } = stage.bounds;
  const records = recordsOf(
    ...Array.from({ length: maxRecords }, (_, i) => ({
      formId: `f${i}`,
      age: i,
      email: `p${i}@x.org`,
    })),
  );
  const result = await lane.process(records, NO_CUT, 0);
  expect(textsOf(result)).toEqual(
    records.map((_, i) => [
      `f${i}`,
      JSON.stringify({ formId: `f${i}`, age: i, email: pseudonym(`p${i}@x.org`) }),
    ]),
  );
});

test("a record larger than the bounds passes alone", async () => {
  const value = { formId: "big", age: 1, name: "x".repeat(MAX_VALUE_BYTES - 100) };
  const many = Array.from({ length: 20 }, () => value);
  const result = await process(recordsOf(...many), { maxBytes: 2 ** 20 });
  expect(result.outputs.length).toBe(many.length);
});

describe("a broken world is an exception:", () => {
  test("what is not the plugin", async () => {
    const stage = createDesensitizeStage({
      spec: specWith(),
      secrets,
      wasm: Buffer.from("no module"),
    });
    await expect(stage.openLane(0)).rejects.toMatchObject({ code: "plugin-invalid" });
    await expect(stage.warmUp?.()).rejects.toMatchObject({ code: "plugin-invalid" });
    await stage.close?.();
  });

  test("a missing secret, at once", () => {
    const missing = () => {
      throw new Error("no such secret");
    };
    expect(() => createDesensitizeStage({ spec: specWith(), secrets: missing, wasm })).toThrow(
      "no such secret",
    );
  });

  test("opening a lane of a closed stage", async () => {
    const stage = stageWith();
    await stage.close?.();
    await expect(stage.openLane(0)).rejects.toMatchObject({ code: "internal" });
  });
});

test("another plugin that answers with fewer columns gets nothing out", async () => {
  const stage = createDesensitizeStage({ spec: specWith(), secrets, wasm: await hostileGuest() });
  opened.push(stage);
  const lane = await stage.openLane(0);
  const result = await lane.process(recordsOf({ formId: "a", age: 1 }), NO_CUT, 0);
  expect(result.outputs).toEqual([]);
  expect(result.outcomes).toEqual([{ offset: 100, kind: "dead-letter", reason: "plugin-failed" }]);
});
