/**
 * The SHA-256 compression function (FIPS 180-4 section 6.2.2): once for four independent messages, one in each lane
 * of a SIMD register, and once for a single message.
 *
 * Knows nothing of padding, keys or lengths. The sixteen schedule words stay in locals; each pass of the loop does
 * sixteen rounds, so the eight working variables are back in their places when it ends.
 */

/** K of FIPS 180-4 section 4.2.2: fractional parts of the cube roots of the first 64 primes. */
const K: usize = memory.data<u32>(
  [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
  ],
  16,
);

/** H(0) of FIPS 180-4 section 5.3.3: fractional parts of the square roots of the first 8 primes. */
export const INITIAL_STATE: usize = memory.data<u32>(
  [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  ],
  16,
);

/** Schedule of the scalar function: 64 words. */
const SCHEDULE: usize = memory.data(256, 16);

// @ts-ignore: decorator
@inline
function rotate(x: v128, bits: i32): v128 {
  return v128.or(i32x4.shr_u(x, bits), i32x4.shl(x, 32 - bits));
}

/** The schedule word sixteen after `w16`: FIPS 180-4 section 6.2.2, step 1. */
// @ts-ignore: decorator
@inline
function expand(w16: v128, w15: v128, w7: v128, w2: v128): v128 {
  const s0 = v128.xor(v128.xor(rotate(w15, 7), rotate(w15, 18)), i32x4.shr_u(w15, 3));
  const s1 = v128.xor(v128.xor(rotate(w2, 17), rotate(w2, 19)), i32x4.shr_u(w2, 10));
  return i32x4.add(i32x4.add(w16, s0), i32x4.add(w7, s1));
}

/** T1 of step 3. */
// @ts-ignore: decorator
@inline
function first(e: v128, f: v128, g: v128, h: v128, k: v128, w: v128): v128 {
  const sum = v128.xor(v128.xor(rotate(e, 6), rotate(e, 11)), rotate(e, 25));
  const choice = v128.xor(v128.and(v128.xor(f, g), e), g);
  return i32x4.add(i32x4.add(i32x4.add(h, i32x4.add(w, k)), choice), sum);
}

/** T2 of step 3. */
// @ts-ignore: decorator
@inline
function second(a: v128, b: v128, c: v128): v128 {
  const sum = v128.xor(v128.xor(rotate(a, 2), rotate(a, 13)), rotate(a, 22));
  const majority = v128.xor(v128.and(v128.xor(a, b), v128.xor(b, c)), b);
  return i32x4.add(sum, majority);
}

/**
 * Compresses one block of each of four messages.
 * @param state 8 vectors: word i of the four states; @param block 16 vectors: word i of the four blocks, already
 * big-endian words; @param out 8 vectors, may be `state`
 */
