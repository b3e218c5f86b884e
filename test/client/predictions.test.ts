/** The consumer's reader over what a real predict stage wrote, with copies of it: what is decrypted, and what never is. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEvaluatorPool, type EvaluatorPool } from "../../pipeline/ckks/pool.ts";
import { type Prediction, readPredictions } from "../../pipeline/client/predictions.ts";
import type { KeyStore } from "../../pipeline/crypto/key-store.ts";
import { SealstreamError } from "../../pipeline/errors.ts";
import { createPredictStage } from "../../pipeline/stages/predict/stage.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
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
const shape = network(FEATURES, CLASSES);
let world: World;
let pool: EvaluatorPool;
/** Bundles of sequences 0 and 1. */
let written: Omit<StreamRecord, "offset">[][];

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
  written = [];
  const inputs = new Float32Array(FEATURES).fill(0.5);
  for (const sequence of [0, 1]) {
    const records = asRead(await packRecords({ world, inputs, features: FEATURES, sequence }));
    const result = await processor.process(records, state, NOW_MS);
    ({ state } = result);
    written.push(result.outputs.map((output) => ({ headers: {}, timestampMs: 0, ...output })));
  }
});
afterAll(() => pool.close());

/** One partition with these records, two a fetch. */
function clientOf(records: readonly Omit<StreamRecord, "offset">[]): KafkaClient {
  const log = records.map((record, offset) => ({ ...record, offset }));
  const client: Pick<KafkaClient, "offsets" | "createReader"> = {
    offsets: async () => ({ earliest: 0, latest: log.length }),
    createReader: async (_topic, _partition, from) => {
      let position = from;
      return {
        position: () => position,
        close: async () => undefined,
        fetch: async () => {
          const found = log.slice(position, position + 2);
          position += found.length;
          const end = { lastStableOffset: log.length, highWatermark: log.length };
          return { records: found, nextOffset: position, ...end };
        },
      };
    },
  };
  // Because the reader uses nothing else of a client.
  return client as KafkaClient;
}

async function consume(
  records: readonly Omit<StreamRecord, "offset">[],
  more: Partial<Parameters<typeof readPredictions>[0]> = {},
) {
  const refused: string[] = [];
  const gaps: number[] = [];
  const predictions: Prediction[] = [];
  const keys = {
    unwrapAll: () => [world.unwrap("consumer-unwrap")],
    blob: () => world.consumer.secretKey,
  };
  const found = readPredictions({
    ...{ client: clientOf(records), pipeline: PIPELINE, partitions: 1, follow: false },
    ...{ directory: world.directory, signal: new AbortController().signal, classes: CLASSES },
    // Because the reader uses nothing else of a key folder.
    keys: keys as unknown as KeyStore,
    onRefused: ({ reason }) => refused.push(reason),
    onGap: ({ from }) => gaps.push(from),
    ...more,
  });
  for await (const prediction of found) predictions.push(prediction);
  return { ids: predictions.map(({ recordId }) => recordId), refused, gaps, predictions };
}

test("copies of authentic bundles are refused as replayed, and each prediction comes once", async () => {
  const [first = [], second = []] = written;
  const twice = await consume([...first, ...first, ...second, ...first, ...second]);
  expect(twice).toMatchObject({ ids: ["r-0-0", "r-1-0"], gaps: [] });
  expect(twice.refused).toEqual(["replayed", "replayed", "replayed"]);
  expect(twice.predictions[1]).toMatchObject({ sequence: 1, modelVersion: 7, lane: 0 });
  expect((await consume([...second, ...first])).ids).toEqual(["r-1-0"]);
});

test("a withheld bundle shows as a gap", async () => {
  expect(await consume(written[1]!)).toMatchObject({ ids: ["r-1-0"], refused: [], gaps: [0] });
});

test("a reader that goes on where it stopped takes nothing twice", async () => {
  const again = await consume(written.flat(), { lastSequence: () => 0 });
  expect(again).toMatchObject({ ids: ["r-1-0"], refused: ["replayed"], gaps: [] });
});

test("a bundle under another key than the consumer's published one is never decrypted", async () => {
  const other = await createWorld(SMALL);
  const blob = other.directory.blob("ckks-public");
  const directory = {
    ...world.directory,
    blob: () => blob,
    consumerKey: other.directory.consumerKey,
  };
  const { findSigner } = world.directory;
  const keys = { unwrapAll: () => expect.fail("opened"), blob: () => expect.fail("decrypted") };
  const refused = await consume(written.flat(), {
    directory: { ...directory, findSigner },
    keys: keys as unknown as KeyStore,
  });
  expect(refused).toMatchObject({ ids: [], refused: ["other-key", "other-key"] });
});

test("a reader that follows asks for keys before it judges, so that a rotation is no refusal", async () => {
  let known = false;
  const directory = {
    ...world.directory,
    findSigner: (...given: Parameters<typeof world.directory.findSigner>) =>
      known ? world.directory.findSigner(...given) : null,
    consumerKey: (id: string) => (known ? world.directory.consumerKey(id) : null),
  };
  const stop = new AbortController();
  const found = readPredictions({
    ...{ client: clientOf(written.flat()), pipeline: PIPELINE, partitions: 1, follow: true },
    ...{ directory, signal: stop.signal, classes: CLASSES },
    keys: {
      unwrapAll: () => [world.unwrap("consumer-unwrap")],
      blob: () => world.consumer.secretKey,
    } as unknown as KeyStore,
    refresh: async () => {
      known = true;
    },
    onRefused: ({ reason }) => expect.fail(reason),
  });
  const ids: string[] = [];
  for await (const { recordId } of found) {
    ids.push(recordId);
    if (ids.length === 2) stop.abort();
  }
  expect(ids).toEqual(["r-0-0", "r-1-0"]);
});

test("bundles under a lost generation of the secret key are refused one by one, not with the rest", async () => {
  const lost = new SealstreamError(
    "key-missing",
    "the folder has no ckks-secret of that generation",
  );
  const keys = {
    unwrapAll: () => [world.unwrap("consumer-unwrap")],
    blob: () => {
      throw lost;
    },
  };
  const refused = await consume(written.flat(), { keys: keys as unknown as KeyStore });
  expect(refused).toMatchObject({ ids: [], refused: ["key-missing", "key-missing"] });
});
