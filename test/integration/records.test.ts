/**
 * Field encryption on a real Kafka: two services with different grants see different fields, and a third sees none.
 */
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { runProgram } from "../../examples/digits/demo/program.ts";
import type { OpenedRecord } from "../../pipeline/client/records.ts";
import { signEntry } from "../../pipeline/crypto/key-entries.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import { topicName } from "../../schemas/topics.ts";
import { connect, readAll } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
const RECORDS = 60;
const FIELDS = `encrypt:
  records:
    clear: [formId, postcode]
    sealed:
      - { fields: [name, phone], for: [support] }
      - { fields: [birthDate, pixels], for: [support, billing] }
`;

let client: KafkaClient;
let pipeline: TestPipeline;
/** PEM files by name. */
const files = new Map<string, string>();

function keyFile(name: string): Uint8Array {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  const path = join(pipeline.folder, `${name}.pem`);
  writeFileSync(path, privateKey.export({ format: "pem", type: "pkcs8" }));
  chmodSync(path, 0o600);
  files.set(name, path);
  return Uint8Array.from(publicKey.export({ format: "der", type: "spki" }).subarray(-32));
}

/** The owner's identity names those who may read `records`. */
async function grantRecords(granted: readonly (readonly [string, Uint8Array])[]): Promise<void> {
  const folder = join(pipeline.keys, "identities");
  const identities = await openKeyStore({ folder, holder: "identities" });
  const entries = granted.map(([name, publicKey]) =>
    signEntry({
      pipeline: pipeline.name,
      payload: {
        ...{ type: "grant", generation: 1, topic: "records", name },
        ...{ algorithm: "x25519", publicKey },
      },
      signer: identities.signing("owner-identity"),
    }),
  );
  const producer = await client.createPlainProducer();
  const records = entries.map((entry) => ({ ...entry, partition: 0 }));
  await producer.send(topicName(pipeline.name, "keys"), records);
  await producer.close();
}

async function recordsFor(name: string) {
  const args = ["records", pipeline.file, "--key", files.get(name) ?? "", "--json"];
  const { out, code } = await runProgram(pipeline.program, `records-${name}`, args);
  const lines = out.split("\n").filter((line) => line !== "");
  return { code, records: lines.map((line) => JSON.parse(line) as OpenedRecord) };
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(inject("brokers"), (file) =>
    file.replace("partitions: 4", "partitions: 2").replace("encrypt:\n", FIELDS),
  );
  const all = digits();
  const labelled = all.filter(({ form }) => form.digit !== undefined).slice(0, RECORDS / 2);
  const unlabelled = all.filter(({ form }) => form.digit === undefined).slice(0, RECORDS / 2);
  const stages = pipeline.start();
  await pipeline.produce([...labelled, ...unlabelled]);
  const encrypt = () => stages.reports().get("encrypt");
  await untilStages(
    stages,
    "encrypt says whom it waits for",
    () => encrypt()?.notes["waits for grant of records to"] === "billing, support",
  );
  const publicKeys = ["support", "billing", "stranger"].map(
    (name) => [name, keyFile(name)] as const,
  );
  await grantRecords(publicKeys.filter(([name]) => name !== "stranger"));
  await untilStages(stages, "all are encrypted", () => (encrypt()?.records ?? 0) >= RECORDS);
  expect(encrypt()?.notes).not.toHaveProperty("waits for grant of records to");
  await stages.stop();
});

afterAll(async () => {
  pipeline?.remove();
  await client?.close();
});

describe("fields of records", () => {
  it("are seen by those for whom they are", async () => {
    const [support, billing, stranger] = [
      await recordsFor("support"),
      await recordsFor("billing"),
      await recordsFor("stranger"),
    ];
    for (const { code, records } of [support, billing, stranger]) {
      expect({ code, count: records.length }).toEqual({ code: 0, count: RECORDS });
      expect(records.flatMap(({ refused }) => refused)).toEqual([]);
    }
    const names = ({ fields }: OpenedRecord) => Object.keys(fields).sort().join();
    const kinds = (records: readonly OpenedRecord[]) => [...new Set(records.map(names))];
    expect(kinds(support.records)).toEqual(["birthDate,formId,name,phone,pixels,postcode"]);
    expect(kinds(billing.records)).toEqual(["birthDate,formId,pixels,postcode"]);
    expect(kinds(stranger.records)).toEqual(["formId,postcode"]);
    expect(support.records[0]?.fields["pixels"]).toHaveLength(64);
    const sealed = (records: readonly OpenedRecord[]) => records[0]?.sealed.toSorted();
    expect(sealed(billing.records)).toEqual(["name", "phone"]);
  });

  it("stand sealed in the topic: none of their values is in any record of it", async () => {
    const { records } = await recordsFor("support");
    const written = (await readAll(client, topicName(pipeline.name, "records"), LANES)).flat();
    expect(written).toHaveLength(RECORDS);
    const text = written.map(({ value }) => Buffer.from(value ?? []).toString()).join("\n");
    for (const { fields } of records) {
      for (const name of ["name", "phone", "birthDate"]) {
        expect(text).not.toContain(String(fields[name]));
      }
      expect(text).not.toContain(JSON.stringify(fields["pixels"]));
      expect(text).toContain(String(fields["postcode"]));
    }
    for (const name of ["run", "records-support"]) {
      const log = readFileSync(join(pipeline.folder, "logs", `${name}.log`), "utf8");
      for (const { fields } of records) expect(log).not.toContain(String(fields["phone"]));
    }
  });
});
