/**
 * The main job through the real broker, with everything hostile on the way: raw records of every bad kind, and an
 * attacker who can write to every topic. Nothing is lost, nothing leaks, nothing stops.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { scanForMarkers } from "../../examples/digits/demo/scan.ts";
import type { DigitRecord } from "../../examples/digits/records.ts";
import { readLedger } from "../../pipeline/client/ledger.ts";
import type { Prediction } from "../../pipeline/client/predictions.ts";
import { deadLetterAad } from "../../pipeline/commands/dead-letter-sealer.ts";
import { decodeCbor } from "../../pipeline/crypto/cbor.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import { openSealed } from "../../pipeline/crypto/sealed-box.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, readAll } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
const LABELLED = 300;
const UNLABELLED = 40;
const text = new TextDecoder();
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

let client: KafkaClient;
let pipeline: TestPipeline;
let labelled: DigitRecord[];
let unlabelled: DigitRecord[];
let predictions: Prediction[];

/** Raw values that must become dead letters, with the reason each must get. */
function badRecords(good: DigitRecord): [Uint8Array | null, string][] {
  const { form } = good;
  const json = (value: unknown) => bytes(JSON.stringify(value));
  const { phone: _phone, ...withoutPhone } = form;
  return [
    [null, "tombstone"],
    [Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d), "not-utf8"],
    [bytes('{"formId": "x"'), "not-json"],
    [bytes("no json at all"), "not-json"],
    [json([form]), "wrong-type"],
    [json({ ...form, surprise: "secret surprise" }), "unknown-field"],
    [json(withoutPhone), "missing-field"],
    [json({ ...form, name: 7 }), "wrong-type"],
    [json({ ...form, pixels: form.pixels.slice(1) }), "schema"],
    [json({ ...form, pixels: form.pixels.map(() => 99) }), "schema"],
    [bytes(`{"formId":"a","formId":"b",${JSON.stringify(form).slice(1)}`), "duplicate-field"],
    [json({ ...form, note: "n".repeat(300_000) }), "too-large"],
  ];
}

async function writeGarbage(): Promise<void> {
  const producer = await client.createPlainProducer();
  const junk = (size: number) => randomBytes(size);
  const records = [
    { key: junk(8), value: junk(300), partition: 0 },
    { key: junk(3), value: junk(10), partition: 0 },
    { key: junk(4), value: null, partition: 0 },
    {
      key: bytes("data-key/00"),
      value: junk(90),
      headers: { "sealstream-type": bytes("manifest"), "sealstream-split": bytes("train") },
      partition: 0,
    },
    {
      key: bytes("signer/owner-signing/00"),
      value: bytes("{}"),
      headers: { "sealstream-type": bytes("chunk") },
      partition: 0,
    },
  ];
  for (const role of [
    "keys",
    "examples",
    "packs",
    "contributions",
    "models",
    "ledger",
    "predictions",
  ] as const) {
    await producer.send(topicName(pipeline.name, role), records);
  }
  await producer.close();
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(inject("brokers"), (file) =>
    file
      .replace("partitions: 4", "partitions: 2")
      .replace("record:\n", "record:\n  maxBytes: 100000\n"),
  );
  const all = digits();
  labelled = all.filter(({ form }) => form.digit !== undefined).slice(0, LABELLED);
  unlabelled = all.filter(({ form }) => form.digit === undefined).slice(0, UNLABELLED);
  const stages = pipeline.start();
  const records = (stage: string) => stages.reports().get(stage)?.records ?? 0;
  const note = (stage: string, name: string) =>
    Number(stages.reports().get(stage)?.notes[name] ?? 0);
  await untilStages(
    stages,
    "the genesis model is there",
    () => stages.reports().get("aggregate")?.notes["model"] !== undefined,
  );
  await writeGarbage();
  const producer = await client.createPlainProducer();
  const [example] = labelled;
  await producer.send(
    topicName(pipeline.name, "raw"),
    badRecords(example!).map(([value]) => ({
      key: bytes("raw key"),
      value,
      headers: { trace: bytes("raw header") },
      partition: 1,
    })),
  );
  await producer.close();
  await pipeline.produce(labelled);
  await untilStages(
    stages,
    "the model was updated",
    () => note("aggregate", "model") >= 3 && note("predict", "model") >= 3,
  );
  await pipeline.produce(unlabelled);
  await untilStages(stages, "all are predicted", () => note("predict", "predicted") >= UNLABELLED);
  await untilStages(
    stages,
    "nothing waits",
    () => records("desensitize") >= LABELLED + UNLABELLED + 12,
  );
  predictions = await pipeline.predictions();
  await stages.stop();
});

