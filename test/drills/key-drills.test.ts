/**
 * Drill: every kind of key is rotated while records flow, on a real Kafka with running stages. Nothing stops, nothing is
 * lost, and everything opens: what was sealed before, by the old keys; what was sealed since, by the new ones.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { RunningStages } from "../../examples/digits/demo/program.ts";
import { readLedger } from "../../pipeline/client/ledger.ts";
import { deadLetterAad } from "../../pipeline/commands/dead-letter-sealer.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import { ZONES } from "../../pipeline/crypto/key-purposes.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import { openSealed } from "../../pipeline/crypto/sealed-box.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { STAGES, topicName } from "../../schemas/topics.ts";
import { connect, readAll, until } from "../lib/kafka.ts";
import {
  currentKey,
  deadLetters,
  envelopeKid,
  type Feed,
  type KeysTopic,
  type ListedKey,
  listKeys,
  longestGap,
  readAllBundles,
  readKeysTopic,
  runKeys,
  startFeed,
} from "../lib/key-drill.ts";
import { makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

/** Lane 0 is busy and renews data keys by count, lane 1 is slow and renews them by age. */
const LANES = 2;
const BUSY = { labelled: 8, unlabelled: 1 };
const SLOW = { labelled: 1, unlabelled: 0 };
const BEAT_MS = 800;
const ROTATE_AFTER_RECORDS = 40;
const ROTATE_AFTER_MS = 6_000;
const MICRO_BATCH = 16;
/** Contributions of one update. */
const UPDATE = 4;

const SIGNERS = ["owner-signing", "train-signing", "model-signing", "result-signing"] as const;
const UNWRAPS = [
  "training-unwrap",
  "contribution-unwrap",
  "model-unwrap",
  "consumer-unwrap",
  "owner-recovery",
  "owner-dead-letter",
] as const;

/** Under load, a lane may be looked at late. */
const SLACK_MS = 10_000;
const MOST_GAP_MS = 60_000;

let client: KafkaClient;
let feedEnded = 0;
let pipeline: TestPipeline;
let stages: RunningStages;
let feed: Feed;
let before: readonly ListedKey[];
let after: readonly ListedKey[];
let lost: readonly string[];
let topic: KeysTopic;
let noise = "";
const pids = new Map<string, number | undefined>();

const note = (stage: string, name: string) => Number(stages.reports().get(stage)?.notes[name] ?? 0);

const hasNote = (stage: string, name: string) =>
  stages.reports().get(stage)?.notes[name] !== undefined;

async function rotateAll(): Promise<void> {
  const rotate = (what: string, options = {}) => runKeys(pipeline, "rotate", what, options);
  for (const purpose of [...SIGNERS, ...UNWRAPS]) await rotate(purpose);
  await rotate("ckks");
  await rotate("split");
  noise = await rotate("noise").then(
    () => "",
    (error: Error) => error.message,
  );
  for (const zone of ZONES) await rotate("identity", { zone });
}

/** Fills up what train and aggregate wait for, so that every record is to be in an update. */
async function fillUp(): Promise<void> {
  for (let lane = 0; lane < LANES; lane += 1) {
    const rest = (feed.labelled[lane] ?? 0) % MICRO_BATCH;
    if (rest > 0) await feed.write(lane, { labelled: MICRO_BATCH - rest, unlabelled: 0 });
  }
  const made = feed.labelled.reduce((sum, count) => sum + count, 0) / MICRO_BATCH;
  const missing = (UPDATE - (made % UPDATE)) % UPDATE;
  await feed.write(0, { labelled: missing * MICRO_BATCH, unlabelled: 0 });
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(
    inject("brokers"),
    (file) =>
      file
        .replace("partitions: 4", `partitions: ${LANES}`)
        .replace("lingerMs: 500", "lingerMs: 3000")
        .replace("- { dense: 32, activation: square }", "- { dense: 4, activation: square }")
        .replace("train: 0.9, validate: 0.1, test: 0", "train: 1, validate: 0, test: 0")
        .replace(
          "rotateAfterRecords: 100000",
          `rotateAfterRecords: ${ROTATE_AFTER_RECORDS}, rotateAfterMs: ${ROTATE_AFTER_MS}`,
        ),
    { environment: { SEALSTREAM_LOG: "info" } },
  );
  before = (await listKeys(pipeline)).keys;
  stages = pipeline.start();
  await untilStages(stages, "there is a model", () => hasNote("predict", "model"));
  feed = await startFeed(client, pipeline, { beats: [BUSY, SLOW], everyMs: BEAT_MS });
  await untilStages(
    stages,
    "records flow to both ends",
    () => note("predict", "predicted") > 0 && note("aggregate", "model") >= 1,
  );
  for (const stage of STAGES) pids.set(stage, stages.pid(stage));
  await Promise.race([rotateAll(), stages.failed]);
  const [examples, predicted] = [feed.labelled[0] ?? 0, note("predict", "predicted")];
  await untilStages(
    stages,
    "records flow under the new keys",
    () =>
      (feed.labelled[0] ?? 0) >= examples + 2 * ROTATE_AFTER_RECORDS &&
      note("predict", "predicted") > predicted + 4,
  );
  feedEnded = Date.now();
  await feed.stop();
  await fillUp();
  const total = feed.labelled.reduce((sum, count) => sum + count, 0);
  await untilStages(
    stages,
    "all is predicted and in a model",
    () =>
      note("predict", "predicted") >= feed.unlabelled.size &&
      note("predict", "model") >= total / MICRO_BATCH / UPDATE,
  );
  // Data keys that a stage announced while it heard of a rotation are for the keys of before, until somebody asks.
  await runKeys(pipeline, "rotate", "data-keys");
  ({ keys: after, lost } = await listKeys(pipeline));
  topic = await readKeysTopic(client, pipeline);
}, 240_000);

