/**
 * Content keys wrapped by ECDH-ES + A256KW over X25519.
 *
 * One key has one spelling: a u-coordinate that is not below 2^255 - 19, which RFC 7748 would mask or reduce, is refused;
 * so is a point of low order, with which the shared secret would be all zero.
 * Must not: let a shared secret out, except to those who have the private key.
 * Sources: RFC 7748 sections 5 and 6.1, RFC 9053 section 6.3.1.
 */
import { generateKeyPairSync, type KeyObject, timingSafeEqual } from "node:crypto";
import { PUBLIC_KEY_BYTES } from "../identity.ts";
import { privateKeyObject, publicKeyObject, rawPublicKey } from "../key-handles.ts";
import { sharedSecret, unwrapUnder, wrapUnder } from "./ecdh-es.ts";
import type { LocalWrap } from "./types.ts";

/** 2^255 - 19, little-endian. */
const FIELD_PRIME = Buffer.from(`ed${"ff".repeat(30)}7f`, "hex");

/** Any scalar shows a point of low order: all are multiples of the cofactor. Secret to nobody. */
const PROBE = privateKeyObject("x25519", Buffer.alloc(32, 0x77));

export const x25519: LocalWrap = {
  complaint(publicKey) {
    const shared = agreeX25519(PROBE, publicKey);
    return shared === null ? "is no X25519 key: 32 bytes, reduced and not of low order" : null;
  },
  wrap(contentKey, publicKey, binding) {
    const ephemeral = generateKeyPairSync("x25519");
    const shared = agreeX25519(ephemeral.privateKey, publicKey);
    if (shared === null) return null;
    const ciphertext = wrapUnder(shared, contentKey, binding);
    return { ephemeral: rawPublicKey(ephemeral.publicKey), ciphertext };
  },
  unwrap(privateKey, { ephemeral, ciphertext }, binding) {
    const shared = agreeX25519(privateKey, ephemeral);
    return shared === null ? null : unwrapUnder(shared, ciphertext, binding);
  },
  publicKeyOf: (key) => (key.asymmetricKeyType === "x25519" ? rawPublicKey(key) : null),
};

/** The shared secret, owned by the caller, or null for a public key that is not canonical or of low order. */
export function agreeX25519(privateKey: KeyObject, rawPublic: Uint8Array): Buffer | null {
  // RFC 7748 section 5 masks the top bit and reduces; accepting that would give one key two spellings.
  if (!isCanonicalCoordinate(rawPublic)) return null;
  const publicKey = publicKeyObject("x25519", rawPublic);
  const shared = publicKey === null ? null : sharedSecret(privateKey, publicKey);
  if (shared === null) return null;
  // OpenSSL refuses it as well; on P-256 an x of zero is a point like any other.
  return timingSafeEqual(shared, Buffer.alloc(shared.length)) ? null : shared;
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
