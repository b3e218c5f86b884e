/**
 * Content keys wrapped by RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
 *
 * The label is empty, as RFC 8230 wants it, so unlike the other wraps this one does not carry its binding: what ties it
 * to its place is the signature of the data-key entry around it, or the hash of the recipients in a sealed box's AAD,
 * and in both the AAD of what the content key seals. Weak keys are refused: fewer than 2048 bits, an exponent below
 * 65537, a modulus that is even or has a small factor. One key has one spelling, the DER that node writes.
 * Must not: say why something does not open (an oracle for OAEP), or let raw content keys out.
 * Sources: RFC 8017 section 7.1, RFC 8230 section 3, NIST SP 800-89 section 5.3.3 (checks of a public key).
 */
import {
  constants,
  createPublicKey,
  createSecretKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
} from "node:crypto";
import { AES_KEY_BYTES } from "../aes-gcm.ts";
import type { LocalWrap } from "./types.ts";

export const RSA_MIN_BITS = 2048;
/** Bounds the work on a hostile key. */
export const RSA_MAX_BITS = 8192;
/** SPKI of 8192 bits takes 1,058 bytes with an exponent of 3. */
const MAX_SPKI_BYTES = 1_100;
const MIN_EXPONENT = 65_537n;
const MAX_EXPONENT = 2n ** 32n;
const EMPTY = new Uint8Array(0);
const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" } as const;

export const rsaOaep: LocalWrap = {
  complaint(publicKey) {
    const key = rsaObject(publicKey);
    if (key === null) return "is no RSA key: SPKI in DER, without anything around it";
    return weakness(key);
  },
  wrap(contentKey, publicKey) {
    const key = rsaObject(publicKey);
    if (key === null || weakness(key) !== null) return null;
    return {
      ephemeral: EMPTY,
      ciphertext: new Uint8Array(publicEncrypt({ key, ...OAEP }, contentKey)),
    };
  },
  unwrap(privateKey, { ephemeral, ciphertext }) {
    if (ephemeral.length !== 0) return null;
    const raw = openOaep(privateKey, ciphertext);
    if (raw === null) return null;
    const contentKey = raw.length === AES_KEY_BYTES ? createSecretKey(raw) : null;
    raw.fill(0);
    return contentKey;
  },
  publicKeyOf(privateKey) {
    if (privateKey.asymmetricKeyType !== "rsa") return null;
    return new Uint8Array(createPublicKey(privateKey).export({ format: "der", type: "spki" }));
  },
};

/**
 * The plaintext of an OAEP ciphertext, owned by the caller, or null. Exactly as long as the modulus: OpenSSL would take
 * a shorter one too, which would be another spelling.
 */
export function openOaep(privateKey: KeyObject, ciphertext: Uint8Array): Buffer | null {
  const bits = privateKey.asymmetricKeyDetails?.modulusLength ?? 0;
  if (ciphertext.length !== Math.ceil(bits / 8)) return null;
  try {
    return privateDecrypt({ key: privateKey, ...OAEP }, ciphertext);
  } catch {
    // Because a ciphertext that does not open is bad input, and node reports it by throwing.
    return null;
  }
}

/** An RSA key in the one spelling of its DER; null for anything else. */
function rsaObject(spki: Uint8Array): KeyObject | null {
  if (spki.length > MAX_SPKI_BYTES) return null;
  try {
    const der = Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength);
    const key = createPublicKey({ key: der, format: "der", type: "spki" });
    if (key.asymmetricKeyType !== "rsa") return null;
    return key.export({ format: "der", type: "spki" }).equals(der) ? key : null;
  } catch {
    // Because bytes from a topic that are no key are bad input, and node reports them by throwing.
    return null;
  }
}

/** Null for a key that is strong enough, else what is wrong with it and what to do. */
function weakness(key: KeyObject): string | null {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < RSA_MIN_BITS || modulusLength > RSA_MAX_BITS) {
    return `has ${modulusLength} bits: make an RSA key of ${RSA_MIN_BITS} to ${RSA_MAX_BITS} bits, 3072 by habit`;
  }
  const even = publicExponent % 2n === 0n;
  if (even || publicExponent < MIN_EXPONENT || publicExponent >= MAX_EXPONENT) {
    return `has the exponent ${publicExponent}: make an RSA key with the exponent 65537`;
  }
  const { n = "" } = key.export({ format: "jwk" });
  const modulus = BigInt(`0x0${Buffer.from(n, "base64url").toString("hex")}`);
  const factor = SMALL_PRIMES.some((prime) => modulus % prime === 0n);
  return factor ? "has a modulus with a small factor: make a new RSA key" : null;
}

/** Primes up to 752, as SP 800-89 wants them tried. */
const SMALL_PRIMES: readonly bigint[] = Array.from({ length: 751 }, (_, i) => i + 2)
  .filter((n) => Array.from({ length: 26 }, (_, i) => i + 2).every((d) => d >= n || n % d !== 0))
  .map(BigInt);
