/**
 * Payloads of the `keys` topic's entries, as deterministic CBOR and back.
 *
 * ```
 * payload = {v: 1, type: "identity", generation, zone, publicKey: bstr (32)}
 *         | {v: 1, type: "signer", generation, zone, purpose, publicKey: bstr (32)}
 *         | {v: 1, type: "recipient", generation, zone, purpose, publicKey: bstr (32: X25519)}
 *         | {v: 2, type: "recipient", generation, zone, purpose, algorithm: tstr, publicKey: bstr}
 *         | {v: 1, type: "grant", generation, topic, name: tstr, algorithm: tstr, publicKey: bstr}
 *         | {v: 1, type: "revocation", generation, zone, kid: bstr (16)}
 *         | {v: 1, type: "data-key", generation, topic, lane, kid: bstr (16), recipients: [+ COSE_recipient]}
 *         | {v: 2, type: "data-key", generation, topic, lane, kid: bstr (16), cipher: 3 | 24, audience: [* tstr, sorted], recipients}
 *         | {v: 1, type: "blob", generation, zone, purpose, parameters: tstr, bytes, sha256: bstr (32), chunks: [+ bstr (32)]}
 * ```
 * Version 2 is written only for what version 1 cannot say (another algorithm or cipher, an audience), and read only
 * then: each payload has one spelling. Reading is strict: exactly the fields of one form, or null.
 * Must not: verify signatures, or decide who may say what.
 */
import { type CipherName, COSE_ALGORITHM } from "./aead.ts";
import {
  type CborValue,
  decodeCbor,
  encodeCbor,
  isBytes,
  isCborArray,
  isTextMap,
  isUnsigned,
} from "./cbor.ts";
import { HASH_BYTES } from "./chunks.ts";
import { isUsableEd25519, PUBLIC_KEY_BYTES } from "./identity.ts";
import { KID_BYTES } from "./key-handles.ts";
import {
  BLOB_PURPOSES,
  BLOB_ZONE,
  type BlobPurpose,
  type GrantTopic,
  isBoxPurpose,
  isGrantTopic,
  isSealedTopic,
  isStageSigning,
  isUnwrap,
  isZone,
  PURPOSES,
  type SealedTopic,
  type StageSigningPurpose,
  type UnwrapPurpose,
  type ZoneName,
} from "./key-purposes.ts";
import { publicKeyComplaint, recipientsFromCbor, recipientsToCbor } from "./wrap/key-wrap.ts";
import { WRAP_ALGORITHMS, type WrapAlgorithm, type WrappedKey } from "./wrap/types.ts";

/** Another identity of a zone, introduced by one that is trusted already: rotation with overlap. */
export interface IdentityPayload {
  readonly type: "identity";
  readonly generation: number;
  readonly zone: ZoneName;
  readonly publicKey: Uint8Array;
}

/** A certified stage key. The zone follows from the purpose. */
export interface SignerPayload {
  readonly type: "signer";
  readonly generation: number;
  readonly purpose: StageSigningPurpose;
  readonly publicKey: Uint8Array;
}

/** A published key to seal to. The zone follows from the purpose. */
export interface RecipientPayload {
  readonly type: "recipient";
  readonly generation: number;
  readonly purpose: UnwrapPurpose;
  readonly algorithm: WrapAlgorithm;
  readonly publicKey: Uint8Array;
}

/** A third party's key: data keys of the topic are wrapped for it too. */
export interface GrantPayload {
  readonly type: "grant";
  readonly generation: number;
  readonly topic: GrantTopic;
  /** What the pipeline file calls it. */
  readonly name: string;
  readonly algorithm: WrapAlgorithm;
  readonly publicKey: Uint8Array;
}

/** A key that is believed no more, and nothing that rests on it. */
export interface RevocationPayload {
  readonly type: "revocation";
  readonly generation: number;
  /** Zone of the revoked key; a third party's key is of the zone that granted. */
  readonly zone: ZoneName;
  readonly kid: Uint8Array;
}

export interface DataKeyPayload {
  readonly type: "data-key";
  /** Rises when the key is wrapped anew for other recipients. */
  readonly generation: number;
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly kid: Uint8Array;
  readonly cipher: CipherName;
  /** Names of the grants it is for, sorted; empty: whoever has a grant of the topic. */
  readonly audience: readonly string[];
  readonly recipients: readonly WrappedKey[];
}

export interface BlobPayload {
  readonly type: "blob";
  readonly generation: number;
  readonly purpose: BlobPurpose;
  /** Id of the CKKS parameter set. */
  readonly parameters: string;
  /** Exact length of the whole. */
  readonly bytes: number;
  readonly sha256: Uint8Array;
  readonly chunks: readonly Uint8Array[];
}

export type KeyPayload =
  | IdentityPayload
  | SignerPayload
  | RecipientPayload
  | GrantPayload
  | RevocationPayload
  | DataKeyPayload
  | BlobPayload;

export const CIPHERS = [
  "aes-256-gcm",
  "chacha20-poly1305",
] as const satisfies readonly CipherName[];

