/** Models that the prediction zone gets as ciphertexts only: who can open what, through which entry. */
import { beforeAll, describe, expect, test } from "vitest";
import { decodeLedgerEntry } from "../../../pipeline/privacy/ledger-entry.ts";
import { openModel } from "../../../pipeline/privacy/model-blob.ts";
import type { ModelEncryption } from "../../../pipeline/stages/aggregate/options.ts";
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
} from "./world.ts";

const CONSUMER = "ab".repeat(32);

let zones: Zones;
beforeAll(async () => {
  zones = await createZones();
});

/** Stands for ciphertexts: bytes that say which model they are of. */
function fakeEncryption(changes: Partial<ModelEncryption> = {}): ModelEncryption {
  let made = 0;
  return {
    ready: () => true,
    encrypt: async () => {
      made += 1;
      const file = new TextEncoder().encode(`model ${made}`);
      return { file, parameters: "ckks-8192-49.49.30.49-s23", consumerKeyId: CONSUMER };
    },
    ...changes,
  };
}

async function publishUpdates(modelEncryption: ModelEncryption, updates: number): Promise<Topics> {
  const topics = createTopics(zones);
  const lane = await startLane(zones, topics, { modelEncryption });
  await lane.run();
  const trainer = await createTrainer(zones, topics);
  for (let i = 0; i < 2 * updates; i += 1) trainer.send(trainer.next(lane.state().run.runId));
  await lane.run();
  return topics;
}

const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);

describe("a model that is encrypted for the prediction zone", () => {
  test("predict opens its ciphertexts and nothing else", async () => {
    const topics = await publishUpdates(fakeEncryption(), 1);
    const asCiphertexts = readerOf(zones, topics, "predict", "encrypted").newest();
    expect(text(asCiphertexts?.checkpoint)).toBe("model 2");
    expect(asCiphertexts?.entry).toMatchObject({
      version: 2,
      modelVersion: 1,
      encryptedModel: { parameters: "ckks-8192-49.49.30.49-s23", consumerKeyId: CONSUMER },
    });
    expect(readerOf(zones, topics, "predict", "plain").newest()).toBeNull();
  });

  test("train and aggregate open the model itself, and not the ciphertexts", async () => {
    const topics = await publishUpdates(fakeEncryption(), 1);
    for (const holder of ["train", "aggregate"] as const) {
      expect(readerOf(zones, topics, holder).newest()?.entry.modelVersion).toBe(1);
      expect(readerOf(zones, topics, holder, "encrypted").newest()).toBeNull();
    }
  });

  test("neither form can be opened as the other, even by who holds its key", async () => {
    const topics = await publishUpdates(fakeEncryption(), 0);
    const directory = directoryOf(zones, topics.keys, "predict");
    const findSigner = (kid: Uint8Array) => directory.findSigner(kid, ["model-signing"]);
    const decoded = decodeLedgerEntry(topics.ledger[0] ?? new Uint8Array(), {
      pipeline: PIPELINE,
      findSigner,
    });
    if (decoded.status !== "ok") throw new Error("the entry was refused");
    const { encryptedModel, runId, modelVersion } = decoded.entry;
    const sealed = topics.models.find(
      ({ key }) => Buffer.from(key).toString("hex") === encryptedModel?.chunks[0],
    )?.value;
    const name = { pipeline: PIPELINE, runId, modelVersion };
    const findKey = (kid: Uint8Array) => directory.findDataKey(kid, "models");
    const open = (form: "plain" | "encrypted") =>
      openModel({
        name: { ...name, form },
        sealed: sealed ?? new Uint8Array(),
        findKey,
        findSigner,
      }).status;
    expect(open("encrypted")).toBe("ok");
    expect(open("plain")).toBe("refused");
  });

  test("nothing is published before the consumer's key is known", async () => {
    let isReady = false;
    const topics = createTopics(zones);
    const lane = await startLane(zones, topics, {
      modelEncryption: fakeEncryption({ ready: () => isReady }),
    });
    await lane.run();
    expect(topics.ledger).toHaveLength(0);
    isReady = true;
    await lane.run(1_000);
    expect(topics.ledger).toHaveLength(1);
  });

  test("a model that cannot be encrypted leaves prediction with the one before, and training goes on", async () => {
    let calls = 0;
    const { encrypt } = fakeEncryption();
    const topics = await publishUpdates(
      fakeEncryption({
        encrypt: async (network, weights) => {
          calls += 1;
          return calls === 2 ? null : encrypt(network, weights);
        },
      }),
      1,
    );
    expect(topics.ledger).toHaveLength(2);
    expect(readerOf(zones, topics, "predict", "encrypted").newest()?.entry.modelVersion).toBe(0);
    expect(readerOf(zones, topics, "train").newest()?.entry.modelVersion).toBe(1);
  });

  test("chunks of both forms are taken back once eight newer models are there", async () => {
    const topics = await publishUpdates(fakeEncryption(), 9);
    const gone = topics.models.filter(({ value }) => value === null).length;
    // Ten models of two chunks each, of which eight stay.
    expect(gone).toBe(4);
    expect(readerOf(zones, topics, "predict", "encrypted").newest()?.entry.modelVersion).toBe(9);
  });

  test("goes on after a restart", async () => {
    const topics = await publishUpdates(fakeEncryption(), 1);
    const lane = await startLane(zones, topics, { modelEncryption: fakeEncryption() });
    const trainer = await createTrainer(zones, topics, 0, 10);
    for (let i = 0; i < 2; i += 1) trainer.send(trainer.next(lane.state().run.runId));
    await lane.run();
    expect(readerOf(zones, topics, "predict", "encrypted").newest()?.entry.modelVersion).toBe(2);
  });
});
