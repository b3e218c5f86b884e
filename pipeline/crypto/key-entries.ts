/**
 * Records of the `keys` topic: their names, and their signatures. The grammar of payloads stands in key-payload.ts.
 *
 * ```
 * value = COSE_Sign1(payload), context "sealstream/keys/v1|<pipeline>"; a chunk's value is raw
 * key   = "identity/<zone>/<kid hex>" | "signer/<purpose>/<kid hex>" | "recipient/<purpose>/<kid hex>"
 *       | "grant/<topic>/<name>" | "revocation/<kid hex>" | "data-key/<kid hex>"
 *       | "blob/<purpose>" (generation 1) | "blob/<purpose>/<generation>" | "chunk/<sha256 hex>"
 * ```
 * `generation` rises with every rotation, so that an old entry that somebody appends again cannot become the newest.
 * Must not: decide whether a signer is allowed; the directory does. Source: DESIGN.md section 1 (trust root).
 */
import { SealstreamError } from "../errors.ts";
import { encodeCbor } from "./cbor.ts";
import { sign1 } from "./cose-sign1.ts";
import { hex, keyIdOf, type SigningKey } from "./key-handles.ts";
import { encodePayload, type KeyPayload, MAX_VALUE_BYTES } from "./key-payload.ts";
import type { SealedTopic } from "./key-purposes.ts";

/** A record to write to the `keys` topic. */
export interface KeyEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

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
    case "identity":
      return `identity/${payload.zone}/${hex(keyIdOf(payload.publicKey))}`;
    case "signer":
    case "recipient":
      return `${payload.type}/${payload.purpose}/${hex(keyIdOf(payload.publicKey))}`;
    case "grant":
      return `grant/${payload.topic}/${payload.name}`;
    case "revocation":
      return `revocation/${hex(payload.kid)}`;
    case "data-key":
      return `data-key/${hex(payload.kid)}`;
    case "blob":
      // Each generation stays: packs that were made under the old keys are still to be predicted.
      return payload.generation === 1
        ? `blob/${payload.purpose}`
        : `blob/${payload.purpose}/${payload.generation}`;
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
