/**
 * CRC-32C (Castagnoli), the checksum of Kafka's record batches: RFC 3720 appendix B.4, reflected polynomial 0x82F63B78.
 *
 * Slice-by-8 (Kounavis and Berry, 2005): eight table look-ups for eight bytes, about 1.5 GB/s in V8 against 0.4 GB/s of
 * the one-table loop. `node:zlib` has CRC-32 only, whose polynomial is another one. Must not be used as a
 * defence against anybody: it finds accidents.
 */

const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;
const ENTRIES = 256;

/** Row k holds the checksum of a byte that is followed by k zero bytes. Written once, here. */
const TABLE: Readonly<Int32Array> = buildTable();

function buildTable(): Int32Array {
  const table = new Int32Array(SLICES * ENTRIES);
  for (let byte = 0; byte < ENTRIES; byte += 1) {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit += 1) {
      remainder = remainder & 1 ? (remainder >>> 1) ^ POLYNOMIAL : remainder >>> 1;
    }
    table[byte] = remainder;
  }
  for (let at = ENTRIES; at < table.length; at += 1) {
    const before = table[at - ENTRIES] ?? 0;
    table[at] = (before >>> 8) ^ (table[before & 0xff] ?? 0);
  }
  return table;
}

/**
 * Checksum of `bytes[from, to)` as an unsigned 32-bit number.
 * @throws RangeError when the range lies outside the bytes
 */
export function crc32c(bytes: Uint8Array, from = 0, to = bytes.byteLength): number {
  if (!(from >= 0 && from <= to && to <= bytes.byteLength)) {
    throw new RangeError("the range lies outside the bytes");
  }
  // Because every index below is inside its array, `as number` only tells the compiler what the checks above say.
  const table = TABLE;
  let crc = -1;
  let at = from;
  for (const last = to - 7; at < last; at += 8) {
    const word =
      crc ^
      ((bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24));
    crc =
      (table[1792 + (word & 0xff)] as number) ^
      (table[1536 + ((word >>> 8) & 0xff)] as number) ^
      (table[1280 + ((word >>> 16) & 0xff)] as number) ^
      (table[1024 + (word >>> 24)] as number) ^
      (table[768 + (bytes[at + 4] as number)] as number) ^
      (table[512 + (bytes[at + 5] as number)] as number) ^
      (table[256 + (bytes[at + 6] as number)] as number) ^
      (table[bytes[at + 7] as number] as number);
  }
  for (; at < to; at += 1) {
    crc = (table[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8);
  }
  return (crc ^ -1) >>> 0;
}
