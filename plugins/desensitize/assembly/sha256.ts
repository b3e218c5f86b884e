/**
 * SHA-256 of one message, and the two HMAC midstates of a key (FIPS 180-4, RFC 2104).
 *
 * The scalar path: used for key set-up and for messages too long for the four-lane queue.
 */
import { INITIAL_STATE, compressOne, forgetSchedule } from "./sha256-rounds";

const BLOCK_BYTES: usize = 64;
export const DIGEST_BYTES: usize = 32;
/** An HMAC key ready for use: 32 bytes of inner midstate, then 32 of outer, as native words. */
export const KEY_STATE_BYTES: usize = 64;

const TAIL: usize = memory.data(128, 16);
const STATE: usize = memory.data(32, 16);
const KEY_BLOCK: usize = memory.data(64, 16);

/**
 * Absorbs `length` bytes and the padding into `state` (8 native words).
 * @param before bytes absorbed into `state` already, a multiple of 64; the padding counts them
 */
export function absorb(state: usize, data: usize, length: usize, before: u64): void {
  const bits = (<u64>length + before) << 3;
  while (length >= BLOCK_BYTES) {
    compressOne(state, data);
    data += BLOCK_BYTES;
    length -= BLOCK_BYTES;
  }
  // One bit, zeros and a 64-bit length must fit: 55 bytes is the most that leave room for them in the same block.
  const tailBytes: usize = length < 56 ? 64 : 128;
  memory.fill(TAIL, 0, 128);
  memory.copy(TAIL, data, length);
  store<u8>(TAIL + length, 0x80);
  store<u64>(TAIL + tailBytes - 8, bswap<u64>(bits));
  compressOne(state, TAIL);
  if (tailBytes == 128) compressOne(state, TAIL + 64);
}

/** Writes the 8 native words of `state` as the 32 big-endian bytes of a digest. */
export function writeDigest(state: usize, out: usize): void {
  for (let i: usize = 0; i < DIGEST_BYTES; i += 4) store<u32>(out + i, bswap<u32>(load<u32>(state + i)));
}

/** SHA-256 of `length` bytes into 32 bytes at `out`. */
export function digest(data: usize, length: usize, out: usize): void {
  memory.copy(STATE, INITIAL_STATE, DIGEST_BYTES);
  absorb(STATE, data, length, 0);
  writeDigest(STATE, out);
}

/** HMAC-SHA-256 of a message of any length into 32 bytes at `out`; `keyState` from {@link prepareKey}. */
export function authenticate(keyState: usize, data: usize, length: usize, out: usize): void {
  memory.copy(STATE, keyState, DIGEST_BYTES);
  absorb(STATE, data, length, BLOCK_BYTES);
  writeDigest(STATE, out);
  memory.copy(STATE, keyState + DIGEST_BYTES, DIGEST_BYTES);
  absorb(STATE, out, DIGEST_BYTES, BLOCK_BYTES);
  writeDigest(STATE, out);
}

/** Derives the midstates of a key into `keyState` and forgets every copy of the key but the caller's. */
export function prepareKey(key: usize, length: usize, keyState: usize): void {
  memory.fill(KEY_BLOCK, 0, BLOCK_BYTES);
  // RFC 2104 section 2: a key longer than a block is hashed first.
  if (length > BLOCK_BYTES) digest(key, length, KEY_BLOCK);
  else memory.copy(KEY_BLOCK, key, length);
  for (let i: usize = 0; i < BLOCK_BYTES; i++) store<u8>(KEY_BLOCK + i, load<u8>(KEY_BLOCK + i) ^ 0x36);
  memory.copy(keyState, INITIAL_STATE, DIGEST_BYTES);
  compressOne(keyState, KEY_BLOCK);
  for (let i: usize = 0; i < BLOCK_BYTES; i++) store<u8>(KEY_BLOCK + i, load<u8>(KEY_BLOCK + i) ^ 0x36 ^ 0x5c);
  memory.copy(keyState + DIGEST_BYTES, INITIAL_STATE, DIGEST_BYTES);
  compressOne(keyState + DIGEST_BYTES, KEY_BLOCK);
  memory.fill(KEY_BLOCK, 0, BLOCK_BYTES);
  memory.fill(TAIL, 0, 128);
  memory.fill(STATE, 0, DIGEST_BYTES);
  forgetSchedule();
}
