/**
 * Free text redacted by rules of a pipeline file, through the stage with the real plugin in its worker.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readRecordSchema } from "../../../pipeline/stages/desensitize/record-schema.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import { syntheticRecord } from "../../../pipeline/stages/desensitize/synthetic-record.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { loadFiles, specOf } from "../../spec/fixtures.ts";
import { recordsOf } from "./fixtures.ts";

const TEXT = { type: ["string", "number", "null"] };
const FILES: Readonly<Record<string, string>> = {
  "record.json": JSON.stringify({
    type: "object",
    properties: {
      id: { type: "string" },
      label: { type: "integer" },
      x: { type: "number" },
      note: TEXT,
      some: TEXT,
      own: TEXT,
      masked: TEXT,
      replies: { type: "array", items: { type: "object", properties: { text: TEXT } } },
    },
    required: ["id"],
  }),
  "pipeline.yaml": `
name: redaction
kafka: { partitions: 1 }
record: { schema: record.json, id: id, maxBytes: 921600 }
desensitize:
  - { fields: [id, label, x], action: keep }
  - { fields: [note, "replies[].text"], action: redact }
  - { field: some, action: redact, detect: [email, phone, card] }
  - field: own
    action: redact
    detect: [email]
    patterns:
      - { name: customer, pattern: "K-[0-9]{6}", ignoreCase: true }
      - { name: slow, pattern: "(a|a)*(a|aa)*b" }
    with: "<{type}>"
  - { field: masked, action: redact, detect: [iban], mask: "█" }
features: { inputs: [{ field: x, range: [0, 1] }], label: { field: label, classes: 2 } }
train: { network: [{ dense: 2 }], microBatchRecords: 1, updateBatchRecords: 1, learningRate: 0.1 }
privacy: { epsilon: 1, delta: 1e-5 }
`,
};

const spec = specOf(loadFiles(FILES));
const wasm = readFileSync(wasmPath("desensitize"));
const stage = createDesensitizeStage({ spec, secrets: () => Buffer.alloc(32), wasm });
beforeAll(() => stage.warmUp?.());
afterAll(() => stage.close?.());

/** The outgoing records as they are written, and why others have none. */
async function outOf(...records: readonly (object | string)[]) {
  const lane = await stage.openLane(0);
  const result = await lane.process(recordsOf(...records), await lane.restore(null, 100), 0);
  return {
    values: result.outputs.map(({ value }) => Buffer.from(value!).toString()),
    reasons: result.outcomes.map(({ reason }) => reason),
  };
}

async function redacted(record: object): Promise<object> {
  const { values, reasons } = await outOf({ id: "r", ...record });
  expect(reasons).toEqual([]);
  const { id: _, ...rest } = JSON.parse(values[0]!);
  return rest;
}

const EVERYTHING =
  "Ada <ada@example.com>, +49 30 901820, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, 078-05-1120, " +
  "192.0.2.7, 2001:db8::1, 00:1b:44:11:3a:b7, https://example.com/?q=1, 29.02.1984, 86095742719, 11010519491231002X.";

test("each field by its own detectors, at every depth", async () => {
  expect(
    await redacted({
      note: EVERYTHING,
      some: "ada@example.com, +49 30 901820, 4111 1111 1111 1111, 192.0.2.7, 29.02.1984",
      own: "Kunde k-123456 (ada@example.com), Ruf +49 30 901820",
      masked: "Konto DE89 3704 0044 0532 0130 00, Größe 5",
      replies: [{ text: "me@example.org" }, { text: null }, {}],
    }),
  ).toEqual({
    note: "Ada <[EMAIL]>, [PHONE], [CARD], [IBAN], [SSN], [IP], [IP], [MAC], [URL], [DATE], [DE-TAX-ID], [CN-ID].",
    some: "[EMAIL], [PHONE], [CARD], 192.0.2.7, 29.02.1984",
    own: "Kunde <CUSTOMER> (<EMAIL>), Ruf +49 30 901820",
    masked: `Konto ${"█".repeat(27)}, Größe 5`,
    replies: [{ text: "[EMAIL]" }, { text: null }, {}],
  });
});

test("the text of a number counts, as for every text rule; null stays", async () => {
  expect(await redacted({ note: 4111111111111111, some: 7, own: null })).toEqual({
    note: "[CARD]",
    some: "7",
    own: null,
  });
});

test("escapes are decoded before the search, and what is left is written as JSON.stringify writes it", async () => {
  const text = 'a\u0000\u001f\n"\\/é😀\u2028 ada@example.com "K-123456" \\';
  const escaped = [...text]
    .flatMap((one) => one.split(""))
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
    .join("");
  const wanted = text.replace("ada@example.com", "<EMAIL>").replace("K-123456", "<CUSTOMER>");
  const { values } = await outOf(`{"id":"r","own":"${escaped}"}`);
  expect(values).toEqual([JSON.stringify({ id: "r", own: wanted })]);
});

test("values that are not text are refused; nothing of the record leaves", async () => {
  const { values, reasons } = await outOf(
    '{"id":"r","note":true}',
    '{"id":"r","note":["ada@example.com"]}',
    '{"id":"r","note":{"a":1}}',
  );
  expect(values).toEqual([]);
  expect(reasons).toEqual(["wrong-type", "wrong-type", "wrong-type"]);
});

test("a pattern that makes backtracking matchers hang is done in time", async () => {
  const started = performance.now();
  const record = { id: "r", own: "a".repeat(500_000) };
  const { values, reasons } = await outOf(record);
  expect(reasons).toEqual([]);
  expect(values).toEqual([JSON.stringify(record)]);
  // A backtracking matcher would need longer than the universe has lasted; this is half of the deadline.
  expect(performance.now() - started).toBeLessThan(1000);
});

test("long texts of nothing but finds, of which each grows, have room", async () => {
  const text = "::1 ".repeat(100_000);
  expect(await redacted({ note: text })).toEqual({ note: "[IP] ".repeat(100_000) });
});

test("the record that warms up passes every rule and has something to find", async () => {
  const synthetic = syntheticRecord(spec, readRecordSchema(spec.record.schema));
  const { values, reasons } = await outOf(JSON.parse(Buffer.from(synthetic).toString()));
  expect(reasons).toEqual([]);
  expect(values[0]).toContain("[EMAIL]");
});
