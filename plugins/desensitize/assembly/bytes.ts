/**
 * Copying and comparing short byte runs sixteen at a time.
 *
 * Both copy and compare touch up to 15 bytes past the end they are given: sources are followed by 64 readable
 * bytes (plugins/ABI.md), and targets by slack that is overwritten later.
 */

/** 16 bytes of 0xff, then 16 of 0: loaded at 16 - n it is a mask of the first n bytes. */
const LEADING: usize = memory.data<u8>(
  [
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  ],
  16,
);

/** From here on memory.copy is faster than the loop. */
const BULK_BYTES: usize = 256;

/** Mask whose first `count` bytes, 0..16, are 0xff and whose others are 0. */
// @ts-ignore: decorator
@inline
export function leadingMask(count: usize): v128 {
  return v128.load(LEADING + 16 - count);
}

/** Copies `count` bytes and may write up to 15 more; returns the end of the copy. */
// @ts-ignore: decorator
@inline
export function copyBytes(to: usize, from: usize, count: usize): usize {
  if (count >= BULK_BYTES) {
    memory.copy(to, from, count);
  } else {
    for (let i: usize = 0; i < count; i += 16) v128.store(to + i, v128.load(from + i));
  }
  return to + count;
}

/**
 * Copies `count` bytes, mostly more than 16, and may write up to 32 more and read 31 more; returns the end of the copy.
 * One step in most cases: how long a value is cannot be predicted, so each step less is a wrong guess less.
 */
// @ts-ignore: decorator
@inline
export function copyWide(to: usize, from: usize, count: usize): usize {
  if (count >= BULK_BYTES) {
    memory.copy(to, from, count);
  } else {
    let i: usize = 0;
    do {
      v128.store(to + i, v128.load(from + i));
      v128.store(to + i, v128.load(from + i, 16), 16);
      i += 32;
    } while (i < count);
  }
  return to + count;
}

/** Writes one byte `count` times and may write up to 15 more; returns the end. */
// @ts-ignore: decorator
@inline
export function fillBytes(to: usize, byte: u8, count: usize): usize {
  if (count >= BULK_BYTES) {
    memory.fill(to, byte, count);
  } else {
    const bytes = i8x16.splat(byte);
    for (let i: usize = 0; i < count; i += 16) v128.store(to + i, bytes);
  }
  return to + count;
}

/** Whether `count` bytes at `a` and at `b` are the same. */
// @ts-ignore: decorator
@inline
export function sameBytes(a: usize, b: usize, count: usize): bool {
  while (count > 16) {
    if (v128.any_true(v128.xor(v128.load(a), v128.load(b)))) return false;
    a += 16;
    b += 16;
    count -= 16;
  }
  const difference = v128.xor(v128.load(a), v128.load(b));
  return !v128.any_true(v128.and(difference, leadingMask(count)));
}

/** Which of two byte strings comes first: below 0 the first, above 0 the second, 0 when they are the same. */
export function compareBytes(a: usize, aBytes: usize, b: usize, bBytes: usize): i32 {
  const shared = min<usize>(aBytes, bBytes);
  for (let i: usize = 0; i < shared; i++) {
    const difference = <i32>load<u8>(a + i) - <i32>load<u8>(b + i);
    if (difference) return difference;
  }
  return <i32>aBytes - <i32>bBytes;
}
