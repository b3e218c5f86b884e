/**
 * Records that are grouped by the stage, with the real plugin: windows, what leaves, and what a retry repeats.
 */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import type { ClusterDomain, ClusterOptions } from "../../../pipeline/spec/pipeline-spec.ts";
import type { WindowReport } from "../../../pipeline/stages/desensitize/cluster-lane.ts";
import {
  type DesensitizeState,
  encodeState,
  NO_CUT,
} from "../../../pipeline/stages/desensitize/cluster-state.ts";
import { createDesensitizeStage } from "../../../pipeline/stages/desensitize/stage.ts";
import type { LaneProcessor, StepResult, StreamRecord } from "../../../pipeline/stream/contract.ts";
import { wasmPath } from "../../../pipeline/wasm/locate.ts";
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { recordsOf, type SpecParts, secrets, specWith } from "./fixtures.ts";

const wasm = readFileSync(wasmPath("desensitize"));

const opened: { close?(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((stage) => stage.close?.()));
});

const OPTIONS: ClusterOptions = {
  k: 2,
  windowRecords: 4,
  maxDelayMs: 1000,
  method: "mondrian",
  acrossWindows: "nested",
  publish: "range",
  whenTooFew: "suppress",
  suppressUpTo: 0,
  sensitive: null,
};
const AGE: ClusterDomain = { kind: "number", range: [0, 127] };
const DIGITS: ClusterDomain = { kind: "digits", length: 2 };

const SCHEMA = {
  type: "object",
  properties: {
    formId: { type: "string" },
    who: { type: "string" },
    age: { type: "number" },
    address: { type: "object", properties: { zip: { type: "string" } } },
    ill: { type: ["string", "null"] },
  },
  required: ["formId"],
} as const;

function parts(options: Partial<ClusterOptions> = {}): SpecParts {
  const cluster = { ...OPTIONS, ...options };
  return {
    schema: SCHEMA,
    subject: "who",
    rules: [
      { field: "formId", action: "keep" },
      { field: "who", action: "pseudonymize", key: { env: "PSEUDONYM_KEY" } },
      { field: "ill", action: "mask", keepFirst: 1, keepLast: 0, with: "*" },
      { field: "age", action: "cluster", domain: AGE, cluster },
      { field: "address.zip", action: "cluster", domain: DIGITS, cluster },
    ],
  };
}

async function laneWith(options: Partial<ClusterOptions> = {}, reports: WindowReport[] = []) {
  const stage = createDesensitizeStage({
    spec: specWith(parts(options)),
    secrets,
    wasm,
    onWindow: (report) => reports.push(report),
  });
  opened.push(stage);
  return stage.openLane(0);
}

/** A full window. */
async function grouped(
  lane: LaneProcessor<DesensitizeState>,
  records: readonly StreamRecord[],
  nowMs: number,
): Promise<StepResult<DesensitizeState>> {
  const cut = await lane.process(records, NO_CUT, nowMs);
  expect(cut).toMatchObject({ outputs: [], outcomes: [], consumedTo: null, wakeAtMs: nowMs });
  expect(cut.state.cut?.records).toBeGreaterThan(0);
  return lane.process(records, cut.state, nowMs);
}

let next = 0;
const person = (age: number | string, zip: string, more: object = {}): object => ({
  formId: `f${++next}`,
  who: `person ${next}`,
  age,
  address: { zip, street: "never leaves" },
  ...more,
});

const left = ({ outputs }: StepResult<DesensitizeState>) =>
  outputs.map(({ value }) => {
    const { age, address } = JSON.parse(Buffer.from(value ?? []).toString());
    return [age, address.zip];
  });

