/**
 * HMAC-SHA-256 of many short messages, four at a time, written as 64 lowercase hexadecimal digits or in another form.
 *
 * A message waits in the queue of its number of blocks until three others of the same number have come; then all
 * four go through the compression function together, one in each 32-bit lane. Each lane starts from its own key's
 * midstate, so keys may mix. Whoever pushes a message keeps it and its place in the output where they are until
 * flush(). Sources: FIPS 180-4, RFC 2104.
 */
import { leadingMask } from "./bytes";
import { HEX, writeDigestIn } from "./digest-text";
import { compressFour } from "./sha256-rounds";
import { authenticate } from "./sha256";

/** Longest message that is queued, in blocks with padding: 8 blocks hold 503 bytes; longer ones gain little. */
const MAX_BLOCKS: usize = 8;
/** Four each of u32 message, length, out, keyState, form. */
const QUEUE_BYTES: usize = 80;
/** Hexadecimal digits of a digest. */
export const HEX_BYTES: usize = 64;

const QUEUES: usize = memory.data(640, 16);
const COUNTS: usize = memory.data(32, 16);
const WORDS: usize = memory.data(256, 16);
const STATES: usize = memory.data(128, 16);
const START: usize = memory.data(128, 16);
const DIGEST: usize = memory.data(32, 16);
const DIGESTS: usize = memory.data(128, 16);

/** The outer block: words 0..7 are the inner digest, the rest is fixed (0x80, zeros, 96 bytes = 768 bits). */
const OUTER: usize = memory.data(256, 16);

/** 32 zeros, 0x80, zeros: loaded at 32 - n it has the padding's first bit at byte n of a vector. */
const PADDING: usize = memory.data<u8>(
  [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  ],
  16,
);

