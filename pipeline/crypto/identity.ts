/**
 * Pinned identities as text: `ed25519:` followed by 43 characters of unpadded base64url (32 bytes).
 *
 * A zone's identity in the pipeline file is the whole trust root, so a key for which anybody can make signatures
 * (a point of small order) or that is no point at all is refused here, before it is ever pinned.
 * Must not: handle private keys. Sources: RFC 8032 section 5.1.3 (decoding), RFC 4648 section 5.
 */
import { ed25519 } from "@noble/curves/ed25519.js";
import { SealstreamError } from "../errors.ts";

/** Raw Ed25519 and X25519 public keys. */
export const PUBLIC_KEY_BYTES = 32;

const PREFIX = "ed25519:";
const BODY = /^[A-Za-z0-9_-]{43}$/;

/** 32 raw bytes, or null when `text` is not the canonical text of a usable Ed25519 public key. */
export function parseIdentity(text: string): Uint8Array | null {
  if (!text.startsWith(PREFIX)) return null;
  const body = text.slice(PREFIX.length);
  if (!BODY.test(body)) return null;
  const bytes = new Uint8Array(Buffer.from(body, "base64url"));
  // The last character carries 4 bits only: another spelling of the same bytes is refused.
  if (Buffer.from(bytes).toString("base64url") !== body) return null;
  return isUsableEd25519(bytes) ? bytes : null;
}

/**
 * `ed25519:<base64url>` of 32 raw bytes.
 * @throws `key-invalid` when they are no usable Ed25519 public key
 */
export function formatIdentity(publicKey: Uint8Array): string {
  if (!isUsableEd25519(publicKey)) {
    throw new SealstreamError("key-invalid", "An identity must be a usable Ed25519 public key.");
  }
  return PREFIX + Buffer.from(publicKey).toString("base64url");
}

/** True for the canonical encoding of a point of prime order: not of small order, not of mixed order. */
export function isUsableEd25519(publicKey: Uint8Array): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES) return false;
  try {
    const point = ed25519.Point.fromBytes(publicKey);
    return !point.isSmallOrder() && point.isTorsionFree();
  } catch {
    // Because noble reports bytes that encode no point by throwing.
    return false;
  }
}
