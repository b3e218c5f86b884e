/**
 * What a foreign producer may write to `raw`, on a real broker: odd records, aborted ones, huge ones, every codec. The
 * lane carries them or makes dead letters of them, or stops with one sentence that names the topic.
 */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import kafkajs, { type Admin, type Kafka, type Producer } from "kafkajs";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { deadLetterAad } from "../../pipeline/commands/dead-letter-sealer.ts";
import { decodeCbor } from "../../pipeline/crypto/cbor.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import { openSealed } from "../../pipeline/crypto/sealed-box.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { ensureTopics } from "../../pipeline/stream/topics.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, freshPipeline, readAll, until } from "../lib/kafka.ts";
import {
  committed,
  type Instance,
  type InstanceOptions,
  passThrough,
  startInstance,
  valuesOf,
} from "../lib/lane-load.ts";
import { digits, makePipeline, untilStages } from "../lib/pipeline.ts";

const LIBS = join(import.meta.dirname, "../../build/kafka/kafka-4.3.1/libs");
/** Kafka's default `max.message.bytes`: a record batch, its 61 bytes of header included. */
const BATCH_LIMIT = 1_048_588;
/** Header of a batch with one record without key and headers, and that record's varints. */
const BATCH_OVERHEAD = 61 + 3 + 1 + 1 + 1 + 1 + 3 + 1;
const YEAR_9999 = 253_402_300_799_999;
const text = new TextDecoder();

let client: KafkaClient;
let kafka: Kafka;
let admin: Admin;
let producer: Producer;
const instances: Instance[] = [];

beforeAll(async () => {
  client = await connect(inject("brokers"));
  kafka = new kafkajs.Kafka({
    brokers: [...inject("brokers")],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 50, retries: 20 },
  });
  admin = kafka.admin();
  await admin.connect();
  producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
});

afterAll(async () => {
  await Promise.allSettled(instances.map((instance) => instance.stop()));
  await producer?.disconnect();
  await admin?.disconnect();
  await client?.close();
});

/** @param config of its raw topic, from the beginning: a change takes a while to reach the broker */
async function newPipeline(config: Readonly<Record<string, string>> = {}): Promise<string> {
  const pipeline = freshPipeline("bad");
  const raw = { name: topicName(pipeline, "raw"), partitions: 1, replicationFactor: 1, config };
  await client.createTopics([raw]);
  await ensureTopics(client, { pipeline, partitions: 1, replicationFactor: 1 });
  return pipeline;
}

async function start(pipeline: string, options: Partial<InstanceOptions> = {}): Promise<Instance> {
  const instance = await startInstance({
    ...{ name: "only", brokers: inject("brokers"), pipeline, partitions: 1 },
    sessionTimeoutMs: 10_000,
    ...options,
  });
  instances.push(instance);
  return instance;
}

function configure(topic: string, config: Readonly<Record<string, string>>): Promise<unknown> {
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }];
  return admin.alterConfigs({ validateOnly: false, resources });
}

/** Sends one record. @returns its offset, or null when the broker refused it */
async function put(topic: string, message: Record<string, unknown>): Promise<number | null> {
  try {
    const messages = [{ key: null, value: null, partition: 0, ...message }];
    const [report] = await producer.send({ topic, acks: -1, messages });
    return Number(report?.baseOffset);
  } catch {
    // Because that is the answer asked for; the producer starts anew, since its sequence is in doubt.
    await producer.disconnect();
    producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    return null;
  }
}

