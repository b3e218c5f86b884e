/**
 * Somebody who can write to every topic, has keys of their own and two stages' stolen signing keys, and no more.
 *
 * Everything is forged from what the topics show. Each record carries the header `attack`, which stages pass over, so
 * that a test can tell afterwards what is honest. What is forged in `keys` stands here, the rest in attacker-data.ts.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { verify1 } from "../../pipeline/crypto/cose-sign1.ts";
import { createDataKey, type DataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory, type KeyDirectory } from "../../pipeline/crypto/directory.ts";
import {
  chunkEntry,
  dataKeyBinding,
  keysContext,
  signEntry,
} from "../../pipeline/crypto/key-entries.ts";
import { createSigningKey, hex, type SigningKey } from "../../pipeline/crypto/key-handles.ts";
import { decodePayload, type KeyPayload } from "../../pipeline/crypto/key-payload.ts";
import {
  GRANT_TOPICS,
  isStageSigning,
  isUnwrap,
  PURPOSES,
  type Purpose,
  SEALED_TOPICS,
  type SealedTopic,
  type SigningPurpose,
  ZONES,
} from "../../pipeline/crypto/key-purposes.ts";
import { openKeyStore } from "../../pipeline/crypto/key-store.ts";
import {
  createRecipient,
  createUnwrapKey,
  wrapContentKey,
} from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { UnwrapKey } from "../../pipeline/crypto/wrap/types.ts";
import type { StreamRecord } from "../../pipeline/stream/contract.ts";
import type { KafkaClient, ProducerRecord } from "../../pipeline/stream/port.ts";
import { topicName } from "../../schemas/topics.ts";
import { readAll } from "./kafka.ts";
import type { TestPipeline } from "./pipeline.ts";

export const ATTACK_HEADER = "attack";
const GENERATION = 9;
const BATCH_BYTES = 700_000;

export interface Attack {
  readonly what: string;
  readonly topic: string;
  readonly record: ProducerRecord & { readonly partition: number };
}

export interface Attacker {
  readonly pipeline: TestPipeline;
  readonly client: KafkaClient;
  /** What everybody believed when the attack began. */
  readonly directory: KeyDirectory;
  /** One private key under every purpose. */
  readonly unwrapKeys: readonly UnwrapKey[];
  /** Public keys of the attacker's by kid, as they would stand in an envelope or an entry. */
  readonly kids: readonly Uint8Array[];
  /** Whoever is not who may sign as `right`: the attacker, and the stolen keys of other zones. */
  forgers(right: SigningPurpose): SigningKey[];
  /** A data key of the attacker's for a topic, and its entries, one of each forger. */
  dataKey(topic: SealedTopic, lane: number): Promise<{ dataKey: DataKey; attacks: Attack[] }>;
  /** Records that others wrote, by partition. */
  honest(topic: string, partitions: number): Promise<StreamRecord[][]>;
  send(attacks: readonly Attack[]): Promise<void>;
}

const purposes = Object.keys(PURPOSES) as Purpose[];

export function isAttack({ headers }: StreamRecord): boolean {
  return headers[ATTACK_HEADER] !== undefined;
}

/** A directory of everything that `keys` says, for somebody with the pinned identities alone. */
export async function readDirectory(
  { client, pipeline }: Pick<Attacker, "client" | "pipeline">,
  unwrapKeys: readonly UnwrapKey[] = [],
): Promise<KeyDirectory> {
  const { name, zones, revoked } = pipeline.spec();
  if (zones === null) throw new Error("no zones are pinned");
  const directory = createKeyDirectory({
    ...{ pipeline: name, zones, revoked, keepsAllDataKeys: true },
    unwrapKeys: () => unwrapKeys,
  });
  const [entries = []] = await readAll(client, topicName(name, "keys"), 1);
  for (const { key, value } of entries) directory.apply(key, value);
  return directory;
}

