/**
 * Reads the record batches of a fetch answer: checks them, leaves out what is not committed, and lays records out
 * without making a view of any of them.
 *
 * Grammar (KIP-98, format version 2), big endian:
 *   batch  = baseOffset:8 length:4 leaderEpoch:4 magic:1 crc:4 attributes:2 lastOffsetDelta:4 baseTimestamp:8
 *            maxTimestamp:8 producerId:8 producerEpoch:2 baseSequence:4 count:4 records
 *   record = length attributes:1 timestampDelta offsetDelta key value headers      (lengths and deltas zigzag varints)
 * Bytes come from the network: every length is checked before it is believed, and broken ones end in `kafka-failed`.
 * Ordinary and handled: batches that begin before the offset asked for, gaps that compaction left, batches that it
 * emptied, a last batch that is cut off. Must not let a batch through that the filter refuses.
 */
import { SealstreamError } from "../../errors.ts";
import { type AbortedTransaction, createCommittedFilter } from "../read-committed.ts";
import { CODEC_MASK, inflate } from "./codecs.ts";
import { crc32c } from "./crc32c.ts";
import { type BatchContext, FetchedRecord, type RecordLayout } from "./fetched-record.ts";
import { BATCH_HEADER_BYTES } from "./record-batch-encoder.ts";

/** Bytes before those that a batch's length field counts: base offset and the field itself. */
const LENGTH_FROM = 12;
const MAGIC_AT = 16;
const CRC_FROM = 21;
const MAGIC = 2;
const APPEND_TIME = 0x08;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
/** Control record key: int16 version, int16 type; type 0 is ABORT, 1 is COMMIT (KIP-98). */
const CONTROL_KEY_BYTES = 4;
const CONTROL_TYPE_ABORT = 0;
/** A record of nothing: length, attributes, two deltas, two null lengths, no headers. */
const MIN_RECORD_BYTES = 7;
/** A header of nothing: two lengths. */
const MIN_HEADER_BYTES = 2;
/** A batch of a megabyte may hold a million empty records, and an object costs what no byte count sees. */
const RECORDS_PER_FETCH = 65_536;
/** After this many inflated bytes, the rest of an answer is left to the next fetch. */
const INFLATED_PER_FETCH_BYTES = 16 * 1024 * 1024;
/** Records are copied out of an answer that is more than this many times their size: they may be held for long. */
const MOST_WASTE = 2;

export interface DecodeOptions {
  /** Topic and partition, for errors. */
  readonly where: string;
  /** Offset that was asked for; records before it are left out. */
  readonly from: number;
  readonly aborted: readonly AbortedTransaction[];
}

export interface DecodedBatches {
  readonly records: FetchedRecord[];
  /** Offset after the last batch that was read; `from` when none was. */
  readonly nextOffset: number;
}

interface Batch {
  readonly at: number;
  readonly end: number;
  readonly attributes: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly count: number;
}

function broken(where: string, what: string): SealstreamError {
  return new SealstreamError(
    "kafka-failed",
    `${where} holds a record batch with ${what}: check the network and the broker's disks.`,
  );
}

function safe(value: bigint, where: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    throw broken(where, "a number out of range");
  }
  return number;
}

/** Reads varints of one batch's records; also the layout of the record it stands in, which is reused. */
class RecordCursor implements RecordLayout {
  readonly #bytes: Buffer;
  readonly #where: string;
  #at = 0;
  #end = 0;
  offsetDelta = -1;
  timestampDelta = 0;
  keyAt = 0;
  keyBytes = -1;
  valueAt = 0;
  valueBytes = -1;
  headersAt = 0;
  headerCount = 0;
  headerBytes = 0;

