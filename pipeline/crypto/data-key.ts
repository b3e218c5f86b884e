/**
 * Data keys: AES-256-GCM or ChaCha20-Poly1305 keys behind handles that cannot repeat a nonce.
 *
 * A key seals only in the handle that made it: the nonce is 4 random bytes (fixed for the handle) and a counter that
 * lives in the closure, so no nonce repeats within a key as long as keys are not copied, and they cannot be. A process
 * that starts again makes a new key. Handles got from a wrapped key open only.
 * Must not: show key bytes on any property, or be made from raw bytes by another room.
 * Sources: NIST SP 800-38D section 8.2.1 (deterministic construction of the IV), RFC 9053 sections 4.1 and 4.3.
 */
import { createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { AES_KEY_BYTES, type CipherName, createAead, IV_BYTES } from "./aead.ts";
import { copySmall } from "./cbor.ts";
import { dataKeyBinding, type KeyEntry, signEntry } from "./key-entries.ts";
import { KID_BYTES, type SigningKey } from "./key-handles.ts";
import type { DataKeyPayload } from "./key-payload.ts";
import { SEALED_TOPICS, type SealedTopic } from "./key-purposes.ts";
import type { Kms } from "./kms/kms.ts";
import { unwrapAnywhere, wrapContentKeyFor } from "./wrap/key-wrap.ts";
import type { AnyUnwrapKey, Recipient, WrappedKey } from "./wrap/types.ts";

/** A content key behind a handle. Only the handle that {@link createDataKey} made can seal. */
export interface DataKey {
  /** 16 random bytes. */
  readonly kid: Uint8Array;
  readonly pipeline: string;
  readonly topic: SealedTopic;
  readonly lane: number;
  /** The one cipher of this key: an envelope that names the other is refused. */
  readonly cipher: CipherName;
  /** How often this handle has sealed. */
  readonly uses: number;
  /** Uses after which `seal` throws `key-spent`; 0 for a handle that can only open. */
  readonly limit: number;
  /** Ciphertext and tag under a nonce never used before with this key. For the envelope, not for stages. */
  seal(
    plaintext: Uint8Array,
    aad: Uint8Array,
  ): { readonly iv: Uint8Array; readonly ciphertext: Uint8Array; readonly tag: Uint8Array };
  /** Plaintext of ciphertext and tag, or null when it does not authenticate. */
  open(iv: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Uint8Array | null;
}

/** What a data key is for. */
export interface DataKeyScope {
  readonly pipeline: string;
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly kid: Uint8Array;
}

/**
 * Most seals under one key: 2^32, the bound of SP 800-38D section 8.3. The counter alone would allow 2^64; the lower
 * limit also keeps the GCM advantage below 2^-32 for records of up to 1 MB. ChaCha20-Poly1305 has no such bound: RFC
 * 8439 section 4 asks for distinct nonces only, RFC 8446 section 5.5 finds its limit beyond 2^64 records, and the bound
 * of draft-irtf-cfrg-aead-limits grows with forgery attempts, not with seals. It keeps the same limit, so that changing
 * the cipher never loosens one.
 */
export const DATA_KEY_LIMIT = 2 ** 32;

const FIRST_GENERATION = 1;

/** Random part of the nonce; the remaining 8 bytes count. */
const NONCE_PREFIX_BYTES = 4;

/**
 * A fresh data key and the record that gives it to its recipients. Write the record before anything sealed with it,
 * or in the same transaction.
 * @param options `signer` must be the topic's (owner-signing for examples, train-signing for contributions,
 * model-signing for models); `limit` is for tests and early rotation; `kms` wraps for recipients in a service
 * @throws `key-forbidden` when the signer or a recipient is not one of the topic's, `key-missing` for a recipient in a
 * service without `kms`, and what `Kms.wrap` throws: then there is no key
 */
export async function createDataKey(options: {
  readonly pipeline: string;
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly recipients: readonly Recipient[];
  readonly signer: SigningKey;
  readonly limit?: number | undefined;
  readonly cipher?: CipherName | undefined;
  /** Names of the grants that the recipients have, sorted; see DataKeyPayload. */
  readonly audience?: readonly string[] | undefined;
  readonly kms?: Kms | undefined;
}): Promise<{ dataKey: DataKey; entry: KeyEntry }> {
  const { pipeline, topic, lane, recipients, signer, kms } = options;
  const limit = options.limit ?? DATA_KEY_LIMIT;
  if (!Number.isSafeInteger(lane) || lane < 0 || recipients.length === 0) {
    throw new SealstreamError("internal", "A data key needs a lane and at least one recipient.");
  }
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > DATA_KEY_LIMIT) {
    throw new SealstreamError("internal", "The use limit of a data key is 1 to 2^32.");
  }
  assertAllowed(topic, signer, recipients);
  const scope: DataKeyScope = {
    pipeline,
    topic,
    lane,
    kid: new Uint8Array(randomBytes(KID_BYTES)),
  };
  const raw = randomBytes(AES_KEY_BYTES);
  const key = createSecretKey(raw);
  const wrapped = await wrapForAll(raw, { recipients, binding: dataKeyBinding(scope), kms });
  const entry = signEntry({
    pipeline,
    payload: {
      type: "data-key",
      generation: FIRST_GENERATION,
      topic,
      lane,
      kid: scope.kid,
      cipher: options.cipher ?? "aes-256-gcm",
      audience: options.audience ?? [],
      recipients: wrapped,
    },
    signer,
  });
  return { dataKey: handleOf(key, scope, limit, options.cipher), entry };
}

/** What a content key is wrapped to for each recipient, in their order. The content key is wiped. */
async function wrapForAll(
  contentKey: Buffer,
  to: {
    readonly recipients: readonly Recipient[];
    readonly binding: Uint8Array;
    readonly kms: Kms | undefined;
  },
): Promise<readonly WrappedKey[]> {
  const { recipients, binding, kms } = to;
  try {
    // All are waited for, also after a failure: a service that is still being asked must not read a wiped key.
    const settled = await Promise.allSettled(
      recipients.map((recipient) => wrapContentKeyFor({ contentKey, recipient, binding, kms })),
    );
    return settled.map((one) => {
      if (one.status === "rejected") throw one.reason;
      return one.value;
    });
  } finally {
    contentKey.fill(0);
  }
}

/** A handle that only opens, of a key that was unwrapped. */
export function openingDataKey(
  key: KeyObject,
  scope: DataKeyScope,
  cipher: CipherName = "aes-256-gcm",
): DataKey {
  return handleOf(key, scope, 0, cipher);
}

/**
 * The entry that gives a data key to other recipients than before; nothing is sealed anew.
 * @param options `announced`: the key's newest entry; `unwrapKey`: the topic's recovery key, or another recipient's;
 * `keep`: wraps of it that stay as they are, of keys whose public halves nobody knows; `signer`: an identity of the
 * topic's zone
 * @returns null when the key cannot be unwrapped with it
 */
export async function rewrapDataKey(options: {
  readonly pipeline: string;
  readonly announced: DataKeyPayload;
  readonly unwrapKey: AnyUnwrapKey;
  readonly recipients: readonly Recipient[];
  readonly keep?: readonly WrappedKey[] | undefined;
  readonly signer: SigningKey;
  readonly kms?: Kms | undefined;
}): Promise<KeyEntry | null> {
  const { pipeline, announced, unwrapKey, recipients, keep = [], signer, kms } = options;
  const binding = dataKeyBinding({ pipeline, ...announced });
  const wrap = announced.recipients.find((one) => Buffer.compare(one.kid, unwrapKey.kid) === 0);
  const key = wrap === undefined ? null : await unwrapAnywhere(unwrapKey, wrap, binding);
  if (key === null || recipients.length === 0) return null;
  const wrapped = await wrapForAll(key.export(), { recipients, binding, kms });
  const generation = announced.generation + 1;
  const payload = { ...announced, generation, recipients: [...wrapped, ...keep] };
  return signEntry({ pipeline, payload, signer });
}

/** Whether one of these keys opens a data key. @throws what a service says that is asked */
export async function opensDataKey(options: {
  readonly pipeline: string;
  readonly announced: DataKeyPayload;
  readonly unwrapKeys: readonly AnyUnwrapKey[];
}): Promise<boolean> {
  const { pipeline, announced, unwrapKeys } = options;
  const binding = dataKeyBinding({ pipeline, ...announced });
  for (const unwrapKey of unwrapKeys) {
    const wrap = announced.recipients.find((one) => Buffer.compare(one.kid, unwrapKey.kid) === 0);
    if (wrap !== undefined && (await unwrapAnywhere(unwrapKey, wrap, binding)) !== null)
      return true;
  }
  return false;
}

function assertAllowed(
  topic: SealedTopic,
  signer: SigningKey,
  recipients: readonly Recipient[],
): void {
  const allowed = SEALED_TOPICS[topic];
  const names: readonly string[] = allowed.recipients;
  if (signer.purpose !== allowed.signer) {
    throw new SealstreamError(
      "key-forbidden",
      `Data keys of ${topic} are signed by ${allowed.signer}, not by ${signer.purpose}.`,
    );
  }
  for (const recipient of recipients) {
    if (!names.includes(recipient.purpose)) {
      throw new SealstreamError(
        "key-forbidden",
        `A data key of ${topic} must not be given to ${recipient.purpose}.`,
      );
    }
  }
}

function handleOf(
  key: KeyObject,
  scope: DataKeyScope,
  limit: number,
  cipher: CipherName = "aes-256-gcm",
): DataKey {
  const { pipeline, topic, lane, kid } = scope;
  const prefix = randomBytes(NONCE_PREFIX_BYTES);
  const aead = createAead(cipher, key);
  let uses = 0;
  return Object.freeze({
    kid,
    pipeline,
    topic,
    lane,
    cipher,
    limit,
    get uses() {
      return uses;
    },
    seal(plaintext: Uint8Array, aad: Uint8Array) {
      if (limit === 0) {
        throw new SealstreamError("internal", "A data key seals only in the process that made it.");
      }
      if (uses >= limit) {
        throw new SealstreamError("key-spent", "A data key reached its use limit: make a new one.");
      }
      // Counted before the cipher runs: a seal that throws has spent its nonce.
      const iv = nonceOf(prefix, uses++);
      const { ciphertext, tag } = aead.seal(iv, aad, plaintext);
      return { iv, ciphertext, tag };
    },
    open: (iv: Uint8Array, sealed: Uint8Array, aad: Uint8Array) => aead.open(iv, aad, sealed),
  });
}

/** prefix (4 bytes) followed by the counter (8 bytes, big-endian). */
function nonceOf(prefix: Buffer, counter: number): Uint8Array {
  const iv = new Uint8Array(IV_BYTES);
  copySmall(iv, 0, prefix);
  const high = Math.floor(counter / 0x1_0000_0000);
  for (let i = 0; i < 4; i++) {
    iv[NONCE_PREFIX_BYTES + i] = high >>> (24 - 8 * i);
    // The shift takes the low 32 bits.
    iv[NONCE_PREFIX_BYTES + 4 + i] = counter >>> (24 - 8 * i);
  }
  return iv;
}
