/** Scores on their grid, batches with a place to go on from, and a consumer group that neither loses nor repeats. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEvaluatorPool, type EvaluatorPool } from "../../pipeline/ckks/pool.ts";
import {
  type ConsumeOptions,
  consumePredictions,
  onPredictions,
} from "../../pipeline/client/consume.ts";
import {
  MOST_SCORE_BITS,
  type PredictionReaderOptions,
  readPredictionBatches,
  readPredictions,
  roundScores,
} from "../../pipeline/client/predictions.ts";
import { createBundle, readBundles } from "../../pipeline/crypto/bundle.ts";
import type { KeyStore } from "../../pipeline/crypto/key-store.ts";
import { predictionContext } from "../../pipeline/stages/predict/prediction-bundle.ts";
import { createPredictStage } from "../../pipeline/stages/predict/stage.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient, ReaderPosition } from "../../pipeline/stream/port.ts";
import { network, randomWeights, SMALL, seeded } from "../ckks/fixtures.ts";
import {
  asRead,
  createWorld,
  NOW_MS,
  PIPELINE,
  packRecords,
  specFor,
  type World,
} from "../stages/predict/world.ts";

const FEATURES = 2;
const CLASSES = 2;
const PACKS = 3;
const shape = network(FEATURES, CLASSES);
let world: World;
let pool: EvaluatorPool;
let log: StreamRecord[];

beforeAll(async () => {
  world = await createWorld(SMALL);
  pool = createEvaluatorPool({});
  const stage = createPredictStage({
    spec: specFor(FEATURES, CLASSES, [CLASSES]),
    directory: world.directory,
    signer: world.signing("result-signing"),
    keysFreshAsOf: () => NOW_MS,
    model: () => ({
      entry: { runId: "ab", modelVersion: 7, model: { sha256: "cd" } },
      entryHash: "ef",
      network: shape,
      weights: randomWeights(shape, seeded(1)),
    }),
    evaluator: pool,
  });
  const processor = await stage.openLane(0);
  let state = await processor.restore(null, 0);
  const written: Omit<StreamRecord, "offset">[] = [];
  const inputs = new Float32Array(2 * FEATURES).fill(0.5);
  for (let sequence = 0; sequence < PACKS; sequence += 1) {
    const records = asRead(await packRecords({ world, inputs, features: FEATURES, sequence }));
    const result = await processor.process(records, state, NOW_MS);
    ({ state } = result);
    written.push(...result.outputs.map((one) => ({ headers: {}, timestampMs: 0, ...one })));
  }
  log = written.map((record, offset) => ({ ...record, offset }));
});
afterAll(() => pool.close());

/** A client of one partition whose groups remember positions. */
function kafka(records = log) {
  const kept = new Map<string, ReaderPosition>();
  const client: Pick<KafkaClient, "offsets" | "createReader" | "positions"> = {
    offsets: async () => ({ earliest: 0, latest: records.length }),
    createReader: async (_topic, _partition, from) => {
      let position = from;
      return {
        position: () => position,
        close: async () => undefined,
        fetch: async () => {
          const found = records.slice(position, position + 2);
          position += found.length;
          const end = { lastStableOffset: records.length, highWatermark: records.length };
          return { records: found, nextOffset: position, ...end };
        },
      };
    },
    positions: {
      find: async ({ group }) => kept.get(group) ?? null,
      keep: async ({ group }, position) => {
        kept.set(group, position);
      },
    },
  };
  return { client: client as KafkaClient, kept };
}

function reading(client: KafkaClient, more: Partial<PredictionReaderOptions> = {}) {
  const keys = {
    unwrapAll: () => [world.unwrap("consumer-unwrap")],
    blob: () => world.consumer.secretKey,
  };
  return {
    ...{ client, pipeline: PIPELINE, partitions: 1, follow: false, classes: CLASSES },
    ...{ directory: world.directory, signal: new AbortController().signal },
    keys: keys as unknown as KeyStore,
    onRefused: ({ reason }: { reason: string }) => expect.fail(reason),
    ...more,
  };
}

async function scoresOf(more: Partial<PredictionReaderOptions> = {}) {
  const all: number[][] = [];
  for await (const one of readPredictions(reading(kafka().client, more))) all.push([...one.scores]);
  return all;
}

test("scores lie on their grid, or a coarser one; exact ones only by the name of what they risk", async () => {
  const onGrid = (bits: number) => (score: number) => Number.isInteger(score * 2 ** bits);
  const finest = reading(kafka().client, { scoreBits: 40 });
  const { precisionBits } = (await readPredictions(finest).next()).value!;
  expect(precisionBits).toBeGreaterThan(4);
  expect(precisionBits).toBeLessThan(40);
  expect((await scoresOf()).flat().every(onGrid(Math.min(precisionBits, MOST_SCORE_BITS)))).toBe(
    true,
  );
  // Finer than they are good for is not given.
  const rounded = (await scoresOf({ scoreBits: 40 })).flat();
  expect(rounded.every(onGrid(precisionBits))).toBe(true);
  const coarse = (await scoresOf({ scoreBits: 1 })).flat();
  expect(coarse.every(onGrid(1))).toBe(true);
  const exact = (await scoresOf({ unroundedScoresRiskTheSecretKey: true })).flat();
  expect(exact.some((score) => !onGrid(precisionBits)(score))).toBe(true);
  expect(roundScores(exact, precisionBits)).toEqual(rounded);
});

