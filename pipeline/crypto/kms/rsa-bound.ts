/**
 * Content keys under an RSA key of a service: RSAES-OAEP of the key and of what it is bound to.
 *
 * ```
 * plaintext = content key (32 bytes) || SHA-256(binding) (32 bytes)
 * ```
 * RSAES-OAEP with SHA-256, MGF1 with SHA-256 and an empty label, which is what Vault and OpenBao open: a label of ours
 * would be lost on them, so the binding stands in the plaintext. Source: RFC 8017 section 7.1.
 */
import {
  constants,
  createHash,
  createPublicKey,
  type KeyObject,
  publicEncrypt,
  timingSafeEqual,
} from "node:crypto";
import { SealstreamError } from "../../errors.ts";

const KEY_BYTES = 32;
const MIN_BITS = 2048;

/** SPKI (DER or PEM) of an RSA key of at least 2,048 bits. @throws `key-invalid` */
export function rsaPublicKey(spki: Uint8Array | string, where: string): KeyObject {
  let key: KeyObject | null = null;
  try {
    key =
      typeof spki === "string"
        ? createPublicKey(spki)
        : createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch {
    // Because what OpenSSL says may quote what the service answered.
  }
  if (key?.asymmetricKeyType !== "rsa") {
    throw new SealstreamError("key-invalid", `${where} has no RSA public key that can be read.`);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < MIN_BITS) {
    throw new SealstreamError("key-invalid", `${where} is an RSA key of ${bits} bits: too weak.`);
  }
  return key;
}

/** @param contentKey 32 raw bytes, owned and wiped by the caller */
export function wrapForRsa(
  key: KeyObject,
  contentKey: Uint8Array,
  binding: Uint8Array,
): Uint8Array {
  const plaintext = Buffer.concat([contentKey, createHash("sha256").update(binding).digest()]);
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const ciphertext = publicEncrypt({ key, padding, oaepHash: "sha256" }, plaintext);
  plaintext.fill(0);
  return new Uint8Array(ciphertext);
}

/** The content key of a plaintext, owned by the caller; null when it is bound to something else. */
export function openRsaBound(plaintext: Uint8Array, binding: Uint8Array): Uint8Array | null {
  if (plaintext.length !== 2 * KEY_BYTES) return null;
  const hash = createHash("sha256").update(binding).digest();
  if (!timingSafeEqual(plaintext.subarray(KEY_BYTES), hash)) return null;
  return new Uint8Array(plaintext.subarray(0, KEY_BYTES));
}
