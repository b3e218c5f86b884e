/**
 * Exactly rounded Gaussians: round(s Z) for Z ~ N(0, 1) and any double s, by comparisons of lazily drawn random digits.
 *
 * Algorithm N of Karney, Sampling exactly from the normal distribution (ACM TOMS 42, 3, 2016): uniform reals in (0, 1) are
 * sequences of digits (here of 32 bits) that are drawn when a comparison needs them, so every decision is the one that
 * real numbers would have led to. No logarithm, cosine or exponential of a double takes part.
 *   1. k >= 0 with probability proportional to e^(-k^2/2): first k whose THRESHOLDS[k] is above a uniform real. (Steps N1 and N2
 *      draw the same k by Bernoulli trials of e^(-1/2); one comparison with constants of 256 bits takes their place.)
 *   2. x uniform in (0, 1); accept with probability e^(-x(2k+x)/2), as k + 1 trials of algorithm B, each true with probability
 *      e^(-x(2k+x)/(2k+2)): the length n of the longest run x > z_1 > z_2 > ... in which every z_i also passes a test of
 *      probability (2k+x)/(2k+2) is even (von Neumann; Karney's section 3). If a trial is false, begin again with step 1.
 *   3. Z = +-(k + x). Digits of x are drawn until all reals that begin so give the same round(s (k + x)).
 * Step 3 first multiplies in doubles with a bound of the error (only +, - and x, which IEEE 754 rounds correctly); about one
 * value in 2^20 at s = 2^43 lies so near a half that BigInts decide.
 *
 * Guarantee: the distribution is that of the rounded real, but for 2^-256 a value (a uniform real that agrees with a threshold in
 * 256 bits), given uniform independent words. Values reach 19 s; beyond 18 s their probability is below 2^-233, and what
 * the thresholds leave out there is part of the 2^-256. Time and number of words depend on the values: it must not run
 * where somebody without the noise key can time single values. Must not draw words of its own.
 *
 * Order of words (part of the rows' format): step 1 one word, and the next when the first agrees with a threshold; x's first; for a
 * trial z's first; when it is below, the test's integer below 2k + 2 (Lemire's multiplication, a word, again while the low
 * half is below 2^32 mod (2k+2)): 0 fails, 1 draws r's first word and asks r < x, others pass; digits behind the first when
 * a comparison ties, for its left side first; after acceptance a word whose top bit is the sign, then x's second word.
 */

/** Fills a buffer with the next uniform words of a stream. */
export type WordSource = (words: Uint32Array) => void;

/** Words made at a time: 64 KiB of stream, whatever the length of the row. */
const WORDS_AT_A_TIME = 16_384;

/** P(K <= k) for k = 0..17 times 2^256, to nearest: e^0 + e^(-1/2) + ... + e^(-k^2/2) over the sum of all. */
const THRESHOLDS: readonly string[] = [
  "92025b19482ce72bd40241fe3d8503e0a90d8b163a7013a0107b472853e41665",
  "ea91798547a0ef93d55d4ff9ab842149f683a406378219ad5454e189748261d8",
  "fe5415c6e9da4baeeabab39c56d419be38e0391598c1226cf905de3f0a36d09d",
  "fff3523319908c11d937bd03927c2f095527786a3cee4bef63131e4073b96c3f",
  "ffffdc31b8ef5942488c43f4219a48e8d9e24cd12330590e4ea317abcaf86381",
  "ffffffdaa2d72344f06d574f25e26ea2ec37a2aba678cdd339aaa05044453fee",
  "fffffffff1a20da4272e392479b0e3d67d2ebf8fa0204b6602c8f790d9225266",
  "fffffffffffdf76c4ac9d6ef19667473d18eea62a41cce87fd974de970697b34",
  "ffffffffffffffe4e341e1b0f4764936e37cd09a5f8a15511cd14cf6a68a64f9",
  "ffffffffffffffffff7b01dedd7a579ca89dc75e2c0bf374357abb30b436397d",
  "ffffffffffffffffffffff100072148c64e7b694974e5607ed8aea0bfac4c797",
  "ffffffffffffffffffffffffff60ab69a129848782cfed83f007059c7113716a",
  "ffffffffffffffffffffffffffffffd9163aa7dfb77b6057e5b7aff21103343f",
  "fffffffffffffffffffffffffffffffffffc80f6bc17fffe80136cfb470d0179",
  "ffffffffffffffffffffffffffffffffffffffffe26a9bf55655bf1321ed936c",
  "ffffffffffffffffffffffffffffffffffffffffffffffa3e952cea666182215",
  "ffffffffffffffffffffffffffffffffffffffffffffffffffff968b8ca5a58b",
  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffd3930d",
];
const TWO_16 = 2 ** 16;
const TWO_32 = 2 ** 32;
const WORD_DIGITS = 8;
/** Their words, most significant first, 8 each. */
const THRESHOLD_WORDS = Uint32Array.from(
  THRESHOLDS.flatMap((digits) =>
    Array.from({ length: WORD_DIGITS }, (_, i) =>
      Number.parseInt(digits.slice(i * WORD_DIGITS, (i + 1) * WORD_DIGITS), 16),
    ),
  ),
);
const FIRST_THRESHOLD = THRESHOLD_WORDS[0] ?? 0;
const SECOND_THRESHOLD = THRESHOLD_WORDS[WORD_DIGITS] ?? 0;
/** 19 of them are safe integers. */
export const MAX_SCALE = 2 ** 48;

