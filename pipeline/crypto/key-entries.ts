/**
 * Records of the `keys` topic: their names, their payloads, their signatures.
 *
 * ```
 * value   = COSE_Sign1(payload), context "sealstream/keys/v1|<pipeline>"; a chunk's value is raw
 * payload = {v: 1, type: "signer" | "recipient", generation, zone, purpose, publicKey: bstr (32)}
 *         | {v: 1, type: "data-key", generation, topic, lane, kid: bstr (16), recipients: [+ COSE_recipient]}
 *         | {v: 1, type: "blob", generation, zone, purpose, parameters: tstr, bytes, sha256: bstr (32), chunks: [+ bstr (32)]}
 * key     = "signer/<purpose>/<kid hex>" | "recipient/<purpose>/<kid hex>" | "data-key/<kid hex>"
 *         | "blob/<purpose>" | "chunk/<sha256 hex>"
 * ```
 * `generation` rises with every rotation, so that an old entry that somebody appends again cannot become the newest.
 * Must not: decide whether a signer is allowed; the directory does. Source: DESIGN.md section 1 (trust root).
 */
import { SealstreamError } from "../errors.ts";
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
import { sign1 } from "./cose-sign1.ts";
import { isUsableEd25519, PUBLIC_KEY_BYTES } from "./identity.ts";
import { hex, KID_BYTES, keyIdOf, type SigningKey } from "./key-handles.ts";
import {
  BLOB_PURPOSES,
  BLOB_ZONE,
  type BlobPurpose,
  isSealedTopic,
  isStageSigning,
  isUnwrap,
  PURPOSES,
  type SealedTopic,
  type StageSigningPurpose,
  type UnwrapPurpose,
} from "./key-purposes.ts";
import { publicKeyComplaint, recipientsFromCbor, recipientsToCbor } from "./wrap/key-wrap.ts";
import type { WrappedKey } from "./wrap/types.ts";

/** A record to write to the `keys` topic. */
export interface KeyEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
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
  readonly publicKey: Uint8Array;
}