/** What an entry of version 1 means. */
const FIRST_CIPHER: CipherName = "aes-256-gcm";
const FIRST_ALGORITHM: WrapAlgorithm = "x25519";

/** Most names of one audience: recipients of a content key, less the recovery key. */
const MAX_AUDIENCE = 16;
const GRANT_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;

/** Largest blob: CKKS evaluation keys of 16,384 slots take some 20 MB; bounds memory of every reader. */
export const MAX_BLOB_BYTES = 64 * 1024 * 1024;
/** A manifest must fit into one record: 16,384 hashes of 34 bytes are 544 KiB. */
const MAX_BLOB_CHUNKS = 16_384;
/** Kafka's default message limit is the outer bound of what a record can hold. */
export const MAX_VALUE_BYTES = 1_048_576;
const MAX_PARAMETERS_LENGTH = 200;
const VERSION = 1;
/** As in key files: nobody rotates that often, and whoever claims it leaves no next one. */
const MAX_GENERATION = 999_999_999;
const SECOND_VERSION = 2;
/** SPKI of RSA with 8192 bits takes 1,062 bytes; a URI of a KMS key less. */
const MAX_PUBLIC_KEY_BYTES = 1200;
/** True for a name that a grant may have. */
export function isGrantName(text: string): boolean {
  return GRANT_NAME.test(text);
}

/** Deterministic CBOR of a payload. */
export function encodePayload(payload: KeyPayload): Uint8Array {
  return encodeCbor(toCbor(payload));
}

function toCbor(payload: KeyPayload): Readonly<Record<string, CborValue>> {
  const { type, generation } = payload;
  const common = { v: VERSION, type, generation };
  switch (payload.type) {
    case "identity":
      return { ...common, zone: payload.zone, publicKey: payload.publicKey };
    case "signer":
      return { ...common, ...certified(payload) };
    case "recipient": {
      const { algorithm } = payload;
      const fields = { ...common, ...certified(payload) };
      return algorithm === FIRST_ALGORITHM ? fields : { ...fields, v: SECOND_VERSION, algorithm };
    }
    case "grant": {
      const { topic, name, algorithm, publicKey } = payload;
      return { ...common, topic, name, algorithm, publicKey };
    }
    case "revocation":
      return { ...common, zone: payload.zone, kid: payload.kid };
    case "data-key": {
      const { topic, lane, kid, cipher, audience } = payload;
      const recipients = recipientsToCbor(payload.recipients);
      const fields = { ...common, topic, lane, kid, recipients };
      return needsSecond(payload)
        ? { ...fields, v: SECOND_VERSION, cipher: COSE_ALGORITHM[cipher], audience }
        : fields;
    }
    case "blob": {
      const { purpose, parameters, bytes, sha256, chunks } = payload;
      return { ...common, zone: BLOB_ZONE, purpose, parameters, bytes, sha256, chunks };
    }
  }
}

function certified({ purpose, publicKey }: SignerPayload | RecipientPayload) {
  return { zone: PURPOSES[purpose].zone, purpose, publicKey };
}

function needsSecond({ cipher, audience }: Pick<DataKeyPayload, "cipher" | "audience">): boolean {
  return cipher !== FIRST_CIPHER || audience.length > 0;
}

/** Strict reading of a verified payload; byte strings are views. Null when it is not exactly one of the forms. */
export function decodePayload(bytes: Uint8Array): KeyPayload | null {
  const map = decodeCbor(bytes, { maxBytes: MAX_VALUE_BYTES });
  if (map === null || !isTextMap(map)) return null;
  const { v, type, generation } = map;
  if (!isUnsigned(generation) || generation > MAX_GENERATION) return null;
  if (v === SECOND_VERSION && type === "recipient") return decodeRecipient(map, generation, v);
  if (v === SECOND_VERSION && type === "data-key") return decodeDataKey(map, generation, v);
  return v === VERSION ? decodeFirst(map, generation) : null;
}

function decodeFirst(map: TextMap, generation: number): KeyPayload | null {
  switch (map["type"]) {
    case "identity":
      return decodeIdentity(map, generation);
    case "signer":
      return decodeSigner(map, generation);
    case "recipient":
      return decodeRecipient(map, generation, VERSION);
    case "grant":
      return decodeGrant(map, generation);
    case "revocation":
      return decodeRevocation(map, generation);
    case "data-key":
      return decodeDataKey(map, generation, VERSION);
    case "blob":
      return decodeBlob(map, generation);
    default:
      return null;
  }
}

type TextMap = { readonly [key: string]: CborValue };

/** Fields of a payload beside v, type and generation; one more is refused. */
function hasExactly(map: TextMap, fields: number): boolean {
  return Object.keys(map).length === fields + 3;
}

function decodeIdentity(map: TextMap, generation: number): IdentityPayload | null {
  const { zone, publicKey } = map;
  if (!hasExactly(map, 2) || typeof zone !== "string" || !isZone(zone)) return null;
  if (!isBytes(publicKey, PUBLIC_KEY_BYTES) || !isUsableEd25519(publicKey)) return null;
  return { type: "identity", generation, zone, publicKey };
}

