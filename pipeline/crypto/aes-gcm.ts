/**
 * AES-256-GCM in one call each way; the tag (16 bytes) follows the ciphertext, as COSE wants it.
 *
 * Must not: choose nonces (that is the business of whoever owns the key) or say why something does not open.
 * Source: NIST SP 800-38D, RFC 9053 section 4.1 (A256GCM).
 */
import { createCipheriv, createDecipheriv, type KeyObject } from "node:crypto";
import { plainBytes } from "./cbor.ts";

export const IV_BYTES = 12;
export const TAG_BYTES = 16;
export const AES_KEY_BYTES = 32;

const ALGORITHM = "aes-256-gcm";
const OPTIONS = { authTagLength: TAG_BYTES } as const;

/** Ciphertext and tag as two pieces, so that a caller can lay them into its own buffer with one copy. */
export function sealGcm(
  key: KeyObject,
  iv: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): { readonly ciphertext: Uint8Array; readonly tag: Uint8Array } {
  const cipher = createCipheriv(ALGORITHM, key, iv, OPTIONS);
  cipher.setAAD(aad);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return { ciphertext, tag: cipher.getAuthTag() };
}

/**
 * @param sealed ciphertext followed by the tag
 * @returns the plaintext in a buffer of its own, or null when it is too short or does not authenticate
 */
export function openGcm(
  key: KeyObject,
  iv: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | null {
  if (iv.length !== IV_BYTES || sealed.length < TAG_BYTES) return null;
  const split = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(ALGORITHM, key, iv, OPTIONS);
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(split));
  const plaintext = decipher.update(sealed.subarray(0, split));
  try {
    decipher.final();
  } catch {
    // Because a tag that does not match is bad input, and node reports it by throwing. What was decrypted so far
    // is wiped: nobody may see unauthenticated plaintext.
    plaintext.fill(0);
    return null;
  }
  return plainBytes(plaintext);
}
