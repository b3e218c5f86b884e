/**
 * What the attacker of attacker.ts writes beside `keys`: records moved, repeated, changed, signed anew and made up.
 *
 * Must not write to `raw` and `desensitized`: those are unsigned, and SECURITY.md says that whoever writes there adds
 * input.
 */
import { randomBytes } from "node:crypto";
import { encodeCbor } from "../../pipeline/crypto/cbor.ts";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { sign1, verify1 } from "../../pipeline/crypto/cose-sign1.ts";
import { sealEnvelope } from "../../pipeline/crypto/envelope.ts";
import type { SigningPurpose } from "../../pipeline/crypto/key-purposes.ts";
import { sealField } from "../../pipeline/crypto/sealed-field.ts";
import { decodeLedgerEntry, encodeLedgerEntry } from "../../pipeline/privacy/ledger-entry.ts";
import { sealModel } from "../../pipeline/privacy/model-blob.ts";
import { encodeChangelog } from "../../pipeline/stream/changelog.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import {
  changelogTopicName,
  type StageName,
  type TopicRole,
  topicName,
} from "../../schemas/topics.ts";
import { type Attack, type Attacker, flipped } from "./attacker.ts";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
const textOf = (value: Uint8Array | null): string => Buffer.from(value ?? []).toString();
const SPLIT = "sealstream-split";
const LANE = "sealstream-lane";
/** Above everything that is honest. */
const LATER = 1_000_000;
/** Honest records of a lane that are played with. */
const SOME = 4;
const FEATURES = 64;

type Change = Partial<Pick<StreamRecord, "key" | "value" | "headers">>;

/** @param change what is different from an honest record */
function copy(
  topic: string,
  what: string,
  { record, partition, ...change }: Change & { record: StreamRecord; partition: number },
): Attack {
  // Field by field: a fetched record's are getters, which a spread leaves out.
  const { key, value, headers } = record;
  const changed = { key, value, headers, ...change };
  return { what, topic, record: { ...changed, partition } };
}

function topicOf({ pipeline }: Attacker, role: TopicRole): string {
  return topicName(pipeline.name, role);
}

/** Everything at once; each topic from what others have written to it by now. */
export async function forgeRecords(attacker: Attacker, lanes: number): Promise<Attack[]> {
  const made = [
    await forgeExamples(attacker, lanes),
    await forgeSealedRecords(attacker, lanes),
    await forgeContributions(attacker),
    await forgeModels(attacker),
    await forgeBundles(attacker, lanes, { role: "packs", signer: "owner-signing" }),
    await forgeBundles(attacker, lanes, { role: "predictions", signer: "result-signing" }),
    await forgeAcrossTopics(attacker, lanes),
  ];
  return made.flat();
}

async function forgeExamples(attacker: Attacker, lanes: number): Promise<Attack[]> {
  const topic = topicOf(attacker, "examples");
  const honest = await attacker.honest(topic, lanes);
  const attacks: Attack[] = [];
  for (const [lane, records] of honest.entries()) {
    const { dataKey, attacks: announced } = await attacker.dataKey("examples", lane);
    attacks.push(...announced);
    const elsewhere = { partition: (lane + 1) % lanes };
    for (const [index, record] of records.slice(-SOME).entries()) {
      const here = { record, partition: lane };
      const context = {
        ...{ pipeline: attacker.pipeline.name, topic: "examples" as const, lane },
        ...{ recordId: record.key ?? bytes("nobody"), schemaVersion: 1 },
        attributes: { split: "train" },
      };
      const x = new Uint8Array(FEATURES * 4);
      const plaintext = encodeCbor({ v: 1, x, y: 3 });
      const value = sealEnvelope({ dataKey, plaintext, context, sequence: LATER + index });
      const train = { ...record.headers, [SPLIT]: bytes("train") };
      attacks.push(
        copy(topic, "replay", here),
        copy(topic, "another lane", { ...here, ...elsewhere }),
        copy(topic, "another id", { ...here, key: bytes(`form-99999${index}`) }),
        copy(topic, "another split", {
          ...here,
          headers: { ...record.headers, [SPLIT]: bytes("test") },
        }),
        copy(topic, "no split", { ...here, headers: {} }),
        copy(topic, "bit flipped", { ...here, value: flipped(record.value ?? bytes("x")) }),
        copy(topic, "tombstone", { ...here, value: null }),
        copy(topic, "under the attacker's key", { ...here, value, headers: train }),
      );
    }
  }
  return attacks;
}