afterAll(async () => {
  pipeline?.remove();
  await client?.close();
});

describe("the main job", () => {
  it("predicts every unlabelled record exactly once", () => {
    expect(predictions.map(({ recordId }) => recordId).sort()).toEqual(
      unlabelled.map(({ form }) => form.formId).sort(),
    );
  });

  it("turns every bad raw record into a dead letter with its reason, which only the zone's key opens", async () => {
    const [example] = labelled;
    const expected = badRecords(example!);
    const topic = topicName(pipeline.name, "raw");
    const dead = (await readAll(client, `${topic}.dead`, LANES)).flat();
    const keys = await openKeyStore({
      folder: join(pipeline.keys, "dead-letters"),
      holder: "dead-letters",
    });
    expect(
      dead.map(({ headers }) => text.decode(headers["__connect.errors.exception.class.name"])),
    ).toEqual(expected.map(([, reason]) => reason));
    for (const [index, letter] of dead.entries()) {
      const aad = deadLetterAad(
        pipeline.name,
        topic,
        1,
        Number(text.decode(letter.headers["__connect.errors.offset"])),
      );
      const opened = openSealed({
        message: letter.value!,
        unwrapKey: keys.unwrap("owner-dead-letter"),
        aad,
      });
      const wrong = openSealed({
        message: letter.value!,
        unwrapKey: keys.unwrap("training-dead-letter"),
        aad,
      });
      expect(wrong.status).toBe("refused");
      const plain =
        opened.status === "ok"
          ? (decodeCbor(opened.plaintext) as { value: Uint8Array | null })
          : null;
      expect(plain?.value === null ? null : Buffer.from(plain?.value ?? []).toString("hex")).toBe(
        expected[index]![0] === null ? null : Buffer.from(expected[index]![0]!).toString("hex"),
      );
    }
  });

  it("lets nothing but the allowed fields out of desensitize", async () => {
    const out = (await readAll(client, topicName(pipeline.name, "desensitized"), LANES)).flat();
    expect(out.length).toBe(LABELLED + UNLABELLED);
    for (const { key, value, headers } of out) {
      expect(Object.keys(headers)).toEqual([]);
      const record = JSON.parse(text.decode(value!)) as Record<string, unknown>;
      expect(text.decode(key!)).toBe(record["formId"]);
      expect(record["note"]).toBe("(removed)");
      expect(record["email"]).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  it("keeps a ledger that verifies but for the garbage, and counts every record once", async () => {
    const { entries, findings } = await readLedger({
      client,
      pipeline: pipeline.name,
      zones: pipeline.spec().zones!,
    });
    expect(entries.length).toBeGreaterThan(3);
    expect(findings.length).toBeGreaterThan(0);
    const byLane = new Map<number, number>();
    for (const { entry } of entries) {
      for (const { lane, from, to } of entry.ranges) {
        expect(from).toBe(byLane.get(lane) ?? from);
        expect(to).toBeGreaterThan(from);
        byLane.set(lane, to);
      }
    }
    expect(byLane.size).toBe(LANES);
  });

  it("leaves no personal data in any topic but raw, in logs or in files, and would have found it", async () => {
    const plan = {
      client,
      pipeline: pipeline.name,
      partitions: LANES,
      records: [...labelled, ...unlabelled],
      folders: [join(pipeline.folder, "logs"), pipeline.keys],
      metrics: [],
    };
    expect((await scanForMarkers(plan)).hits).toEqual([]);
    const producer = await client.createPlainProducer();
    const planted = Buffer.from(labelled[5]!.form.email).toString("base64");
    await producer.send(topicName(pipeline.name, "packs"), [
      { key: null, value: bytes(`xx${planted}`), partition: 0 },
    ]);
    await producer.close();
    expect((await scanForMarkers(plan)).hits).toMatchObject([
      { where: topicName(pipeline.name, "packs"), encoding: "base64", count: 1 },
    ]);
  });
});