it("carries every odd record as it is, between a stranger's committed and aborted transactions", async () => {
  const pipeline = await newPipeline({ "message.timestamp.after.max.ms": "9223372036854775807" });
  const topic = topicName(pipeline, "raw");
  const odd: Record<string, Record<string, unknown>> = {
    tombstone: { key: "k" },
    "empty value": { key: "k", value: Buffer.alloc(0) },
    "null key": { value: "null key" },
    "empty key": { key: Buffer.alloc(0), value: "empty key" },
    "four zero bytes": { key: Buffer.alloc(4), value: "four zero bytes" },
    "repeated header": { value: "repeated header", headers: { twice: ["first", "last"] } },
    "header __proto__": {
      value: "header __proto__",
      headers: Object.fromEntries([
        ["__proto__", "x"],
        ["after", "y"],
      ]),
    },
    "far future": { value: "far future", timestamp: String(YEAR_9999) },
    "before 1970": { value: "before 1970", timestamp: "-5" },
    "timestamp 0": { value: "timestamp 0", timestamp: "0" },
  };
  const foreign = kafka.producer({
    transactionalId: `${pipeline}.foreign`,
    idempotent: true,
    maxInFlightRequests: 1,
  });
  await foreign.connect();
  const offsets = new Map<number, string>();
  for (const [name, message] of Object.entries(odd)) {
    const [left, kept] = [await foreign.transaction(), name.length % 2 === 0];
    await left.send({
      topic,
      messages: [{ partition: 0, key: Buffer.alloc(4), value: kept ? `kept ${name}` : "aborted" }],
    });
    const offset = await put(topic, message);
    if (offset === null) {
      process.stdout.write(`bad input: the broker refuses "${name}"\n`);
    } else {
      offsets.set(offset, name);
      if (kept) {
        // One record a transaction: it lies just before the odd one.
        offsets.set(offset - 1, `kept ${name}`);
      }
    }
    await (kept ? left.commit() : left.abort());
  }
  await foreign.disconnect();
  const seen = new Map<number, StreamRecord>();
  const instance = await start(pipeline, {
    stage: passThrough(undefined, (records) => {
      for (const record of records) {
        seen.set(record.offset, record);
      }
    }),
  });
  await until("all is final", () => committed([instance]) >= offsets.size);
  await instance.stop();
  expect([...seen.keys()]).toEqual([...offsets.keys()].sort((a, b) => a - b));
  const found = (name: string): StreamRecord | undefined =>
    seen.get([...offsets].find(([, what]) => what === name)?.[0] ?? -1);
  expect(found("tombstone")?.value).toBeNull();
  expect(found("empty value")?.value?.byteLength).toBe(0);
  expect(found("null key")?.key).toBeNull();
  expect(found("empty key")?.key?.byteLength).toBe(0);
  expect(Buffer.from(found("four zero bytes")?.key ?? []).equals(Buffer.alloc(4))).toBe(true);
  expect(text.decode(found("repeated header")?.headers["twice"])).toBe("last");
  expect(text.decode(found("header __proto__")?.headers["after"])).toBe("y");
  expect(found("far future")?.timestampMs).toBe(YEAR_9999);
  const [out] = await readAll(client, topicName(pipeline, "desensitized"), 1);
  const bytesOf = ({ key, value }: StreamRecord) => [
    key === null ? null : Buffer.from(key).toString("hex"),
    value === null ? null : Buffer.from(value).toString("hex"),
  ];
  expect(out?.map(bytesOf)).toEqual([...seen.values()].map(bytesOf));
});