export async function createAttacker(
  client: KafkaClient,
  pipeline: TestPipeline,
): Promise<Attacker> {
  const own = createSigningKey("owner-identity", randomBytes(32));
  const secret = randomBytes(32);
  const unwrapKeys = [...purposes.filter(isUnwrap), "reader"].map((purpose) =>
    createUnwrapKey(purpose, Uint8Array.from(secret)),
  );
  const steal = async (holder: "predict" | "train", purpose: SigningPurpose) => {
    const store = await openKeyStore({ folder: join(pipeline.keys, holder), holder });
    return store.signing(purpose);
  };
  const signers = [
    own,
    await steal("predict", "result-signing"),
    await steal("train", "train-signing"),
  ];
  const kids = [own.kid, ...unwrapKeys.map(({ kid }) => kid)];
  const attacker: Attacker = {
    ...{ pipeline, client, unwrapKeys, kids },
    directory: await readDirectory({ client, pipeline }),
    forgers: (right) =>
      signers
        .filter((signer) => signer === own || signer.purpose !== right)
        // Because what we build with refuses a signer of the wrong purpose before anybody sees it.
        .map(({ kid, publicKey, sign }) => ({ purpose: right, kid, publicKey, sign })),
    dataKey: (topic, lane) => makeDataKey(attacker, topic, lane),
    honest: async (topic, partitions) => {
      const all = await readAll(client, topic, partitions);
      return all.map((records) => records.filter((record) => !isAttack(record)));
    },
    send: (attacks) => send(client, attacks),
  };
  return attacker;
}

async function makeDataKey(attacker: Attacker, topic: SealedTopic, lane: number) {
  const { pipeline, unwrapKeys, directory } = attacker;
  const [own] = unwrapKeys;
  if (own === undefined) throw new Error("the attacker has no key");
  // Wrapped for those who may open it too, so that nothing but its signature can be wrong with it.
  const recipients = SEALED_TOPICS[topic].recipients.flatMap((purpose) => {
    const honest = purpose === "reader" ? null : directory.recipient(purpose);
    const mine = createRecipient(purpose, own.publicKey);
    return honest === null ? [mine] : [mine, honest];
  });
  const signer = SEALED_TOPICS[topic].signer;
  const made = await Promise.all(
    attacker
      .forgers(signer)
      .map((forger) =>
        createDataKey({ pipeline: pipeline.name, topic, lane, recipients, signer: forger }),
      ),
  );
  const [first] = made;
  if (first === undefined) throw new Error("nobody forges");
  const attacks = made.map(({ entry }) => keysAttack(attacker, `data key of ${topic}`, entry));
  return { dataKey: first.dataKey, attacks };
}

function keysAttack(
  { pipeline }: Attacker,
  what: string,
  record: { readonly key: Uint8Array | null; readonly value: Uint8Array | null },
): Attack {
  const topic = topicName(pipeline.name, "keys");
  return { what, topic, record: { ...record, partition: 0 } };
}

/** One bit of a copy, at a place that differs from call to call. */
export function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const at = randomBytes(4).readUInt32BE() % Math.max(1, copy.length);
  copy[at] = (copy[at] ?? 0) ^ (1 << (at % 8));
  return copy;
}

/** Everything that can be said in `keys` without a right to say it. */
export async function forgeKeys(attacker: Attacker): Promise<Attack[]> {
  const { pipeline, directory } = attacker;
  const attack = keysAttack.bind(null, attacker);
  const [entries = []] = await attacker.honest(topicName(pipeline.name, "keys"), 1);
  const named = entries.filter(({ key }) => !Buffer.from(key ?? []).includes("chunk/"));
  const junk = randomBytes(500);
  const attacks: Attack[] = [attack("chunk", chunkEntry(sha256(junk), junk))];
  for (const signer of attacker.forgers("owner-identity")) {
    for (const payload of falseClaims(attacker, directory, sha256(junk))) {
      const entry = signEntry({ pipeline: pipeline.name, payload, signer });
      attacks.push(attack(`${payload.type} of a stranger`, entry));
    }
  }
  for (const payload of dataKeysIn(attacker, named, directory)) {
    for (const signer of attacker.forgers(SEALED_TOPICS[payload.topic].signer)) {
      const entry = signEntry({ pipeline: pipeline.name, payload, signer });
      attacks.push(attack("data key wrapped anew", entry));
    }
  }
  for (const [index, { key, value }] of named.entries()) {
    attacks.push(attack("bit flipped", { key, value: flipped(value ?? new Uint8Array()) }));
    const other = named[(index + 1) % named.length];
    attacks.push(attack("entry under another name", { key: other?.key ?? null, value }));
  }
  // The oldest last, so that what is newest in the topic is what was first true; and then nothing at all.
  for (const { key, value } of named.toReversed()) attacks.push(attack("replay", { key, value }));
  for (const { key } of entries) attacks.push(attack("tombstone", { key, value: null }));
  for (const topic of Object.keys(SEALED_TOPICS) as SealedTopic[]) {
    attacks.push(...(await attacker.dataKey(topic, 0)).attacks);
  }
  return attacks;
}

