/** Shared parts of the crypto tests: fresh zones, certified directories, and mutations. Must not: be a test. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createDataKey, type DataKey } from "../../pipeline/crypto/data-key.ts";
import { createKeyDirectory, type KeyDirectory } from "../../pipeline/crypto/directory.ts";
import { createZoneKeys, publicEntries } from "../../pipeline/crypto/key-ceremony.ts";
import type { KeyEntry } from "../../pipeline/crypto/key-entries.ts";
import { type KeyFile, parseKeyFile } from "../../pipeline/crypto/key-file.ts";
import { createSigningKey, type SigningKey } from "../../pipeline/crypto/key-handles.ts";
import type {
  SealedTopic,
  SigningPurpose,
  UnwrapPurpose,
  ZoneName,
} from "../../pipeline/crypto/key-purposes.ts";
import { createRecipient, createUnwrapKey } from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { Recipient, UnwrapKey } from "../../pipeline/crypto/wrap/types.ts";

export const PIPELINE = "digits";

export const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
export const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "utf8"));

export function vectorFile(name: string): string {
  return readFileSync(new URL(`../vectors/crypto/${name}`, import.meta.url), "utf8");
}

/** Identities as a pipeline file pins them: one each. */
export function pinsOf(
  identities: Partial<Record<ZoneName, Uint8Array>>,
): Record<ZoneName, readonly [Uint8Array]> {
  const one = (zone: ZoneName) => [identities[zone]!] as const;
  return {
    owner: one("owner"),
    training: one("training"),
    prediction: one("prediction"),
    consumer: one("consumer"),
  };
}

/** All keys of all zones, with their published entries. */
export interface World {
  readonly files: readonly KeyFile[];
  readonly zones: Record<ZoneName, readonly [Uint8Array]>;
  readonly signers: Record<ZoneName, SigningKey>;
  readonly entries: readonly KeyEntry[];
  signing(purpose: SigningPurpose): SigningKey;
  unwrap(purpose: UnwrapPurpose): UnwrapKey;
  recipient(purpose: UnwrapPurpose): Recipient;
  directory(unwrap?: readonly UnwrapPurpose[]): KeyDirectory;
}

export function createWorld(pipeline = PIPELINE): World {
  const { files, identities, signers } = createZoneKeys();
  const raw = (purpose: string): Uint8Array => {
    const file = files.find((one) => one.purpose === purpose)!;
    return parseKeyFile(file.json, file.purpose, purpose).material;
  };
  const zones = pinsOf(identities);
  const entries = publicEntries({ pipeline, files });
  const unwrap = (purpose: UnwrapPurpose) => createUnwrapKey(purpose, raw(purpose));
  return {
    files,
    zones,
    signers: {
      owner: signers.owner!,
      training: signers.training!,
      prediction: signers.prediction!,
      consumer: signers.consumer!,
    },
    entries,
    signing: (purpose) => createSigningKey(purpose, raw(purpose)),
    unwrap,
    recipient: (purpose) => createRecipient(purpose, unwrap(purpose).publicKey),
    directory(purposes = []) {
      const directory = createKeyDirectory({
        pipeline,
        zones,
        unwrapKeys: () => purposes.map(unwrap),
      });
      for (const { key, value } of entries) directory.apply(key, value);
      return directory;
    },
  };
}

/** A sealing data key of a topic, straight from its allowed signer and recipients. */
export function dataKeyFor(
  world: World,
  options: { topic?: SealedTopic; lane?: number; limit?: number; pipeline?: string } = {},
): Promise<{ dataKey: DataKey; entry: KeyEntry }> {
  const topic = options.topic ?? "examples";
  const shape = {
    examples: { signer: "owner-signing", recipients: ["training-unwrap"] },
    contributions: { signer: "train-signing", recipients: ["contribution-unwrap"] },
    models: {
      signer: "model-signing",
      recipients: ["training-unwrap", "contribution-unwrap", "model-unwrap"],
    },
    records: { signer: "owner-signing", recipients: ["owner-recovery"] },
  } as const;
  return createDataKey({
    pipeline: options.pipeline ?? PIPELINE,
    topic,
    lane: options.lane ?? 0,
    recipients: shape[topic].recipients.map((purpose) => world.recipient(purpose)),
    signer: world.signing(shape[topic].signer),
    limit: options.limit,
  });
}

export function freshSigner(purpose: string): SigningKey {
  return createSigningKey(purpose, randomBytes(32));
}

/** Every byte changed in three ways, every truncation, and extensions at either end. */
export function* mutations(bytes: Uint8Array): Generator<{ what: string; bytes: Uint8Array }> {
  for (let i = 0; i < bytes.length; i++) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const copy = new Uint8Array(bytes);
      copy[i]! ^= mask;
      yield { what: `byte ${i} ^ ${mask}`, bytes: copy };
    }
  }
  for (let i = 0; i < bytes.length; i++) {
    yield { what: `cut to ${i}`, bytes: bytes.slice(0, i) };
  }
  for (const extra of [0x00, 0xf6]) {
    yield { what: `${extra} appended`, bytes: new Uint8Array([...bytes, extra]) };
    yield { what: `${extra} prepended`, bytes: new Uint8Array([extra, ...bytes]) };
  }
}

/** Names of the mutations that `accepts` lets through: must be none. */
export function survivors(bytes: Uint8Array, accepts: (bytes: Uint8Array) => boolean): string[] {
  return [...mutations(bytes)].filter((one) => accepts(one.bytes)).map((one) => one.what);
}