/** The first bundle with other fields, signed by the prediction zone all the same. */
function lying(fields: Record<string, number>) {
  const context = predictionContext(PIPELINE, 0);
  const findSigner = (kid: Uint8Array) => world.directory.findSigner(kid, ["result-signing"]);
  const [first] = readBundles(log, { context, findSigner, maxBundleBytes: 2 ** 24 }).bundles;
  const signer = world.signing("result-signing");
  const records = createBundle({
    ...{ ...first!, context, signer, maxChunkBytes: 900 * 1024 },
    fields: { ...first!.fields, ...fields },
  });
  return kafka(asRead(records)).client;
}

test("the prediction zone's word makes scores coarser, and none finer than the consumer asks", async () => {
  const finer = lying({ precisionBits: 52 });
  for (const [scoreBits, bits] of [
    [undefined, MOST_SCORE_BITS],
    [20, 20],
  ] as const) {
    const found = (await readPredictions(reading(finer, { scoreBits })).next()).value!;
    expect(found.precisionBits).toBe(bits);
    expect(found.scores.every((score: number) => Number.isInteger(score * 2 ** bits))).toBe(true);
  }
  // Not even units are right: what lies below them is noise, and is not handed out.
  const coarser = lying({ precisionBits: 0, coarseBits: 3 });
  const found = (await readPredictions(reading(coarser)).next()).value!;
  expect(found.precisionBits).toBe(-3);
  expect(found.scores.every((score: number) => Number.isInteger(score / 8))).toBe(true);
});

test("rounding: halves away from nothing, no minus zero, grids above one", () => {
  expect(roundScores([0.3, -0.3, 0.75], 1)).toEqual([0.5, -0.5, 1]);
  expect(Object.is(roundScores([-0.01], 1)[0], 0)).toBe(true);
  expect(roundScores([5, 3], -2)).toEqual([4, 4]);
});

test("a reader that stores where a batch ends goes on there, and refuses copies of what came before", async () => {
  const [first] = [await readPredictionBatches(reading(kafka().client)).next()];
  const { next, predictions } = first.value!;
  expect(predictions.map(({ recordId }: { recordId: string }) => recordId)).toEqual([
    "r-0-0",
    "r-0-1",
  ]);
  const copies = log.slice(0, next.offset);
  const mixed = [...copies, ...copies, ...log.slice(next.offset)].map((one, offset) => ({
    ...one,
    offset,
  }));
  const refused: string[] = [];
  const ids: string[] = [];
  const onRefused = ({ reason }: { reason: string }) => refused.push(reason);
  const again = readPredictions(reading(kafka(mixed).client, { from: () => next, onRefused }));
  for await (const { recordId } of again) ids.push(recordId);
  expect(ids).toEqual(["r-1-0", "r-1-1", "r-2-0", "r-2-1"]);
  expect(refused).toEqual(["replayed"]);
});

test("a group: a batch that was handled is not handed out again, one in the making is", async () => {
  const { client, kept } = kafka();
  const options: ConsumeOptions = { ...reading(client), group: "billing" };
  const handled: number[] = [];
  const crash = onPredictions(options, async ({ next }) => {
    handled.push(next.sequence);
    if (next.sequence === 1) throw new Error("killed over the second batch");
  });
  await expect(crash).rejects.toThrow("killed");
  expect(handled).toEqual([0, 1]);
  expect(kept.get(`${PIPELINE}.consumer.billing`)?.note).toBe("sequence 0");
  const rest: number[] = [];
  await onPredictions(options, ({ next }) => void rest.push(next.sequence));
  expect(rest).toEqual([1, 2]);
  await onPredictions(options, () => expect.fail("handed out twice"));
  const others: number[] = [];
  await onPredictions(
    { ...options, group: "audit" },
    ({ next }) => void others.push(next.sequence),
  );
  expect(others).toEqual([0, 1, 2]);
});

test("groups that cannot be used are refused before anything is read", async () => {
  const { client, kept } = kafka();
  const begin = (options: Partial<ConsumeOptions>) =>
    consumePredictions({ ...reading(client), group: "g", ...options }).next();
  await expect(begin({ group: "a b" })).rejects.toMatchObject({ code: "usage" });
  const { positions: _none, ...plain } = client;
  await expect(begin({ client: plain })).rejects.toMatchObject({ code: "usage" });
  kept.set(`${PIPELINE}.consumer.g`, { offset: 3, note: "" });
  await expect(begin({})).rejects.toMatchObject({ code: "state-mismatch" });
});
