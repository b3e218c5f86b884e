/**
 * Kafka's record batches (format 2): writes batches of numbered records, and tallies those that come out again.
 *
 * A numbered record has no key, no headers, and a value of a fixed length that begins with its lane and its sequence
 * number (u32be each). Written from the protocol's text, sharing no code with the clients under test, so that what a
 * contender lost, doubled or reordered shows. Uncompressed batches only.
 * Source: Kafka protocol, "Record Batch"; KIP-98 for control batches and aborted transactions; RFC 3720 for CRC32C.
 */

/** Length of a batch up to its first record. */
const HEADER_BYTES = 61;
/** Where the checksum's range begins: at the attributes. */
const CHECKED_FROM = 21;
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
const CODEC_MASK = 0x07;
const NUMBER_BYTES = 8;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) {
    crc = CRC_TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** Writes a zigzag varint; returns the position after it. */
function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let position = at;
  while (rest > 0x7f) {
    target[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[position++] = rest;
  return position;
}

function varintBytes(value: number): number {
  return writeVarint(new Uint8Array(8), 0, value);
}

/** Records `first`..`first + count - 1` of a lane, in one batch. The bytes behind the numbers are always the same. */
export function encodeNumbered(options: {
  readonly lane: number;
  readonly first: number;
  readonly count: number;
  readonly valueBytes: number;
  readonly timestampMs: number;
}): Buffer {
  const { lane, first, count, valueBytes } = options;
  const filler = Buffer.alloc(valueBytes, "sealstream ");
  // attributes, timestamp delta 0, no key, no headers: a byte each.
  const fixed = 1 + 1 + 1 + varintBytes(valueBytes) + valueBytes + 1;
  const out = Buffer.alloc(HEADER_BYTES + count * (fixed + 10));
  let at = HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    at = writeVarint(out, at, fixed + varintBytes(i));
    out[at++] = 0;
    out[at++] = 0;
    at = writeVarint(out, at, i);
    at = writeVarint(out, at, -1);
    at = writeVarint(out, at, valueBytes);
    out.set(filler, at);
    out.writeUInt32BE(lane, at);
    out.writeUInt32BE(first + i, at + 4);
    at += valueBytes;
    out[at++] = 0;
  }
  return sealBatch(out.subarray(0, at), count, options.timestampMs);
}

/** Records with these values, without keys and headers, in one batch. */
export function encodeValues(values: readonly Uint8Array[], timestampMs: number): Buffer {
  const bytes = values.reduce((sum, { length }) => sum + length + 24, HEADER_BYTES);
  const out = Buffer.alloc(bytes);
  let at = HEADER_BYTES;
  values.forEach((value, i) => {
    // attributes, timestamp delta 0, no key, no headers: a byte each.
    const fixed = 1 + 1 + 1 + varintBytes(value.length) + value.length + 1;
    at = writeVarint(out, at, fixed + varintBytes(i));
    at = writeVarint(out, at + 2, i);
    at = writeVarint(out, at, -1);
    at = writeVarint(out, at, value.length);
    out.set(value, at);
    at += value.length + 1;
  });
  return sealBatch(out.subarray(0, at), values.length, timestampMs);
}

/** Writes the header of a batch whose records are in place. */
function sealBatch(batch: Buffer, count: number, timestampMs: number): Buffer {
  batch.writeInt32BE(batch.length - 12, 8);
  batch.writeInt32BE(-1, 12);
  batch.writeInt8(2, 16);
  batch.writeInt32BE(count - 1, 23);
  batch.writeBigInt64BE(BigInt(timestampMs), 27);
  batch.writeBigInt64BE(BigInt(timestampMs), 35);
  batch.writeBigInt64BE(-1n, 43);
  batch.writeInt16BE(-1, 51);
  batch.writeInt32BE(-1, 53);
  batch.writeInt32BE(count, 57);
  batch.writeUInt32BE(crc32c(batch.subarray(CHECKED_FROM)), 17);
  return batch;
}

export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: number;
}

/** What came out, against what went in: all zero is exactly once. */
export interface Tallied {
  readonly missing: number;
  readonly duplicated: number;
  /** Records whose number is not above the one before of their lane in the same output partition. */
  readonly outOfOrder: number;
  /** Records that nobody put in, or with a value that was changed. */
  readonly foreign: number;
}

