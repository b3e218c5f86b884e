/**
 * FF1, format-preserving encryption (NIST SP 800-38G revision 1, algorithm 7), of numerals 0 .. radix - 1, one a byte.
 *
 * A Feistel network of ten rounds over the two halves, whose round function is the CBC-MAC of AES. Numbers are lists of
 * u32 limbs, the least first. Limits of length are the caller's business (requirement: radix^length >= 1,000,000).
 */
import { encryptBlock } from "./aes";

/** Most numerals: halves of 64, of at most 331 bits each. */
export const FF1_MOST: u32 = 128;
export const FF1_MOST_TWEAK: usize = 1024;

/** Limbs of a number: 331 bits are 11, and S has two more words. */
const LIMBS: usize = memory.data(64, 16);
/** P, and the tweak, zeros, round and number of Q, padded to blocks. */
const P: usize = memory.data(16, 16);
const Q: usize = memory.data(1104, 16);
/** R, and the blocks of S behind it. */
const S: usize = memory.data(64, 16);
const COUNTED: usize = memory.data(16, 16);
/** One half of the numerals, while it changes. */
const HALF: usize = memory.data(64, 16);

/** Limbs in use, after numberOf(). */
let limbs: usize = 0;

/** Puts into LIMBS the number that `count` numerals stand for; step 6 ii's NUM. */
function numberOf(numerals: usize, count: u32, radix: u32): void {
  limbs = 0;
  for (let i: u32 = 0; i < count; i++) {
    let carry: u64 = load<u8>(numerals + i);
    for (let limb: usize = 0; limb < limbs; limb++) {
      const at = LIMBS + (limb << 2);
      carry += <u64>load<u32>(at) * radix;
      store<u32>(at, <u32>carry);
      carry >>= 32;
    }
    if (carry) store<u32>(LIMBS + (limbs++ << 2), <u32>carry);
  }
}

/** Bytes that any number of `count` numerals fits in: step 3. */
function bytesOf(count: u32, radix: u32): usize {
  memory.fill(HALF, <u8>(radix - 1), count);
  numberOf(HALF, count, radix);
  if (!limbs) return 0;
  const top = load<u32>(LIMBS + ((limbs - 1) << 2));
  return (limbs << 2) - (clz(top) >> 3);
}

/** Writes the number in LIMBS as `bytes` bytes, the most significant first. */
function writeNumber(out: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i++) {
    const limb = i >> 2;
    const word = limb < limbs ? load<u32>(LIMBS + (limb << 2)) : 0;
    store<u8>(out + bytes - 1 - i, word >> (((<u32>i) & 3) << 3));
  }
}

/** Divides the number in LIMBS by radix; answers the remainder. */
function takeNumeral(radix: u32): u32 {
  let rest: u64 = 0;
  for (let limb = limbs; limb > 0; limb--) {
    const at = LIMBS + ((limb - 1) << 2);
    rest = (rest << 32) | <u64>load<u32>(at);
    store<u32>(at, <u32>(rest / radix));
    rest %= radix;
  }
  return <u32>rest;
}

/** CBC-MAC of P and `bytes` bytes of Q into the 16 bytes at S: steps 6 i and ii. */
function authenticate(key: usize, bytes: usize): void {
  v128.store(S, v128.load(P));
  encryptBlock(key, S);
  for (let at: usize = 0; at < bytes; at += 16) {
    v128.store(S, v128.xor(v128.load(S), v128.load(Q + at)));
    encryptBlock(key, S);
  }
}

/** Puts into LIMBS the number of the first `bytes` bytes, a multiple of 4, of R || CIPH(R ^ 1) || ...: steps iii, iv. */
function stretch(key: usize, bytes: usize): void {
  for (let block: usize = 1; block << 4 < bytes; block++) {
    v128.store(COUNTED, v128.load(S));
    store<u32>(COUNTED, load<u32>(COUNTED, 12) ^ bswap<u32>(<u32>block), 12);
    encryptBlock(key, COUNTED);
    v128.store(S + (block << 4), v128.load(COUNTED));
  }
  limbs = bytes >> 2;
  for (let limb: usize = 0; limb < limbs; limb++) {
    store<u32>(LIMBS + (limb << 2), bswap<u32>(load<u32>(S + bytes - 4 - (limb << 2))));
  }
}

/** Steps 5 and 6 i, all that does not change from round to round. Returns the bytes of Q. */
function prepare(count: u32, radix: u32, tweak: usize, tweakBytes: usize, numberBytes: usize): usize {
  memory.fill(P, 0, 16);
  store<u32>(P, 0x00010201);
  store<u8>(P, radix >> 8, 4);
  store<u8>(P, radix, 5);
  store<u8>(P, 10, 6);
  store<u8>(P, count >> 1, 7);
  store<u32>(P, bswap<u32>(count), 8);
  store<u32>(P, bswap<u32>(<u32>tweakBytes), 12);
  const bytes = (tweakBytes + 1 + numberBytes + 15) & ~15;
  memory.fill(Q, 0, bytes);
  memory.copy(Q, tweak, tweakBytes);
  return bytes;
}

/**
 * Encrypts `count` numerals at `numerals` in place.
 * @param key AES round keys of expandKey(); @param count 2 to FF1_MOST; @param radix 2 to 36
 */
export function encryptNumerals(
  key: usize, radix: u32, numerals: usize, count: u32, tweak: usize, tweakBytes: usize,
): void {
  const left = count >> 1;
  const right = count - left;
  const numberBytes = bytesOf(right, radix);
  const stretched = ((numberBytes + 3) & ~3) + 4;
  const bytes = prepare(count, radix, tweak, tweakBytes, numberBytes);
  for (let round: u32 = 0; round < 10; round++) {
    // A is the half that changes, B the other; they change places by turns instead of being copied.
    const even = !(round & 1);
    const a = even ? numerals : numerals + left;
    const b = even ? numerals + left : numerals;
    const changed = even ? left : right;
    numberOf(b, even ? right : left, radix);
    store<u8>(Q + bytes - numberBytes - 1, round);
    writeNumber(Q + bytes - numberBytes, numberBytes);
    authenticate(key, bytes);
    stretch(key, stretched);
    // A + y modulo radix^m: numeral by numeral from the last; what is carried out of the first is dropped.
    let carry: u32 = 0;
    for (let i = changed; i > 0; i--) {
      const sum = <u32>load<u8>(a + i - 1) + takeNumeral(radix) + carry;
      carry = u32(sum >= radix);
      store<u8>(a + i - 1, carry ? sum - radix : sum);
    }
  }
}