/** Fields swapped between records, within one, and made up. */
async function forgeSealedRecords(attacker: Attacker, lanes: number): Promise<Attack[]> {
  const topic = topicOf(attacker, "records");
  const honest = await attacker.honest(topic, lanes);
  const attacks: Attack[] = [];
  for (const [lane, records] of honest.entries()) {
    const { dataKey, attacks: announced } = await attacker.dataKey("records", lane);
    attacks.push(...announced);
    const [first, second] = records;
    const stranger = honest[(lane + 1) % lanes]?.[0];
    if (first === undefined || second === undefined || stranger === undefined) continue;
    const place = {
      ...{ pipeline: attacker.pipeline.name, lane },
      ...{ recordId: first.key ?? bytes("nobody"), path: "name" },
    };
    const made = sealField({ dataKey, place, json: '"Mallory"', sequence: LATER });
    const [own, other, far] = [first, second, stranger].map(
      ({ value }) => JSON.parse(textOf(value)) as Record<string, unknown>,
    );
    for (const [what, changed] of Object.entries({
      "field of another record": { ...own, name: other?.["name"] },
      "field of another lane": { ...own, name: far?.["name"] },
      "fields swapped": { ...own, name: own?.["phone"], phone: own?.["name"] },
      "field made up": { ...own, name: made },
      "field in clear": { ...own, name: "Mallory" },
      replay: own,
    })) {
      const value = bytes(JSON.stringify(changed));
      attacks.push(copy(topic, what, { record: first, partition: lane, value }));
    }
    attacks.push(
      copy(topic, "another id", { record: second, partition: lane, key: first.key }),
      copy(topic, "another lane", { record: stranger, partition: lane }),
    );
  }
  return attacks;
}

async function forgeContributions(attacker: Attacker): Promise<Attack[]> {
  const topic = topicOf(attacker, "contributions");
  const [honest = []] = await attacker.honest(topic, 1);
  const { dataKey, attacks } = await attacker.dataKey("contributions", 0);
  const forged: Attack[] = [...attacks];
  for (const record of honest.slice(-SOME)) {
    const here = { record, partition: 0 };
    const id = textOf(record.key);
    const otherRun = `${"0".repeat(32)}${id.slice(32)}`;
    const later = id.replace(
      /\/\d+\/(\d+)-(\d+)$/,
      (_all, _from, to) => `/0/${to}-${Number(to) + 16}`,
    );
    const context = {
      ...{ pipeline: attacker.pipeline.name, topic: "contributions" as const, lane: 0 },
      ...{ recordId: bytes(later), schemaVersion: 1 },
    };
    const value = sealEnvelope({ dataKey, plaintext: randomBytes(9000), context, sequence: LATER });
    const inLane0 = { ...record.headers, [LANE]: bytes("0") };
    const lane = textOf(record.headers[LANE] ?? null) === "0" ? "1" : "0";
    forged.push(
      copy(topic, "replay", here),
      copy(topic, "of another run", { ...here, key: bytes(otherRun) }),
      copy(topic, "of a later range", { ...here, key: bytes(later) }),
      copy(topic, "of another lane", {
        ...here,
        headers: { ...record.headers, [LANE]: bytes(lane) },
      }),
      copy(topic, "bit flipped", { ...here, value: flipped(record.value ?? bytes("x")) }),
      copy(topic, "tombstone", { ...here, value: null }),
      copy(topic, "made up", { ...here, key: bytes(later), value, headers: inLane0 }),
    );
  }
  return forged;
}

/** A model of the attacker's, entries that name it, other bytes under the true one's hashes, and old entries again. */
async function forgeModels(attacker: Attacker): Promise<Attack[]> {
  const { pipeline, forgers, directory } = attacker;
  const [ledger = []] = await attacker.honest(topicOf(attacker, "ledger"), 1);
  const [models = []] = await attacker.honest(topicOf(attacker, "models"), 1);
  const decoded = ledger.flatMap(({ value }) => {
    const findSigner = (kid: Uint8Array) => directory.findSigner(kid, ["model-signing"]);
    const entry = decodeLedgerEntry(value ?? bytes(""), { pipeline: pipeline.name, findSigner });
    return entry.status === "ok" ? [entry] : [];
  });
  const newest = decoded.at(-1);
  if (newest === undefined) throw new Error("there is no model to replace");
  const { entry, entryHash } = newest;
  const { dataKey, attacks } = await attacker.dataKey("models", 0);
  const to = (role: TopicRole, what: string, key: Uint8Array | null, value: Uint8Array | null) =>
    attacks.push({ what, topic: topicOf(attacker, role), record: { key, value, partition: 0 } });
  for (const hash of entry.model.chunks) {
    const key = Buffer.from(hash, "hex");
    to("models", "other bytes under the true hash", key, randomBytes(20_000));
  }
  for (const { value } of models.slice(-1)) {
    to("models", "true bytes under another hash", randomBytes(32), value);
  }
  for (const signer of forgers("model-signing")) {
    const sequence = entry.sequence + 1;
    const modelVersion = entry.modelVersion + 1;
    const name = { pipeline: pipeline.name, runId: entry.runId, modelVersion };
    const sealed = sealModel({
      ...{ name, checkpoint: randomBytes(5000), signer, dataKey, sequence },
      maxChunkBytes: 100_000,
    });
    for (const { hash, bytes: chunk } of sealed.chunks) to("models", "own model", hash, chunk);
    const next = {
      ...{ ...entry, sequence, modelVersion, step: entry.step + 1 },
      ...{ previous: entryHash, model: sealed.model },
    };
    to("ledger", "own model's entry", null, encodeLedgerEntry(next, signer));
    to("ledger", "true entry signed anew", null, encodeLedgerEntry(entry, signer));
    const again = { ...entry, model: sealed.model };
    to("ledger", "own model in the newest entry's place", null, encodeLedgerEntry(again, signer));
  }
  for (const { key, value } of ledger) to("ledger", "replay", key, value);
  to("ledger", "tombstone", null, null);
  return attacks;
}

