/**
 * UTF-8 as RFC 3629 defines it: validation, counting and stepping by code points.
 *
 * ASCII runs are skipped sixteen bytes at a time; every other sequence is checked byte by byte against the table of
 * RFC 3629 section 4, so overlong forms, surrogates and values above U+10FFFF are refused.
 */
import { leadingMask } from "./bytes";

/** Whether the whole batch is ASCII, which is asked once: then no record need be checked for itself. */
export let allAscii: bool = false;

export function noteText(ascii: bool): void {
  allAscii = ascii;
}

// @ts-ignore: decorator
@inline
function isTail(byte: u32): bool {
  return (byte & 0xc0) == 0x80;
}

/** Length in bytes of the well-formed non-ASCII sequence at `p`, or 0. Reads no byte at or past `end`. */
function sequenceBytes(p: usize, end: usize): usize {
  const lead: u32 = load<u8>(p);
  const left = end - p;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  if (lead < 0xe0) return left >= 2 && isTail(load<u8>(p, 1)) ? 2 : 0;
  if (left < 3) return 0;
  const second: u32 = load<u8>(p, 1);
  if (!isTail(second) || !isTail(load<u8>(p, 2))) return 0;
  if (lead < 0xf0) {
    if (lead == 0xe0 && second < 0xa0) return 0;
    if (lead == 0xed && second > 0x9f) return 0;
    return 3;
  }
  if (left < 4 || !isTail(load<u8>(p, 3))) return 0;
  if (lead == 0xf0 && second < 0x90) return 0;
  if (lead == 0xf4 && second > 0x8f) return 0;
  return 4;
}

/** Whether no byte from `p` to `end` has its high bit set; at least 64 bytes behind can be read, and do not count. */
export function isAscii(p: usize, end: usize): bool {
  let seen = i64x2.splat(0);
  for (; p + 64 <= end; p += 64) {
    const low = v128.or(v128.load(p), v128.load(p, 16));
    seen = v128.or(seen, v128.or(low, v128.or(v128.load(p, 32), v128.load(p, 48))));
  }
  for (; p + 16 <= end; p += 16) seen = v128.or(seen, v128.load(p));
  if (p < end) seen = v128.or(seen, v128.and(v128.load(p), leadingMask(end - p)));
  return !i8x16.bitmask(seen);
}

/** Whether the bytes from `p` to `end` are well-formed UTF-8. */
export function isUtf8(p: usize, end: usize): bool {
  while (p < end) {
    const high = i8x16.bitmask(v128.load(p));
    if (!high) {
      p += 16;
      continue;
    }
    p += ctz(high);
    while (p < end && load<u8>(p) >= 0x80) {
      const bytes = sequenceBytes(p, end);
      if (!bytes) return false;
      p += bytes;
    }
  }
  return true;
}

/** Code points in well-formed UTF-8: the bytes that do not continue a sequence. */
export function countCodePoints(p: usize, end: usize): u32 {
  let count: u32 = 0;
  for (; p + 16 <= end; p += 16) {
    // Continuation bytes 0x80..0xbf are the signed bytes -128..-65.
    count += popcnt(i8x16.bitmask(i8x16.gt_s(v128.load(p), i8x16.splat(-65))));
  }
  for (; p < end; p++) count += u32(!isTail(load<u8>(p)));
  return count;
}

/** Where the code point after the next `count` begins; well-formed UTF-8 with at least `count` code points. */
export function afterCodePoints(p: usize, end: usize, count: u32): usize {
  for (; count; count--) {
    p++;
    while (p < end && isTail(load<u8>(p))) p++;
  }
  return p;
}

/** Where the last `count` code points before `end` begin; well-formed UTF-8 with at least that many from `start`. */
export function beforeCodePoints(start: usize, end: usize, count: u32): usize {
  for (; count; count--) {
    end--;
    while (end > start && isTail(load<u8>(end))) end--;
  }
  return end;
}
