/**
 * Key rings: the keys of a holder, several generations of a purpose at a time, each behind its handle.
 *
 * What is new opens what was sealed to it at once; what is old goes on opening what was sealed before. Signing follows
 * the newest.
 * Must not: hand out raw material (except a blob's, which another library parses) or keep it beyond its handle.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { FIRST_GENERATION, type KeyFileContent } from "./key-file.ts";
import {
  createSecretHandle,
  createSigningKey,
  type SecretKey,
  type SigningKey,
} from "./key-handles.ts";
import type { Purpose } from "./key-purposes.ts";
import { openMaterial, type Unlock } from "./key-seal.ts";
import type { SourcedKey } from "./key-source.ts";
import { assertFit, openPem } from "./key-source-pem.ts";
import type { Kms } from "./kms/kms.ts";
import { createRemoteUnwrapKey, createUnwrapKeyOf } from "./wrap/key-wrap.ts";
import type { RemoteUnwrapKey, UnwrapKey } from "./wrap/types.ts";

/** What is made of a key file. */
export type KeyHandle =
  | { readonly type: "signing"; readonly key: SigningKey }
  | { readonly type: "unwrap"; readonly key: UnwrapKey }
  | { readonly type: "remote"; readonly key: RemoteUnwrapKey }
  | { readonly type: "secret"; readonly key: SecretKey }
  | { readonly type: "blob"; readonly key: Buffer };

export interface RingKey {
  readonly purpose: Purpose;
  readonly generation: number;
  readonly where: string;
  readonly handle: KeyHandle;
}

/** The keys of each purpose, newest first. */
export type KeyRings = ReadonlyMap<Purpose, readonly RingKey[]>;

/** The private key of an unwrapping purpose, local or in a service. @throws `key-missing` without that service */
export function unwrapHandle(
  { kind, purpose, material }: KeyFileContent,
  kms: Kms | undefined,
  where: string,
): Extract<KeyHandle, { type: "unwrap" | "remote" }> {
  if (kind === "kms") {
    const uri = material.toString("utf8");
    if (kms === undefined) {
      throw new SealstreamError(
        "key-missing",
        `${where} names ${uri}: set the address and the credentials of that service (for Vault or OpenBao VAULT_ADDR and VAULT_TOKEN).`,
      );
    }
    return { type: "remote", key: createRemoteUnwrapKey(purpose, uri, kms) };
  }
  const der = kind === "x25519" ? Buffer.concat([X25519_PKCS8, material]) : Buffer.from(material);
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  } catch {
    // Because what OpenSSL says may quote what it read.
    throw new SealstreamError("key-invalid", `${where} holds no private key: restore it.`);
  } finally {
    der.fill(0);
  }
  if (assertFit(privateKey, purpose, where) !== kind) {
    throw new SealstreamError("key-invalid", `${where} is not of the kind that it names.`);
  }
  return { type: "unwrap", key: createUnwrapKeyOf(purpose, privateKey) };
}

/** What a source has, opened; the caller wipes the material. @throws as {@link openMaterial} and `openPem` do */
export async function openContent(sourced: SourcedKey, unlock: Unlock): Promise<KeyFileContent> {
  const { purpose, where } = sourced;
  const found = sourced.read();
  if ("pem" in found) {
    const generation = sourced.generation ?? FIRST_GENERATION;
    const passphrase = found.isEncrypted ? await unlock.passphrase?.text() : undefined;
    return openPem(found, { purpose, generation, where }, passphrase ?? null);
  }
  const { kind, generation } = found;
  if (sourced.generation !== null && sourced.generation !== generation) {
    throw new SealstreamError(
      "key-invalid",
      `${where} is of generation ${generation}, not ${sourced.generation} as its name says: rename it.`,
    );
  }
  return { kind, purpose, generation, material: await openMaterial(found, unlock, where) };
}

/** A key of a source behind its handle. */
export async function openRingKey(sourced: SourcedKey, unlock: Unlock): Promise<RingKey> {
  const content = await openContent(sourced, unlock);
  const { purpose, generation, material } = content;
  const handle = handleOf(content, unlock.kms, sourced.where);
  material.fill(0);
  return { purpose, generation, where: sourced.where, handle };
}

/** Rings with more keys in them. @throws `key-invalid` when two keys of a purpose have one generation */
export function withKeys(rings: KeyRings, added: readonly RingKey[]): KeyRings {
  const merged = new Map(rings);
  for (const key of added) {
    const ring = merged.get(key.purpose) ?? [];
    const other = ring.find((one) => one.generation === key.generation);
    if (other !== undefined) {
      throw new SealstreamError(
        "key-invalid",
        `${other.where} and ${key.where} are both generation ${key.generation} of ${key.purpose}: remove one.`,
      );
    }
    merged.set(
      key.purpose,
      [...ring, key].sort((a, b) => b.generation - a.generation),
    );
  }
  return merged;
}

/** PKCS#8 of a raw X25519 key: this prefix, then 32 bytes (RFC 8410 section 7). */
const X25519_PKCS8 = Buffer.from("302e020100300506032b656e04220420", "hex");

function handleOf(content: KeyFileContent, kms: Kms | undefined, where: string): KeyHandle {
  const { kind, purpose, material } = content;
  switch (kind) {
    case "ed25519":
      return { type: "signing", key: createSigningKey(purpose, material) };
    case "secret":
      return { type: "secret", key: createSecretHandle(purpose, material) };
    case "ckks-secret":
      return { type: "blob", key: Buffer.from(material) };
    default:
      return unwrapHandle(content, kms, where);
  }
}