function decodeSigner(map: TextMap, generation: number): SignerPayload | null {
  const { zone, purpose, publicKey } = map;
  if (!hasExactly(map, 3) || typeof purpose !== "string" || !isStageSigning(purpose)) return null;
  if (zone !== PURPOSES[purpose].zone || !isBytes(publicKey, PUBLIC_KEY_BYTES)) return null;
  return isUsableEd25519(publicKey) ? { type: "signer", generation, purpose, publicKey } : null;
}

function decodeRecipient(
  map: TextMap,
  generation: number,
  version: number,
): RecipientPayload | null {
  const { zone, purpose } = map;
  const isSecond = version === SECOND_VERSION;
  if (!hasExactly(map, isSecond ? 4 : 3)) return null;
  if (typeof purpose !== "string" || !isUnwrap(purpose)) return null;
  if (zone !== PURPOSES[purpose].zone) return null;
  const key = publicKeyIn(isSecond ? map : { ...map, algorithm: FIRST_ALGORITHM });
  if (key === null || isSecond === (key.algorithm === FIRST_ALGORITHM)) return null;
  // What is sealed to directly, a record at a time, has no service to ask.
  if (key.algorithm === "kms" && isBoxPurpose(purpose)) return null;
  return { type: "recipient", generation, purpose, ...key };
}

function decodeGrant(map: TextMap, generation: number): GrantPayload | null {
  const { topic, name } = map;
  if (!hasExactly(map, 4) || typeof topic !== "string" || !isGrantTopic(topic)) return null;
  if (typeof name !== "string" || !isGrantName(name)) return null;
  const key = publicKeyIn(map);
  return key && { type: "grant", generation, topic, name, ...key };
}

/** A key that can be sealed to. */
function publicKeyIn({ algorithm, publicKey }: TextMap) {
  const known = WRAP_ALGORITHMS.find((one) => one === algorithm);
  if (known === undefined || !(publicKey instanceof Uint8Array)) return null;
  if (publicKey.length > MAX_PUBLIC_KEY_BYTES) return null;
  return publicKeyComplaint(known, publicKey) === null ? { algorithm: known, publicKey } : null;
}

function decodeRevocation(map: TextMap, generation: number): RevocationPayload | null {
  const { zone, kid } = map;
  if (!hasExactly(map, 2) || typeof zone !== "string" || !isZone(zone)) return null;
  return isBytes(kid, KID_BYTES) ? { type: "revocation", generation, zone, kid } : null;
}

function decodeDataKey(map: TextMap, generation: number, version: number): DataKeyPayload | null {
  const { topic, lane, kid } = map;
  const isSecond = version === SECOND_VERSION;
  if (!hasExactly(map, isSecond ? 6 : 4)) return null;
  if (typeof topic !== "string" || !isSealedTopic(topic)) return null;
  if (!isUnsigned(lane) || !isBytes(kid, KID_BYTES)) return null;
  const cipher = isSecond ? cipherOf(map["cipher"]) : FIRST_CIPHER;
  const audience = isSecond ? audienceOf(map["audience"]) : [];
  if (cipher === undefined || audience === null) return null;
  if (isSecond !== needsSecond({ cipher, audience })) return null;
  const recipients = recipientsFromCbor(map["recipients"]);
  if (recipients === null) return null;
  return { type: "data-key", generation, topic, lane, kid, cipher, audience, recipients };
}

function cipherOf(value: CborValue | undefined): CipherName | undefined {
  return CIPHERS.find((name) => COSE_ALGORITHM[name] === value);
}

function audienceOf(value: CborValue | undefined): readonly string[] | null {
  if (!isCborArray(value) || value.length > MAX_AUDIENCE) return null;
  const names: string[] = [];
  for (const name of value) {
    const last = names.at(-1);
    if (typeof name !== "string" || !isGrantName(name)) return null;
    if (last !== undefined && last >= name) return null;
    names.push(name);
  }
  return names;
}

function decodeBlob(map: TextMap, generation: number): BlobPayload | null {
  const { parameters, bytes, sha256, chunks } = map;
  const purpose = BLOB_PURPOSES.find((one) => one === map["purpose"]);
  if (!hasExactly(map, 6) || purpose === undefined || map["zone"] !== BLOB_ZONE) return null;
  if (typeof parameters !== "string" || parameters.length > MAX_PARAMETERS_LENGTH) return null;
  if (!isUnsigned(bytes) || bytes === 0 || bytes > MAX_BLOB_BYTES) return null;
  if (!isBytes(sha256, HASH_BYTES) || !isCborArray(chunks)) return null;
  if (chunks.length === 0 || chunks.length > MAX_BLOB_CHUNKS) return null;
  const hashes: Uint8Array[] = [];
  for (const chunk of chunks) {
    if (!isBytes(chunk, HASH_BYTES)) return null;
    hashes.push(chunk);
  }
  return { type: "blob", generation, purpose, parameters, bytes, sha256, chunks: hashes };
}