function never(): never {
  throw new Error("it is there");
}

afterAll(async () => {
  await feed?.close();
  await stages?.stop();
  pipeline?.remove();
  await client?.close();
});

describe("rotating every key while records flow", () => {
  it("makes the new keys the current ones and keeps the old ones known", () => {
    for (const purpose of [...SIGNERS, ...UNWRAPS, "ckks-secret"]) {
      const [old, fresh] = [currentKey(before, purpose), currentKey(after, purpose)];
      expect([purpose, old.generation, fresh.generation]).toEqual([purpose, 1, 2]);
      expect(after.find(({ kid }) => kid === old.kid)?.state).toBe("previous");
    }
    for (const zone of ZONES) {
      expect(currentKey(after, `${zone}-identity`).kid).not.toBe(
        currentKey(before, `${zone}-identity`).kid,
      );
    }
    expect(lost).toEqual([]);
    expect(noise).toContain("noise is not rotated: a step that is tried again must draw the same");
  });

  it("restarts no stage and refuses no entry", () => {
    for (const stage of STAGES)
      expect([stage, stages.pid(stage)]).toEqual([stage, pids.get(stage)]);
    const log = readFileSync(join(pipeline.folder, "logs", "run.log"), "utf8");
    expect(log.split("\n").filter((line) => /refused|"event":"exit"/.test(line))).toEqual([]);
    const pickedUp = log.split("\n").filter((line) => line.includes("a new key was picked up"));
    // owner, train, model and result signing; training, contribution and model unwrap.
    expect(pickedUp).toHaveLength(7);
  });

  it("trains on every labelled record once: no letter, no zero, and a ledger that verifies", async () => {
    expect(await deadLetters(client, pipeline)).toEqual({});
    const { zones, revoked } = pipeline.spec();
    const { entries, findings } = await readLedger({
      ...{ client, pipeline: pipeline.name, zones: zones ?? never(), revoked },
    });
    expect(findings).toEqual([]);
    const ranges = entries.flatMap(({ entry }) => entry.ranges);
    for (let lane = 0; lane < LANES; lane += 1) {
      const own = ranges.filter((range) => range.lane === lane);
      const places = own.reduce((sum, range) => sum + range.places, 0);
      expect([lane, places]).toEqual([lane, feed.labelled[lane]]);
    }
    const examples = await readAll(client, topicName(pipeline.name, "examples"), LANES);
    expect(examples.map(({ length }) => length)).toEqual(feed.labelled);
    await pipeline.run("ledger", ["ledger", pipeline.file, "--verify"]);
  });

  it("gives every unlabelled record one prediction that the consumer opens, under old and new keys", async () => {
    const predictions = await pipeline.predictions();
    expect(predictions.map(({ recordId }) => recordId).sort()).toEqual([...feed.unlabelled].sort());
    for (const role of ["packs", "predictions"] as const) {
      const bundles = await readAllBundles(client, pipeline, {
        role,
        findSigner: topic.findSigner,
      });
      const purpose = role === "packs" ? "owner-signing" : "result-signing";
      const [lane = []] = bundles;
      const kids = lane.map(({ kid }) => hex(kid));
      expect(kids[0]).toBe(currentKey(before, purpose).kid);
      expect(kids.at(-1)).toBe(currentKey(after, purpose).kid);
      const consumers = lane.map(({ fields }) => fields["consumerKeyId"]);
      expect(consumers[0]).toBe(currentKey(before, "ckks-secret").kid);
      expect(consumers.at(-1)).toBe(currentKey(after, "ckks-secret").kid);
    }
  });

  it("wraps new data keys for the new recipients, announced by the new signers", () => {
    const kid = (purpose: string) => currentKey(after, purpose).kid;
    const cases = [
      ["examples", "owner-signing", ["training-unwrap", "owner-recovery"]],
      ["contributions", "train-signing", ["contribution-unwrap"]],
      ["models", "model-signing", ["training-unwrap", "contribution-unwrap", "model-unwrap"]],
    ] as const;
    for (const [role, signer, recipients] of cases) {
      const own = topic.dataKeys.filter(({ payload }) => payload.topic === role);
      const first = own.findIndex((one) => own.slice(0, own.indexOf(one)).length === 0);
      expect(own[first]?.signer).toBe(currentKey(before, signer).kid);
      // The newest that a stage made by itself; identities wrap anew.
      const made = own.filter(
        (one, index) => own.findIndex((two) => two.kid === one.kid) === index,
      );
      expect([role, made.at(-1)?.signer]).toEqual([role, kid(signer)]);
      for (const purpose of recipients) {
        expect([purpose, made.at(-1)?.for.includes(kid(purpose))]).toEqual([purpose, true]);
      }
      // What was made before opens for the new keys too.
      const newest = topic.listing.dataKeys.filter(({ payload }) => payload.topic === role);
      for (const { payload, trusted } of newest) {
        const wrapped = payload.recipients.map((one) => hex(one.kid));
        expect([trusted, recipients.every((purpose) => wrapped.includes(kid(purpose)))]).toEqual([
          true,
          true,
        ]);
      }
    }
  });

  it("renews data keys by count and by age", async () => {
    const lanes = await readAll(client, topicName(pipeline.name, "examples"), LANES);
    const [busy = [], slow = []] = lanes.map((records) => [
      ...Map.groupBy(records, envelopeKid).values(),
    ]);
    const full = busy.filter(({ length }) => length === ROTATE_AFTER_RECORDS);
    expect(full.length).toBeGreaterThan(1);
    expect(Math.max(...busy.map(({ length }) => length))).toBe(ROTATE_AFTER_RECORDS);
    expect(slow.length).toBeGreaterThan(2);
    const announced = new Set(topic.dataKeys.map(({ kid }) => kid));
    for (const records of [...busy, ...slow]) {
      const [first] = records;
      if (first !== undefined) expect(announced.has(envelopeKid(first))).toBe(true);
    }
    const ages = slow.map((own) => (own.at(-1)?.timestampMs ?? 0) - (own[0]?.timestampMs ?? 0));
    expect(Math.max(...ages)).toBeLessThan(ROTATE_AFTER_MS + SLACK_MS);
  });

  it("goes on without a pause worth the name", async () => {
    const gaps: Record<string, readonly number[]> = {};
    for (const role of ["desensitized", "examples", "packs", "predictions"] as const) {
      const lanes = await readAll(client, topicName(pipeline.name, role), LANES);
      gaps[role] = lanes.map((records) =>
        longestGap(records.filter(({ timestampMs }) => timestampMs < feedEnded)),
      );
    }
    process.stdout.write(`longest gaps by lane, in ms: ${JSON.stringify(gaps)}\n`);
    expect(Math.max(...Object.values(gaps).flat())).toBeLessThan(MOST_GAP_MS);
  });

  it("seals dead letters to the new key of the owner from then on", async () => {
    const raw = topicName(pipeline.name, "raw");
    const producer = await client.createPlainProducer();
    const value = new TextEncoder().encode("no json");
    await producer.send(raw, [{ key: null, value, partition: 0 }]);
    await producer.close();
    let letters: Awaited<ReturnType<typeof readAll>> = [];
    await until("the letter is there", async () => {
      letters = await readAll(client, `${raw}.dead`, LANES);
      return letters.flat().length > 0;
    });
    const [letter] = letters.flat();
    const { headers, value: message } = letter ?? never();
    const folder = join(pipeline.keys, "dead-letters");
    const ring = (await openKeyStore({ folder, holder: "dead-letters" })).unwrapAll(
      "owner-dead-letter",
    );
    const offset = Number(new TextDecoder().decode(headers["__connect.errors.offset"]));
    const aad = deadLetterAad(pipeline.name, raw, 0, offset);
    const opens = ring.map((key) => {
      if (key.algorithm === "kms") throw new Error("no key is in a service here");
      return openSealed({ message: message ?? never(), unwrapKeys: [key], aad }).status;
    });
    expect(opens).toEqual(["ok", "refused"]);
  });
});