describe("a window of records", () => {
  test("waits until it is full, then leaves at once, in order, with the ranges of its groups", async () => {
    const reports: WindowReport[] = [];
    const lane = await laneWith({}, reports);
    const records = recordsOf(
      person(3, "11"),
      person(100, "99"),
      person(5, "12"),
      person(90, "98"),
    );
    const waiting = await lane.process(records.slice(0, 3), NO_CUT, 5000);
    expect(waiting).toEqual({
      outputs: [],
      outcomes: [],
      state: NO_CUT,
      consumedTo: null,
      wakeAtMs: 6000,
    });
    const done = await grouped(lane, records, 5400);
    expect(done).toMatchObject({ outcomes: [], state: NO_CUT, consumedTo: 104, wakeAtMs: null });
    const groups = left(done);
    expect(groups[0]).toEqual(groups[2]);
    expect(groups[1]).toEqual(groups[3]);
    expect(groups[0]).not.toEqual(groups[1]);
    for (const [age, zip] of groups) {
      expect(age).toMatch(/^\d+-\d+$/);
      expect(zip).toMatch(/^\d\d-\d\d$/);
    }
    expect(reports).toMatchObject([
      { lane: 0, delayMs: 400, quality: { rows: 4, smallestGroup: 2 } },
    ]);
  });

  test("counts people, not records", async () => {
    const lane = await laneWith();
    const same = { who: "one person" };
    const done = await grouped(
      lane,
      recordsOf(person(3, "11", same), person(3, "11", same), person(90, "98"), person(91, "98")),
      0,
    );
    const groups = left(done);
    expect(new Set(groups.map((group) => JSON.stringify(group))).size).toBe(1);
  });

  test("takes records as they are spelled: escapes, other orders, numbers of any form", async () => {
    const lane = await laneWith();
    const texts = [
      String.raw`{"formId":"a","who":"p","a\u0067e":3,"address":{"z\u0069p":"\u0031\u0031"}}`,
      `{"address":{"zip":"12"},"age":0.35e1,"who":"q","formId":"b"}`,
      String.raw`{"address":{"zip":"98"},"who":"r\n","age":100,"formId":"c"}`,
      `{"who":"s","age":1e2,"formId":"d","address":{"zip":"99"}}`,
    ];
    const done = await grouped(lane, recordsOf(...texts), 0);
    expect(done.outcomes).toEqual([]);
    const groups = left(done);
    expect(groups[0]).toEqual(groups[1]);
    expect(groups[2]).toEqual(groups[3]);
  });

  test("refuses what has no value or one outside its domain, and groups the others", async () => {
    const lane = await laneWith({ windowRecords: 7 });
    const done = await grouped(
      lane,
      recordsOf(
        person(1, "11"),
        { formId: "x", who: "x", age: 5 },
        person(500, "11"),
        person(2, "1x"),
        { formId: "y", who: "y", age: null, address: { zip: "11" } },
        "not json",
        person(3, "12"),
      ),
      0,
    );
    expect(done.outcomes.map(({ offset, reason }) => [offset, reason])).toEqual([
      [101, "missing-field"],
      [102, "wrong-type"],
      [103, "wrong-type"],
      [104, "wrong-type"],
      [105, "not-json"],
    ]);
    expect(done.outputs).toHaveLength(2);
    expect(done.consumedTo).toBe(107);
  });

  test("that holds too few people is suppressed, or leaves with the widest ranges", async () => {
    const few = recordsOf(person(3, "11"));
    const suppressing = await laneWith({ windowRecords: 2, k: 2 });
    const twice = recordsOf(person(3, "11", { who: "p" }), person(4, "11", { who: "p" }));
    expect((await grouped(suppressing, twice, 0)).outcomes).toEqual([
      { offset: 100, kind: "dead-letter", reason: "suppressed" },
      { offset: 101, kind: "dead-letter", reason: "suppressed" },
    ]);
    const reports: WindowReport[] = [];
    const widening = await laneWith({ whenTooFew: "generalize" }, reports);
    const cut = { cut: { to: 101, records: 1 } };
    expect(left(await widening.process(few, cut, 0))).toEqual([["0-127", "00-99"]]);
    expect(reports[0]?.quality).toMatchObject({ rows: 1, generalized: 1, suppressed: 0 });
  });

  test("keeps sensitive values different within each group", async () => {
    const reports: WindowReport[] = [];
    const sensitive = { field: "ill", lDiversity: 2, tCloseness: null };
    const lane = await laneWith({ sensitive }, reports);
    const done = await grouped(
      lane,
      recordsOf(
        person(3, "11", { ill: "flu" }),
        person(4, "11", { ill: "flu" }),
        person(90, "98", { ill: "gout" }),
        person(91, "98", { ill: null }),
      ),
      0,
    );
    // Halved by age, the young would all have the flu.
    expect(new Set(left(done).map(String)).size).toBe(1);
    // Having none is no value among others.
    expect(reports[0]?.quality.distinctSensitive).toBe(2);
    expect(Buffer.from(done.outputs[0]?.value ?? []).toString()).toContain('"ill":"f**"');
  });

  test("publishes means as numbers where that is asked for", async () => {
    const spec = parts({ acrossWindows: "independent", publish: "mean" });
    const rules = (spec.rules ?? []).filter(({ field }) => field !== "address.zip");
    const stage = createDesensitizeStage({ spec: specWith({ ...spec, rules }), secrets, wasm });
    opened.push(stage);
    const lane = await stage.openLane(0);
    const done = await grouped(
      lane,
      recordsOf(person(10, "1"), person(13, "2"), person(90, "3"), person(91, "4")),
      0,
    );
    const ages = done.outputs.map(
      ({ value }) => JSON.parse(Buffer.from(value ?? []).toString()).age,
    );
    expect(ages).toEqual([11.5, 11.5, 90.5, 90.5]);
  });
});

