/**
 * Values that stand for a value by keyed hash: one of a list, or a text of the same form.
 *
 * The same value under the same key always becomes the same. Neither is one to one: two values may share what they
 * become. Bytes come from HMAC-SHA-256: the seed is that of the value, block n that of the seed and n (u32, big-endian).
 */
import { FIELD_DATA, FIELD_KEY } from "./fields";
import { authenticate } from "./sha256";

const SEED_BYTES: usize = 32;
/** The seed and, behind it, the number of the block. */
const MESSAGE: usize = memory.data(64, 16);
const BLOCK: usize = memory.data(32, 16);

let taken: usize = 0;
let blocks: u32 = 0;

/** Begins a stream of bytes for what lies from `start` to `end`. */
export function seed(keyState: usize, start: usize, end: usize): void {
  authenticate(keyState, start, end - start, MESSAGE);
  taken = SEED_BYTES;
  blocks = 0;
}

/** The next 32 bits of the stream. */
export function nextWord(keyState: usize): u32 {
  if (taken == SEED_BYTES) {
    store<u32>(MESSAGE, bswap<u32>(blocks++), SEED_BYTES);
    authenticate(keyState, MESSAGE, SEED_BYTES + 4, BLOCK);
    taken = 0;
  }
  const word = bswap<u32>(load<u32>(BLOCK + taken));
  taken += 4;
  return word;
}

/** A number from 0 to below - 1; with 32 bits for one of at most 26 the most frequent is 2^-27 more so. */
function next(keyState: usize, below: u32): u32 {
  return nextWord(keyState) % below;
}

/** Start of the text that a value picks; pickedEnd is its end. FIELD_DATA: count, then offset and length of each. */
export let pickedEnd: usize = 0;

export function pick(field: usize, start: usize, end: usize): usize {
  const data = <usize>load<u32>(field, FIELD_DATA);
  authenticate(load<u32>(field, FIELD_KEY), start, end - start, BLOCK);
  const index = bswap<u64>(load<u64>(BLOCK)) % <u64>load<u32>(data);
  const row = data + 4 + (<usize>index << 3);
  const text = data + load<u32>(row);
  pickedEnd = text + load<u32>(row, 4);
  return text;
}

/**
 * Writes a text of the same form: digits for digits, letters for letters of the same case, other ASCII as it is, and
 * a lowercase letter for each character beyond ASCII, whose script would say too much. Never longer. Returns the end.
 */
export function fake(field: usize, start: usize, end: usize, out: usize): usize {
  const key = <usize>load<u32>(field, FIELD_KEY);
  seed(key, start, end);
  for (let p = start; p < end; p++) {
    const byte: u32 = load<u8>(p);
    // The rest of a character whose first byte has been replaced.
    if ((byte & 0xc0) == 0x80) continue;
    if (byte - 0x30 < 10) store<u8>(out, 0x30 + next(key, 10));
    else if (byte - 0x41 < 26) store<u8>(out, 0x41 + next(key, 26));
    else if (byte - 0x61 < 26 || byte >= 0x80) store<u8>(out, 0x61 + next(key, 26));
    else store<u8>(out, byte);
    out++;
  }
  return out;
}
