/**
 * Decompression of snappy, raw and in the framing of xerial's snappy-java, as other producers may write it into `raw`.
 *
 * Written here because the maintained package for it is native code, for a format of three kinds of elements. Source:
 * google/snappy format_description.txt; the framing of snappy-java's SnappyOutputStream, which the Java client uses.
 * Must not write outside the length that the block announces, nor that beyond `mostBytes`.
 */

/** 0x82 "SNAPPY" 0x00, then two int32 versions. */
const XERIAL_MAGIC = Buffer.from("82534e4150505900", "hex");
const XERIAL_HEADER_BYTES = 16;
const MOST_LENGTH_BYTES = 5;

/** The length before a raw block: an unsigned varint. */
function readLength(input: Buffer): { length: number; at: number } {
  let length = 0;
  for (let at = 0; at < MOST_LENGTH_BYTES; at += 1) {
    const byte = input.readUInt8(at);
    length += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) {
      return { length, at: at + 1 };
    }
  }
  throw new RangeError("a length of more than 32 bits");
}

/** Where a literal's bytes begin and how many they are; lengths of 60 to 63 say how many bytes the length has. */
function literal(input: Buffer, at: number): { from: number; count: number } {
  const short = input.readUInt8(at) >>> 2;
  if (short < 60) {
    return { from: at + 1, count: short + 1 };
  }
  const lengthBytes = short - 59;
  return { from: at + 1 + lengthBytes, count: input.readUIntLE(at + 1, lengthBytes) + 1 };
}

/** A back reference and where the next element begins. */
function copyOf(input: Buffer, at: number): { distance: number; count: number; next: number } {
  const tag = input.readUInt8(at);
  switch (tag & 3) {
    case 1:
      return {
        distance: ((tag >>> 5) << 8) | input.readUInt8(at + 1),
        count: ((tag >>> 2) & 7) + 4,
        next: at + 2,
      };
    case 2:
      return { distance: input.readUInt16LE(at + 1), count: (tag >>> 2) + 1, next: at + 3 };
    default:
      return { distance: input.readUInt32LE(at + 1), count: (tag >>> 2) + 1, next: at + 5 };
  }
}

function inflateBlock(input: Buffer, mostBytes: number): Buffer {
  const { length, at: start } = readLength(input);
  if (length > mostBytes) {
    throw new RangeError("more output than allowed");
  }
  const output = Buffer.allocUnsafeSlow(length);
  let written = 0;
  let at = start;
  while (at < input.length) {
    if ((input.readUInt8(at) & 3) === 0) {
      const { from, count } = literal(input, at);
      if (from + count > input.length || written + count > length) {
        throw new RangeError("literal outside its bounds");
      }
      input.copy(output, written, from, from + count);
      written += count;
      at = from + count;
    } else {
      const { distance, count, next } = copyOf(input, at);
      if (distance === 0 || distance > written || written + count > length) {
        throw new RangeError("copy outside its bounds");
      }
      for (const end = written + count; written < end; written += 1) {
        // Because written - distance lies in what was written before.
        output[written] = output[written - distance] as number;
      }
      at = next;
    }
  }
  if (written !== length) {
    throw new RangeError("fewer bytes than announced");
  }
  return output;
}

/**
 * Content of a snappy block, or of the blocks of a xerial stream.
 * @throws RangeError when it is no such thing or holds more than `mostBytes`
 */
export function snappyInflate(input: Buffer, mostBytes: number): Buffer {
  if (!input.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) {
    return inflateBlock(input, mostBytes);
  }
  const blocks: Buffer[] = [];
  let room = mostBytes;
  for (let at = XERIAL_HEADER_BYTES; at < input.length; ) {
    const size = input.readInt32BE(at);
    at += 4;
    if (size < 0 || at + size > input.length) {
      throw new RangeError("block outside the input");
    }
    const block = inflateBlock(input.subarray(at, at + size), room);
    room -= block.length;
    blocks.push(block);
    at += size;
  }
  return Buffer.concat(blocks);
}