describe("what a group counts on", () => {
  const values = async (field: object, records: readonly object[], lDiversity: number) => {
    const schema = { ...SCHEMA, properties: { ...SCHEMA.properties, ill: field } };
    const sensitive = { field: "ill", lDiversity, tCloseness: null };
    const stage = createDesensitizeStage({
      spec: specWith({ ...parts({ windowRecords: records.length, sensitive }), schema }),
      secrets,
      wasm,
    });
    opened.push(stage);
    return grouped(await stage.openLane(0), recordsOf(...records), 0);
  };

  test("a record that has no subject may be of anybody: it is refused", async () => {
    const lane = await laneWith({ windowRecords: 3 });
    const nobody = { formId: "n", age: 41, address: { zip: "11" } };
    const done = await grouped(lane, recordsOf(person(1, "11"), nobody, person(2, "11")), 0);
    expect(done.outcomes).toEqual([{ offset: 101, kind: "dead-letter", reason: "missing-field" }]);
    expect(done.outputs).toHaveLength(2);
  });

  test("no value, null and other spellings of a number are not further sensitive values", async () => {
    const number = { type: ["number", "string", "null"] };
    const ill = (...all: unknown[]) => all.map((value) => person(1, "11", { ill: value }));
    const few = await values(number, [...ill("hiv", null), person(1, "11")], 2);
    expect(few.outcomes.map(({ reason }) => reason)).toEqual(Array(3).fill("suppressed"));
    const text = `{"formId":"x","who":"x","age":1,"address":{"zip":"11"},"ill":7.0}`;
    const same = await values(number, [...ill(7, "7"), JSON.parse(text)], 2);
    expect(same.outputs).toHaveLength(0);
    expect((await values(number, ill(7, "8", null), 2)).outputs).toHaveLength(3);
  });

  test("a record that its range would make too large is refused before anybody counts on it", async () => {
    const note = { type: "string" };
    const schema = { ...SCHEMA, properties: { ...SCHEMA.properties, note } };
    const { rules = [] } = parts({ windowRecords: 3 });
    const spec = specWith({
      ...parts(),
      schema,
      rules: [...rules, { field: "note", action: "keep" }],
      maxBytes: 2 ** 21,
    });
    const stage = createDesensitizeStage({ spec, secrets, wasm });
    opened.push(stage);
    const big = person(1, "11", { note: "x".repeat(MAX_VALUE_BYTES - 150) });
    const done = await grouped(
      await stage.openLane(0),
      recordsOf(big, person(1, "11"), person(2, "11")),
      0,
    );
    expect(done.outcomes).toEqual([{ offset: 100, kind: "dead-letter", reason: "too-large" }]);
    expect(new Set(left(done).map(String)).size).toBe(1);
  });

  test("a window never has more than a lane that starts again can hold", async () => {
    const spec = { ...parts({ windowRecords: 1000, maxDelayMs: 60_000 }), maxBytes: 2 ** 21 };
    const stage = createDesensitizeStage({ spec: specWith(spec), secrets, wasm });
    opened.push(stage);
    const { maxBytes } = stage.bounds;
    const size = 2 ** 20;
    const junk = recordsOf(...Array.from({ length: 20 }, () => "x".repeat(size)));
    const cut = await (await stage.openLane(0)).process(junk, NO_CUT, 0);
    expect(cut.state.cut?.records).toBe(maxBytes / size);
  });
});

