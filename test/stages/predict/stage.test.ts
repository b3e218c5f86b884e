/** The predict stage without Kafka, with real keys, bundles, ciphertexts and a real worker: good packs and each bad one. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { createPredictionDecryptor, libraryLayout } from "../../../pipeline/ckks/decrypt.ts";
import { createEvaluatorPool, type EvaluatorPool } from "../../../pipeline/ckks/pool.ts";
import { readBundles } from "../../../pipeline/crypto/bundle.ts";
import { openRecordIds } from "../../../pipeline/crypto/record-ids.ts";
import { SealstreamError } from "../../../pipeline/errors.ts";
import {
  createPredictStage,
  type KeyFit,
  type PackReport,
  type PredictModel,
} from "../../../pipeline/stages/predict/stage.ts";
import type { PredictState } from "../../../pipeline/stages/predict/state.ts";
import type { StepResult, StreamRecord } from "../../../pipeline/stream/contract.ts";
import { compare, network, randomWeights, SMALL, seeded } from "../../ckks/fixtures.ts";
import {
  asRead,
  createWorld,
  NOW_MS,
  PIPELINE,
  packRecords,
  specFor,
  type World,
} from "./world.ts";

const FEATURES = 6;
const CLASSES = 3;
const ROWS = 5;
const shape = network(FEATURES, CLASSES);
const weights = randomWeights(shape, seeded(1));
const random = seeded(2);
const inputs = Float32Array.from({ length: ROWS * FEATURES }, () => random());
const model: PredictModel = {
  entry: { runId: "ab".repeat(16), modelVersion: 7, model: { sha256: "cd".repeat(32) } },
  entryHash: "ef".repeat(32),
  network: shape,
  weights,
};
const START: PredictState = { lastSequence: null, nextSequence: 0, open: null };

let world: World;
let pool: EvaluatorPool;
beforeAll(async () => {
  world = await createWorld(SMALL);
  pool = createEvaluatorPool({});
});
afterAll(() => pool.close());

interface Setup {
  readonly newest?: () => PredictModel | null;
  readonly directory?: World["directory"];
  readonly lane?: number;
  readonly evaluator?: EvaluatorPool;
  /** Unless said, `keys` has been read up to just now. */
  readonly keysFreshAsOf?: () => number;
  readonly keyFit?: KeyFit;
}

async function lane(setup: Setup = {}) {
  const reports: PackReport[] = [];
  const stage = createPredictStage({
    spec: specFor(FEATURES, CLASSES, [CLASSES]),
    directory: setup.directory ?? world.directory,
    signer: world.signing("result-signing"),
    model: setup.newest ?? (() => model),
    keysFreshAsOf: setup.keysFreshAsOf ?? (() => Number.POSITIVE_INFINITY),
    evaluator: setup.evaluator ?? pool,
    keyFit: setup.keyFit,
    onPack: (report) => reports.push(report),
  });
  const processor = await stage.openLane(setup.lane ?? 0);
  return { stage, processor, reports };
}

const pack = (sequence: number, more: Partial<Parameters<typeof packRecords>[0]> = {}) =>
  packRecords({ world, inputs, features: FEATURES, sequence, ...more });

async function run(
  records: readonly StreamRecord[],
  state: PredictState = START,
  setup: Setup & { nowMs?: number } = {},
): Promise<StepResult<PredictState>> {
  const { processor } = await lane(setup);
  return processor.process(records, state, setup.nowMs ?? NOW_MS);
}

