/**
 * Records that are judged while the lane writes others: in order, once each, as many as are ready, and nothing lost.
 */
import { expect, test } from "vitest";
import { createJudgeAhead } from "../../../pipeline/stages/desensitize/judge-ahead.ts";
import type { RowJudge } from "../../../pipeline/stages/desensitize/judge-rows.ts";
import { readRecordSchema } from "../../../pipeline/stages/desensitize/record-schema.ts";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import { type InputColumn, type PluginResult, packBatch } from "../../../pipeline/wasm/columns.ts";
import { SCHEMA, type SpecParts, specWith } from "./fixtures.ts";

const values = (records: readonly StreamRecord[]) =>
  records.map(({ value }) => Buffer.from(value ?? []).toString());

/** A plugin that answers when it is told to, with the record as its own key and value. */
function slowPlugin(parts: SpecParts = {}) {
  const asked: { readonly rows: number; answer(): void; fail(error: Error): void }[] = [];
  const transform = (columns: readonly InputColumn[], rows: number): Promise<PluginResult> => {
    const { promise, resolve, reject } = Promise.withResolvers<PluginResult>();
    const [own = []] = columns;
    const result = {
      status: new Uint8Array(rows),
      rowIndex: Uint32Array.from({ length: rows }, (_, row) => row),
      columns: packBatch([own, own], 0, rows).columns,
    };
    asked.push({ rows, answer: () => resolve(result), fail: reject });
    return promise;
  };
  const judge: RowJudge = {
    plugins: { run: async (given) => given, close: async () => undefined },
    host: { transform, close: async () => undefined },
    // Without a rest that only a validator could judge.
    schema: { ...readRecordSchema(SCHEMA), validate: null },
    spec: specWith(parts),
    subjects: null,
    lane: 0,
  };
  return { asked, ahead: createJudgeAhead(judge) };
}

const recordsFrom = (first: number, count: number): StreamRecord[] =>
  Array.from({ length: count }, (_, i) => ({
    offset: first + i,
    timestampMs: 0,
    key: null,
    value: Buffer.from(`r${first + i}`),
    headers: {},
  }));

const taken = (judged: readonly unknown[]) =>
  judged.map((one) => Buffer.from((one as { value: Uint8Array }).value).toString());

/** Lets the promises that can settle do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("takes what is judged, in order, and begins the rest before it is asked", async () => {
  const { asked, ahead } = slowPlugin();
  const records = recordsFrom(0, 9);
  ahead.prepare(records.slice(0, 3));
  ahead.prepare(records.slice(3, 6));
  ahead.prepare(records.slice(6));
  await settle();
  expect(asked.map(({ rows }) => rows)).toEqual([3, 3, 3]);
  asked[0]?.answer();
  asked[1]?.answer();
  await settle();
  expect(taken(await ahead.take(records))).toEqual(values(records.slice(0, 6)));
  // The lane hands in what is left; nothing is judged twice.
  const rest = ahead.take(records.slice(6));
  asked[2]?.answer();
  expect(taken(await rest)).toEqual(values(records.slice(6)));
  expect(asked).toHaveLength(3);
});

test("waits for the first batch, and for all of them when it is asked to", async () => {
  const { asked, ahead } = slowPlugin();
  const records = recordsFrom(10, 4);
  ahead.prepare(records.slice(0, 2));
  ahead.prepare(records.slice(2));
  const all = ahead.take(records, true);
  await settle();
  asked[1]?.answer();
  asked[0]?.answer();
  expect(taken(await all)).toEqual(values(records));
});

test("a lane may hand in fewer records than were prepared, and go on in the middle of them", async () => {
  const { asked, ahead } = slowPlugin();
  const records = recordsFrom(0, 6);
  ahead.prepare(records);
  await settle();
  asked[0]?.answer();
  expect(taken(await ahead.take(records.slice(0, 4)))).toEqual(values(records.slice(0, 4)));
  expect(taken(await ahead.take(records.slice(4)))).toEqual(values(records.slice(4)));
  expect(asked).toHaveLength(1);
});

test("judges what nobody prepared, all of it", async () => {
  const { asked, ahead } = slowPlugin();
  const records = recordsFrom(0, 5000);
  ahead.prepare(recordsFrom(90_000, 3));
  const judged = ahead.take(records);
  await settle();
  // What was prepared of another place is forgotten; batches have 4,096 records at most.
  expect(asked.map(({ rows }) => rows)).toEqual([3, 4096, 904]);
  for (const { answer } of asked) answer();
  expect(await judged).toHaveLength(5000);
});

test("a batch has 4 MiB at most, and one record above that goes alone", async () => {
  const { asked, ahead } = slowPlugin({ maxBytes: 2 ** 24 });
  const sizes = [2 ** 21, 2 ** 21, 1, 5 * 2 ** 20, 1];
  const records = recordsFrom(0, sizes.length).map((record, i) => ({
    ...record,
    value: Buffer.alloc(sizes[i] ?? 0),
  }));
  ahead.prepare(records);
  await settle();
  expect(asked.map(({ rows }) => rows)).toEqual([2, 1, 1, 1]);
});

test("a failure is told to who takes the batch, and to nobody before", async () => {
  const { asked, ahead } = slowPlugin();
  const records = recordsFrom(0, 2);
  ahead.prepare(records);
  await settle();
  asked[0]?.fail(new Error("the plugin is broken"));
  await settle();
  await expect(ahead.take(records)).rejects.toThrow("the plugin is broken");
});