/** Counts committed records of all output partitions. Fetches of a partition must be added in order. */
export class Tally {
  readonly #seen: readonly Uint8Array[];
  readonly #valueBytes: number;
  /** Last number by output partition and lane. */
  readonly #last = new Map<number, Int32Array>();
  readonly #open = new Map<number, Set<bigint>>();
  #duplicated = 0;
  #outOfOrder = 0;
  #foreign = 0;

  /** @param recordsPerLane how many records each lane was given */
  constructor(recordsPerLane: readonly number[], valueBytes: number) {
    this.#seen = recordsPerLane.map((count) => new Uint8Array(count));
    this.#valueBytes = valueBytes;
  }

  /** @returns the offset to fetch next: after the last complete batch, or `from` when there was none */
  add(
    partition: number,
    from: number,
    bytes: Buffer,
    aborted: readonly AbortedTransaction[],
  ): number {
    const open = this.#open.get(partition) ?? new Set();
    this.#open.set(partition, open);
    const waiting = aborted.toSorted((a, b) => a.firstOffset - b.firstOffset);
    let next = from;
    for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
      const end = at + 12 + bytes.readInt32BE(at + 8);
      if (end > bytes.length) break;
      const batch = bytes.subarray(at, end);
      const baseOffset = Number(batch.readBigInt64BE(0));
      const attributes = batch.readInt16BE(21);
      const producerId = batch.readBigInt64BE(43);
      const lastOffset = baseOffset + batch.readInt32BE(23);
      while (waiting[0] !== undefined && waiting[0].firstOffset <= lastOffset) {
        open.add(waiting.shift()!.producerId);
      }
      if ((attributes & CONTROL) !== 0) {
        // A marker, of a commit or an abort, ends what the producer had open.
        open.delete(producerId);
      } else if (!((attributes & TRANSACTIONAL) !== 0 && open.has(producerId))) {
        this.#addRecords(partition, batch);
      }
      // A fetch begins with the whole batch that holds its offset; ours are always batch ends.
      next = Math.max(next, lastOffset + 1);
      at = end;
    }
    return next;
  }

  result(): Tallied {
    let missing = 0;
    for (const lane of this.#seen) for (const times of lane) if (times === 0) missing++;
    return {
      missing,
      duplicated: this.#duplicated,
      outOfOrder: this.#outOfOrder,
      foreign: this.#foreign,
    };
  }

  #addRecords(partition: number, batch: Buffer): void {
    if ((batch.readInt16BE(21) & CODEC_MASK) !== 0) throw new Error("a batch is compressed");
    let last = this.#last.get(partition);
    if (last === undefined) {
      last = new Int32Array(this.#seen.length).fill(-1);
      this.#last.set(partition, last);
    }
    let at = HEADER_BYTES;
    let value = 0;
    const varint = (): void => {
      let shift = 0;
      let bits = 0;
      let byte = 0;
      do {
        byte = batch[at++]!;
        // Timestamp deltas may be longer than 32 bits; nobody looks at their value.
        if (shift < 32) bits |= (byte & 0x7f) << shift;
        shift += 7;
      } while (byte > 0x7f);
      value = (bits >>> 1) ^ -(bits & 1);
    };
    for (let rest = batch.readInt32BE(57); rest > 0; rest--) {
      varint();
      const end = at + value;
      at++;
      varint();
      varint();
      varint();
      at += Math.max(0, value);
      varint();
      if (value === this.#valueBytes && value >= NUMBER_BYTES) {
        this.#addNumber(last, batch.readUInt32BE(at), batch.readUInt32BE(at + 4));
      } else {
        this.#foreign++;
      }
      at = end;
    }
  }

  #addNumber(last: Int32Array, lane: number, number: number): void {
    const times = this.#seen[lane]?.[number];
    if (times === undefined) {
      this.#foreign++;
      return;
    }
    if (times > 0) this.#duplicated++;
    this.#seen[lane]![number] = 1;
    if (number <= last[lane]!) this.#outOfOrder++;
    last[lane] = number;
  }
}