function offsetsOf(result: StepResult<PredictState>, reason: string): number[] {
  expect(new Set(result.outcomes.map((outcome) => outcome.reason))).toEqual(new Set([reason]));
  expect(result.outcomes.every(({ kind }) => kind === "dead-letter")).toBe(true);
  return result.outcomes.map(({ offset }) => offset);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

test.each(["wire", "library"] as const)(
  "end to end, %s: what the consumer decrypts is the model's output, signed and named",
  async (form) => {
    const { processor, reports } = await lane({ lane: 2 });
    const records = asRead(await pack(0, { lane: 2, form }), 40);
    const result = await processor.process(records, START, NOW_MS);
    expect(result).toMatchObject({ outcomes: [], consumedTo: 40 + records.length, wakeAtMs: null });
    expect(result.state).toEqual({ lastSequence: 0, nextSequence: 1, open: null });
    expect(reports).toMatchObject([{ lane: 2, rows: ROWS, classes: CLASSES, modelVersion: 7 }]);
    expect(new Set(result.outputs.map(({ role }) => role))).toEqual(new Set(["predictions"]));
    const written = result.outputs.map((output, offset) => ({ headers: {}, ...output, offset }));
    const signer = {
      findSigner: (kid: Uint8Array) => world.directory.findSigner(kid, ["result-signing"]),
    };
    const context = `sealstream/predictions/v1|${PIPELINE}|2`;
    const { bundles } = readBundles(written, { context, ...signer, maxBundleBytes: 1e8 });
    const [bundle] = bundles;
    expect(bundle!.fields).toMatchObject({
      sequence: 0,
      rows: ROWS,
      classes: CLASSES,
      parameters: SMALL.id,
      consumerKeyId: world.directory.blob("ckks-public")!.id,
      runId: model.entry.runId,
      modelVersion: 7,
      modelSha256: model.entry.model.sha256,
      ledgerEntryHash: model.entryHash,
    });
    const ids = openRecordIds({
      pipeline: PIPELINE,
      bundleId: bundle!.bundleId,
      message: bundle!.fields["recordIds"] as Uint8Array,
      unwrapKeys: [world.unwrap("consumer-unwrap")],
    });
    expect(ids).toEqual(["r-0-0", "r-0-1", "r-0-2", "r-0-3", "r-0-4"]);
    const { secretKey } = world.consumer;
    const decryptor = await createPredictionDecryptor({ secretKey, parameters: SMALL });
    const layout = { ...libraryLayout(ROWS), form };
    const parts = bundle!.parts;
    const opened = decryptor.decrypt({ parts, rows: ROWS, classes: CLASSES, layout });
    decryptor.close();
    if (opened.status !== "ok") throw new Error(opened.fault);
    const { precisionBits } = compare(shape, weights, inputs, opened.logits);
    expect(precisionBits).toBeGreaterThan(form === "wire" ? 9 : 14);
    if (form === "wire") {
      expect(bundle!.fields).toMatchObject({ packing: "batch", recordsPerPart: ROWS });
      expect(precisionBits).toBeGreaterThan(Number(bundle!.fields["precisionBits"]));
    } else expect(bundle!.fields).not.toHaveProperty("packing");
  },
);

test("one pack a call, in order, with rising sequences", async () => {
  const records = asRead([...(await pack(3)), ...(await pack(9))], 0);
  const half = records.length / 2;
  const first = await run(records);
  expect(first.consumedTo).toBe(half);
  expect(first.state).toEqual({ lastSequence: 3, nextSequence: 1, open: null });
  const second = await run(records.slice(half), first.state);
  expect(second.consumedTo).toBe(records.length);
  expect(second.state).toEqual({ lastSequence: 9, nextSequence: 2, open: null });
});

test("a pack in the making waits, however it is cut; a restart re-reads it", async () => {
  const records = asRead(await pack(0));
  for (let count = 0; count < records.length; count += 1) {
    expect(await run(records.slice(0, count))).toMatchObject({
      outputs: [],
      outcomes: [],
      consumedTo: null,
    });
  }
  expect((await run(records)).consumedTo).toBe(records.length);
});

test("a pack that was cut off is refused when the next one is complete", async () => {
  const cut = (await pack(0)).slice(0, 4);
  const records = asRead([...cut, ...(await pack(1))]);
  const result = await run(records);
  expect(offsetsOf(result, "pack-incomplete")).toEqual(range(0, 4));
  expect(result).toMatchObject({ consumedTo: records.length, state: { lastSequence: 1 } });
  expect(result.outputs.length).toBeGreaterThan(0);
});

test("foreign records between the chunks do not stop a pack, and do not pass", async () => {
  const good = await pack(0);
  const junk = { key: new Uint8Array(3), value: new Uint8Array(9), headers: {} };
  const forged = { ...(await pack(1)).at(-1)! };
  const records = asRead([...good.slice(0, 2), forged, junk, ...good.slice(2)]);
  const result = await run(records);
  expect(result.consumedTo).toBe(records.length);
  expect(result.outcomes.map(({ offset }) => offset)).toEqual([2, 3]);
  expect(result.outputs.length).toBeGreaterThan(0);
});

test("junk alone is refused at once", async () => {
  const [first, second] = asRead((await pack(0)).slice(0, 2));
  const tombstones = [first!, second!].map((record) => ({ ...record, value: null }));
  const result = await run(tombstones);
  expect(result.consumedTo).not.toBeNull();
  expect(result.outcomes.length).toBeGreaterThan(0);
});

test("a replayed pack is refused, whatever its bundle id", async () => {
  const records = asRead(await pack(4));
  const { state } = await run(records);
  for (const again of [records, asRead(await pack(4)), asRead(await pack(3))]) {
    const result = await run(again, state);
    expect(offsetsOf(result, "sequence-not-rising")).toEqual(range(0, again.length));
    expect(result).toMatchObject({ outputs: [], state, consumedTo: again.length });
  }
});

test("a pack of another lane is refused when the next one is complete", async () => {
  // Its manifest is not believed, so that its chunks could still belong to one that is: they wait for a complete pack.
  const other = await pack(0, { lane: 1 });
  expect((await run(asRead(other))).outputs).toEqual([]);
  const result = await run(asRead([...other, ...(await pack(1))]));
  expect(result.outcomes.map(({ offset }) => offset)).toEqual(range(0, other.length));
  expect(result.outcomes.at(-1)!.reason).toBe("pack-refused");
  expect(result.state.lastSequence).toBe(1);
});

test("a pack of a signer that is not the owner's is refused, once its certificate had time to come", async () => {
  const wrongPurpose = asRead(await pack(0, { signer: world.signing("train-signing") }));
  const waiting = await run(wrongPurpose, START, { keysFreshAsOf: () => NOW_MS });
  expect(waiting).toMatchObject({ outcomes: [], consumedTo: null, wakeAtMs: NOW_MS + 100 });
  const records = asRead([
    ...(await pack(0, { signer: world.signing("train-signing") })),
    ...(await pack(1)),
  ]);
  const late = await run(records, START, { keysFreshAsOf: () => NOW_MS + 1 });
  expect(late.consumedTo).toBe(records.length);
  expect(late.outcomes.map(({ offset }) => offset)).toEqual(range(0, wrongPurpose.length));
  expect(late.outcomes.at(-1)!.reason).toBe("key-unknown");
});

test.each<[string, Record<string, number | string | Uint8Array>]>([
  ["rows beyond the slots", { rows: 2049 }],
  ["no rows", { rows: 0 }],
  ["rows as text", { rows: "5" }],
  ["negative sequence", { sequence: -1 }],
  ["another number of features", { features: 7 }],
  ["parameters that are none", { parameters: "ckks-4096-46.46.46-s30" }],
  ["record ids that are no bytes", { recordIds: "x" }],
  ["a field more", { extra: 1 }],
])("fields: %s", async (_, fields) => {
  const records = asRead(await pack(0, { fields }));
  const result = await run(records);
  expect(offsetsOf(result, "pack-refused")).toEqual(range(0, records.length));
  expect(result).toMatchObject({ consumedTo: records.length, state: START, outputs: [] });
});

test("a pack for other keys waits for them, then is refused", async () => {
  const records = asRead(await pack(0, { fields: { consumerKeyId: "00".repeat(32) } }));
  const waiting = await run(records, START, { keysFreshAsOf: () => NOW_MS });
  expect(waiting).toMatchObject({ consumedTo: null, wakeAtMs: NOW_MS + 100 });
  const late = await run(records, START, { keysFreshAsOf: () => NOW_MS + 1 });
  expect(offsetsOf(late, "key-unknown")).toEqual(range(0, records.length));
});

test("keys that do not fit the file: packs under old ones are refused, new ones are waited for or end the stage", async () => {
  const records = asRead(await pack(0), 0);
  const under = (isReady: () => boolean, serves: boolean) =>
    run(records, START, { keyFit: { isReady, serves: () => serves, planned: () => undefined } });
  const old = await under(() => true, false);
  expect(offsetsOf(old, "key-unknown")).toEqual(range(0, records.length));
  expect(old.consumedTo).toBe(records.length);
  const waiting = await under(() => false, true);
  expect(waiting).toMatchObject({ outputs: [], outcomes: [], consumedTo: null });
  const stale = () => {
    throw new SealstreamError("key-invalid", "These keys no longer fit.");
  };
  await expect(under(stale, true)).rejects.toMatchObject({ code: "key-invalid" });
  expect((await under(() => true, true)).outputs.length).toBeGreaterThan(0);
});

test("bad ciphertexts: every record of the pack is a dead letter and the sequence is spent", async () => {
  const mutations: ((blob: Uint8Array, view: DataView) => Uint8Array)[] = [
    (blob) => blob.subarray(1),
    (blob) => Buffer.concat([blob, new Uint8Array(1)]),
    (blob, view) => {
      view.setFloat64(8, Number.NaN, true);
      return blob;
    },
    (blob) => blob.fill(0, 16 + 2 * 46 * 512),
    (blob) => blob.fill(255, 16, 16 + 46),
  ];
  for (const mutate of mutations) {
    const change = (parts: Uint8Array[]) =>
      parts.map((part, index) => (index === 2 ? mutate(part, new DataView(part.buffer)) : part));
    const records = asRead(await pack(5, { change }));
    const result = await run(records);
    expect(result.consumedTo).toBe(records.length);
    expect(result.outputs).toEqual([]);
    expect(result.outcomes).toHaveLength(records.length);
    for (const { reason } of result.outcomes)
      expect(["ciphertext-refused", "pack-refused", "pack-incomplete"]).toContain(reason);
  }
  const next = await run(asRead(await pack(6)));
  expect(next.outputs.length).toBeGreaterThan(0);
});

test("without a model or the consumer's keys it waits, and goes on when they come", async () => {
  const records = asRead(await pack(0));
  const waits = { consumedTo: null, outputs: [], wakeAtMs: NOW_MS + 100 };
  expect(await run(records, START, { newest: () => null })).toMatchObject(waits);
  const directory = world.emptyDirectory();
  // Published later than the stage starts: its bounds are for the default parameters.
  const { processor } = await lane({ directory });
  expect(await processor.process(records, START, NOW_MS)).toMatchObject(waits);
  for (const { key, value } of world.entries) directory.apply(key, value);
  await expect((async () => processor.process(records, START, NOW_MS))()).rejects.toMatchObject({
    code: "state-mismatch",
  });
  expect((await run(records, START, { directory })).consumedTo).toBe(records.length);
});

test("a signer whose certificate is on its way is waited for", async () => {
  const directory = world.emptyDirectory();
  const isOwner = ({ key }: { key: Uint8Array }) =>
    Buffer.from(key).toString("utf8").startsWith("signer/owner-signing");
  for (const entry of world.entries) if (!isOwner(entry)) directory.apply(entry.key, entry.value);
  const records = asRead(await pack(0));
  const { processor } = await lane({ directory, keysFreshAsOf: () => NOW_MS - 300 });
  const waiting = await processor.process(records, START, NOW_MS);
  expect(waiting).toMatchObject({ consumedTo: null, wakeAtMs: NOW_MS + 100 });
  for (const entry of world.entries) if (isOwner(entry)) directory.apply(entry.key, entry.value);
  const result = await processor.process(records, START, NOW_MS);
  expect(result.consumedTo).toBe(records.length);
  expect(result.outputs.length).toBeGreaterThan(0);
});

test("a bundle larger than any pack ends in dead letters, not in a stuck lane", async () => {
  const { stage, processor } = await lane();
  const [chunk] = await pack(0);
  const length = stage.bounds.maxRecords;
  const endless = Array.from({ length }, (_, index) => ({
    ...chunk!,
    value: index === 0 ? chunk!.value : new Uint8Array(1),
  }));
  const result = await processor.process(asRead(endless), START, NOW_MS);
  // The last chunk could be the first of a pack.
  expect(offsetsOf(result, "pack-incomplete")).toEqual(range(0, length - 1));
  expect(result.consumedTo).toBe(length - 1);
});

test("a worker that cannot live is retried by the lane, a pack that kills it is refused", async () => {
  const records = asRead(await pack(0));
  const refusing: EvaluatorPool = { ...pool, evaluate: async () => ({ status: "refused" }) };
  const refused = await run(records, START, { evaluator: refusing });
  expect(offsetsOf(refused, "ciphertext-refused")).toEqual(range(0, records.length));
  expect(refused.state).toEqual({ lastSequence: 0, nextSequence: 0, open: null });
  const dead = createEvaluatorPool({ deadlineMs: 1 });
  await dead.close();
  await expect(run(records, START, { evaluator: dead })).rejects.toMatchObject({
    code: "worker-died",
  });
});

test("bounds hold one pack, its manifest and the next one's beginning", async () => {
  const { stage } = await lane();
  const records = asRead(await pack(0));
  const bytes = records.reduce((sum, { value }) => sum + value!.length, 0);
  expect(stage.bounds.maxBytes).toBeGreaterThan(bytes);
  expect(stage.bounds.maxBytes).toBeLessThan(bytes + 18 * 1024 * 1024);
  expect(stage.bounds.maxRecords).toBeGreaterThan(records.length);
});

test("a network too deep for the parameters is refused at the start", () => {
  const options = {
    directory: world.emptyDirectory(),
    signer: world.signing("result-signing"),
    model: () => model,
    keysFreshAsOf: () => NOW_MS,
  };
  // Of the version before: what our kernels evaluate is planned before there are keys.
  const spec = specFor(FEATURES, CLASSES, [4, 4, 4, CLASSES]);
  expect(() => createPredictStage({ ...options, spec, evaluator: pool })).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
});
