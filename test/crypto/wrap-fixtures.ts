/** Keys of every wrap algorithm and a key management service in memory, for the tests of wraps. Must not: be a test. */
import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
} from "node:crypto";
import type { Kms } from "../../pipeline/crypto/kms/kms.ts";
import { createRecipient, createUnwrapKeyOf } from "../../pipeline/crypto/wrap/key-wrap.ts";
import type { LocalWrapAlgorithm, Recipient, UnwrapKey } from "../../pipeline/crypto/wrap/types.ts";
import { SealstreamError } from "../../pipeline/errors.ts";

export const LOCAL_ALGORITHMS = ["x25519", "p-256", "rsa-oaep-256"] as const;
export const KMS_URI = "memory:keys/training";

/** A fresh private key, as `createUnwrapKeyOf` takes it. */
export function freshPrivateKey(algorithm: LocalWrapAlgorithm, bits = 2048) {
  switch (algorithm) {
    case "x25519":
      return generateKeyPairSync("x25519").privateKey;
    case "p-256":
      return generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
    case "rsa-oaep-256":
      return generateKeyPairSync("rsa", { modulusLength: bits }).privateKey;
  }
}

export interface Pair {
  readonly unwrapKey: UnwrapKey;
  readonly recipient: Recipient;
}

export function freshPair(algorithm: LocalWrapAlgorithm, purpose = "training-unwrap"): Pair {
  const unwrapKey = createUnwrapKeyOf(purpose, freshPrivateKey(algorithm));
  return { unwrapKey, recipient: createRecipient(purpose, unwrapKey.publicKey, algorithm) };
}

/** SPKI of an RSA public key of these numbers, whatever they are. */
export function rsaSpki(n: bigint, e: bigint): Uint8Array {
  const text = (value: bigint) => {
    const digits = value.toString(16);
    return Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex").toString(
      "base64url",
    );
  };
  const key = createPublicKey({ key: { kty: "RSA", n: text(n), e: text(e) }, format: "jwk" });
  return new Uint8Array(key.export({ format: "der", type: "spki" }));
}

export interface MemoryKms extends Kms {
  /** Every content key that it was handed, or handed out: the very buffers, not copies. */
  readonly handed: Uint8Array[];
  /** When set, the next calls fail with it. */
  failure: Error | null;
  calls: number;
}

/** A service with one key a URI, AES-256-GCM, the binding as AAD. */
export function createMemoryKms(): MemoryKms {
  const root = randomBytes(32);
  const keyOf = (uri: string) => Buffer.from(hkdfSync("sha256", root, "", uri, 32));
  const kms: MemoryKms = {
    schemes: ["memory"],
    handed: [],
    failure: null,
    calls: 0,
    async wrap(uri, contentKey, binding) {
      kms.calls += 1;
      kms.handed.push(contentKey);
      if (kms.failure !== null) throw kms.failure;
      const iv = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", keyOf(uri), iv).setAAD(binding);
      const body = Buffer.concat([cipher.update(contentKey), cipher.final()]);
      return Buffer.concat([iv, body, cipher.getAuthTag()]);
    },
    async unwrap(uri, ciphertext, binding) {
      kms.calls += 1;
      if (kms.failure !== null) throw kms.failure;
      if (ciphertext.length < 28) return null;
      const iv = ciphertext.subarray(0, 12);
      const decipher = createDecipheriv("aes-256-gcm", keyOf(uri), iv, { authTagLength: 16 });
      decipher.setAAD(binding).setAuthTag(ciphertext.subarray(-16));
      try {
        const raw = Buffer.concat([
          decipher.update(ciphertext.subarray(12, -16)),
          decipher.final(),
        ]);
        kms.handed.push(raw);
        return raw;
      } catch {
        // Because node reports a tag that does not match by throwing.
        return null;
      }
    },
    publicKey: async () => null,
  };
  return kms;
}

export const kmsAway = () =>
  new SealstreamError("kms-unavailable", "The service did not answer: look at its health.");
