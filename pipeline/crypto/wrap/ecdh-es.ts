/**
 * ECDH-ES + A256KW: from a shared secret to a wrapped content key and back, whatever the curve.
 *
 * ```
 * KEK = HKDF-SHA-256(salt = none, ikm = shared secret, info = COSE_KDF_Context, 32 bytes)
 * COSE_KDF_Context = [ -5, [null, null, null], [null, null, null], [256, protected, other: bstr binding] ]
 * protected = {1: -31}
 * ```
 * The binding says what the wrapped key is for, so that a wrap moved elsewhere yields another KEK and is refused.
 * The ephemeral key is no input of the KDF (RFC 9053), so one of the few other points with the same shared secret (-y on
 * P-256, a point of low order added on X25519) opens too: the signature or AAD around every wrapped key refuses that.
 * Must not: let the shared secret, the KEK or raw content keys out of this file; it wipes what it is handed.
 * Sources: RFC 9053 sections 5.2, 6.3.1 and 6.4, RFC 3394, NIST SP 800-56A section 5.7.1.2.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { AES_KEY_BYTES } from "../aead.ts";
import { encodeCbor } from "../cbor.ts";

/** A256KW adds one 8-byte block to the key (RFC 3394 section 2.2.1). */
export const KW_BYTES = AES_KEY_BYTES + 8;
const WRAP_ALGORITHM = "id-aes256-wrap";
/** Default initial value of RFC 3394 section 2.2.3.1. */
const WRAP_IV = Buffer.alloc(8, 0xa6);

const COSE_ECDH_ES_A256KW = -31;
const COSE_A256KW = -5;
/** `{1: -31}`: the protected header of a recipient. */
export const ECDH_PROTECTED = encodeCbor(new Map([[1, COSE_ECDH_ES_A256KW]]));

/** The shared secret, owned by the caller; null for keys that do not agree. */
export function sharedSecret(privateKey: KeyObject, publicKey: KeyObject): Buffer | null {
  try {
    return diffieHellman({ privateKey, publicKey });
  } catch {
    // Because OpenSSL itself refuses an all-zero result of X25519 (RFC 7748 section 6.1), and that is bad input.
    return null;
  }
}

/** The content key under the KEK of `shared`, which is wiped; `contentKey` has 32 bytes. */
export function wrapUnder(
  shared: Buffer,
  contentKey: Uint8Array,
  binding: Uint8Array,
): Uint8Array<ArrayBuffer> {
  return wrapA256(kekOf(shared, binding), contentKey);
}

/** The content key, or null when its integrity check fails under the KEK of `shared`, which is wiped. */
export function unwrapUnder(
  shared: Buffer,
  ciphertext: Uint8Array,
  binding: Uint8Array,
): KeyObject | null {
  return unwrapA256(kekOf(shared, binding), ciphertext);
}

/** A256KW of 32 bytes. */
export function wrapA256(kek: KeyObject, contentKey: Uint8Array): Uint8Array<ArrayBuffer> {
  const cipher = createCipheriv(WRAP_ALGORITHM, kek, WRAP_IV);
  const ciphertext = new Uint8Array(cipher.update(contentKey));
  cipher.final();
  return ciphertext;
}

/** The content key of {@link wrapA256}; null for another length or when the integrity check fails. */
export function unwrapA256(kek: KeyObject, ciphertext: Uint8Array): KeyObject | null {
  if (ciphertext.length !== KW_BYTES) return null;
  try {
    const decipher = createDecipheriv(WRAP_ALGORITHM, kek, WRAP_IV);
    const raw = Buffer.concat([decipher.update(ciphertext), decipher.final()]);
    const contentKey = createSecretKey(raw);
    raw.fill(0);
    return contentKey;
  } catch {
    // Because a wrap whose integrity check fails is bad input, and node reports it by throwing.
    return null;
  }
}

function kekOf(shared: Buffer, binding: Uint8Array): KeyObject {
  const info = encodeCbor([
    COSE_A256KW,
    [null, null, null],
    [null, null, null],
    [AES_KEY_BYTES * 8, ECDH_PROTECTED, binding],
  ]);
  const raw = new Uint8Array(hkdfSync("sha256", shared, new Uint8Array(0), info, AES_KEY_BYTES));
  shared.fill(0);
  const kek = createSecretKey(raw);
  raw.fill(0);
  return kek;
}