/** Digits of a uniform real behind its first word, as far as they are drawn; null: none yet. */
type Digits = number[] | null;

/** A scale, cut in two so that products with 21 bits are exact. */
interface Scale {
  readonly whole: number;
  /** Upper 26 bits. */
  readonly high: number;
  readonly low: number;
  /** Bound of the error of the products in doubles. */
  readonly error: number;
}

/**
 * Fills `target` with values of round(scale Z), independent of each other.
 * @param scale 0..2^48, a finite double
 * @param fill gives the words; those left over are forgotten
 */
export function fillWithExactGaussians(
  target: Float64Array,
  scale: number,
  fill: WordSource,
): void {
  const sampler = new Sampler(scale, fill);
  for (let index = 0; index < target.length; index += 1) target[index] = sampler.draw();
  sampler.end();
}

/** One object for all values, because fields are faster than fresh objects: this runs millions of times a second. */
class Sampler {
  readonly #scale: Scale;
  readonly #fill: WordSource;
  readonly #words = new Uint32Array(WORDS_AT_A_TIME);
  #at = WORDS_AT_A_TIME;
  /** First word of x, and what is drawn of it behind. */
  #x = 0;
  #digits: Digits = null;

  constructor(scale: number, fill: WordSource) {
    this.#scale = splitScale(scale);
    this.#fill = fill;
  }

  /** Leaves no word behind that a value was made of. */
  end(): void {
    this.#words.fill(0);
  }

