/**
 * ECDH-ES + A256KW over X25519: a content key wrapped for one recipient, as a COSE_recipient.
 *
 * ```
 * COSE_recipient = [ protected: bstr .cbor {1: -31},
 *                    unprotected: {4: kid (16 bytes), -1: {1: 1, -1: 4, -2: ephemeral public key (32 bytes)}},
 *                    ciphertext: bstr (40 bytes) ]
 * KEK = HKDF-SHA-256(salt = none, ikm = X25519(ephemeral, recipient), info = COSE_KDF_Context, 32 bytes)
 * COSE_KDF_Context = [ -5, [null, null, null], [null, null, null], [256, protected, other: bstr binding] ]
 * ```
 * The binding says what the wrapped key is for, so that a wrap moved elsewhere yields another KEK and is refused.
 * Refused besides: an ephemeral key that is not canonical or of low order (the shared secret would be all zero).
 * Must not: let the shared secret, the KEK or raw content keys out of this file.
 * Sources: RFC 9053 sections 5.2 and 6.4, RFC 7748 section 6.1, RFC 3394, RFC 9052 section 8.5.5.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  timingSafeEqual,
} from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { AES_KEY_BYTES } from "./aead.ts";
import { type CborValue, encodeCbor, isBytes, isCborArray } from "./cbor.ts";
import { PUBLIC_KEY_BYTES } from "./identity.ts";
import {
  KID_BYTES,
  keyIdOf,
  privateKeyObject,
  publicKeyObject,
  type Recipient,
  rawPublicKey,
} from "./key-handles.ts";

/** One recipient of a content key: whose, the sender's ephemeral public key (32 bytes), the wrapped key (40 bytes). */
export interface WrappedKey {
  readonly kid: Uint8Array;
  readonly ephemeral: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** An X25519 private key behind a handle; the shared secret never leaves it. */
export interface UnwrapKey {
  readonly purpose: string;
  /** First 16 bytes of SHA-256 of the raw public key. */
  readonly kid: Uint8Array;
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array;
  /** The content key (AES-256) as a KeyObject, or null when it was not wrapped for this key and binding. */
  unwrap(wrapped: WrappedKey, binding: Uint8Array): KeyObject | null;
}

/** Most recipients of one content key: zones times keys in overlap, with room; bounds the work on a hostile list. */
export const MAX_RECIPIENTS = 32;

/** A256KW adds one 8-byte block to the key (RFC 3394 section 2.2.1). */
const WRAPPED_BYTES = AES_KEY_BYTES + 8;
const WRAP_ALGORITHM = "id-aes256-wrap";
/** Default initial value of RFC 3394 section 2.2.3.1. */
const WRAP_IV = Buffer.alloc(8, 0xa6);

const COSE_ECDH_ES_A256KW = -31;
const COSE_A256KW = -5;
/** `{1: -31}`: the protected header of every recipient. */
const PROTECTED = encodeCbor(new Map([[1, COSE_ECDH_ES_A256KW]]));

/** 2^255 - 19, little-endian. */
const FIELD_PRIME = Buffer.from(`ed${"ff".repeat(30)}7f`, "hex");

/**
 * Wraps a content key for one recipient.
 * @param contentKey 32 raw bytes, owned and wiped by the caller
 * @throws `key-invalid` when the recipient's public key cannot be used
 */
export function wrapContentKey(
  contentKey: Uint8Array,
  recipient: Recipient,
  binding: Uint8Array,
): WrappedKey {
  const ephemeral = generateKeyPairSync("x25519");
  const kek = agree(ephemeral.privateKey, recipient.publicKey, binding);
  if (kek === null || contentKey.length !== AES_KEY_BYTES) {
    throw new SealstreamError("key-invalid", `Nothing can be wrapped for ${recipient.purpose}.`);
  }
  const cipher = createCipheriv(WRAP_ALGORITHM, kek, WRAP_IV);
  const ciphertext = new Uint8Array(cipher.update(contentKey));
  cipher.final();
  return { kid: recipient.kid, ephemeral: rawPublicKey(ephemeral.publicKey), ciphertext };
}

/** Handle of an X25519 scalar of 32 bytes; the caller may wipe `raw` afterwards. */
export function createUnwrapKey(purpose: string, raw: Uint8Array): UnwrapKey {
  const privateKey = privateKeyObject("x25519", raw);
  const publicKey = rawPublicKey(privateKey);
  const kid = keyIdOf(publicKey);
  return Object.freeze({
    purpose,
    kid,
    publicKey,
    unwrap(wrapped: WrappedKey, binding: Uint8Array): KeyObject | null {
      if (Buffer.compare(wrapped.kid, kid) !== 0) return null;
      const kek = agree(privateKey, wrapped.ephemeral, binding);
      return kek === null ? null : unwrapWith(kek, wrapped.ciphertext);
    },
  });
}

/** The COSE_recipient array of wrapped keys. */
export function recipientsToCbor(wrapped: readonly WrappedKey[]): CborValue {
  return wrapped.map((one) => [
    PROTECTED,
    new Map<CborValue, CborValue>([
      [4, one.kid],
      [
        -1,
        new Map<CborValue, CborValue>([
          [1, 1],
          [-1, 4],
          [-2, one.ephemeral],
        ]),
      ],
    ]),
    one.ciphertext,
  ]);
}

/** Wrapped keys of a decoded COSE_recipient array, as views; null when any is not exactly of the form above. */
export function recipientsFromCbor(value: CborValue | undefined): WrappedKey[] | null {
  if (!isCborArray(value) || value.length === 0 || value.length > MAX_RECIPIENTS) return null;
  const wrapped: WrappedKey[] = [];
  for (const item of value) {
    const one = recipientFromCbor(item);
    if (one === null) return null;
    wrapped.push(one);
  }
  return wrapped;
}

function recipientFromCbor(item: CborValue): WrappedKey | null {
  if (!isCborArray(item) || item.length !== 3) return null;
  const [header, unprotected, ciphertext] = item;
  if (!isBytes(header, PROTECTED.length) || Buffer.compare(header, PROTECTED) !== 0) return null;
  if (!(unprotected instanceof Map) || unprotected.size !== 2) return null;
  const kid: CborValue | undefined = unprotected.get(4);
  const key: CborValue | undefined = unprotected.get(-1);
  if (!(key instanceof Map) || key.size !== 3 || key.get(1) !== 1 || key.get(-1) !== 4) return null;
  const ephemeral: CborValue | undefined = key.get(-2);
  if (!isBytes(kid, KID_BYTES) || !isBytes(ephemeral, PUBLIC_KEY_BYTES)) return null;
  return isBytes(ciphertext, WRAPPED_BYTES) ? { kid, ephemeral, ciphertext } : null;
}

/** The key-encryption key, or null for a public key that is not canonical or of low order. */
function agree(
  privateKey: KeyObject,
  rawPublic: Uint8Array,
  binding: Uint8Array,
): KeyObject | null {
  // RFC 7748 section 5 masks the top bit and reduces; accepting that would give one key two spellings.
  if (!isCanonicalCoordinate(rawPublic)) return null;
  const publicKey = publicKeyObject("x25519", rawPublic);
  if (publicKey === null) return null;
  let shared: Buffer;
  try {
    shared = diffieHellman({ privateKey, publicKey });
  } catch {
    // Because OpenSSL itself refuses an all-zero result (RFC 7748 section 6.1), and that is bad input.
    return null;
  }
  if (timingSafeEqual(shared, Buffer.alloc(shared.length))) return null;
  const info = encodeCbor([
    COSE_A256KW,
    [null, null, null],
    [null, null, null],
    [AES_KEY_BYTES * 8, PROTECTED, binding],
  ]);
  const raw = new Uint8Array(hkdfSync("sha256", shared, new Uint8Array(0), info, AES_KEY_BYTES));
  shared.fill(0);
  const kek = createSecretKey(raw);
  raw.fill(0);
  return kek;
}

/** True for a u-coordinate below 2^255 - 19: exactly one spelling of every public key. */
function isCanonicalCoordinate(raw: Uint8Array): boolean {
  if (raw.length !== PUBLIC_KEY_BYTES) return false;
  for (let i = PUBLIC_KEY_BYTES - 1; i >= 0; i--) {
    const ours = raw[i] ?? 0;
    const prime = FIELD_PRIME[i] ?? 0;
    if (ours !== prime) return ours < prime;
  }
  return false;
}

function unwrapWith(kek: KeyObject, ciphertext: Uint8Array): KeyObject | null {
  if (ciphertext.length !== WRAPPED_BYTES) return null;
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
