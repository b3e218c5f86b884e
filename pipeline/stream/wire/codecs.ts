/**
 * Compression of record batches: what this project writes (none, gzip, zstd) and what it reads.
 *
 * Everything is bounded: a few hostile bytes may claim to inflate to gigabytes. Codec ids are those of the batch
 * attributes (KIP-98, KIP-110). Must not be asked to compress ciphertext in the hope of gain: the encoder keeps what
 * does not shrink as it is.
 */
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { SealstreamError } from "../../errors.ts";
import type { Compression } from "../port.ts";
import { lz4Inflate } from "./lz4.ts";
import { snappyInflate } from "./snappy.ts";

/** Most bytes one compressed record batch may inflate to: 64 batches of Kafka's default 1 MB. */
export const MAX_INFLATED_BYTES = 64 * 1024 * 1024;

/** Bits of a batch's attributes that name its codec. */
export const CODEC_MASK = 0x07;
export const CODEC_ID: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, zstd: 4 };

const INFLATE: Readonly<Record<number, (bytes: Buffer, mostBytes: number) => Buffer>> = {
  1: (bytes, mostBytes) => gunzipSync(bytes, { maxOutputLength: mostBytes }),
  2: snappyInflate,
  3: lz4Inflate,
  4: (bytes, mostBytes) => zstdDecompressSync(bytes, { maxOutputLength: mostBytes }),
};

export function deflate(compression: Exclude<Compression, "none">, bytes: Uint8Array): Buffer {
  return compression === "gzip" ? gzipSync(bytes) : zstdCompressSync(bytes);
}

/**
 * Records of a compressed batch.
 * @param codec id of {@link CODEC_MASK}'s bits, not 0
 * @param where topic and partition, for errors
 * @throws SealstreamError `limit-exceeded` for an unknown codec, broken bytes, or more than `mostBytes`: reading again
 * does not mend what lies in the log
 */
export function inflate(
  codec: number,
  bytes: Buffer,
  where: string,
  mostBytes = MAX_INFLATED_BYTES,
): Buffer {
  const decode = INFLATE[codec];
  if (decode === undefined) {
    throw new SealstreamError(
      "limit-exceeded",
      `${where} holds records compressed with codec ${codec}, which is not known: produce with none, gzip, snappy, lz4 or zstd.`,
    );
  }
  try {
    return decode(bytes, mostBytes);
  } catch (error) {
    throw new SealstreamError(
      "limit-exceeded",
      `${where} holds a compressed batch that is broken or inflates to more than ${mostBytes} bytes: produce it again in smaller batches.`,
      { cause: error },
    );
  }
}