it("makes dead letters of records up to any size, and goes on behind them", async () => {
  const pipeline = await makePipeline(inject("brokers"), (file) =>
    file.replace("partitions: 4", "partitions: 1"),
  );
  const topic = topicName(pipeline.name, "raw");
  const filler = (size: number): Buffer =>
    Buffer.from(randomBytes(size).toString("hex")).subarray(0, size);
  const atLimit = filler(BATCH_LIMIT - BATCH_OVERHEAD);
  expect(await put(topic, { value: Buffer.concat([atLimit, Buffer.alloc(1)]) })).toBeNull();
  const large: [Buffer, number | null][] = [[atLimit, await put(topic, { value: atLimit })]];
  await configure(topic, { "max.message.bytes": String(8 << 20) });
  const fiveMegabytes = filler(5_000_000);
  const key = filler(2_000_000);
  await until("the topic takes 5 MB", async () => {
    const offset = await put(topic, { value: fiveMegabytes });
    if (offset !== null) {
      large.push([fiveMegabytes, offset]);
    }
    return offset !== null;
  });
  const odd = [
    await put(topic, { key, value: null }),
    await put(topic, { value: Buffer.alloc(0) }),
    await put(topic, { key: Buffer.alloc(4), value: "{}", timestamp: "0" }),
  ];
  const good = digits().slice(0, 20);
  await pipeline.produce(good);
  const stages = pipeline.start(["--stage", "desensitize"]);
  const dead = async () => (await readAll(client, `${topic}.dead`, 1)).flat();
  await untilStages(stages, "all is judged", async () => {
    const out = await readAll(client, topicName(pipeline.name, "desensitized"), 1);
    return out.flat().length >= good.length && (await dead()).length >= large.length + odd.length;
  });
  await stages.stop();
  const keys = await openKeyStore({
    folder: join(pipeline.keys, "dead-letters"),
    holder: "dead-letters",
  });
  const letters = new Map<number, { reason: unknown; value: unknown; key: unknown }>();
  for (const { headers, value } of await dead()) {
    const offset = Number(text.decode(headers["__connect.errors.offset"]));
    const opened = openSealed({
      message: value ?? new Uint8Array(),
      unwrapKey: keys.unwrap("owner-dead-letter"),
      aad: deadLetterAad(pipeline.name, topic, 0, offset),
    });
    // Because the grammar of a letter's plaintext says so.
    const plain = opened.status === "ok" ? (decodeCbor(opened.plaintext) as never) : null;
    expect(plain).not.toBeNull();
    letters.set(offset, plain ?? { reason: null, value: null, key: null });
  }
  pipeline.remove();
  expect([...letters.keys()]).toEqual([...large.map(([, offset]) => offset), ...odd]);
  const sha256 = (value: Buffer) => ({
    bytes: value.byteLength,
    sha256: new Uint8Array(createHash("sha256").update(value).digest()),
  });
  for (const [value, offset] of large) {
    expect(letters.get(offset ?? -1)).toMatchObject({ reason: "too-large", value: sha256(value) });
  }
  expect(letters.get(odd[0] ?? -1)).toMatchObject({ reason: "tombstone", key: sha256(key) });
  expect(letters.get(odd[1] ?? -1)?.reason).toBe("not-json");
});

const JAVA_PRODUCER = `
import java.util.Properties;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;
public class Write {
  public static void main(String[] args) throws Exception {
    for (String codec : new String[] {"lz4", "snappy", "gzip", "zstd"}) {
      Properties p = new Properties();
      p.put("bootstrap.servers", args[0]);
      p.put("compression.type", codec);
      p.put("linger.ms", "200");
      try (var producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
        for (int i = 0; i < 100; i++) producer.send(new ProducerRecord<>(args[1], 0, null, codec + ":" + i + " " + "x".repeat(i * 20)));
        producer.flush();
      }
    }
  }
}
`;

it("reads what Java compressed with any codec, or says which topic it cannot read", async () => {
  const pipeline = await newPipeline();
  const topic = topicName(pipeline, "raw");
  const folder = mkdtempSync(join(tmpdir(), "sealstream-java-"));
  writeFileSync(join(folder, "Write.java"), JAVA_PRODUCER);
  const args = [
    "-cp",
    join(LIBS, "*"),
    join(folder, "Write.java"),
    inject("brokers").join(),
    topic,
  ];
  const ran = await promisify(execFile)("java", args).catch((error: unknown) => error);
  rmSync(folder, { recursive: true });
  if (ran instanceof Error) {
    process.stdout.write("SKIPPED: codecs written by Java (no Java compiler or no jars here)\n");
    return;
  }
  const instance = await start(pipeline);
  const refused = await Promise.race([
    until("all codecs are read", () => committed([instance]) >= 400, 40_000).then(() => null),
    instance.runner.done.then(
      () => null,
      (error: unknown) => String(error),
    ),
  ]);
  if (refused !== null) {
    expect(refused).toContain(`${topic}/0`);
    process.stdout.write(`bad input: ${refused}\n`);
    return;
  }
  const [values] = await valuesOf(client, topicName(pipeline, "desensitized"), 1);
  const wanted = ["lz4", "snappy", "gzip", "zstd"].flatMap((codec) =>
    Array.from({ length: 100 }, (_, index) => `${codec}:${index} ${"x".repeat(index * 20)}`),
  );
  expect(values).toEqual(wanted);
});
