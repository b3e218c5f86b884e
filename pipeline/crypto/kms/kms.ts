/**
 * A key management service: keys that never leave it wrap and unwrap content keys.
 *
 * A key is named by a URI whose scheme names the service, e.g. `vault:transit/keys/training`. An implementation backs off
 * while its service is slow, throttles or is away, with a bounded queue and a limit, and then fails: nobody goes on in the
 * clear. `test/crypto/kms/` holds the contract that every implementation passes.
 * Must not: log or quote what the service answered.
 */

/** One service, with its address and credentials inside. */
export interface Kms {
  /** URI schemes it serves, e.g. `["vault"]`. */
  readonly schemes: readonly string[];
  /**
   * Wraps a content key.
   * @param contentKey 32 raw bytes, owned and wiped by the caller
   * @param binding authenticated with it where the service can
   * @returns what `unwrap` takes: at most 1,024 bytes
   * @throws `kms-unavailable` after its limit, `access-denied`, `key-missing` (no such key)
   */
  wrap(uri: string, contentKey: Uint8Array, binding: Uint8Array): Promise<Uint8Array>;
  /** The content key, owned by the caller; null when the service refuses the ciphertext or binding. Throws like `wrap`. */
  unwrap(uri: string, ciphertext: Uint8Array, binding: Uint8Array): Promise<Uint8Array | null>;
  /** DER (SPKI) of an asymmetric key, with which others wrap without asking the service; null for a symmetric one. */
  publicKey(uri: string): Promise<Uint8Array | null>;
}

/** What a wrapped key may take at most. */
export const MAX_KMS_CIPHERTEXT_BYTES = 1024;
