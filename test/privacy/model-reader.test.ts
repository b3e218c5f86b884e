/** The model reader: models only through their entries, whatever order topics are read in, within its memory. */
import { randomBytes } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { createDataKey } from "../../pipeline/crypto/data-key.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import { encodeLedgerEntry, type LedgerEntry } from "../../pipeline/privacy/ledger-entry.ts";
import { openModel, sealModel } from "../../pipeline/privacy/model-blob.ts";
import { createModelReader, type ModelReader } from "../../pipeline/privacy/model-reader.ts";
import {
  createTopics,
  createTrainer,
  createZones,
  directoryOf,
  PIPELINE,
  startLane,
  type Topics,
  type Zones,
} from "../stages/aggregate/world.ts";

let zones: Zones;
let topics: Topics;
beforeAll(async () => {
  zones = await createZones();
  topics = createTopics(zones);
  const lane = await startLane(zones, topics);
  await lane.run();
  const trainer = await createTrainer(zones, topics);
  for (let i = 0; i < 8; i += 1) trainer.send(trainer.next(lane.state().run.runId));
  await lane.run();
});

function openReader(keys = topics.keys, maxCacheBytes?: number) {
  const directory = directoryOf(zones, keys, "predict");
  return { directory, reader: createModelReader({ pipeline: PIPELINE, directory, maxCacheBytes }) };
}

const puts = () => topics.models.filter(({ value }) => value !== null);
const feedLedger = (reader: ModelReader) =>
  topics.ledger.map((value, offset) => reader.applyLedger(value, offset));
const feedModels = (reader: ModelReader) => {
  for (const { key, value } of topics.models) reader.applyModel(key, value);
};

describe("order", () => {
  test("ledger first, models first, or turn and turn about", () => {
    const orders: ((reader: ModelReader) => void)[] = [
      (reader) => {
        feedLedger(reader);
        expect(reader.newest()).toBeNull();
        feedModels(reader);
      },
      (reader) => {
        feedModels(reader);
        expect(reader.newest()).toBeNull();
        feedLedger(reader);
      },
      (reader) => {
        for (const [index, { key, value }] of puts().entries()) {
          reader.applyLedger(topics.ledger[index] ?? null, index);
          expect(reader.newest()?.entry.sequence ?? -1).toBe(index - 1);
          reader.applyModel(key, value);
          expect(reader.newest()?.entry.sequence).toBe(index);
        }
      },
    ];
    for (const order of orders) {
      const { reader } = openReader();
      order(reader);
      expect(reader.newest()?.entry.sequence).toBe(4);
      expect(reader.entries()).toHaveLength(5);
    }
  });

  test("keys last: entries and models wait for their signer and their data key", () => {
    const { directory, reader } = openReader([]);
    expect(feedLedger(reader)).toEqual(topics.ledger.map(() => "pending"));
    feedModels(reader);
    expect(reader.newest()).toBeNull();
    for (const { key, value } of topics.keys) directory.apply(key, value);
    expect(reader.newest()?.entry.sequence).toBe(4);
  });

  test("only the data key late", () => {
    const data = topics.keys.filter(({ key }) =>
      Buffer.from(key).toString().startsWith("data-key/"),
    );
    const { directory, reader } = openReader(topics.keys.filter((entry) => !data.includes(entry)));
    expect(feedLedger(reader)).toEqual(topics.ledger.map(() => "accepted"));
    feedModels(reader);
    expect(reader.newest()).toBeNull();
    for (const { key, value } of data) directory.apply(key, value);
    expect(reader.newest()?.entry.sequence).toBe(4);
  });

  test("a model without its entry, and an entry without its model, are not handed out", () => {
    const { reader } = openReader();
    feedModels(reader);
    for (const [offset, value] of topics.ledger.slice(0, 3).entries())
      reader.applyLedger(value, offset);
    expect(reader.newest()?.entry.sequence).toBe(2);
  });

  test("the same object while nothing changes", () => {
    const { reader } = openReader();
    feedLedger(reader);
    feedModels(reader);
    expect(reader.newest()).toBe(reader.newest());
  });
});