describe("a window that is cut by time", () => {
  const due = async () => {
    const lane = await laneWith();
    const records = recordsOf(person(3, "11"), person(4, "12"), person(9, "13"));
    await lane.process(records, NO_CUT, 1000);
    return { lane, records, cut: await lane.process(records, NO_CUT, 2000) };
  };

  test("commits its end alone, before anything of it is written", async () => {
    const { lane, records, cut } = await due();
    expect(cut).toEqual({
      outputs: [],
      outcomes: [],
      state: { cut: { to: 103, records: 3 } },
      consumedTo: null,
      wakeAtMs: 2000,
    });
    const more = [...records, ...recordsOf(person(1, "1")).map((r) => ({ ...r, offset: 103 }))];
    const done = await lane.process(more, cut.state, 2001);
    expect(done).toMatchObject({ state: NO_CUT, consumedTo: 103 });
    expect(done.outputs).toHaveLength(3);
    // What came later has a window of its own.
    expect(done.wakeAtMs).toBe(2001);
  });

  test("is the same window for whoever takes the lane over, whatever has come since", async () => {
    const { lane, records, cut } = await due();
    const first = await lane.process(records, cut.state, 2001);
    const other = await laneWith();
    const state = await other.restore(encodeState(cut.state), 100);
    expect(state).toEqual(cut.state);
    const more = [
      ...records,
      ...recordsOf(person(1, "11"), person(2, "11")).map((r, i) => ({ ...r, offset: 103 + i })),
    ];
    // Not all of the window's records are there yet: it waits for them.
    expect(await other.process(records.slice(0, 2), state, 9000)).toMatchObject({
      consumedTo: null,
      outputs: [],
      state,
    });
    expect(await other.process(more, state, 9001)).toEqual({ ...first, wakeAtMs: 9001 });
  });

  test("must find the records that it counted", async () => {
    const lane = await laneWith();
    const state = { cut: { to: 103, records: 3 } };
    const gone = recordsOf(person(1, "11"), person(2, "11"), person(3, "11")).filter(
      ({ offset }) => offset !== 101,
    );
    await expect(lane.process(gone, state, 0)).rejects.toMatchObject({ code: "state-mismatch" });
  });

  test("is cut when the clock is set back", async () => {
    const lane = await laneWith();
    const records = recordsOf(person(3, "11"));
    await lane.process(records, NO_CUT, 10_000);
    expect(await lane.process(records, NO_CUT, 500)).toMatchObject({ state: { cut: { to: 101 } } });
  });
});

test("no record of a window leaves with its own values", async () => {
  const lane = await laneWith({ windowRecords: 40 });
  const people: StreamRecord[] = recordsOf(
    ...Array.from({ length: 40 }, (_, i) => person((i * 37) % 128, `${10 + ((i * 7) % 90)}`)),
  );
  const done = await grouped(lane, people, 0);
  const counts = new Map<string, number>();
  for (const group of left(done)) {
    counts.set(String(group), (counts.get(String(group)) ?? 0) + 1);
  }
  expect(done.outputs).toHaveLength(40);
  expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(2);
  expect(counts.size).toBeGreaterThan(5);
});
