/**
 * out[row] = sum_i w[row][i] * x[i] + b[row] modulo q on residues, for small integers w: dense and sparse layers.
 *
 * With one ciphertext per feature (batch axis) a weight is the same for every slot, hence the same integer for every
 * residue in NTT form: a layer needs no encoding and no transform. Equal, bit for bit modulo q, to SEAL's multiplyPlain
 * and add with the same integers. Source of the idea: findings/encrypted-prediction.md ("The kernel").
 *
 * Why it is exact. Let q < 2^49 and W = sum |w| + 1 <= 2^27 over one row (the 1 is for the bias; the host checks both).
 *   Halves:  h = nearest(x 2^-25), l = x - h 2^25. |x| <= q (loaders below), so |h| <= 2^24, |l| <= 2^24; scaling by a
 *            power of two and the difference are exact.
 *   Sums:    H = sum w h, L = sum w l. Every product and partial sum is an integer of at most W 2^24 <= 2^51: exact in
 *            f64, so that a fused and a split multiply-add give the same. H and L start at the bias' halves.
 *   Reduce:  S = H 2^25 + L is the answer, |S| <= W q (1 + 2^-23). c = nearest(S' / q) with S' the rounded S and 1/q
 *            rounded: relative error below 2^-51, and |c| <= 2^27 + 1, so that c differs from S / q by less than
 *            1/2 + 2^-23. With q = Q 2^25 + p, |Q| <= 2^24, |p| <= 2^24 (halves as above): c Q, c p are at most
 *            2^51 + 2^24, e = H - c Q and f = L - c p at most 2^53: exact integers. r = e 2^25 + f is S - c q, so
 *            |r| <= q (1/2 + 2^-23) < 2^49. e 2^25 is a power-of-two scaling and the sum's exact value fits: exact.
 * So the result is the balanced residue, |r| < q, which is ring form. No other bound on q is used: q > 2 is enough.
 *
 * Shape of the work. A tile holds, for each pair of coefficients, all inputs' halves side by side:
 * [pair][input][h: 2 x f64, l: 2 x f64]. A block is up to four rows that read the same columns; per column it loads one
 * h, one l and four weights for eight multiply-adds, so that the arithmetic and not the loads decides the speed. The host
 * sizes tiles to the cache.
 */

const HALF: f64 = 33554432.0;
const HALF_INVERSE: f64 = 1.0 / 33554432.0;
/** Bytes of one input in a pair of a tile. */
const ENTRY: usize = 32;

// @ts-ignore: decorator
@inline
function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f64x2.relaxed_madd(a, b, c);
  return f64x2.add(f64x2.mul(a, b), c);
}

// @ts-ignore: decorator
@inline
function storeHalves(x: v128, at: usize): void {
  const high = f64x2.nearest(f64x2.mul(x, f64x2.splat(HALF_INVERSE)));
  v128.store(at, high);
  v128.store(at, f64x2.sub(x, f64x2.mul(high, f64x2.splat(HALF))), 16);
}

/**
 * Fills a tile from limbs in ring form.
 * @param sources u32[inputs]: address of each input's limb
 * @param from byte offset of the first pair in a limb
 */
export function loadRingTile(sources: usize, inputs: usize, from: usize, pairs: usize, tile: usize): void {
  const step = inputs * ENTRY;
  for (let input: usize = 0; input < inputs; input++) {
    let source = <usize>load<u32>(sources + (input << 2)) + from;
    let at = tile + input * ENTRY;
    for (let pair: usize = 0; pair < pairs; pair++) {
      storeHalves(v128.load(source), at);
      source += 16;
      at += step;
    }
  }
}

/**
 * Fills a tile straight from tight bits (`bits.ts`), pair i from residues i and i + half, and notes in `flags` what it
 * saw of each input: bit 0 a residue >= q, bit 1 a residue other than zero. A tile with bit 0 set must not be used.
 * @param sources u32[inputs]: first byte of each input's limb; 8 bytes behind the last one must be readable
 * @param flags u32[inputs], or-ed into
 * @param first first pair of the tile
 * @param half N / 2
 * @param bits of a residue, 1..49
 */
