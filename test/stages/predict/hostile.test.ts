/** The predict stage against somebody who can write to `packs`, to `keys` late, or who trains a model that does not fit. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEvaluatorPool, type EvaluatorPool } from "../../../pipeline/ckks/pool.ts";
import type { RefusedModel } from "../../../pipeline/stages/predict/model-choice.ts";
import { createPredictStage, type PredictModel } from "../../../pipeline/stages/predict/stage.ts";
import type { PredictState } from "../../../pipeline/stages/predict/state.ts";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import { network, randomWeights, SMALL, seeded } from "../../ckks/fixtures.ts";
import { freshSigner } from "../../crypto/fixtures.ts";
import { asRead, createWorld, NOW_MS, packRecords, specFor, type World } from "./world.ts";

const FEATURES = 2;
const CLASSES = 2;
const shape = network(FEATURES, CLASSES);
const START: PredictState = { lastSequence: null, nextSequence: 0, open: null };

let world: World;
let pool: EvaluatorPool;
beforeAll(async () => {
  world = await createWorld(SMALL);
  pool = createEvaluatorPool({});
});
afterAll(() => pool.close());

function modelOf(modelVersion: number, factor: number, of = shape): PredictModel {
  const { layers } = randomWeights(of, seeded(modelVersion));
  const scaled = layers.map(({ kernel, bias }) => ({
    kernel: kernel.map((w) => w * factor),
    bias,
  }));
  return {
    entry: { runId: "ab".repeat(16), modelVersion, model: { sha256: "cd".repeat(32) } },
    entryHash: String(modelVersion).padStart(64, "0"),
    network: of,
    weights: { layers: scaled },
  };
}

interface Setup {
  readonly newest?: () => PredictModel | null;
  readonly keysFreshAsOf?: () => number;
}

/** A lane as the stream room runs it: a window from the position on, handed in again until it is final. */
async function laneOf(setup: Setup = {}) {
  const versions: number[] = [];
  const refusedModels: RefusedModel[] = [];
  const good = modelOf(1, 1);
  const stage = createPredictStage({
    spec: specFor(FEATURES, CLASSES, [CLASSES]),
    directory: world.directory,
    signer: world.signing("result-signing"),
    model: setup.newest ?? (() => good),
    keysFreshAsOf: setup.keysFreshAsOf ?? (() => Number.POSITIVE_INFINITY),
    evaluator: pool,
    onPack: ({ modelVersion }) => versions.push(modelVersion),
    onModelRefused: (refused) => refusedModels.push(refused),
  });
  const processor = await stage.openLane(0);
  let state = START;
  let held: StreamRecord[] = [];
  const dead = new Map<number, string>();
  return {
    ...{ stage, versions, refusedModels, dead },
    state: () => state,
    held: () => held,
    async feed(records: readonly StreamRecord[], nowMs = NOW_MS) {
      held.push(...records);
      for (;;) {
        expect(held.length).toBeLessThanOrEqual(stage.bounds.maxRecords + records.length);
        const given = held.slice(0, stage.bounds.maxRecords);
        const result = await processor.process(given, state, nowMs);
        ({ state } = result);
        const consumedTo = result.consumedTo ?? -1;
        for (const { offset, reason } of result.outcomes) {
          expect(offset).toBeLessThan(consumedTo);
          expect(dead.has(offset)).toBe(false);
          dead.set(offset, reason);
        }
        held = held.filter(({ offset }) => offset >= consumedTo);
        if (result.consumedTo === null || held.length === 0) return result;
      }
    },
  };
}

const inputs = Float32Array.from({ length: 2 * FEATURES }, () => 0.5);
const pack = (sequence: number, more: Partial<Parameters<typeof packRecords>[0]> = {}) =>
  packRecords({ world, inputs, features: FEATURES, sequence, ...more });

type Unplaced = Awaited<ReturnType<typeof pack>>[number];

/** A chunk of one byte; `id`: of a bundle, else of one of its own. */
function foreign(id: Uint8Array = randomBytes(16)): Unplaced {
  const key = new Uint8Array(Buffer.concat([id.subarray(0, 16), new Uint8Array(4)]));
  const headers = { "sealstream-type": new Uint8Array(Buffer.from("chunk")) };
  return { key, value: new Uint8Array(1), headers };
}

test("S5: one foreign 1-byte chunk inside a pack's transaction does not destroy the pack", async () => {
  for (const id of [undefined, "own"]) {
    const records = await pack(0);
    const junk = foreign(id === undefined ? undefined : records[0]!.key);
    const lane = await laneOf();
    await lane.feed(asRead([...records.slice(0, 1), junk, ...records.slice(1)]));
    expect(lane.state()).toEqual({ lastSequence: 0, nextSequence: 1, open: null });
    expect([...lane.dead.keys()]).toEqual(id === undefined ? [1] : []);
  }
});