export interface DataKeyPayload {
  readonly type: "data-key";
  readonly generation: number;
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly kid: Uint8Array;
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

export type KeyPayload = SignerPayload | RecipientPayload | DataKeyPayload | BlobPayload;

/** Largest blob: CKKS evaluation keys of 16,384 slots take some 20 MB; bounds memory of every reader. */
export const MAX_BLOB_BYTES = 64 * 1024 * 1024;
/** A manifest must fit into one record: 16,384 hashes of 34 bytes are 544 KiB. */
const MAX_BLOB_CHUNKS = 16_384;
/** Kafka's default message limit is the outer bound of what a record can hold. */
const MAX_VALUE_BYTES = 1_048_576;
const MAX_PARAMETERS_LENGTH = 200;
const VERSION = 1;
const CHUNK_PREFIX = "chunk/";

/** Label under which every entry of a pipeline is signed. */
export function keysContext(pipeline: string): string {
  return `sealstream/keys/v1|${pipeline}`;
}

/** What a wrapped data key is bound to (SuppPubInfo.other of its KDF context). */
export function dataKeyBinding(options: {
  readonly pipeline: string;
  readonly topic: SealedTopic;
  readonly lane: number;
  readonly kid: Uint8Array;
}): Uint8Array {
  const { pipeline, topic, lane, kid } = options;
  return encodeCbor(["sealstream/data-key/v1", pipeline, topic, lane, kid]);
}

/** Record key of a payload. */
export function keyNameOf(payload: KeyPayload): string {
  switch (payload.type) {
    case "signer":
    case "recipient":
      return `${payload.type}/${payload.purpose}/${hex(keyIdOf(payload.publicKey))}`;
    case "data-key":
      return `data-key/${hex(payload.kid)}`;
    case "blob":
      return `blob/${payload.purpose}`;
  }
}

/** Signs a payload into a record. */
export function signEntry(options: {
  readonly pipeline: string;
  readonly payload: KeyPayload;
  readonly signer: SigningKey;
}): KeyEntry {
  const value = sign1({
    payload: encodePayload(options.payload),
    signer: options.signer,
    context: keysContext(options.pipeline),
  });
  if (value.length > MAX_VALUE_BYTES) {
    throw new SealstreamError("limit-exceeded", "A key entry does not fit into one record.");
  }
  return { key: Buffer.from(keyNameOf(options.payload), "utf8"), value };
}

/** Record of a chunk. */
export function chunkEntry(hash: Uint8Array, bytes: Uint8Array): KeyEntry {
  return { key: Buffer.from(CHUNK_PREFIX + hex(hash), "utf8"), value: bytes };
}

/** Hex hash that a chunk's record key claims, or null when the key is no chunk's. */
export function chunkNameOf(recordKey: string): string | null {
  if (!recordKey.startsWith(CHUNK_PREFIX)) return null;
  const name = recordKey.slice(CHUNK_PREFIX.length);
  return /^[0-9a-f]{64}$/.test(name) ? name : null;
}

/** Deterministic CBOR of a payload. */
export function encodePayload(payload: KeyPayload): Uint8Array {
  const { type, generation } = payload;
  const common = { v: VERSION, type, generation };
  switch (payload.type) {
    case "signer":
    case "recipient": {
      const { purpose, publicKey } = payload;
      return encodeCbor({ ...common, zone: PURPOSES[purpose].zone, purpose, publicKey });
    }
    case "data-key": {
      const { topic, lane, kid, recipients } = payload;
      return encodeCbor({ ...common, topic, lane, kid, recipients: recipientsToCbor(recipients) });
    }
    case "blob": {
      const { purpose, parameters, bytes, sha256, chunks } = payload;
      const zone = BLOB_ZONE;
      return encodeCbor({ ...common, zone, purpose, parameters, bytes, sha256, chunks });
    }
  }
}

/** Strict reading of a verified payload; byte strings are views. Null when it is not exactly one of the forms. */
export function decodePayload(bytes: Uint8Array): KeyPayload | null {
  const map = decodeCbor(bytes, { maxBytes: MAX_VALUE_BYTES });
  if (map === null || !isTextMap(map) || map["v"] !== VERSION) return null;
  const generation = map["generation"];
  if (!isUnsigned(generation)) return null;
  switch (map["type"]) {
    case "signer":
      return decodeSigner(map, generation);
    case "recipient":
      return decodeRecipient(map, generation);
    case "data-key":
      return decodeDataKey(map, generation);
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

function decodeSigner(map: TextMap, generation: number): SignerPayload | null {
  const { zone, purpose, publicKey } = map;
  if (!hasExactly(map, 3) || typeof purpose !== "string" || !isStageSigning(purpose)) return null;
  if (zone !== PURPOSES[purpose].zone || !isBytes(publicKey, PUBLIC_KEY_BYTES)) return null;
  return isUsableEd25519(publicKey) ? { type: "signer", generation, purpose, publicKey } : null;
}

function decodeRecipient(map: TextMap, generation: number): RecipientPayload | null {
  const { zone, purpose, publicKey } = map;
  if (!hasExactly(map, 3) || typeof purpose !== "string" || !isUnwrap(purpose)) return null;
  if (zone !== PURPOSES[purpose].zone || !isBytes(publicKey, PUBLIC_KEY_BYTES)) return null;
  if (publicKeyComplaint("x25519", publicKey) !== null) return null;
  return { type: "recipient", generation, purpose, publicKey };
}

function decodeDataKey(map: TextMap, generation: number): DataKeyPayload | null {
  const { topic, lane, kid } = map;
  if (!hasExactly(map, 4) || typeof topic !== "string" || !isSealedTopic(topic)) return null;
  if (!isUnsigned(lane) || !isBytes(kid, KID_BYTES)) return null;
  const recipients = recipientsFromCbor(map["recipients"]);
  return recipients && { type: "data-key", generation, topic, lane, kid, recipients };
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