/** What identities alone may say. @param blob hash of a published chunk */
function falseClaims(
  { unwrapKeys, forgers }: Attacker,
  directory: KeyDirectory,
  blob: Uint8Array,
): KeyPayload[] {
  const [mine] = forgers("owner-identity");
  const [unwrapKey] = unwrapKeys;
  if (mine === undefined || unwrapKey === undefined) throw new Error("the attacker has no key");
  const generation = GENERATION;
  const { signers, recipients } = directory.list();
  const sealing = { algorithm: "x25519", publicKey: unwrapKey.publicKey } as const;
  const blobs = { generation, parameters: directory.blob("ckks-public")?.parameters ?? "" };
  const kids = [
    ...signers.map(({ kid, zone }) => ({ kid, zone })),
    ...recipients.map(({ recipient, zone }) => ({ kid: hex(recipient.kid), zone })),
  ];
  return [
    ...ZONES.map(
      (zone) => ({ type: "identity", generation, zone, publicKey: mine.publicKey }) as const,
    ),
    ...purposes
      .filter(isStageSigning)
      .map(
        (purpose) => ({ type: "signer", generation, purpose, publicKey: mine.publicKey }) as const,
      ),
    ...purposes
      .filter(isUnwrap)
      .map((purpose) => ({ type: "recipient", generation, purpose, ...sealing }) as const),
    ...GRANT_TOPICS.flatMap((topic) =>
      ["support", "attacker"].map(
        (name) => ({ type: "grant", generation, topic, name, ...sealing }) as const,
      ),
    ),
    ...kids.map(
      ({ kid, zone }) =>
        ({ type: "revocation", generation, zone, kid: Buffer.from(kid, "hex") }) as const,
    ),
    ...(["ckks-public", "ckks-evaluation"] as const).map(
      (purpose) =>
        ({ type: "blob", ...blobs, purpose, bytes: 500, sha256: blob, chunks: [blob] }) as const,
    ),
  ];
}

/** Data keys that are there, as if their owner had wrapped them for the attacker too. */
function dataKeysIn(
  { pipeline, unwrapKeys }: Attacker,
  entries: readonly StreamRecord[],
  directory: KeyDirectory,
) {
  const [own] = unwrapKeys;
  return entries.flatMap(({ value }) => {
    const verified = verify1({
      message: value ?? new Uint8Array(),
      context: keysContext(pipeline.name),
      findSigner: (kid) =>
        directory.findSigner(kid, ["owner-signing", "train-signing", "model-signing"]),
    });
    const payload = verified.status === "ok" ? decodePayload(verified.payload) : null;
    if (payload?.type !== "data-key" || own === undefined) return [];
    const wrap = wrapContentKey(
      randomBytes(32),
      createRecipient("training-unwrap", own.publicKey),
      dataKeyBinding({ pipeline: pipeline.name, ...payload }),
    );
    const recipients = [wrap, ...payload.recipients];
    return [{ ...payload, generation: payload.generation + 1, recipients }];
  });
}

async function send(client: KafkaClient, attacks: readonly Attack[]): Promise<void> {
  const producer = await client.createPlainProducer();
  for (const [topic, own] of Map.groupBy(attacks, (one) => one.topic)) {
    let batch: Attack["record"][] = [];
    let bytes = 0;
    const flush = async () => {
      if (batch.length > 0) await producer.send(topic, batch);
      batch = [];
      bytes = 0;
    };
    for (const { what, record } of own) {
      const size = (record.value?.length ?? 0) + (record.key?.length ?? 0);
      if (bytes + size > BATCH_BYTES) await flush();
      batch.push({ ...record, headers: { ...record.headers, [ATTACK_HEADER]: Buffer.from(what) } });
      bytes += size;
    }
    await flush();
  }
  await producer.close();
}
