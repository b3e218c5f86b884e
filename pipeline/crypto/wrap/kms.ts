/**
 * Content keys wrapped by a key management service, which alone holds the key that unwraps them.
 *
 * The recipient's public key is the UTF-8 of the key's URI: a scheme that names the service, a colon, and a path of
 * letters, digits and ._~:/%+=- without empty or dotted steps, at most 512 characters. No credentials, no query.
 * Must not: ask the service about what cannot be ours, or keep raw content keys.
 */
import { createSecretKey, type KeyObject } from "node:crypto";
import { SealstreamError } from "../../errors.ts";
import { AES_KEY_BYTES } from "../aes-gcm.ts";
import { type Kms, MAX_KMS_CIPHERTEXT_BYTES } from "../kms/kms.ts";
import type { WrappedKey } from "./types.ts";

const MAX_URI_BYTES = 512;
const URI = /^[a-z][a-z0-9-]{0,31}:[A-Za-z0-9._~:/%+=-]+$/;
const EMPTY = new Uint8Array(0);

/** As {@link import("./types.ts").LocalWrap.complaint}. */
export function kmsComplaint(publicKey: Uint8Array): string | null {
  const known = kmsUriOf(publicKey) !== null;
  return known
    ? null
    : "is no URI of a key: write <service>:<path>, as in vault:transit/keys/training";
}

/** The URI that a kms recipient's public key spells, or null. */
export function kmsUriOf(publicKey: Uint8Array): string | null {
  if (publicKey.length > MAX_URI_BYTES) return null;
  // ASCII only, so that latin1 is UTF-8 here; anything above fails the pattern or has no second spelling.
  const uri = Buffer.from(publicKey).toString("latin1");
  if (!URI.test(uri)) return null;
  const steps = uri.slice(uri.indexOf(":") + 1).split("/");
  return steps.some((step) => step === "" || step === "." || step === "..") ? null : uri;
}

/**
 * @param options `contentKey`: 32 raw bytes, owned and wiped by the caller, not before this settles
 * @throws `key-missing` without a service for the URI, `key-invalid` when it answers with something impossible, and what
 * `Kms.wrap` throws
 */
export async function wrapRemotely(options: {
  readonly contentKey: Uint8Array;
  readonly uri: string;
  readonly binding: Uint8Array;
  readonly kms: Kms | undefined;
}): Promise<Pick<WrappedKey, "ephemeral" | "ciphertext">> {
  const { contentKey, uri, binding } = options;
  const answer = await serviceFor(uri, options.kms).wrap(uri, contentKey, binding);
  const ciphertext = new Uint8Array(answer);
  if (!isKmsCiphertext(ciphertext)) {
    throw new SealstreamError(
      "key-invalid",
      `The key ${uri} wraps to ${ciphertext.length} bytes, which no reader takes: use a key of another type.`,
    );
  }
  return { ephemeral: EMPTY, ciphertext };
}

/** The content key, or null when the service or the form refuses it. */
export async function unwrapRemotely(
  kms: Kms,
  uri: string,
  wrapped: WrappedKey,
  binding: Uint8Array,
): Promise<KeyObject | null> {
  if (wrapped.ephemeral.length !== 0 || !isKmsCiphertext(wrapped.ciphertext)) return null;
  const raw = await kms.unwrap(uri, wrapped.ciphertext, binding);
  if (raw === null) return null;
  const contentKey = raw.length === AES_KEY_BYTES ? createSecretKey(raw) : null;
  raw.fill(0);
  return contentKey;
}

/** @throws `key-missing` when there is no service or it does not know the URI's scheme */
export function serviceFor(uri: string, kms: Kms | undefined): Kms {
  const scheme = uri.slice(0, uri.indexOf(":"));
  if (kms?.schemes.includes(scheme) !== true) {
    throw new SealstreamError(
      "key-missing",
      `The key ${uri} is in a service that is not set up here: give the address and credentials of ${scheme}.`,
    );
  }
  return kms;
}

/** True for a length that a wrapped key of a service may have. */
export function isKmsCiphertext(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes.length <= MAX_KMS_CIPHERTEXT_BYTES;
}
