/**
 * Zigzag variable-length integers of Kafka's record format (those of Protocol Buffers, "sint32" and "sint64").
 *
 * Sizes and writing only; reading lies with the decoder, which must check every byte. 32-bit: record fields that we
 * write are lengths and deltas inside a batch of about a megabyte.
 */

/** Bytes of an integer of 32 bits. */
export function varintBytes(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  if (zigzag < 0x80) return 1;
  if (zigzag < 0x4000) return 2;
  if (zigzag < 0x20_0000) return 3;
  return zigzag < 0x1000_0000 ? 4 : 5;
}

/** Writes an integer of 32 bits at a position that has room for it; returns the position after it. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  let next = at;
  while (rest > 0x7f) {
    target[next] = (rest & 0x7f) | 0x80;
    next += 1;
    rest >>>= 7;
  }
  target[next] = rest;
  return next + 1;
}