  #next(): number {
    if (this.#at === WORDS_AT_A_TIME) {
      this.#fill(this.#words);
      this.#at = 0;
    }
    const word = this.#words[this.#at] ?? 0;
    this.#at += 1;
    return word;
  }

  draw(): number {
    let k = 0;
    do {
      k = this.#drawWhole();
      this.#x = this.#next();
      this.#digits = null;
    } while (!this.#accepts(k));
    const sign = this.#next() >>> 31;
    const second = this.#digits?.[0] ?? this.#next();
    const rounded = this.#round(k, second);
    return sign === 0 ? rounded : 0 - rounded;
  }

  /** Step 1. */
  #drawWhole(): number {
    const word = this.#next();
    if (word < FIRST_THRESHOLD) return 0;
    if (word > FIRST_THRESHOLD && word < SECOND_THRESHOLD) return 1;
    const digits = [word];
    let k = 0;
    while (k < THRESHOLDS.length && !this.#isBelowThreshold(digits, k)) k += 1;
    return k;
  }

  #isBelowThreshold(digits: number[], k: number): boolean {
    for (let i = 0; i < WORD_DIGITS; i += 1) {
      const threshold = THRESHOLD_WORDS[k * WORD_DIGITS + i] ?? 0;
      if (digits.length === i) digits.push(this.#next());
      const digit = digits[i] ?? 0;
      if (digit !== threshold) return digit < threshold;
    }
    return false;
  }

  /** Step 2: all k + 1 trials, up to the first that is false. */
  #accepts(k: number): boolean {
    for (let trial = 0; trial <= k; trial += 1) {
      if (!this.#runIsEven(k)) return false;
    }
    return true;
  }

  /** Algorithm B. */
  #runIsEven(k: number): boolean {
    let isEven = true;
    let last = this.#x;
    // Of `last`, unless it is x.
    let lastDigits: Digits = null;
    for (let isFirst = true; ; isFirst = false) {
      const z = this.#next();
      let digits: Digits = null;
      if (z >= last) {
        if (z > last) return isEven;
        digits = [];
        lastDigits = isFirst ? this.#digitsOfX() : (lastDigits ?? []);
        if (!this.#isLess(digits, lastDigits)) return isEven;
      }
      if (!this.#passes(k)) return isEven;
      isEven = !isEven;
      last = z;
      lastDigits = digits;
    }
  }

  /** True with probability (2k + x) / (2k + 2). */
  #passes(k: number): boolean {
    const choice = k === 0 ? this.#next() >>> 31 : this.#below(2 * k + 2);
    if (choice !== 1) return choice !== 0;
    const r = this.#next();
    return r === this.#x ? this.#isLess([], this.#digitsOfX()) : r < this.#x;
  }

  #digitsOfX(): number[] {
    this.#digits ??= [];
    return this.#digits;
  }

  /** Whether `left` < `right`, whose digits so far are equal; draws what is missing, left first. */
  #isLess(left: number[], right: number[]): boolean {
    for (let i = 0; ; i += 1) {
      if (left.length === i) left.push(this.#next());
      if (right.length === i) right.push(this.#next());
      const difference = (left[i] ?? 0) - (right[i] ?? 0);
      if (difference !== 0) return difference < 0;
    }
  }

  /** A uniform integer 0..bound-1 (Lemire, Fast random integer generation in an interval, 2019). */
  #below(bound: number): number {
    const least = TWO_32 % bound;
    for (;;) {
      const product = this.#next() * bound;
      const high = Math.floor(product / TWO_32);
      if (product - high * TWO_32 >= least) return high;
    }
  }

  /**
   * Step 3. scale (k + x) = a + b: a = high (k + x's upper 16 bits) is exact; |b| < scale 2^-15 is rounded six times, which with
   * the digits left out (scale 2^-64) makes less than `error`.
   */
  #round(k: number, second: number): number {
    const { whole, high, low, error } = this.#scale;
    const upper = k + (this.#x >>> 16) / TWO_16;
    const lower = (this.#x & 0xffff) / TWO_32;
    const a = high * upper;
    const floor = Math.floor(a);
    const b = low * upper + whole * (lower + second / TWO_32 / TWO_32);
    const rest = a - floor + b + 0.5;
    const carry = Math.floor(rest);
    const fraction = rest - carry;
    if (fraction > error && fraction < 1 - error) return floor + carry;
    return this.#roundExactly(k, second);
  }

  /** The same in integers: draws digits until floor(scale (k + x) + 1/2) is the same for both ends of what x can be. */
  #roundExactly(k: number, second: number): number {
    const digits = this.#digitsOfX();
    if (digits.length === 0) digits.push(second);
    const { numerator, bits } = ratio(this.#scale.whole);
    for (let used = 1; ; used += 1) {
      if (digits.length < used) digits.push(this.#next());
      let magnitude = (BigInt(k) << 32n) + BigInt(this.#x);
      for (const digit of digits.slice(0, used)) magnitude = (magnitude << 32n) + BigInt(digit);
      const shift = bits + 32n * BigInt(used + 1);
      const half = 1n << (shift - 1n);
      const least = (numerator * magnitude + half) >> shift;
      // The upper end is not taken: x is below it.
      const most = (numerator * (magnitude + 1n) + half - 1n) >> shift;
      if (least === most) return Number(least);
    }
  }
}

function splitScale(whole: number): Scale {
  const [single = 0] = Float32Array.of(whole);
  // 24 bits, and a rest of at most 29 + sign.
  return { whole, high: single, low: whole - single, error: whole * 2 ** -61 + 2 ** -48 };
}

/** numerator / 2^bits, exactly, bits >= 1. */
function ratio(value: number): { readonly numerator: bigint; readonly bits: bigint } {
  let bits = 1;
  while (!Number.isInteger(value * 2 ** bits)) bits += 1;
  return { numerator: BigInt(value * 2 ** bits), bits: BigInt(bits) };
}