export function compressFour(state: usize, block: usize, out: usize): void {
  let a = v128.load(state, 0);
  let b = v128.load(state, 16);
  let c = v128.load(state, 32);
  let d = v128.load(state, 48);
  let e = v128.load(state, 64);
  let f = v128.load(state, 80);
  let g = v128.load(state, 96);
  let h = v128.load(state, 112);
  let w0 = v128.load(block, 0);
  let w1 = v128.load(block, 16);
  let w2 = v128.load(block, 32);
  let w3 = v128.load(block, 48);
  let w4 = v128.load(block, 64);
  let w5 = v128.load(block, 80);
  let w6 = v128.load(block, 96);
  let w7 = v128.load(block, 112);
  let w8 = v128.load(block, 128);
  let w9 = v128.load(block, 144);
  let w10 = v128.load(block, 160);
  let w11 = v128.load(block, 176);
  let w12 = v128.load(block, 192);
  let w13 = v128.load(block, 208);
  let w14 = v128.load(block, 224);
  let w15 = v128.load(block, 240);
  let t: v128;
  for (let k = K; ; ) {
    t = first(e, f, g, h, v128.load32_splat(k, 0), w0); d = i32x4.add(d, t); h = i32x4.add(t, second(a, b, c));
    t = first(d, e, f, g, v128.load32_splat(k, 4), w1); c = i32x4.add(c, t); g = i32x4.add(t, second(h, a, b));
    t = first(c, d, e, f, v128.load32_splat(k, 8), w2); b = i32x4.add(b, t); f = i32x4.add(t, second(g, h, a));
    t = first(b, c, d, e, v128.load32_splat(k, 12), w3); a = i32x4.add(a, t); e = i32x4.add(t, second(f, g, h));
    t = first(a, b, c, d, v128.load32_splat(k, 16), w4); h = i32x4.add(h, t); d = i32x4.add(t, second(e, f, g));
    t = first(h, a, b, c, v128.load32_splat(k, 20), w5); g = i32x4.add(g, t); c = i32x4.add(t, second(d, e, f));
    t = first(g, h, a, b, v128.load32_splat(k, 24), w6); f = i32x4.add(f, t); b = i32x4.add(t, second(c, d, e));
    t = first(f, g, h, a, v128.load32_splat(k, 28), w7); e = i32x4.add(e, t); a = i32x4.add(t, second(b, c, d));
    t = first(e, f, g, h, v128.load32_splat(k, 32), w8); d = i32x4.add(d, t); h = i32x4.add(t, second(a, b, c));
    t = first(d, e, f, g, v128.load32_splat(k, 36), w9); c = i32x4.add(c, t); g = i32x4.add(t, second(h, a, b));
    t = first(c, d, e, f, v128.load32_splat(k, 40), w10); b = i32x4.add(b, t); f = i32x4.add(t, second(g, h, a));
    t = first(b, c, d, e, v128.load32_splat(k, 44), w11); a = i32x4.add(a, t); e = i32x4.add(t, second(f, g, h));
    t = first(a, b, c, d, v128.load32_splat(k, 48), w12); h = i32x4.add(h, t); d = i32x4.add(t, second(e, f, g));
    t = first(h, a, b, c, v128.load32_splat(k, 52), w13); g = i32x4.add(g, t); c = i32x4.add(t, second(d, e, f));
    t = first(g, h, a, b, v128.load32_splat(k, 56), w14); f = i32x4.add(f, t); b = i32x4.add(t, second(c, d, e));
    t = first(f, g, h, a, v128.load32_splat(k, 60), w15); e = i32x4.add(e, t); a = i32x4.add(t, second(b, c, d));
    k += 64;
    if (k == K + 256) break;
    w0 = expand(w0, w1, w9, w14);
    w1 = expand(w1, w2, w10, w15);
    w2 = expand(w2, w3, w11, w0);
    w3 = expand(w3, w4, w12, w1);
    w4 = expand(w4, w5, w13, w2);
    w5 = expand(w5, w6, w14, w3);
    w6 = expand(w6, w7, w15, w4);
    w7 = expand(w7, w8, w0, w5);
    w8 = expand(w8, w9, w1, w6);
    w9 = expand(w9, w10, w2, w7);
    w10 = expand(w10, w11, w3, w8);
    w11 = expand(w11, w12, w4, w9);
    w12 = expand(w12, w13, w5, w10);
    w13 = expand(w13, w14, w6, w11);
    w14 = expand(w14, w15, w7, w12);
    w15 = expand(w15, w0, w8, w13);
  }
  v128.store(out, i32x4.add(a, v128.load(state, 0)), 0);
  v128.store(out, i32x4.add(b, v128.load(state, 16)), 16);
  v128.store(out, i32x4.add(c, v128.load(state, 32)), 32);
  v128.store(out, i32x4.add(d, v128.load(state, 48)), 48);
  v128.store(out, i32x4.add(e, v128.load(state, 64)), 64);
  v128.store(out, i32x4.add(f, v128.load(state, 80)), 80);
  v128.store(out, i32x4.add(g, v128.load(state, 96)), 96);
  v128.store(out, i32x4.add(h, v128.load(state, 112)), 112);
}

/** Compresses one 64-byte block of one message into `state`, 8 words. */
export function compressOne(state: usize, block: usize): void {
  for (let i: usize = 0; i < 64; i += 4) store<u32>(SCHEDULE + i, bswap<u32>(load<u32>(block + i)));
  for (let i: usize = 64; i < 256; i += 4) {
    const w15 = load<u32>(SCHEDULE + i - 60);
    const w2 = load<u32>(SCHEDULE + i - 8);
    const s0 = rotr<u32>(w15, 7) ^ rotr<u32>(w15, 18) ^ (w15 >>> 3);
    const s1 = rotr<u32>(w2, 17) ^ rotr<u32>(w2, 19) ^ (w2 >>> 10);
    store<u32>(SCHEDULE + i, load<u32>(SCHEDULE + i - 64) + s0 + load<u32>(SCHEDULE + i - 28) + s1);
  }
  let a = load<u32>(state), b = load<u32>(state, 4), c = load<u32>(state, 8), d = load<u32>(state, 12);
  let e = load<u32>(state, 16), f = load<u32>(state, 20), g = load<u32>(state, 24), h = load<u32>(state, 28);
  for (let i: usize = 0; i < 256; i += 4) {
    const sum1 = rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25);
    const t1 = h + sum1 + (((f ^ g) & e) ^ g) + load<u32>(K + i) + load<u32>(SCHEDULE + i);
    const sum0 = rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22);
    const t2 = sum0 + (((a ^ b) & (b ^ c)) ^ b);
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  store<u32>(state, load<u32>(state) + a);
  store<u32>(state, load<u32>(state, 4) + b, 4);
  store<u32>(state, load<u32>(state, 8) + c, 8);
  store<u32>(state, load<u32>(state, 12) + d, 12);
  store<u32>(state, load<u32>(state, 16) + e, 16);
  store<u32>(state, load<u32>(state, 20) + f, 20);
  store<u32>(state, load<u32>(state, 24) + g, 24);
  store<u32>(state, load<u32>(state, 28) + h, 28);
}

/** Forgets the last block's schedule, which may be derived from key material. */
export function forgetSchedule(): void {
  memory.fill(SCHEDULE, 0, 256);
}
