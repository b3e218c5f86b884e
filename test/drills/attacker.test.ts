/**
 * An attacker who can write to every topic but the unsigned input, while records flow: gets no plaintext, swaps no key,
 * replaces no model, and loses no honest record. What SECURITY.md says such a writer can do is shown at the end.
 */
import { generateKeyPairSync } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { runProgram } from "../../examples/digits/demo/program.ts";
import { scanForMarkers } from "../../examples/digits/demo/scan.ts";
import { watchFolders } from "../../examples/digits/demo/watch.ts";
import type { DigitRecord } from "../../examples/digits/records.ts";
import { readModels } from "../../pipeline/client/models.ts";
import type { Prediction } from "../../pipeline/client/predictions.ts";
import type { OpenedRecord } from "../../pipeline/client/records.ts";
import { dataKeyBinding, signEntry } from "../../pipeline/crypto/key-entries.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import { isUnwrap, PURPOSES } from "../../pipeline/crypto/key-purposes.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import { openSealed } from "../../pipeline/crypto/sealed-box.ts";
import { decodeCheckpoint } from "../../pipeline/network/safetensors.ts";
import { encodeChangelog } from "../../pipeline/stream/changelog.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient } from "../../pipeline/stream/port.ts";
import {
  changelogTopicName,
  deadTopicName,
  STAGE_INPUT,
  type StageName,
  stageGroup,
  topicName,
} from "../../schemas/topics.ts";
import {
  type Attacker,
  createAttacker,
  forgeKeys,
  isAttack,
  readDirectory,
} from "../lib/attacker.ts";
import { forgeChangelogs, forgeRecords } from "../lib/attacker-data.ts";
import { connect, readAll } from "../lib/kafka.ts";
import { digits, makePipeline, type TestPipeline, untilStages } from "../lib/pipeline.ts";

const LANES = 2;
/** Before, during and after the attack. */
const LABELLED = [200, 200] as const;
const UNLABELLED = [20, 20, 10] as const;
const FIELDS = `encrypt:
  records:
    clear: [formId, postcode]
    sealed: [{ fields: [name, phone], for: [support] }]
`;

let client: KafkaClient;
let pipeline: TestPipeline;
let attacker: Attacker;
let labelled: DigitRecord[];
let unlabelled: DigitRecord[];
let predictions: Prediction[];
let trustedBefore: unknown;
let sent: number;
let written: ReadonlyMap<string, unknown>;
let refusedAtTheEnd: string;

/** Whom everybody believes and seals to. */
async function trusted() {
  const directory = await readDirectory({ client, pipeline });
  const purposes = Object.keys(PURPOSES).filter(isUnwrap);
  const { signers, revoked } = directory.list();
  return {
    recipients: purposes.map((one) => [one, hex(directory.recipient(one)?.kid ?? Buffer.of())]),
    grants: directory.grants("records").map(({ name, recipient }) => [name, hex(recipient.kid)]),
    others: directory.grants("examples"),
    signers: signers.filter((one) => one.trusted).map(({ kid, purpose }) => [kid, purpose]),
    blobs: [directory.blob("ckks-public")?.id, directory.blob("ckks-evaluation")?.id],
    revoked,
  };
}