export function loadBitsTile(
  sources: usize, inputs: usize, flags: usize, first: usize, pairs: usize, tile: usize, half: usize, bits: usize, q: f64,
): void {
  const step = inputs * ENTRY;
  const mask: u64 = (<u64>1 << bits) - 1;
  const magic = i64x2.splat(0x4330000000000000);
  const prime = f64x2.splat(q);
  for (let input: usize = 0; input < inputs; input++) {
    const source = <usize>load<u32>(sources + (input << 2));
    let at = tile + input * ENTRY;
    let low = first * bits;
    let high = (first + half) * bits;
    let large = i64x2.splat(0);
    let seen = i64x2.splat(0);
    for (let pair: usize = 0; pair < pairs; pair++) {
      const a = (load<u64>(source + (low >> 3)) >> (low & 7)) & mask;
      const b = (load<u64>(source + (high >> 3)) >> (high & 7)) & mask;
      const words = i64x2.replace_lane(i64x2.splat(a), 1, b);
      seen = v128.or(seen, words);
      // The magic number: 2^52 + x has x as its mantissa.
      const x = f64x2.sub(v128.or(words, magic), magic);
      large = v128.or(large, f64x2.ge(x, prime));
      storeHalves(x, at);
      low += bits;
      high += bits;
      at += step;
    }
    const flag = flags + (input << 2);
    store<u32>(flag, load<u32>(flag) | u32(v128.any_true(large)) | (u32(v128.any_true(seen)) << 1));
  }
}

// @ts-ignore: decorator
@inline
function reduce(high: v128, low: v128, qHigh: v128, qLow: v128, inverse: v128): v128 {
  const half = f64x2.splat(HALF);
  const c = f64x2.nearest(f64x2.mul(f64x2.add(f64x2.mul(high, half), low), inverse));
  const e = f64x2.sub(high, f64x2.mul(c, qHigh));
  const f = f64x2.sub(low, f64x2.mul(c, qLow));
  return f64x2.add(f64x2.mul(e, half), f);
}

// @ts-ignore: decorator
@inline
function emit(out: usize, at: usize, value: v128): void {
  if (out != 0) v128.store(out + at, value);
}

/** Bytes of a block's description; see `accumulateBlocks`. */
const BLOCK: usize = 32;

/**
 * Runs every block over a tile and stores the rows' pairs.
 * @param blocks of {columns u32, columnsAt u32, weightsAt u32, biasAt u32, out u32[4]}: how many columns the rows read;
 *   u32[columns] byte offsets input * 32; f64[columns][4] weights; f64[4][2] the biases' halves; the rows' limbs, 0 for
 *   a row that is only padding
 * @param from byte offset of the tile's first pair in a limb
 */
export function accumulateBlocks(
  blocks: usize, count: usize, tile: usize, inputs: usize, from: usize, pairs: usize, q: f64,
): void {
  const step = inputs * ENTRY;
  const qh = nearest(q * HALF_INVERSE);
  const qHigh = f64x2.splat(qh);
  const qLow = f64x2.splat(q - qh * HALF);
  const inverse = f64x2.splat(1.0 / q);
  const end = blocks + count * BLOCK;
  for (let block = blocks; block < end; block += BLOCK) {
    const columns = <usize>load<u32>(block);
    const columnsAt = <usize>load<u32>(block, 4);
    const weightsAt = <usize>load<u32>(block, 8);
    const bias = <usize>load<u32>(block, 12);
    const o0 = <usize>load<u32>(block, 16), o1 = <usize>load<u32>(block, 20);
    const o2 = <usize>load<u32>(block, 24), o3 = <usize>load<u32>(block, 28);
    const last = columnsAt + (columns << 2);
    let base = tile;
    let at = from;
    for (let pair: usize = 0; pair < pairs; pair++) {
      let h0 = v128.load_splat<f64>(bias), l0 = v128.load_splat<f64>(bias, 8);
      let h1 = v128.load_splat<f64>(bias, 16), l1 = v128.load_splat<f64>(bias, 24);
      let h2 = v128.load_splat<f64>(bias, 32), l2 = v128.load_splat<f64>(bias, 40);
      let h3 = v128.load_splat<f64>(bias, 48), l3 = v128.load_splat<f64>(bias, 56);
      let weight = weightsAt;
      for (let column = columnsAt; column < last; column += 4) {
        const entry = base + <usize>load<u32>(column);
        const h = v128.load(entry), l = v128.load(entry, 16);
        let w = v128.load_splat<f64>(weight);
        h0 = madd(h, w, h0);
        l0 = madd(l, w, l0);
        w = v128.load_splat<f64>(weight, 8);
        h1 = madd(h, w, h1);
        l1 = madd(l, w, l1);
        w = v128.load_splat<f64>(weight, 16);
        h2 = madd(h, w, h2);
        l2 = madd(l, w, l2);
        w = v128.load_splat<f64>(weight, 24);
        h3 = madd(h, w, h3);
        l3 = madd(l, w, l3);
        weight += 32;
      }
      emit(o0, at, reduce(h0, l0, qHigh, qLow, inverse));
      emit(o1, at, reduce(h1, l1, qHigh, qLow, inverse));
      emit(o2, at, reduce(h2, l2, qHigh, qLow, inverse));
      emit(o3, at, reduce(h3, l3, qHigh, qLow, inverse));
      base += step;
      at += 16;
    }
  }
}
