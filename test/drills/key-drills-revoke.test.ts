/**
 * Drill: keys are revoked while records flow, on a real Kafka with running stages. A reader sees nothing more, a stolen
 * result key convinces nobody, and a zone that the owner cuts off gets no example: records wait, and none goes in clear.
 */
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { type RunningStages, runProgram } from "../../examples/digits/demo/program.ts";
import type { OpenedRecord } from "../../pipeline/client/records.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, readAll } from "../lib/kafka.ts";
import {
  currentKey,
  deadLetters,
  envelopeKid,
  type Feed,
  listKeys,
  readAllBundles,
  readKeysTopic,
  runKeys,
  startFeed,
} from "../lib/key-drill.ts";
import { makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

/** Lane 0 has both kinds of records, lane 1 unlabelled ones alone. */
const LANES = 2;
const BEATS = [
  { labelled: 6, unlabelled: 0 },
  { labelled: 0, unlabelled: 1 },
];
const BEAT_MS = 800;
const FIELDS = `encrypt:
  records:
    clear: [formId]
    sealed:
      - { fields: [name], for: [support] }
`;

let client: KafkaClient;
let pipeline: TestPipeline;
let stages: RunningStages;
let feed: Feed;

const note = (stage: string, name: string) => stages.reports().get(stage)?.notes[name];
const count = async (role: "records" | "examples" | "packs" | "predictions", lane: number) =>
  (await client.offsets(topicName(pipeline.name, role), lane)).latest;

/** A reader's key pair, granted a topic. */
async function grant(topic: string, name: string): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  const path = join(pipeline.folder, `${name}.pem`);
  writeFileSync(path, privateKey.export({ format: "pem", type: "pkcs8" }));
  chmodSync(path, 0o600);
  const shared = join(pipeline.folder, `${name}.public.pem`);
  writeFileSync(shared, publicKey.export({ format: "pem", type: "spki" }));
  await runKeys(pipeline, "grant", undefined, { topic, name, publicKey: shared });
}

/** What the reader of `records` sees now, by record id. */
async function readSupport(): Promise<ReadonlyMap<string, boolean>> {
  const args = ["records", pipeline.file, "--key", join(pipeline.folder, "support.pem"), "--json"];
  const { out } = await runProgram(pipeline.program, "records", args);
  const lines = out.split("\n").filter((line) => line !== "");
  const records = lines.map((line) => JSON.parse(line) as OpenedRecord);
  return new Map(records.map(({ id, fields }) => [id, "name" in fields]));
}

/** Waits until a lane of a topic has got this many more. */
async function more(
  role: "records" | "examples" | "packs" | "predictions",
  lane: number,
  by: number,
) {
  const from = await count(role, lane);
  await untilStages(stages, `${role} goes on`, async () => (await count(role, lane)) >= from + by);
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(inject("brokers"), (file) =>
    file
      .replace("partitions: 4", `partitions: ${LANES}`)
      .replace("lingerMs: 500", "lingerMs: 3000")
      .replace("- { dense: 32, activation: square }", "- { dense: 4, activation: square }")
      .replace("encrypt:\n", FIELDS),
  );
  await grant("records", "support");
  await grant("examples", "audit");
  stages = pipeline.start();
  await untilStages(stages, "there is a model", () => note("predict", "model") !== undefined);
  feed = await startFeed(client, pipeline, { beats: BEATS, everyMs: BEAT_MS });
  await untilStages(
    stages,
    "records flow to both ends",
    () =>
      Number(note("predict", "predicted") ?? 0) > 0 && Number(note("aggregate", "model") ?? 0) >= 1,
  );
}, 240_000);

afterAll(async () => {
  await feed?.close();
  await stages?.stop();
  pipeline?.remove();
  await client?.close();
});