/** A bundle as it is, in another lane, and under a manifest that is signed anew with a later sequence. */
async function forgeBundles(
  attacker: Attacker,
  lanes: number,
  of: { readonly role: "packs" | "predictions"; readonly signer: SigningPurpose },
): Promise<Attack[]> {
  const topic = topicOf(attacker, of.role);
  const honest = await attacker.honest(topic, lanes);
  const lane = honest.findIndex((records) => records.length > 0);
  const records = honest[lane] ?? [];
  const manifest = records.findIndex(({ key }) => key?.length === 16);
  const bundle = records.slice(0, manifest + 1);
  const last = bundle.at(-1);
  const context = `sealstream/${of.role}/v1|${attacker.pipeline.name}|${lane}`;
  const { directory } = attacker;
  const verified = verify1({
    ...{ message: last?.value ?? bytes(""), context },
    findSigner: (kid) => directory.findSigner(kid, [of.signer]),
  });
  if (last === undefined || verified.status === "refused") throw new Error(`no ${of.role} yet`);
  const elsewhere = (lane + 1) % lanes;
  const attacks = bundle.flatMap((record) => [
    copy(topic, "replay", { record, partition: lane }),
    copy(topic, "another lane", { record, partition: elsewhere }),
  ]);
  for (const signer of attacker.forgers(of.signer)) {
    const value = sign1({ payload: verified.payload, signer, context });
    attacks.push(copy(topic, "signed anew", { record: last, partition: lane, value }));
  }
  const value = flipped(last.value ?? bytes("x"));
  attacks.push(copy(topic, "bit flipped", { record: last, partition: lane, value }));
  return attacks;
}

/** What is authentic in one topic, in each of the others. */
async function forgeAcrossTopics(attacker: Attacker, lanes: number): Promise<Attack[]> {
  const from: readonly TopicRole[] = ["examples", "contributions", "models", "ledger", "keys"];
  const to: readonly TopicRole[] = ["examples", "contributions", "packs", "predictions", "records"];
  const attacks: Attack[] = [];
  for (const role of from) {
    const [records = []] = await attacker.honest(topicOf(attacker, role), 1);
    for (const record of records.slice(-1)) {
      for (const other of to.filter((one) => one !== role)) {
        const partition = other === "contributions" ? 0 : lanes - 1;
        attacks.push(copy(topicOf(attacker, other), `of ${role}`, { record, partition }));
      }
    }
  }
  return attacks;
}

/** A past for every lane of the stages that have one, signed by whoever has no right to. */
export function forgeChangelogs(attacker: Attacker, lanes: number): Attack[] {
  const stages: readonly [StageName, SigningPurpose, number][] = [
    ["encrypt", "owner-signing", lanes],
    ["train", "train-signing", lanes],
    ["aggregate", "model-signing", 1],
    ["predict", "result-signing", lanes],
  ];
  return stages.flatMap(([stage, purpose, partitions]) =>
    Array.from({ length: partitions }, (_, lane) => lane).flatMap((lane) =>
      attacker.forgers(purpose).map((signer): Attack => {
        const topic = changelogTopicName(attacker.pipeline.name, stage);
        const context = `sealstream/changelog/v1|${attacker.pipeline.name}|${stage}|${lane}`;
        const payload = encodeChangelog({ position: 0, state: sha256(bytes(stage)) });
        const value = sign1({ payload, signer, context });
        return {
          what: "a past",
          topic,
          record: { key: bytes("state"), value, partition: lane },
        };
      }),
    ),
  );
}
