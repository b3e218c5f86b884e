/**
 * Chunks by content hash: how a value above Kafka's message limit is cut up and put together again.
 *
 * A chunk says nothing about where it belongs: a signed manifest lists the hashes, and nothing is joined that the
 * manifest does not name. Must not: trust a chunk's record key. Hash: SHA-256 (FIPS 180-4).
 */
import { hash } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { plainBytes } from "./cbor.ts";

export const HASH_BYTES = 32;

export interface Chunk {
  /** SHA-256 of `bytes`, 32 bytes. */
  readonly hash: Uint8Array;
  /** A view of what was split. */
  readonly bytes: Uint8Array;
}

/** SHA-256, 32 bytes. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return plainBytes(hash("sha256", bytes, "buffer"));
}

/**
 * Cuts `bytes` into chunks of `maxChunkBytes`, the last one shorter; nothing for no bytes.
 * @throws `internal` unless maxChunkBytes is an integer >= 1
 */
export function splitIntoChunks(bytes: Uint8Array, maxChunkBytes: number): Chunk[] {
  if (!Number.isSafeInteger(maxChunkBytes) || maxChunkBytes < 1) {
    throw new SealstreamError("internal", "A chunk must have room for at least one byte.");
  }
  const chunks: Chunk[] = [];
  for (let at = 0; at < bytes.length; at += maxChunkBytes) {
    const part = plainBytes(bytes.subarray(at, Math.min(at + maxChunkBytes, bytes.length)));
    chunks.push({ hash: sha256(part), bytes: part });
  }
  return chunks;
}

/**
 * Joins chunks in the order of `hashes` into a fresh buffer.
 * @param options `lookup` returns the chunk of a hash, or null when it is not there; its hash is checked again here
 * @returns null when a chunk is missing or is not what its hash says, or when the length is not exactly `bytes`
 */
export function joinChunks(options: {
  readonly hashes: readonly Uint8Array[];
  readonly lookup: (hash: Uint8Array) => Uint8Array | null;
  /** Exact length of the whole. */
  readonly bytes: number;
}): Uint8Array | null {
  const found: Uint8Array[] = [];
  let total = 0;
  for (const wanted of options.hashes) {
    const chunk = options.lookup(wanted);
    if (chunk === null) return null;
    total += chunk.length;
    if (total > options.bytes || Buffer.compare(sha256(chunk), wanted) !== 0) return null;
    found.push(chunk);
  }
  if (total !== options.bytes) return null;
  // Allocated only now: a claimed length costs nothing until the bytes are there.
  const whole = new Uint8Array(total);
  let at = 0;
  for (const chunk of found) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