describe("revoking while records flow", () => {
  it("takes a reader's access to what is sealed from then on, and its wraps to what was before", async () => {
    const opened = [...(await readSupport()).values()];
    expect([opened.length > 0, opened.every(Boolean)]).toEqual([true, true]);
    const { keys } = await listKeys(pipeline);
    const readers = keys.filter(
      ({ purpose, state }) => purpose === "reader" && state === "current",
    );
    expect(readers).toHaveLength(2);
    await runKeys(pipeline, "revoke", undefined, { topic: "records", name: "support" });
    await runKeys(pipeline, "revoke", undefined, { topic: "examples", name: "audit" });
    const from = [await count("records", 0), await count("examples", 0)];
    await more("records", 0, 60);
    await more("examples", 0, 60);
    const topic = await readKeysTopic(client, pipeline);
    for (const [index, role] of (["records", "examples"] as const).entries()) {
      const kids = readers.map(({ kid }) => kid);
      const isFor = (recipients: readonly string[]) => recipients.some((kid) => kids.includes(kid));
      // As `keys` stands now: nothing is wrapped for them, of before or since.
      const now = topic.listing.dataKeys.filter(({ payload }) => payload.topic === role);
      expect(now.length).toBeGreaterThan(1);
      expect(now.some(({ payload }) => isFor(payload.recipients.map((one) => hex(one.kid))))).toBe(
        false,
      );
      // And who kept every wrap there ever was has none of the data keys in use since; before, they had.
      const announced = topic.dataKeys.filter(({ payload }) => payload.topic === role);
      const had = new Set(announced.filter((one) => isFor(one.for)).map(({ kid }) => kid));
      expect(had.size).toBeGreaterThan(0);
      const made = announced.filter(
        (one, at) => announced.findIndex(({ kid }) => kid === one.kid) === at,
      );
      expect(made.at(-1)?.for.length).toBeGreaterThan(0);
      expect(had.has(made.at(-1)?.kid ?? "")).toBe(false);
      if (role === "examples") {
        const [lane = []] = await readAll(client, topicName(pipeline.name, role), LANES);
        const after = lane.filter(({ offset }) => offset >= (from[index] ?? 0) + 30);
        expect(after.length).toBeGreaterThan(5);
        expect(after.filter((record) => had.has(envelopeKid(record)))).toEqual([]);
      }
    }
    const after = await readSupport();
    expect([after.size > opened.length, [...after.values()].some(Boolean)]).toEqual([true, false]);
  });

  it("makes what a stolen result key signs worthless, until predict has a fresh one", async () => {
    const { keys } = await listKeys(pipeline);
    const stolen = currentKey(keys, "result-signing");
    expect((await pipeline.predictions()).length).toBeGreaterThan(0);
    const { told } = await runKeys(pipeline, "revoke", stolen.kid);
    expect(told).toContain("What result-signing signed is refused from now on");
    await more("predictions", 1, 5);
    expect(await pipeline.predictions()).toEqual([]);
    await runKeys(pipeline, "rotate", "result-signing");
    const fresh = currentKey((await listKeys(pipeline)).keys, "result-signing");
    await untilStages(stages, "predictions open again", async () => {
      const { findSigner } = await readKeysTopic(client, pipeline);
      const bundles = await readAllBundles(client, pipeline, { role: "predictions", findSigner });
      return bundles.flat().filter(({ kid }) => hex(kid) === fresh.kid).length >= 2;
    });
    const opened = await pipeline.predictions();
    expect(opened.length).toBeGreaterThan(0);
    const { err } = await runProgram(pipeline.program, "refused", ["predictions", pipeline.file]);
    expect(err).toMatch(/refused a bundle at lane 1, offset \d+: (?:key-unknown|pack-incomplete)/);
    expect(opened.every(({ recordId }) => feed.unlabelled.has(recordId))).toBe(true);
  });

  it("cuts off the training zone: its examples wait and say why, packs go on, nothing goes in clear", async () => {
    const { told } = await runKeys(pipeline, "revoke", undefined, { zone: "training" });
    expect(told).toContain(
      "Nothing is sealed into examples until a key that it needs is published",
    );
    await untilStages(
      stages,
      "encrypt says what it waits for",
      () => note("encrypt", "waits for keys") === "training-unwrap",
    );
    // Lane 1 has unlabelled records alone, and goes on. What lane 0 had begun is done by then.
    await more("packs", 1, 1);
    const before = [await count("examples", 0), await count("records", 0)];
    const fed = feed.labelled[0] ?? 0;
    await more("packs", 1, 1);
    await untilStages(stages, "examples came in", () => (feed.labelled[0] ?? 0) >= fed + 12);
    expect([await count("examples", 0), await count("records", 0)]).toEqual(before);
    const topic = await readKeysTopic(client, pipeline);
    const [lane = []] = await readAll(client, topicName(pipeline.name, "examples"), LANES);
    const announced = new Set(topic.dataKeys.map(({ kid }) => kid));
    expect(lane.filter((record) => !announced.has(envelopeKid(record)))).toEqual([]);
    expect(await deadLetters(client, pipeline)).toEqual({});
  });
});
