/**
 * What predict and train load: only what the ledger names, sealed and signed for that pipeline, run and version. Here even
 * the ledger entry is authentic, and only the model behind it is not what it says.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { openModelView } from "../../pipeline/commands/stages/model-view.ts";
import type { StageWorld } from "../../pipeline/commands/stages/world.ts";
import { type Chunk, sha256, splitIntoChunks } from "../../pipeline/crypto/chunks.ts";
import { sign1 } from "../../pipeline/crypto/cose-sign1.ts";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import {
  decodeLedgerEntry,
  encodeLedgerEntry,
  type LedgerEntry,
} from "../../pipeline/privacy/ledger-entry.ts";
import { sealModel } from "../../pipeline/privacy/model-blob.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import {
  createTopics,
  createTrainer,
  createZones,
  directoryOf,
  PIPELINE,
  readerOf,
  startLane,
  type Topics,
  type Zones,
} from "../stages/aggregate/world.ts";

let zones: Zones;
let topics: Topics;
let last: LedgerEntry;
let previous: string;
/** Plain safetensors of the newest model. */
let checkpoint: Uint8Array;

beforeAll(async () => {
  zones = await createZones();
  topics = createTopics(zones);
  const lane = await startLane(zones, topics);
  await lane.run();
  const trainer = await createTrainer(zones, topics);
  for (let i = 0; i < 8; i += 1) trainer.send(trainer.next(lane.state().run.runId));
  await lane.run();
  const decoded = decodeLedgerEntry(topics.ledger.at(-1) ?? new Uint8Array(), {
    pipeline: PIPELINE,
    findSigner: () => zones.aggregate.signing("model-signing"),
  });
  if (decoded.status !== "ok") throw new Error("the world has no ledger");
  last = decoded.entry;
  previous = decoded.entryHash;
  const newest = readerOf(zones, topics, "predict").newest();
  if (newest === null) throw new Error("the world has no model");
  checkpoint = newest.checkpoint;
});

/** The entry that comes next, naming these chunks; it keeps every rule of the ledger. */
function nextEntry(chunks: readonly Chunk[]): LedgerEntry {
  const laneNext: Record<string, number> = { ...last.laneNext };
  const ranges = last.ranges.map((range) => {
    const from = laneNext[range.lane] ?? 0;
    const to = from + range.to - range.from;
    laneNext[range.lane] = to;
    return { ...range, from, to, modelVersion: last.modelVersion };
  });
  const sealed = Buffer.concat(chunks.map(({ bytes }) => bytes));
  return {
    ...{ ...last, previous, ranges, laneNext, sequence: last.sequence + 1 },
    ...{ modelVersion: last.modelVersion + 1, step: last.step + 1 },
    contributionsNext: last.contributionsNext + ranges.length,
    model: {
      ...{ sha256: hex(sha256(sealed)), bytes: sealed.length },
      chunks: chunks.map(({ hash }) => hex(hash)),
    },
  };
}

/** Version that a stage loads when these chunks are what the next entry names. */
async function loaded(
  stage: "train" | "predict",
  chunks: readonly Chunk[],
  keys: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
): Promise<number | undefined> {
  const entry = encodeLedgerEntry(nextEntry(chunks), zones.aggregate.signing("model-signing"));
  const models = [
    ...topics.models.map(({ key, value }) => ({ key, value })),
    ...chunks.map(({ hash, bytes }) => ({ key: hash, value: bytes })),
  ];
  const ledger = [...topics.ledger, entry].map((value) => ({ key: null, value }));
  const refused: unknown[] = [];
  const world = {
    spec: { name: PIPELINE },
    directory: directoryOf(zones, [...topics.keys, ...keys], stage),
    counter: { note: () => undefined },
    logger: { warn: (fields: unknown) => refused.push(fields) },
    async follow(role: string, apply: (record: StreamRecord) => void) {
      for (const [offset, one] of (role === "models" ? models : ledger).entries()) {
        // Because a view looks at nothing else of a record.
        apply({ ...one, offset } as StreamRecord);
      }
    },
  } as unknown as StageWorld;
  const view = await openModelView(world);
  expect(refused).toEqual([]);
  expect(view.reader.entries()).toHaveLength(topics.ledger.length + 1);
  return view.newest()?.entry.modelVersion;
}

async function dataKeyOf(pipeline: string) {
  const directory = directoryOf(zones, topics.keys, "predict");
  const recipients = directory.recipientsFor("models") ?? [];
  const signer = zones.aggregate.signing("model-signing");
  return createDataKey({ pipeline, topic: "models", lane: 0, recipients, signer });
}

test.each(["train", "predict"] as const)(
  "%s loads no model that is not what its entry says",
  async (stage) => {
    const signer = zones.aggregate.signing("model-signing");
    const { dataKey, entry } = await dataKeyOf(PIPELINE);
    const other = await dataKeyOf("another");
    const { runId, sequence } = last;
    const name = { pipeline: PIPELINE, runId, modelVersion: last.modelVersion + 1 };
    const common = { checkpoint, dataKey, signer, maxChunkBytes: 200, sequence: sequence + 1 };
    const load = (chunks: readonly Chunk[], keys = [entry, other.entry]) =>
      loaded(stage, chunks, keys);
    const good = sealModel({ ...common, name }).chunks;
    expect(await load(good)).toBe(last.modelVersion + 1);

    const context = `sealstream/models/v1|${PIPELINE}`;
    const signed = sign1({ payload: checkpoint, signer, context });
    const bad: Record<string, readonly Chunk[]> = {
      "a checkpoint as it is": splitIntoChunks(checkpoint, 200),
      "signed, not sealed": splitIntoChunks(signed, 200),
      "of an older version": sealModel({
        ...common,
        name: { ...name, modelVersion: last.modelVersion },
      }).chunks,
      "of another run": sealModel({ ...common, name: { ...name, runId: "ab".repeat(16) } }).chunks,
      "of another pipeline": sealModel({
        ...common,
        dataKey: other.dataKey,
        name: { ...name, pipeline: "another" },
      }).chunks,
      "signed by train": sealModel({
        ...common,
        signer: zones.train.signing("train-signing"),
        name,
      }).chunks,
      "signed by a stranger": sealModel({
        ...common,
        signer: (await createZones()).aggregate.signing("model-signing"),
        name,
      }).chunks,
    };
    for (const [what, chunks] of Object.entries(bad)) {
      expect(await load(chunks), what).toBe(last.modelVersion);
    }
    expect(await load(good, []), "a data key that nobody announced").toBe(last.modelVersion);
  },
);

test("a checkpoint goes to models sealed: no 16 bytes of its weights stand there", () => {
  const written = Buffer.concat(topics.models.map(({ value }) => value ?? new Uint8Array()));
  const weights = Buffer.from(checkpoint.subarray(-32));
  expect(Buffer.from(checkpoint).includes(weights)).toBe(true);
  for (let at = 0; at + 16 <= weights.length; at += 4) {
    expect(written.includes(weights.subarray(at, at + 16))).toBe(false);
  }
});

test("nothing else decodes a checkpoint: stages load models through this view, aggregate and export through the reader", () => {
  const root = join(import.meta.dirname, "../../pipeline");
  const importers = readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .filter((path) =>
      /import[^;]*\bdecodeCheckpoint\b/.test(readFileSync(join(root, path), "utf8")),
    );
  expect(importers.sort()).toEqual([
    "commands/export.ts",
    "commands/stages/model-view.ts",
    "stages/aggregate/state.ts",
  ]);
});