describe("refuses", () => {
  test("an edited, foreign or doubled entry, and goes on with the next good one", () => {
    const { reader } = openReader();
    const [first = new Uint8Array(), second = new Uint8Array()] = topics.ledger;
    const edited = Uint8Array.from(second);
    edited[100] = (edited[100] ?? 0) ^ 1;
    expect(reader.applyLedger(first, 0)).toBe("accepted");
    expect(reader.applyLedger(edited, 1)).toBe("refused");
    expect(reader.applyLedger(null, 2)).toBe("refused");
    expect(reader.applyLedger(first, 3)).toBe("refused");
    expect(reader.applyLedger(Buffer.from("junk"), 4)).toBe("refused");
    expect(reader.applyLedger(topics.ledger[2] ?? null, 5)).toBe("refused");
    expect(reader.applyLedger(second, 6)).toBe("accepted");
  });

  test("an unknown signer's entry does not hold up the others", async () => {
    const { reader } = openReader();
    const other = await createZones();
    const entry = genesis();
    const foreign = encodeLedgerEntry(entry, other.aggregate.signing("model-signing"));
    expect(reader.applyLedger(foreign, 0)).toBe("pending");
    expect(feedLedger(reader)).toEqual(topics.ledger.map(() => "accepted"));
    feedModels(reader);
    expect(reader.newest()?.entry.sequence).toBe(4);
  });

  test("a chunk that is not what its key says", () => {
    const { reader } = openReader();
    feedLedger(reader);
    for (const { key, value } of puts()) {
      const changed = Uint8Array.from(value ?? []);
      changed[50] = (changed[50] ?? 0) ^ 1;
      reader.applyModel(key, changed);
      reader.applyModel(sha256(changed), changed);
      reader.applyModel(null, changed);
    }
    expect(reader.newest()).toBeNull();
    feedModels(reader);
    expect(reader.newest()?.entry.sequence).toBe(4);
  });

  test("a model that a holder of the data key made, without the signing key", async () => {
    const stranger = await createZones();
    const directory = directoryOf(zones, topics.keys, "predict");
    const name = { pipeline: PIPELINE, runId: "ab".repeat(16), modelVersion: 3 };
    const recipient = directory.recipient("model-unwrap");
    if (recipient === null) throw new Error("no recipient");
    const { dataKey } = await createDataKey({
      pipeline: PIPELINE,
      topic: "models",
      lane: 0,
      recipients: [recipient],
      signer: zones.aggregate.signing("model-signing"),
    });
    const checkpoint = randomBytes(5_000);
    const sealed = (signer: Parameters<typeof sealModel>[0]["signer"]) =>
      sealModel({ name, checkpoint, signer, dataKey, sequence: 4, maxChunkBytes: 1_000 });
    const open = (made: ReturnType<typeof sealed>, changes: object = {}) =>
      openModel({
        name: { ...name, ...changes },
        sealed: Buffer.concat(made.chunks.map(({ bytes }) => bytes)),
        findKey: () => dataKey,
        findSigner: (kid) => directory.findSigner(kid, ["model-signing"]),
      });
    const good = sealed(zones.aggregate.signing("model-signing"));
    expect(good.chunks).toHaveLength(6);
    expect(good.model.chunks).toEqual(good.chunks.map(({ hash }) => hex(hash)));
    expect(open(good)).toMatchObject({ status: "ok" });
    expect(open(good, { modelVersion: 4 })).toEqual({ status: "refused" });
    expect(open(good, { runId: "ac".repeat(16) })).toEqual({ status: "refused" });
    expect(open(sealed(stranger.aggregate.signing("model-signing"))).status).not.toBe("ok");
    expect(open(sealed(zones.train.signing("train-signing"))).status).not.toBe("ok");
  });
});

describe("memory", () => {
  test("junk in models is bounded, and what an entry names goes last", () => {
    const limit = 64 * 1024;
    const { reader } = openReader(topics.keys, limit);
    feedLedger(reader);
    const flood = () => {
      for (let i = 0; i < 100; i += 1) {
        const junk = randomBytes(4_000);
        reader.applyModel(sha256(junk), junk);
      }
    };
    flood();
    for (const { key, value } of puts()) {
      reader.applyModel(key, value);
      flood();
    }
    expect(reader.newest()?.entry.sequence).toBe(4);
  });

  test("many waiting entries are bounded", async () => {
    const { reader } = openReader([]);
    const stranger = (await createZones()).aggregate.signing("model-signing");
    const entry = genesis();
    const chunks = Array.from({ length: 12_000 }, () => hex(randomBytes(32)));
    const large = encodeLedgerEntry({ ...entry, model: { ...entry.model, chunks } }, stranger);
    const applied = Array.from({ length: 25 }, (_, offset) => reader.applyLedger(large, offset));
    expect(applied.filter((status) => status === "pending").length).toBeLessThan(22);
    expect(applied.at(-1)).toBe("refused");
  });

  test("the caller's buffers may be used again", () => {
    const { reader } = openReader();
    feedLedger(reader);
    for (const { key, value } of topics.models) {
      const [k, v] = [Uint8Array.from(key), value === null ? null : Uint8Array.from(value)];
      reader.applyModel(k, v);
      k.fill(0);
      v?.fill(0);
    }
    expect(reader.newest()?.entry.sequence).toBe(4);
  });
});

/** The first entry of the ledger. */
function genesis(): LedgerEntry {
  const { reader } = openReader();
  feedLedger(reader);
  const [first] = reader.entries();
  if (first === undefined) throw new Error("no ledger");
  return first.entry;
}