// @ts-ignore: decorator
@inline
function bigEndian(v: v128): v128 {
  return i8x16.shuffle(v, v, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

/** Bytes 16 * index .. + 15 of a padded message, without the length, as big-endian words. */
// @ts-ignore: decorator
@inline
function paddedChunk(message: usize, length: i32, index: i32): v128 {
  const left = length - (index << 4);
  // Past the message only zeros and the padding bit count: load anything readable and mask it away.
  const from = left > 0 ? message + (index << 4) : message;
  const inside = max<i32>(0, min<i32>(16, left));
  const data = v128.and(v128.load(from), leadingMask(inside));
  const bit = v128.load(PADDING + 32 - max<i32>(-1, min<i32>(16, left)));
  // left = -1 loads from 33 on, where no bit is set; left = 16 loads zeros before it.
  return bigEndian(v128.or(data, bit));
}

/** Turns four vectors of one lane each into four vectors of one word each, at `out`. */
// @ts-ignore: decorator
@inline
function transpose(out: usize, a: v128, b: v128, c: v128, d: v128): void {
  const ab0 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab1 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd0 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd1 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(out, i64x2.shuffle(ab0, cd0, 0, 2), 0);
  v128.store(out, i64x2.shuffle(ab0, cd0, 1, 3), 16);
  v128.store(out, i64x2.shuffle(ab1, cd1, 0, 2), 32);
  v128.store(out, i64x2.shuffle(ab1, cd1, 1, 3), 48);
}

/** Gathers the four keys' midstates, inner at `offset` 0 or outer at 32, into 8 vectors at `out`. */
// @ts-ignore: decorator
@inline
function gatherStates(queue: usize, offset: usize, out: usize): void {
  const k0 = <usize>load<u32>(queue, 48) + offset;
  const k1 = <usize>load<u32>(queue, 52) + offset;
  const k2 = <usize>load<u32>(queue, 56) + offset;
  const k3 = <usize>load<u32>(queue, 60) + offset;
  transpose(out, v128.load(k0), v128.load(k1), v128.load(k2), v128.load(k3));
  transpose(out + 64, v128.load(k0, 16), v128.load(k1, 16), v128.load(k2, 16), v128.load(k3, 16));
}

/** Writes 16 bytes as 32 hexadecimal digits. */
// @ts-ignore: decorator
@inline
function writeHex(out: usize, bytes: v128): void {
  const high = i8x16.shr_u(bytes, 4);
  const low = v128.and(bytes, i8x16.splat(15));
  const digits = v128.load(HEX);
  const left = i8x16.shuffle(high, low, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const right = i8x16.shuffle(high, low, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  v128.store(out, i8x16.swizzle(digits, left));
  v128.store(out, i8x16.swizzle(digits, right), 16);
}

/** Writes words 0..3 (`half` 0) or 4..7 (`half` 1) of the four digests in STATES to their places. */
// @ts-ignore: decorator
@inline
function writeHalf(queue: usize, half: usize): void {
  const words = STATES + (half << 6);
  const at = half << 5;
  // Transposing twice is the identity: the words of one lane come together again.
  transpose(WORDS, v128.load(words), v128.load(words, 16), v128.load(words, 32), v128.load(words, 48));
  writeHex(<usize>load<u32>(queue, 32) + at, bigEndian(v128.load(WORDS)));
  writeHex(<usize>load<u32>(queue, 36) + at, bigEndian(v128.load(WORDS, 16)));
  writeHex(<usize>load<u32>(queue, 40) + at, bigEndian(v128.load(WORDS, 32)));
  writeHex(<usize>load<u32>(queue, 44) + at, bigEndian(v128.load(WORDS, 48)));
}

/** Writes the four digests in STATES, each in its own form. */
function writeForms(queue: usize): void {
  for (let half: usize = 0; half < 2; half++) {
    const words = STATES + (half << 6);
    transpose(WORDS, v128.load(words), v128.load(words, 16), v128.load(words, 32), v128.load(words, 48));
    for (let lane: usize = 0; lane < 4; lane++) {
      v128.store(DIGESTS + (lane << 5) + (half << 4), bigEndian(v128.load(WORDS + (lane << 4))));
    }
  }
  for (let lane: usize = 0; lane < 4; lane++) {
    const slot = queue + (lane << 2);
    writeDigestIn(load<u32>(slot, 64), DIGESTS + (lane << 5), load<u32>(slot, 32));
  }
}

function run(queue: usize, blocks: usize): void {
  const m0 = <usize>load<u32>(queue), m1 = <usize>load<u32>(queue, 4);
  const m2 = <usize>load<u32>(queue, 8), m3 = <usize>load<u32>(queue, 12);
  const l0 = load<i32>(queue, 16), l1 = load<i32>(queue, 20);
  const l2 = load<i32>(queue, 24), l3 = load<i32>(queue, 28);
  gatherStates(queue, 0, STATES);
  for (let block: i32 = 0; block < <i32>blocks; block++) {
    for (let i: i32 = 0; i < 4; i++) {
      const index = (block << 2) + i;
      const out = WORDS + (<usize>i << 6);
      transpose(out, paddedChunk(m0, l0, index), paddedChunk(m1, l1, index), paddedChunk(m2, l2, index), paddedChunk(m3, l3, index));
    }
    if (block == <i32>blocks - 1) {
      // Bits of the ipad block and of the message; they fit in 32 bits, so word 14 stays zero.
      v128.store(WORDS + 240, i32x4.shl(i32x4.add(v128.load(queue, 16), i32x4.splat(64)), 3));
    }
    compressFour(STATES, WORDS, STATES);
  }
  memory.copy(OUTER, STATES, 128);
  gatherStates(queue, 32, START);
  compressFour(START, OUTER, STATES);
  if (v128.any_true(v128.load(queue, 64))) {
    writeForms(queue);
    return;
  }
  writeHalf(queue, 0);
  writeHalf(queue, 1);
}

/** Must be called once before the first push. */
export function prepareLanes(): void {
  memory.fill(OUTER + 128, 0, 128);
  v128.store(OUTER + 128, i32x4.splat(0x80000000));
  v128.store(OUTER + 240, i32x4.splat(768));
}

/**
 * Queues one message.
 * @param keyState from prepareKey(); @param message readable up to 16 bytes past its end; @param out where
 * the digest is written, at the latest by flush() @param form 0, or as digest-text.ts has it
 */
export function push(keyState: usize, message: usize, length: usize, out: usize, form: u32): void {
  const blocks = (length + 72) >> 6;
  if (blocks > MAX_BLOCKS) {
    authenticate(keyState, message, length, DIGEST);
    writeDigestIn(form, DIGEST, out);
    return;
  }
  const queue = QUEUES + (blocks - 1) * QUEUE_BYTES;
  const counter = COUNTS + ((blocks - 1) << 2);
  const count = load<u32>(counter);
  const slot = queue + (count << 2);
  store<u32>(slot, <u32>message);
  store<u32>(slot, <u32>length, 16);
  store<u32>(slot, <u32>out, 32);
  store<u32>(slot, <u32>keyState, 48);
  store<u32>(slot, form, 64);
  if (count == 3) {
    store<u32>(counter, 0);
    run(queue, blocks);
  } else {
    store<u32>(counter, count + 1);
  }
}

/** Finishes every message in the queues. */
export function flush(): void {
  for (let blocks: usize = 1; blocks <= MAX_BLOCKS; blocks++) {
    const queue = QUEUES + (blocks - 1) * QUEUE_BYTES;
    const counter = COUNTS + ((blocks - 1) << 2);
    const count = load<u32>(counter);
    if (!count) continue;
    // Idle lanes repeat the first message: the same digest is written twice to the same place.
    for (let i = count; i < 4; i++) {
      const slot = queue + (i << 2);
      for (let part: usize = 0; part < QUEUE_BYTES; part += 16) store<u32>(slot + part, load<u32>(queue + part));
    }
    store<u32>(counter, 0);
    run(queue, blocks);
  }
}

/** Forgets queued messages: the batch they lie in is gone. */
export function discard(): void {
  memory.fill(COUNTS, 0, 32);
}