  constructor(bytes: Buffer, where: string) {
    this.#bytes = bytes;
    this.#where = where;
    this.#end = bytes.length;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Moves to the next record. @param lastOffsetDelta largest offset delta that the batch may hold */
  next(lastOffsetDelta: number): void {
    this.#end = this.#bytes.length;
    const length = this.#varint();
    if (length < 0 || length > this.#end - this.#at) {
      throw broken(this.#where, "a record longer than itself");
    }
    this.#end = this.#at + length;
    this.#byte();
    this.timestampDelta = this.#varlong();
    const offsetDelta = this.#varint();
    if (offsetDelta <= this.offsetDelta || offsetDelta > lastOffsetDelta) {
      throw broken(this.#where, "offsets that do not rise");
    }
    this.offsetDelta = offsetDelta;
    this.keyBytes = this.#varint();
    this.keyAt = this.#skip(this.keyBytes);
    this.valueBytes = this.#varint();
    this.valueAt = this.#skip(this.valueBytes);
    this.headerCount = this.#varint();
    this.headersAt = this.#at;
    this.headerBytes = 0;
    if (this.headerCount !== 0) {
      this.#skipHeaders();
    }
    if (this.#at !== this.#end) {
      throw broken(this.#where, "a record shorter than itself");
    }
  }

  #skipHeaders(): void {
    if (this.headerCount < 0 || this.headerCount * MIN_HEADER_BYTES > this.#end - this.#at) {
      throw broken(this.#where, "more headers than it has room for");
    }
    for (let index = 0; index < this.headerCount; index += 1) {
      const nameBytes = this.#varint();
      if (nameBytes < 0) {
        throw broken(this.#where, "a header without a name");
      }
      this.#skip(nameBytes);
      const valueBytes = this.#varint();
      this.#skip(valueBytes);
      this.headerBytes += nameBytes + Math.max(0, valueBytes);
    }
  }

  /** Passes over a field of that length, -1 being null; returns where it begins. */
  #skip(length: number): number {
    const at = this.#at;
    if (length < -1 || length > this.#end - at) {
      throw broken(this.#where, "a field longer than its record");
    }
    this.#at = length < 0 ? at : at + length;
    return at;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined || this.#at >= this.#end) {
      throw broken(this.#where, "a record that ends too early");
    }
    this.#at += 1;
    return byte;
  }

  #varint(): number {
    let byte = this.#byte();
    let zigzag = byte & 0x7f;
    for (let shift = 7; byte > 0x7f; shift += 7) {
      if (shift > 28) {
        throw broken(this.#where, "a number of more than 32 bits");
      }
      byte = this.#byte();
      zigzag |= (byte & 0x7f) << shift;
    }
    return (zigzag >>> 1) ^ -(zigzag & 1);
  }

  /** A zigzag integer of 64 bits; rounded beyond 2^53, where only a nonsensical timestamp lies. */
  #varlong(): number {
    let byte = this.#byte();
    if (byte <= 0x7f) {
      return (byte >>> 1) ^ -(byte & 1);
    }
    let zigzag = BigInt(byte & 0x7f);
    for (let shift = 7n; byte > 0x7f; shift += 7n) {
      if (shift > 63n) {
        throw broken(this.#where, "a number of more than 64 bits");
      }
      byte = this.#byte();
      zigzag |= BigInt(byte & 0x7f) << shift;
    }
    return Number(BigInt.asIntN(64, (zigzag >> 1n) ^ -(zigzag & 1n)));
  }
}

/** Header of the batch at a position, checked; null when the batch is cut off there. */
function readBatch(bytes: Buffer, at: number, where: string): Batch | null {
  if (bytes.length - at <= MAGIC_AT) {
    return null;
  }
  const magic = bytes.readInt8(at + MAGIC_AT);
  if (magic === 0 || magic === 1) {
    throw new SealstreamError(
      "limit-exceeded",
      `${where} holds records in a message format older than Kafka 0.11: produce them again with a newer client.`,
    );
  }
  const length = bytes.readInt32BE(at + LENGTH_FROM - 4);
  if (magic !== MAGIC || length < BATCH_HEADER_BYTES - LENGTH_FROM) {
    throw broken(where, "a header that is none");
  }
  const end = at + LENGTH_FROM + length;
  if (end > bytes.length) {
    return null;
  }
  if (bytes.readUInt32BE(at + CRC_FROM - 4) !== crc32c(bytes, at + CRC_FROM, end)) {
    throw broken(where, "a wrong checksum");
  }
  const attributes = bytes.readInt16BE(at + 21);
  const lastOffsetDelta = bytes.readInt32BE(at + 23);
  const baseOffset = safe(bytes.readBigInt64BE(at), where);
  const count = bytes.readInt32BE(at + 57);
  if (lastOffsetDelta < 0 || baseOffset < 0 || count < 0) {
    throw broken(where, "a header that is none");
  }
  return { at, end, attributes, baseOffset, lastOffset: baseOffset + lastOffsetDelta, count };
}

/** What kind of marker a control batch is. */
function readMarker(bytes: Buffer, batch: Batch, where: string): "abort" | "other" {
  if (batch.count === 0) {
    return "other";
  }
  const body = bytes.subarray(batch.at + BATCH_HEADER_BYTES, batch.end);
  const cursor = new RecordCursor(body, where);
  cursor.next(batch.lastOffset - batch.baseOffset);
  const isAbort =
    cursor.keyBytes >= CONTROL_KEY_BYTES &&
    body.readInt16BE(cursor.keyAt + 2) === CONTROL_TYPE_ABORT;
  return isAbort ? "abort" : "other";
}

/** Adds a batch's records from an offset on. @returns bytes that were inflated for it, and where it was left if it was */
function addRecords(
  bytes: Buffer,
  batch: Batch,
  { where, from }: DecodeOptions,
  { copy, records }: { copy: boolean; records: FetchedRecord[] },
): { inflatedBytes: number; leftAt: number | null } {
  const stored = bytes.subarray(batch.at + BATCH_HEADER_BYTES, batch.end);
  const codec = batch.attributes & CODEC_MASK;
  const isPacked = codec !== 0 && batch.count > 0;
  let body = stored;
  if (isPacked) {
    body = inflate(codec, stored, where);
  } else if (copy) {
    body = Buffer.allocUnsafeSlow(stored.length);
    stored.copy(body);
  }
  if (batch.count * MIN_RECORD_BYTES > body.length) {
    throw broken(where, "more records than it has room for");
  }
  const hasAppendTime = (batch.attributes & APPEND_TIME) !== 0;
  const context: BatchContext = {
    bytes: body,
    baseOffset: batch.baseOffset,
    baseTimestampMs: Number(bytes.readBigInt64BE(batch.at + 27)),
    appendTimeMs: hasAppendTime ? Number(bytes.readBigInt64BE(batch.at + 35)) : null,
  };
  const lastOffsetDelta = batch.lastOffset - batch.baseOffset;
  const cursor = new RecordCursor(body, where);
  for (let index = 0; index < batch.count; index += 1) {
    cursor.next(lastOffsetDelta);
    const offset = batch.baseOffset + cursor.offsetDelta;
    if (offset >= from) {
      if (records.length >= RECORDS_PER_FETCH) {
        return { inflatedBytes: isPacked ? body.length : 0, leftAt: offset };
      }
      records.push(new FetchedRecord(context, cursor));
    }
  }
  if (!cursor.atEnd) {
    throw broken(where, "bytes behind its records");
  }
  return { inflatedBytes: isPacked ? body.length : 0, leftAt: null };
}

/**
 * Committed records of a fetch answer's bytes, in offset order.
 * @throws SealstreamError `kafka-failed` for bytes that are no batches, `limit-exceeded` for an unknown codec, an
 * ancient format or a batch that inflates too far
 */
export function decodeBatches(bytes: Buffer, options: DecodeOptions): DecodedBatches {
  const { where, from } = options;
  const admits = createCommittedFilter(options.aborted);
  const wanted: Batch[] = [];
  let wantedBytes = 0;
  let nextOffset = from;
  for (let at = 0; at < bytes.length; ) {
    const batch = readBatch(bytes, at, where);
    if (batch === null) {
      break;
    }
    const isWanted = admits({
      lastOffset: batch.lastOffset,
      producerId: bytes.readBigInt64BE(at + 43),
      isTransactional: (batch.attributes & TRANSACTIONAL) !== 0,
      marker: (batch.attributes & CONTROL) === 0 ? null : readMarker(bytes, batch, where),
    });
    if (isWanted && batch.lastOffset >= from) {
      wanted.push(batch);
      wantedBytes += batch.end - batch.at;
    }
    nextOffset = Math.max(nextOffset, batch.lastOffset + 1);
    at = batch.end;
  }
  if (bytes.length > 0 && nextOffset === from && wanted.length === 0) {
    throw broken(where, "a length beyond the whole answer");
  }
  const target = {
    copy: bytes.buffer.byteLength > MOST_WASTE * wantedBytes,
    records: [] as FetchedRecord[],
  };
  let inflated = 0;
  for (const batch of wanted) {
    if (inflated > INFLATED_PER_FETCH_BYTES) {
      return { records: target.records, nextOffset: Math.max(from, batch.baseOffset) };
    }
    const { inflatedBytes, leftAt } = addRecords(bytes, batch, options, target);
    if (leftAt !== null) {
      return { records: target.records, nextOffset: leftAt };
    }
    inflated += inflatedBytes;
  }
  return { records: target.records, nextOffset };
}
