/**
 * Whom a content key is wrapped for, and what comes of it: the types that every wrap algorithm shares.
 *
 * Algorithms and the COSE algorithm that each stands for: `x25519` and `p-256` ECDH-ES + A256KW (-31), `rsa-oaep-256`
 * RSAES-OAEP with SHA-256 (-41), `kms` a key management service ("sealstream-kms").
 */
import type { KeyObject } from "node:crypto";

export type WrapAlgorithm = "x25519" | "p-256" | "rsa-oaep-256" | "kms";

/** Algorithms whose private key is at hand: no service is asked. */
export type LocalWrapAlgorithm = Exclude<WrapAlgorithm, "kms">;

/** A public key that others seal to. */
export interface Recipient {
  readonly purpose: string;
  readonly algorithm: WrapAlgorithm;
  /** First 16 bytes of SHA-256 of `publicKey`. */
  readonly kid: Uint8Array;
  /**
   * x25519: 32 raw bytes; p-256: the uncompressed point, 65 bytes; rsa-oaep-256: SPKI in DER; kms: UTF-8 of the key's
   * URI, e.g. `vault:transit/keys/training`.
   */
  readonly publicKey: Uint8Array;
}

/** One recipient's copy of a content key. */
export interface WrappedKey {
  readonly algorithm: WrapAlgorithm;
  readonly kid: Uint8Array;
  /** The sender's ephemeral public key, as in {@link Recipient}; empty unless x25519 or p-256. */
  readonly ephemeral: Uint8Array;
  /** 40 bytes for x25519 and p-256, the modulus's length for rsa-oaep-256, 1 to 1,024 bytes for kms. */
  readonly ciphertext: Uint8Array;
}

/** A private key behind a handle; it never leaves it. */
export interface UnwrapKey {
  readonly purpose: string;
  readonly algorithm: LocalWrapAlgorithm;
  readonly kid: Uint8Array;
  readonly publicKey: Uint8Array;
  /** The content key (AES-256) as a KeyObject, or null when it was not wrapped for this key and binding. */
  unwrap(wrapped: WrappedKey, binding: Uint8Array): KeyObject | null;
}

/** A private key that stays in a key management service. */
export interface RemoteUnwrapKey {
  readonly purpose: string;
  readonly algorithm: "kms";
  readonly kid: Uint8Array;
  /** UTF-8 of the key's URI. */
  readonly publicKey: Uint8Array;
  /** As {@link UnwrapKey.unwrap}; rejects like `Kms.unwrap` when the service cannot be asked. */
  unwrapRemotely(wrapped: WrappedKey, binding: Uint8Array): Promise<KeyObject | null>;
}

/** What one local algorithm does; the file of the algorithm says how. */
export interface LocalWrap {
  /** Null for a public key that can be used, else the end of a sentence that begins with "The public key of ...". */
  complaint(publicKey: Uint8Array): string | null;
  /** Null when the public key cannot be used. The caller owns and wipes `contentKey` (32 bytes). */
  wrap(
    contentKey: Uint8Array,
    publicKey: Uint8Array,
    binding: Uint8Array,
  ): Pick<WrappedKey, "ephemeral" | "ciphertext"> | null;
  /** The content key, or null. */
  unwrap(privateKey: KeyObject, wrapped: WrappedKey, binding: Uint8Array): KeyObject | null;
  /** The public half, spelled as in {@link Recipient}; null when the key is of another kind. */
  publicKeyOf(privateKey: KeyObject): Uint8Array | null;
}
