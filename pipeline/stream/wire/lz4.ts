/**
 * Decompression of LZ4 frames, as other producers may write them into `raw`.
 *
 * Written here because the packages for it have native code and no bound on their output. Reads what Kafka's clients
 * write: frame format 1.6.x, blocks linked or not, checksums passed over (the batch has its own CRC-32C), no
 * dictionaries. Source: lz4_Frame_format.md and lz4_Block_format.md. Must not write outside `mostBytes`.
 */

const MAGIC = 0x184d2204;
const VERSION_MASK = 0xc0;
const VERSION = 0x40;
const FLAG_BLOCK_CHECKSUM = 0x10;
const FLAG_CONTENT_SIZE = 0x08;
const FLAG_CONTENT_CHECKSUM = 0x04;
const FLAG_DICTIONARY = 0x01;
const NOT_COMPRESSED = 0x8000_0000;
const MIN_MATCH = 4;
const LENGTH_ESCAPE = 15;
const FIRST_CAPACITY_FACTOR = 4;

/** Output that grows by doubling up to a bound. */
class Output {
  readonly #most: number;
  bytes: Buffer;
  length = 0;

  constructor(capacity: number, most: number) {
    this.#most = most;
    this.bytes = Buffer.allocUnsafeSlow(Math.min(Math.max(capacity, 1), most));
  }

  reserve(count: number): void {
    const needed = this.length + count;
    if (needed > this.#most) {
      throw new RangeError("more output than allowed");
    }
    if (needed > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(
        Math.min(this.#most, Math.max(needed, 2 * this.bytes.length)),
      );
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
  }

  append(source: Buffer, from: number, count: number): void {
    if (from + count > source.length) {
      throw new RangeError("literals outside the input");
    }
    this.reserve(count);
    source.copy(this.bytes, this.length, from, from + count);
    this.length += count;
  }

  /** Repeats `count` bytes from `distance` back; they may overlap what is being written. */
  repeat(distance: number, count: number): void {
    if (distance === 0 || distance > this.length) {
      throw new RangeError("match outside the output");
    }
    this.reserve(count);
    const { bytes } = this;
    let at = this.length;
    for (const end = at + count; at < end; at += 1) {
      // Because at - distance lies in what was written above.
      bytes[at] = bytes[at - distance] as number;
    }
    this.length = at;
  }
}

/** A length of the block format: `base`, and bytes of up to 255 behind it when it is the escape value. */
function readLength(input: Buffer, at: number, end: number, base: number): [number, number] {
  let length = base;
  let next = at;
  if (base === LENGTH_ESCAPE) {
    for (let byte = 255; byte === 255; ) {
      if (next >= end) {
        throw new RangeError("length outside the input");
      }
      byte = input.readUInt8(next);
      next += 1;
      length += byte;
    }
  }
  return [length, next];
}

function inflateBlock(input: Buffer, from: number, end: number, output: Output): void {
  let at = from;
  while (at < end) {
    const token = input.readUInt8(at);
    const [literals, literalsAt] = readLength(input, at + 1, end, token >>> 4);
    if (literalsAt + literals > end) {
      throw new RangeError("literals outside the block");
    }
    output.append(input, literalsAt, literals);
    at = literalsAt + literals;
    if (at === end) {
      // The last sequence has no match.
      return;
    }
    const distance = input.readUInt16LE(at);
    const [match, next] = readLength(input, at + 2, end, token & 0x0f);
    output.repeat(distance, match + MIN_MATCH);
    at = next;
  }
}

/**
 * Content of a sequence of LZ4 frames.
 * @throws RangeError when it is no such thing or holds more than `mostBytes`
 */
export function lz4Inflate(input: Buffer, mostBytes: number): Buffer {
  const output = new Output(FIRST_CAPACITY_FACTOR * input.length, mostBytes);
  let at = 0;
  while (at < input.length) {
    at = inflateFrame(input, at, output);
  }
  return output.bytes.subarray(0, output.length);
}

/** @returns position after the frame */
function inflateFrame(input: Buffer, from: number, output: Output): number {
  const flags = input.readUInt8(from + 4);
  if (
    input.readUInt32LE(from) !== MAGIC ||
    (flags & VERSION_MASK) !== VERSION ||
    (flags & FLAG_DICTIONARY) !== 0
  ) {
    throw new RangeError("not an LZ4 frame without a dictionary");
  }
  // Magic, flags, block descriptor, content size if any, header checksum.
  let at = from + 6 + (flags & FLAG_CONTENT_SIZE ? 8 : 0) + 1;
  for (;;) {
    const word = input.readUInt32LE(at);
    at += 4;
    if (word === 0) {
      return at + (flags & FLAG_CONTENT_CHECKSUM ? 4 : 0);
    }
    const size = word % NOT_COMPRESSED;
    if (at + size > input.length) {
      throw new RangeError("block outside the input");
    }
    if (word >= NOT_COMPRESSED) {
      output.append(input, at, size);
    } else {
      inflateBlock(input, at, at + size, output);
    }
    at += size + (flags & FLAG_BLOCK_CHECKSUM ? 4 : 0);
  }
}
