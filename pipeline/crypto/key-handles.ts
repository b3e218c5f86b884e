/**
 * Handles of signing keys and secrets: what other code can do with a key without ever seeing it.
 *
 * Material stays in node:crypto KeyObjects inside closures; no property, toString, JSON or inspect shows it.
 * Must not: read files, or hand out a KeyObject of a private key.
 * Sources: RFC 8032 (Ed25519), RFC 8410 (PKCS#8 and SPKI of raw keys), RFC 5869 (HKDF), RFC 2104 (HMAC).
 */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { plainBytes } from "./cbor.ts";
import { sha256 } from "./chunks.ts";
import { PUBLIC_KEY_BYTES } from "./identity.ts";

/** An Ed25519 private key behind a handle. */
export interface SigningKey {
  readonly purpose: string;
  /** First 16 bytes of SHA-256 of the raw public key. */
  readonly kid: Uint8Array;
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array;
  /** Ed25519 signature, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** A 32-byte secret behind a handle. */
export interface SecretKey {
  readonly purpose: string;
  /** HKDF-SHA-256 with an empty salt; `bytes` is 1..8160 (255 hash lengths, RFC 5869 section 2.3). */
  hkdf(info: Uint8Array, bytes: number): Uint8Array;
  /** HMAC-SHA-256, 32 bytes. */
  hmac(message: Uint8Array): Uint8Array;
}

/** Collision-resistant enough for lookup, short enough for each envelope; a hit is still checked by the key itself. */
export const KID_BYTES = 16;
export const SIGNATURE_BYTES = 64;
/** Seed of Ed25519, scalar of X25519, and the size of our secrets. */
export const PRIVATE_KEY_BYTES = 32;

/** PKCS#8 of a raw private key: this prefix, then 32 bytes (RFC 8410 section 7). */
const PKCS8_PREFIX = {
  ed25519: Buffer.from("302e020100300506032b657004220420", "hex"),
  x25519: Buffer.from("302e020100300506032b656e04220420", "hex"),
} as const;

/** SPKI of a raw public key: this prefix, then 32 bytes (RFC 8410 section 4). */
const SPKI_PREFIX = {
  ed25519: Buffer.from("302a300506032b6570032100", "hex"),
  x25519: Buffer.from("302a300506032b656e032100", "hex"),
} as const;

/** First 16 bytes of SHA-256 of a raw public key. */
export function keyIdOf(publicKey: Uint8Array): Uint8Array {
  return sha256(publicKey).slice(0, KID_BYTES);
}

/** Lower-case hex: what kids and hashes are called in maps and record keys. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/**
 * KeyObject of 32 raw private bytes. The caller keeps it inside a closure.
 * @throws `key-invalid` for another length
 */
export function privateKeyObject(type: "ed25519" | "x25519", raw: Uint8Array): KeyObject {
  if (raw.length !== PRIVATE_KEY_BYTES) {
    throw new SealstreamError("key-invalid", `A private ${type} key has 32 bytes.`);
  }
  const der = Buffer.concat([PKCS8_PREFIX[type], raw]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  der.fill(0);
  return key;
}

/** KeyObject of a raw public key, or null when it is not 32 bytes that OpenSSL takes. */
export function publicKeyObject(type: "ed25519" | "x25519", raw: Uint8Array): KeyObject | null {
  if (raw.length !== PUBLIC_KEY_BYTES) return null;
  try {
    const der = Buffer.concat([SPKI_PREFIX[type], raw]);
    return createPublicKey({ key: der, format: "der", type: "spki" });
  } catch {
    // Because bytes from a topic that are no key are bad input, and node reports them by throwing.
    return null;
  }
}

/** 32 raw bytes of the public half. */
export function rawPublicKey(key: KeyObject): Uint8Array {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  const der = publicKey.export({ format: "der", type: "spki" });
  return new Uint8Array(der.subarray(der.length - PUBLIC_KEY_BYTES));
}

/** Handle of an Ed25519 seed of 32 bytes; the caller may wipe `raw` afterwards. */
export function createSigningKey(purpose: string, raw: Uint8Array): SigningKey {
  const key = privateKeyObject("ed25519", raw);
  const publicKey = rawPublicKey(key);
  return Object.freeze({
    purpose,
    kid: keyIdOf(publicKey),
    publicKey,
    sign: (message: Uint8Array) => plainBytes(sign(null, message, key)),
  });
}

/**
 * A handle that is whichever key `current` says. Who reads its kid and signs does both at once, with nothing awaited in
 * between (sign1 does), so that they are of one key.
 */
export function createLiveSigner(purpose: string, current: () => SigningKey): SigningKey {
  return Object.freeze({
    purpose,
    get kid() {
      return current().kid;
    },
    get publicKey() {
      return current().publicKey;
    },
    sign: (message: Uint8Array) => current().sign(message),
  });
}

/** True when `signature` is an Ed25519 signature of `message` under 32 raw bytes; never throws. */
export function verifySignature(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false;
  const key = publicKeyObject("ed25519", publicKey);
  return key !== null && verify(null, message, key, signature);
}

/** Handle of a 32-byte secret; the caller may wipe `raw` afterwards. */
export function createSecretHandle(purpose: string, raw: Uint8Array): SecretKey {
  if (raw.length !== PRIVATE_KEY_BYTES) {
    throw new SealstreamError("key-invalid", "A secret has 32 bytes.");
  }
  const key = createSecretKey(raw);
  const empty = new Uint8Array(0);
  return Object.freeze({
    purpose,
    hkdf: (info: Uint8Array, bytes: number) =>
      new Uint8Array(hkdfSync("sha256", key, empty, info, bytes)),
    hmac: (message: Uint8Array) => plainBytes(createHmac("sha256", key).update(message).digest()),
  });
}
