/**
 * Zone identities as a pipeline file writes them: `ed25519:` and 32 bytes in base64url without padding.
 *
 * Only the text form is known here; whether a key verifies anything is the crypto room's to say.
 * Source: RFC 8032 (Ed25519 public keys), RFC 4648 section 5 (base64url).
 */

const PREFIX = "ed25519:";
/** An Ed25519 public key, RFC 8032 section 5.1.5. */
export const IDENTITY_BYTES = 32;

/** Writes an identity. @param publicKey 32 raw bytes */
export function formatIdentity(publicKey: Uint8Array): string {
  return PREFIX + Buffer.from(publicKey).toString("base64url");
}

/** Reads an identity; null when the text is not one, or not its canonical form. */
export function parseIdentity(text: string): Uint8Array | null {
  if (!text.startsWith(PREFIX)) return null;
  const bytes = new Uint8Array(Buffer.from(text.slice(PREFIX.length), "base64url"));
  return bytes.length === IDENTITY_BYTES && formatIdentity(bytes) === text ? bytes : null;
}
