/**
 * Data keys: AES-256-GCM keys behind handles that cannot repeat a nonce.
 *
 * A key seals only in the handle that made it: the nonce is 4 random bytes (fixed for the handle) and a counter that
 * lives in the closure, so no nonce repeats within a key as long as keys are not copied, and they cannot be. A process
 * that starts again makes a new key. Handles got from a wrapped key open only.
 * Must not: show key bytes on any property, or be made from raw bytes by another room.
 * Sources: NIST SP 800-38D section 8.2.1 (deterministic construction of the IV), RFC 9053 section 4.1.
 */
import { createSecretKey, type KeyObject, randomBytes } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { AES_KEY_BYTES, IV_BYTES, openGcm, sealGcm } from "./aes-gcm.ts";
import { dataKeyBinding, type KeyEntry, signEntry } from "./key-entries.ts";
import { KID_BYTES, type SigningKey } from "./key-handles.ts";
import type { DataKeyPayload } from "./key-payload.ts";
import { SEALED_TOPICS, type SealedTopic } from "./key-purposes.ts";
import type { Kms } from "./kms/kms.ts";
import { wrapContentKeyFor } from "./wrap/key-wrap.ts";
import type { Recipient, RemoteUnwrapKey, UnwrapKey, WrappedKey } from "./wrap/types.ts";

/** An AES-256-GCM key behind a handle. Only the handle that {@link createDataKey} made can seal. */
export interface DataKey {
  /** 16 random bytes. */
  readonly kid: Uint8Array;
  readonly pipeline: string;
  readonly topic: SealedTopic;
  readonly lane: number;
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
 * limit also keeps the GCM advantage below 2^-32 for records of up to 1 MB.
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
  const { key, wrapped } = await freshContentKey(recipients, dataKeyBinding(scope), kms);
  const entry = signEntry({
    pipeline,
    payload: {
      type: "data-key",
      generation: FIRST_GENERATION,
      topic,
      lane,
      kid: scope.kid,
      cipher: "aes-256-gcm",
      audience: options.audience ?? [],
      recipients: wrapped,
    },
    signer,
  });
  return { dataKey: handleOf(key, scope, limit), entry };
}

/** A new content key, and what it is wrapped to for each recipient, in their order. */
async function freshContentKey(
  recipients: readonly Recipient[],
  binding: Uint8Array,
  kms: Kms | undefined,
): Promise<{ key: KeyObject; wrapped: readonly WrappedKey[] }> {
  const contentKey = randomBytes(AES_KEY_BYTES);
  try {
    const wrapped = await wrapForAll({ contentKey, recipients, binding, kms });
    return { key: createSecretKey(contentKey), wrapped };
  } finally {
    contentKey.fill(0);
  }
}

async function wrapForAll(options: {
  readonly contentKey: Uint8Array;
  readonly recipients: readonly Recipient[];
  readonly binding: Uint8Array;
  readonly kms: Kms | undefined;
}): Promise<readonly WrappedKey[]> {
  const { recipients, ...rest } = options;
  // All are waited for, also after a failure: a service that is still being asked must not read a wiped key.
  const settled = await Promise.allSettled(
    recipients.map((recipient) => wrapContentKeyFor({ ...rest, recipient })),
  );
  return settled.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
}

/** A handle that only opens, of a key that was unwrapped. */
export function openingDataKey(key: KeyObject, scope: DataKeyScope): DataKey {
  return handleOf(key, scope, 0);
}

/**
 * The entry that gives a data key to other recipients than before; nothing is sealed anew.
 * @param options `announced`: the key's newest entry; `unwrapKey`: the topic's recovery key, or another recipient's;
 * `signer`: an identity of the topic's zone
 * @returns null when the key cannot be unwrapped with it
 */
export async function rewrapDataKey(options: {
  readonly pipeline: string;
  readonly announced: DataKeyPayload;
  readonly unwrapKey: UnwrapKey | RemoteUnwrapKey;
  readonly recipients: readonly Recipient[];
  readonly signer: SigningKey;
  readonly kms?: Kms | undefined;
}): Promise<KeyEntry | null> {
  const { pipeline, announced, unwrapKey, recipients, signer, kms } = options;
  const binding = dataKeyBinding({ pipeline, ...announced });
  const wrap = announced.recipients.find((one) => Buffer.compare(one.kid, unwrapKey.kid) === 0);
  if (wrap === undefined || recipients.length === 0) return null;
  const key =
    unwrapKey.algorithm === "kms"
      ? await unwrapKey.unwrapRemotely(wrap, binding)
      : unwrapKey.unwrap(wrap, binding);
  if (key === null) return null;
  const contentKey = key.export();
  try {
    const wrapped = await wrapForAll({ contentKey, recipients, binding, kms });
    const generation = announced.generation + 1;
    return signEntry({
      pipeline,
      payload: { ...announced, generation, recipients: wrapped },
      signer,
    });
  } finally {
    contentKey.fill(0);
  }
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

function handleOf(key: KeyObject, scope: DataKeyScope, limit: number): DataKey {
  const { pipeline, topic, lane, kid } = scope;
  const prefix = randomBytes(NONCE_PREFIX_BYTES);
  let uses = 0;
  return Object.freeze({
    kid,
    pipeline,
    topic,
    lane,
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
      const { ciphertext, tag } = sealGcm(key, iv, aad, plaintext);
      return { iv, ciphertext, tag };
    },
    open: (iv: Uint8Array, sealed: Uint8Array, aad: Uint8Array) => openGcm(key, iv, aad, sealed),
  });
}

/** prefix (4 bytes) followed by the counter (8 bytes, big-endian). */
function nonceOf(prefix: Buffer, counter: number): Uint8Array {
  const iv = Buffer.allocUnsafe(IV_BYTES);
  iv.set(prefix, 0);
  iv.writeUInt32BE(Math.floor(counter / 0x1_0000_0000), NONCE_PREFIX_BYTES);
  iv.writeUInt32BE(counter % 0x1_0000_0000, NONCE_PREFIX_BYTES + 4);
  return iv;
}