test("S5: a steady writer of 1-byte chunks, before, within and behind packs, kills none", async () => {
  const lane = await laneOf();
  let offset = 0;
  for (let sequence = 0; sequence < 3; sequence += 1) {
    for (const record of await pack(sequence)) {
      // Fresh ids before each record: what comes with three packs does not fit into a window.
      const junk = Array.from({ length: 10_000 }, () => foreign());
      await lane.feed(asRead([...junk, record, foreign(record.key)], offset));
      offset += junk.length + 2;
    }
    expect(lane.state()).toEqual({
      lastSequence: sequence,
      nextSequence: sequence + 1,
      open: null,
    });
  }
  expect(new Set(lane.dead.values())).toEqual(new Set(["pack-incomplete"]));
});

test("S5: a full window of junk is given up, the pack whose head stands in it is not", async () => {
  const lane = await laneOf();
  const records = await pack(0);
  const length = lane.stage.bounds.maxRecords;
  const junk = Array.from({ length }, () => foreign());
  const head = length - 5;
  await lane.feed(asRead([...junk.slice(0, head), records[0]!, ...junk.slice(head)]));
  expect(lane.dead.has(head)).toBe(false);
  await lane.feed(asRead(records.slice(1), length + 1));
  expect(lane.state().lastSequence).toBe(0);
});

test("S5: a copy of an old pack inside a new pack's transaction ends only itself", async () => {
  const lane = await laneOf();
  const old = await pack(0);
  await lane.feed(asRead(old));
  const records = await pack(1);
  await lane.feed(asRead([records[0]!, ...old, ...records.slice(1)], old.length));
  expect(lane.state()).toEqual({ lastSequence: 1, nextSequence: 2, open: null });
  expect([...lane.dead.values()]).toEqual(old.map(() => "sequence-not-rising"));
});

test("S10: junk of unknown signers blocks the packs behind it no longer than until keys is fresh", async () => {
  const evil = freshSigner("owner-signing");
  const junk = [
    ...(await pack(7, { signer: evil })),
    ...(await pack(8, { signer: evil })),
    ...(await pack(9, { signer: evil })).slice(-1),
  ];
  // A timestamp of the producer's choice, far in the future, buys no time.
  const records = asRead([...junk, ...(await pack(0))]).map((record) => ({
    ...record,
    timestampMs: NOW_MS * 2,
  }));
  let fresh = NOW_MS - 1;
  const lane = await laneOf({ keysFreshAsOf: () => fresh });
  const waiting = { consumedTo: null, outcomes: [], wakeAtMs: NOW_MS + 100 };
  expect(await lane.feed(records)).toMatchObject(waiting);
  // As fresh as the moment itself is not enough, however late it is by now.
  fresh = NOW_MS;
  expect((await lane.feed([], NOW_MS + 600_000)).consumedTo).toBeNull();
  // All were seen in the same call, so that their waits do not add up.
  fresh = NOW_MS + 1;
  await lane.feed([], NOW_MS + 600_000);
  expect(lane.state().lastSequence).toBe(0);
  expect([...lane.dead.keys()].length).toBe(junk.length);
  expect(lane.held()).toEqual([]);
});

test("S10: each manifest is measured from when this lane first saw it", async () => {
  const evil = freshSigner("owner-signing");
  const lane = await laneOf({ keysFreshAsOf: () => NOW_MS + 1 });
  const [first, second] = [await pack(7, { signer: evil }), await pack(8, { signer: evil })];
  await lane.feed(asRead(first));
  expect(lane.dead.size).toBe(0);
  const result = await lane.feed(asRead(second, first.length), NOW_MS + 50);
  expect(result).toMatchObject({ consumedTo: null, wakeAtMs: NOW_MS + 150 });
});

test("F: a model whose weights are too large is passed over, and packs go on with the one before", async () => {
  let newest = modelOf(1, 1);
  const lane = await laneOf({ newest: () => newest });
  await lane.feed(asRead(await pack(0), 0));
  newest = modelOf(2, 1e12);
  await lane.feed(asRead(await pack(1), 100));
  await lane.feed(asRead(await pack(2), 200));
  newest = modelOf(3, 1, network(FEATURES + 1, CLASSES));
  await lane.feed(asRead(await pack(3), 300));
  newest = modelOf(4, 1);
  await lane.feed(asRead(await pack(4), 400));
  expect(lane.versions).toEqual([1, 1, 1, 1, 4]);
  expect(lane.refusedModels.map(({ modelVersion }) => modelVersion)).toEqual([2, 3]);
  for (const { reason } of lane.refusedModels) expect(reason).not.toBe("");
  expect(lane.dead.size).toBe(0);
});

test("a new model is opened when it comes, before there are packs for it", async () => {
  let asked = 0;
  const newest = () => {
    asked += 1;
    return null;
  };
  const lane = await laneOf({ newest });
  await lane.feed([]);
  expect(asked).toBe(1);
});

test("F: with no model that can be evaluated a pack waits for the next, and is not lost", async () => {
  let newest = modelOf(2, 1e12);
  const lane = await laneOf({ newest: () => newest });
  const waits = { consumedTo: null, outcomes: [], outputs: [], wakeAtMs: NOW_MS + 1_000 };
  expect(await lane.feed(asRead(await pack(0)))).toMatchObject(waits);
  expect(await lane.feed([])).toMatchObject(waits);
  expect(lane.refusedModels.length).toBe(1);
  newest = modelOf(3, 1);
  await lane.feed([]);
  expect(lane.versions).toEqual([3]);
});
