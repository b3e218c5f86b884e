/**
 * The two ciphers of sealed values, each in one call each way; the tag (16 bytes) follows the ciphertext, as COSE
 * wants it.
 *
 * Must not: choose nonces (that is the business of whoever owns the key), choose the cipher (it is a property of the
 * key) or say why something does not open.
 * Sources: NIST SP 800-38D and RFC 9053 section 4.1 (A256GCM), RFC 8439 and RFC 9053 section 4.3 (ChaCha20/Poly1305).
 */
import { createCipheriv, createDecipheriv, type KeyObject } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { plainBytes } from "./cbor.ts";

export type CipherName = "aes-256-gcm" | "chacha20-poly1305";

/** Number of each cipher in a COSE header (IANA: COSE Algorithms). */
export const COSE_ALGORITHM: Readonly<Record<CipherName, 3 | 24>> = {
  "aes-256-gcm": 3,
  "chacha20-poly1305": 24,
};

export const IV_BYTES = 12;
export const TAG_BYTES = 16;
/** Of AES-256; a key of ChaCha20 is as long. */
export const AES_KEY_BYTES = 32;

const OPTIONS = { authTagLength: TAG_BYTES } as const;

/** A cipher with its key; the key is on no property. */
export interface Aead {
  /**
   * Ciphertext and tag as two pieces, so that a caller can lay them into its own buffer with one copy.
   * @throws `internal` for an IV of other than 12 bytes
   */
  seal(
    iv: Uint8Array,
    aad: Uint8Array,
    plaintext: Uint8Array,
  ): { readonly ciphertext: Uint8Array; readonly tag: Uint8Array };
  /**
   * @param sealed ciphertext followed by the tag
   * @returns the plaintext in a buffer of its own, or null when it is too short or does not authenticate
   */
  open(iv: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | null;
}

/** @param key 32 bytes */
export function createAead(cipherName: CipherName, key: KeyObject): Aead {
  // Because the types of node:crypto have an overload per cipher and none for "one of these"; both work alike.
  const name = cipherName as "aes-256-gcm";
  return {
    seal(iv, aad, plaintext) {
      // OpenSSL would take others: longer ones for AES-GCM, shorter ones for ChaCha20, which it fills up with zeros.
      if (iv.length !== IV_BYTES) {
        throw new SealstreamError("internal", `An IV has ${IV_BYTES} bytes.`);
      }
      const cipher = createCipheriv(name, key, iv, OPTIONS);
      cipher.setAAD(aad);
      const ciphertext = cipher.update(plaintext);
      cipher.final();
      return { ciphertext, tag: cipher.getAuthTag() };
    },
    open(iv, aad, sealed) {
      if (iv.length !== IV_BYTES || sealed.length < TAG_BYTES) return null;
      const split = sealed.length - TAG_BYTES;
      const decipher = createDecipheriv(name, key, iv, OPTIONS);
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
    },
  };
}
