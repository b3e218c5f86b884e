/**
 * Sealed boxes: a message that only the holders of some public keys can open (dead letters, record ids).
 *
 * ```
 * message      = 96([ protected: bstr .cbor {1: 3}, unprotected: {5: iv (12 bytes)}, ciphertext: bstr, recipients: [+ COSE_recipient] ])
 * AAD          = ["Encrypt", protected, external_aad: bstr]
 * external_aad = ["sealstream/sealed-box/v1", aad: bstr, SHA-256 of the encoded recipients: bstr]
 * ```
 * COSE leaves the recipients unauthenticated; their hash in external_aad closes that, so that nothing in a box can be
 * changed, not even what is for somebody else. Wraps are bound by "sealstream/sealed-box/v1" (wrap/key-wrap.ts).
 * An RSA wrap carries no binding; the same hash ties it to its box.
 * A box is not signed: whoever has the public key can make one. Each has a key of its own, used once.
 * Sources: RFC 9052 section 5.1 to 5.3, RFC 9053 sections 4.1 and 6.4.
 */
import { createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { AES_KEY_BYTES, IV_BYTES, openGcm, sealGcm, TAG_BYTES } from "./aes-gcm.ts";
import { type CborValue, decodeCbor, encodeCbor, isBytes, isCborArray } from "./cbor.ts";
import { sha256 } from "./chunks.ts";
import {
  MAX_RECIPIENTS,
  recipientsFromCbor,
  recipientsToCbor,
  wrapContentKey,
} from "./wrap/key-wrap.ts";
import type { Recipient, UnwrapKey } from "./wrap/types.ts";

/** Tag 96 (COSE_Encrypt). */
const TAG = Buffer.from("d860", "hex");
const PROTECTED = encodeCbor(new Map([[1, 3]]));
const LABEL = "sealstream/sealed-box/v1";
const BINDING = new Uint8Array(Buffer.from(LABEL, "latin1"));

/**
 * Seals `plaintext` for every recipient, of any algorithm whose public key is at hand.
 * @param options `aad` is authenticated and not transmitted
 * @returns the message, in a buffer of its own
 * @throws `key-invalid` for a recipient in a key management service
 */
export function sealTo(options: {
  readonly recipients: readonly Recipient[];
  readonly plaintext: Uint8Array;
  readonly aad: Uint8Array;
}): Uint8Array {
  const count = options.recipients.length;
  if (count === 0 || count > MAX_RECIPIENTS) {
    throw new SealstreamError("internal", "A sealed box needs 1 to 32 recipients.");
  }
  const { key, recipients } = freshContentKey(options.recipients);
  const iv = randomBytes(IV_BYTES);
  const { ciphertext, tag } = sealGcm(key, iv, aadOf(options.aad, recipients), options.plaintext);
  const body = encodeCbor([
    PROTECTED,
    new Map([[5, iv]]),
    Buffer.concat([ciphertext, tag]),
    recipients,
  ]);
  const message = new Uint8Array(TAG.length + body.length);
  message.set(TAG, 0);
  message.set(body, TAG.length);
  return message;
}

/** A new content key, and the COSE_recipient array that gives it to its recipients. */
function freshContentKey(recipients: readonly Recipient[]): {
  readonly key: KeyObject;
  readonly recipients: CborValue;
} {
  const raw = randomBytes(AES_KEY_BYTES);
  try {
    const wrapped = recipients.map((recipient) => wrapContentKey(raw, recipient, BINDING));
    return { key: createSecretKey(raw), recipients: recipientsToCbor(wrapped) };
  } finally {
    raw.fill(0);
  }
}

/** Opens a message of {@link sealTo}; never throws on bad input. */
export function openSealed(options: {
  readonly message: Uint8Array;
  readonly unwrapKey: UnwrapKey;
  readonly aad: Uint8Array;
}): { readonly status: "ok"; readonly plaintext: Uint8Array } | { readonly status: "refused" } {
  const { message, unwrapKey } = options;
  const refused = { status: "refused" } as const;
  if (message.length < TAG.length || message[0] !== TAG[0] || message[1] !== TAG[1]) return refused;
  const body = decodeCbor(message.subarray(TAG.length));
  if (body === null || !isCborArray(body) || body.length !== 4) return refused;
  const [header, unprotected, sealed, recipients] = body;
  if (!isBytes(header, PROTECTED.length) || Buffer.compare(header, PROTECTED) !== 0) return refused;
  if (!(unprotected instanceof Map) || unprotected.size !== 1) return refused;
  const iv: CborValue | undefined = unprotected.get(5);
  if (!isBytes(iv, IV_BYTES)) return refused;
  if (!(sealed instanceof Uint8Array) || sealed.length < TAG_BYTES) return refused;
  const wrapped = recipientsFromCbor(recipients);
  const ours = wrapped?.find((one) => Buffer.compare(one.kid, unwrapKey.kid) === 0);
  if (recipients === undefined || ours === undefined) return refused;
  const key = unwrapKey.unwrap(ours, BINDING);
  if (key === null) return refused;
  const plaintext = openGcm(key, iv, aadOf(options.aad, recipients), sealed);
  return plaintext === null ? refused : { status: "ok", plaintext };
}

/** The Enc_structure. */
function aadOf(aad: Uint8Array, recipients: CborValue): Uint8Array {
  const external = encodeCbor([LABEL, aad, sha256(encodeCbor(recipients))]);
  return encodeCbor(["Encrypt", PROTECTED, external]);
}