/** A third party's key, granted twice: the first is old. */
async function grantSupport(): Promise<void> {
  const folder = join(pipeline.keys, "identities");
  const identities = await openKeyStore({ folder, holder: "identities" });
  const entries = ["old", "new"].map((name, index) => {
    const { privateKey, publicKey: spki } = generateKeyPairSync("x25519");
    const path = join(pipeline.folder, `support-${name}.pem`);
    writeFileSync(path, privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
    const publicKey = Uint8Array.from(spki.export({ format: "der", type: "spki" }).subarray(-32));
    const payload = {
      ...({ type: "grant", generation: index + 1, topic: "records", name: "support" } as const),
      ...({ algorithm: "x25519", publicKey } as const),
    };
    const signer = identities.signing("owner-identity");
    return { ...signEntry({ pipeline: pipeline.name, payload, signer }), partition: 0 };
  });
  const producer = await client.createPlainProducer();
  await producer.send(topicName(pipeline.name, "keys"), entries);
  await producer.close();
}

const startedMs = performance.now();
function tell(what: string): void {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stdout.write(`attacker: ${seconds} s ${what}\n`);
}

beforeAll(async () => {
  client = await connect(inject("brokers"));
  pipeline = await makePipeline(inject("brokers"), (file) =>
    file.replace("partitions: 4", "partitions: 2").replace("encrypt:\n", FIELDS),
  );
  await grantSupport();
  // So that there are entries of an older generation to play again.
  await pipeline.run("rotate", ["keys", "rotate", pipeline.file, "training-unwrap"]);
  const all = digits();
  labelled = all.filter(({ form }) => form.digit !== undefined).slice(0, LABELLED[0] + LABELLED[1]);
  unlabelled = all
    .filter(({ form }) => form.digit === undefined)
    .slice(0, UNLABELLED[0] + UNLABELLED[1] + UNLABELLED[2]);
  const watched = watchFolders([pipeline.temporary, pipeline.work, pipeline.keys]);
  let stages = pipeline.start();
  const note = (stage: string, name: string) =>
    Number(stages.reports().get(stage)?.notes[name] ?? 0);
  await pipeline.produce([
    ...labelled.slice(0, LABELLED[0]),
    ...unlabelled.slice(0, UNLABELLED[0]),
  ]);
  await untilStages(
    stages,
    "there is something to forge from",
    () => note("aggregate", "model") >= 2 && note("predict", "predicted") >= UNLABELLED[0],
  );
  tell("the honest flow runs");
  attacker = await createAttacker(client, pipeline);
  trustedBefore = await trusted();
  const attacks = [...(await forgeKeys(attacker)), ...(await forgeRecords(attacker, LANES))];
  sent = attacks.length;
  tell(`${sent} records forged`);
  await Promise.all([
    attacker.send(attacks),
    pipeline.produce([
      ...labelled.slice(LABELLED[0]),
      ...unlabelled.slice(UNLABELLED[0], UNLABELLED[0] + UNLABELLED[1]),
    ]),
  ]);
  tell("they are written");
  await untilStages(
    stages,
    "what was sent during the attack is trained on and predicted",
    () =>
      note("aggregate", "model") >= 5 &&
      note("predict", "model") >= 5 &&
      note("predict", "predicted") >= UNLABELLED[0] + UNLABELLED[1],
  );
  await stages.stop();
  await attacker.send(forgeChangelogs(attacker, LANES));
  tell("the first half has ended");
  // Everybody starts anew from topics that are full of lies.
  stages = pipeline.start();
  await pipeline.produce(unlabelled.slice(UNLABELLED[0] + UNLABELLED[1]));
  await untilStages(
    stages,
    "all goes on after a restart",
    () => note("predict", "predicted") >= UNLABELLED[2],
  );
  tell("the second half has ended");
  predictions = await pipeline.predictions();
  await stages.stop();
  written = await watched.stop();
  refusedAtTheEnd = await stopDesensitize();
}, 300_000);

/** What SECURITY.md says of `desensitize`, which has no key: a false past makes it stop. */
async function stopDesensitize(): Promise<string> {
  const topic = changelogTopicName(pipeline.name, "desensitize");
  const value = encodeChangelog({ position: 1, state: null });
  const record = { key: Buffer.from("state"), value, partition: 0 };
  await attacker.send([{ what: "a past", topic, record }]);
  const args = ["run", pipeline.file, "--stage", "desensitize", "--in-process"];
  const program = { ...pipeline.program, timeoutMs: 60_000 };
  const { code, err } = await runProgram(program, "stopped", args);
  return `${code}: ${err.trim().split("\n").at(-1)}`;
}

afterAll(async () => {
  pipeline?.remove();
  await client?.close();
});

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

async function recordsOf(topic: string): Promise<StreamRecord[]> {
  const [found] = await client.describeTopics([topic]);
  return (await readAll(client, topic, found?.partitions ?? 0)).flat();
}

/** No key of the attacker's is named in a record, and none opens it. */
function expectClosed(topic: string, { key, value, offset }: StreamRecord): void {
  const written = Buffer.concat([key ?? Buffer.of(), value ?? Buffer.of()]);
  for (const kid of attacker.kids) {
    expect(written.includes(Buffer.from(kid)), `${topic} ${offset}`).toBe(false);
  }
  const { unwrapKeys } = attacker;
  const message = value ?? new Uint8Array();
  expect(openSealed({ message, unwrapKeys, aad: new Uint8Array() }).status).toBe("refused");
}

describe("an attacker who can write to every topic", () => {
  it("has written a lot", () => {
    expect(sent).toBeGreaterThan(500);
  });

  it("swaps no key: every purpose, grant, signer and blob is what it was", async () => {
    expect(await trusted()).toEqual(trustedBefore);
  });

  it("opens nothing in any topic, and nothing honest is sealed to it", async () => {
    const topics = await client.listTopics(`${pipeline.name}.`);
    let looked = 0;
    for (const topic of topics) {
      const honest = (await recordsOf(topic)).filter((record) => !isAttack(record));
      for (const record of honest) expectClosed(topic, record);
      looked += honest.length;
    }
    expect(looked).toBeGreaterThan(1_000);
  });

  it("unwraps no data key, also not under another key's name", async () => {
    const directory = await readDirectory(attacker, attacker.unwrapKeys);
    const { dataKeys } = directory.list();
    expect(new Set(dataKeys.map(({ payload }) => payload.topic)).size).toBe(4);
    for (const { payload } of dataKeys) {
      expect(directory.findDataKey(payload.kid, payload.topic)).toBeNull();
      const binding = dataKeyBinding({ pipeline: pipeline.name, ...payload });
      for (const wrap of payload.recipients) {
        for (const key of attacker.unwrapKeys) {
          expect(key.unwrap({ ...wrap, kid: key.kid }, binding)).toBeNull();
        }
      }
    }
  });

  it("loses no honest record, and each of its own that was read is a dead letter", async () => {
    const ids = (records: readonly StreamRecord[]) =>
      records.map(({ key }) => Buffer.from(key ?? []).toString()).sort();
    const formIds = (records: readonly DigitRecord[]) =>
      records.map(({ form }) => form.formId).sort();
    const examples = (await recordsOf(topicName(pipeline.name, "examples"))).filter(
      (record) => !isAttack(record),
    );
    expect(ids(examples)).toEqual(formIds(labelled));
    expect(predictions.map(({ recordId }) => recordId).sort()).toEqual(formIds(unlabelled));
    for (const stage of ["desensitize", "encrypt", "train", "aggregate", "predict"] as const) {
      const { dead, attacks } = await deadAndForged(stage);
      expect(dead, stage).toEqual(attacks);
      if (stage === "train" || stage === "aggregate") expect(dead.length).toBeGreaterThan(20);
    }
  });

  it("replaces no model: what is in use is in the chain that aggregate signed, and covers every place once", async () => {
    const keys = await openKeyStore({ folder: join(pipeline.keys, "predict"), holder: "predict" });
    const directory = await readDirectory(attacker, [keys.unwrap("model-unwrap")]);
    const reader = await readModels({ client, pipeline: pipeline.name, directory });
    const honest = (await recordsOf(topicName(pipeline.name, "ledger"))).filter(
      (record) => !isAttack(record),
    );
    const entries = reader.entries();
    expect(entries).toHaveLength(honest.length);
    expect(reader.newest()?.entry).toEqual(entries.at(-1)?.entry);
    expect(decodeCheckpoint(reader.newest()?.checkpoint ?? Buffer.of()).network.inputs).toBe(64);
    const hashes = new Map(entries.map(({ entry, entryHash }) => [entryHash, entry.modelVersion]));
    for (const { ledgerEntryHash, modelVersion } of predictions) {
      expect(hashes.get(ledgerEntryHash)).toBe(modelVersion);
    }
    expect(Math.max(...predictions.map(({ modelVersion }) => modelVersion))).toBeGreaterThan(2);
    const next = new Map<number, number>();
    for (const { lane, from, to } of entries.flatMap(({ entry }) => entry.ranges)) {
      expect(from).toBe(next.get(lane) ?? 0);
      next.set(lane, to);
    }
    expect(next.size).toBe(LANES);
  });

  it("puts no field into another's record", async () => {
    const args = ["records", pipeline.file, "--json", "--key"];
    const path = join(pipeline.folder, "support-new.pem");
    const { out } = await runProgram(pipeline.program, "support", [...args, path]);
    const seen = out.split("\n").filter((line) => line !== "");
    const opened = seen
      .map((line) => JSON.parse(line) as OpenedRecord)
      .filter(({ fields }) => "name" in fields || "phone" in fields);
    const once = opened.map(({ id }) => id).sort();
    expect(once).toEqual([...labelled, ...unlabelled].map(({ form }) => form.formId).sort());
    const byId = new Map([...labelled, ...unlabelled].map(({ form }) => [form.formId, form]));
    for (const { id, fields } of opened) {
      const form = byId.get(id);
      expect(String(fields["name"])[0]).toBe(form?.name[0]);
      expect(String(fields["phone"]).slice(-2)).toBe(form?.phone.slice(-2));
    }
    expect(out).not.toContain("Mallory");
    const old = join(pipeline.folder, "support-old.pem");
    const { out: closed } = await runProgram(pipeline.program, "support-old", [...args, old]);
    expect(closed).not.toMatch(/"(?:name|phone)":/);
  });

  it("finds no personal value in any topic but raw, in logs or in files", async () => {
    const { hits, bytesScanned } = await scanForMarkers({
      ...{ client, pipeline: pipeline.name, partitions: LANES, metrics: [] },
      records: [...labelled, ...unlabelled],
      folders: [join(pipeline.folder, "logs"), pipeline.keys, pipeline.temporary],
    });
    expect(hits).toEqual([]);
    expect(bytesScanned).toBeGreaterThan(10_000_000);
  });

  it("finds no private key and no parameter in any topic, log or temporary file", async () => {
    const keys = await openKeyStore({ folder: join(pipeline.keys, "predict"), holder: "predict" });
    const directory = await readDirectory(attacker, [keys.unwrap("model-unwrap")]);
    const newest = (await readModels({ client, pipeline: pipeline.name, directory })).newest();
    const keyFiles = filesBelow(pipeline.keys).filter((path) => path.endsWith(".key"));
    const materials = keyFiles.map((path) =>
      Buffer.from(JSON.parse(readFileSync(path, "utf8")).material, "base64"),
    );
    expect(materials.length).toBeGreaterThan(15);
    // The end of each: what comes first in a file of another library is the same in every file.
    const secrets = [...materials, Buffer.from(newest?.checkpoint ?? Buffer.of())].map((bytes) =>
      bytes.subarray(-32),
    );
    const shows = (bytes: Buffer) =>
      secrets.some((one) =>
        [one, one.toString("hex"), one.toString("base64").slice(0, -2)].some((form) =>
          bytes.includes(form),
        ),
      );
    expect(secrets.every(({ length }) => length === 32) && shows(materials[0] ?? Buffer.of())).toBe(
      true,
    );
    for (const path of [join(pipeline.folder, "logs"), pipeline.temporary].flatMap(filesBelow)) {
      expect(shows(readFileSync(path)), path).toBe(false);
    }
    for (const topic of await client.listTopics(`${pipeline.name}.`)) {
      for (const { value } of await recordsOf(topic)) {
        expect(shows(Buffer.from(value ?? [])), topic).toBe(false);
      }
    }
    // Nor was a file written while the stages ran: no temporary one, and none beside the keys.
    expect([...written.keys()]).toEqual([]);
  });

  it("can stop a stage that has no key to sign its past with, which says so in one sentence", () => {
    expect(refusedAtTheEnd).toMatch(/^1: .*changelog.*\.$/);
  });
});

/** Offsets of a stage's dead letters, and of what was forged in its input as far as it has read. */
async function deadAndForged(stage: StageName) {
  const role = STAGE_INPUT[stage];
  const topic = topicName(pipeline.name, role);
  const dead = (await recordsOf(deadTopicName(pipeline.name, role))).map(({ headers }) => {
    const of = (name: string) =>
      Number(Buffer.from(headers[`__connect.errors.${name}`] ?? []).toString());
    return `${of("partition")}/${of("offset")}`;
  });
  const attacks: string[] = [];
  const [found] = await client.describeTopics([topic]);
  const lanes = await readAll(client, topic, found?.partitions ?? 0);
  for (const [partition, records] of lanes.entries()) {
    const group = stageGroup(pipeline.name, stage);
    const read = (await client.committedOffset(group, topic, partition)) ?? 0;
    for (const record of records) {
      if (isAttack(record) && record.offset < read) attacks.push(`${partition}/${record.offset}`);
    }
  }
  return { dead: dead.sort(), attacks: attacks.sort() };
}
