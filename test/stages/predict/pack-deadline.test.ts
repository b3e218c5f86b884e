/** Packs whose end does not come: given up after their time, whatever restarts in between, in two commits. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEvaluatorPool, type EvaluatorPool } from "../../../pipeline/ckks/pool.ts";
import { judgeOpenPack } from "../../../pipeline/stages/predict/pack-deadline.ts";
import { createPredictStage, type PredictModel } from "../../../pipeline/stages/predict/stage.ts";
import {
  decodeState,
  encodeState,
  type PredictState,
} from "../../../pipeline/stages/predict/state.ts";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import { network, randomWeights, SMALL, seeded } from "../../ckks/fixtures.ts";
import { asRead, createWorld, NOW_MS, packRecords, specFor, type World } from "./world.ts";

const FEATURES = 2;
const shape = network(FEATURES, 2);
const model: PredictModel = {
  entry: { runId: "ab".repeat(16), modelVersion: 1, model: { sha256: "cd".repeat(32) } },
  entryHash: "ef".repeat(32),
  network: shape,
  weights: randomWeights(shape, seeded(1)),
};
const START: PredictState = { lastSequence: null, nextSequence: 0, open: null };
const DEADLINE_MS = 60_000;

let world: World;
let pool: EvaluatorPool;
beforeAll(async () => {
  world = await createWorld(SMALL);
  pool = createEvaluatorPool({});
});
afterAll(() => pool.close());

async function lane() {
  const stage = createPredictStage({
    spec: specFor(FEATURES, 2, [2]),
    directory: world.directory,
    signer: world.signing("result-signing"),
    model: () => model,
    keysFreshAsOf: () => Number.POSITIVE_INFINITY,
    evaluator: pool,
    packDeadlineMs: DEADLINE_MS,
  });
  return stage.openLane(0);
}

const inputs = Float32Array.from({ length: 2 * FEATURES }, () => 0.5);
const pack = (sequence: number) => packRecords({ world, inputs, features: FEATURES, sequence });

/** As the lane restores it after a restart. */
function committed(state: PredictState): PredictState {
  const restored = decodeState(encodeState(state));
  expect(restored).toEqual(state);
  return restored!;
}

async function cut(headOnly: (records: StreamRecord[]) => StreamRecord[] = (all) => all) {
  const records = asRead(await pack(0), 10);
  return headOnly(records.slice(0, -1));
}

test("a pack without an end is given up after its time, and what comes behind it is evaluated", async () => {
  const head = await cut();
  const one = await lane();
  const waiting = await one.process(head, START, NOW_MS);
  expect(waiting).toMatchObject({ consumedTo: null, outcomes: [], state: START });
  // Not worth a commit yet: a moment later it is, with the time at which the lane first saw it.
  expect(waiting.wakeAtMs).toBe(NOW_MS + 5_000);
  const noted = await one.process(head, START, NOW_MS + 5_000);
  expect(noted.state.open).toEqual({ from: 10, sinceMs: NOW_MS, cutTo: null });
  expect(noted.wakeAtMs).toBe(NOW_MS + DEADLINE_MS);
  // A restart: another lane, which sees it for the first time much later, waits no longer for it.
  const two = await lane();
  const due = await two.process(head, committed(noted.state), NOW_MS + DEADLINE_MS);
  // The cut is alone in its transaction.
  expect(due).toMatchObject({ consumedTo: null, outcomes: [], outputs: [] });
  expect(due.state.open).toEqual({ from: 10, sinceMs: NOW_MS, cutTo: 10 + head.length });
  expect(due.wakeAtMs).toBe(NOW_MS + DEADLINE_MS);
  const next = asRead(await pack(1), 10 + head.length);
  const three = await lane();
  const end = await three.process([...head, ...next], committed(due.state), NOW_MS);
  expect(end.consumedTo).toBe(10 + head.length + next.length);
  expect(end.outcomes).toEqual(
    head.map(({ offset }) => ({ offset, kind: "dead-letter", reason: "pack-incomplete" })),
  );
  expect(end.outputs.length).toBeGreaterThan(0);
  expect(end.state).toEqual({ lastSequence: 1, nextSequence: 1, open: null });
});

test("given up is given up: a manifest that comes after the cut changes nothing", async () => {
  const records = asRead(await pack(0), 0);
  const head = records.slice(0, -1);
  const state = { ...START, open: { from: 0, sinceMs: NOW_MS, cutTo: head.length } };
  const result = await (await lane()).process(records, state, NOW_MS);
  expect(result.outputs).toEqual([]);
  expect(result.consumedTo).toBe(records.length);
  expect(result.outcomes.map(({ reason }) => reason)).toEqual(records.map(() => "pack-incomplete"));
  expect(result.state).toEqual(START);
});

test("only the pack that was given up goes: one that began behind it stays open", async () => {
  const head = await cut();
  const behind = asRead(await pack(1), 10 + head.length);
  const state = { ...START, open: { from: 10, sinceMs: NOW_MS, cutTo: 10 + head.length } };
  const later = behind.slice(0, -1);
  const result = await (await lane()).process([...head, ...later], state, NOW_MS);
  expect(result.consumedTo).toBe(10 + head.length);
  expect(result.outcomes).toHaveLength(head.length);
  expect(result.state.open).toBeNull();
  expect(result.wakeAtMs).toBe(NOW_MS + 5_000);
});

test("a pack that ends before its time is evaluated, and what was noted about it is forgotten", async () => {
  const records = asRead(await pack(0), 0);
  const one = await lane();
  const noted = await one.process(records.slice(0, -1), START, NOW_MS);
  const again = await one.process(records.slice(0, -1), noted.state, NOW_MS + 6_000);
  expect(again.state.open).not.toBeNull();
  const end = await one.process(records, again.state, NOW_MS + 7_000);
  expect(end).toMatchObject({ outcomes: [], consumedTo: records.length });
  expect(end.state).toEqual({ lastSequence: 0, nextSequence: 1, open: null });
});

test("foreign records around an open pack do not extend its time", async () => {
  const head = await cut();
  const junk = {
    offset: 10 + head.length,
    timestampMs: NOW_MS,
    key: null,
    value: null,
    headers: {},
  };
  const state = { ...START, open: { from: 10, sinceMs: NOW_MS, cutTo: null } };
  const due = await (await lane()).process([...head, junk], state, NOW_MS + DEADLINE_MS);
  expect(due.state.open?.cutTo).toBe(11 + head.length);
});

test("clocks that are set back start the wait anew, and never give up at once", () => {
  const view = { pendingFrom: 3, heldTo: 9, seenMs: 5_000, deadlineMs: 1_000 };
  const open = { from: 3, sinceMs: 5_000, cutTo: null };
  expect(judgeOpenPack({ ...view, open, nowMs: 100 }).open).toEqual({ ...open, sinceMs: 100 });
  expect(judgeOpenPack({ ...view, open: null, nowMs: 5_999 }).open?.cutTo ?? null).toBeNull();
  expect(judgeOpenPack({ ...view, open: null, nowMs: 6_000 }).open?.cutTo).toBe(9);
  // What was noted about another pack says nothing about this one.
  const other = { from: 1, sinceMs: 0, cutTo: 2 };
  expect(judgeOpenPack({ ...view, open: other, nowMs: 5_100 }).open).toBeNull();
  expect(judgeOpenPack({ ...view, pendingFrom: null, open, nowMs: 1 })).toEqual({
    open: null,
    wakeAtMs: null,
  });
});
