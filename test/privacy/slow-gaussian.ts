/**
 * The format of noise rows a second time, from its description alone: slow, in BigInts, without a double before the result.
 *
 * Reals are lists of 32-bit digits as BigInts, thresholds come from the series of e^(-1/2), products are rational. Shares no
 * code with pipeline/privacy/exact-gaussian.ts and must not import it.
 */
import { createCipheriv } from "node:crypto";

const BITS = 32n;
const PRECISION = 400n;
const ONE = 1n << PRECISION;

/** A uniform real in (0, 1) whose digits are drawn when they are asked for. */
class Uniform {
  readonly digits: bigint[] = [];
  readonly draw: () => bigint;

  constructor(draw: () => bigint) {
    this.draw = draw;
    this.digits.push(draw());
  }

  digit(index: number): bigint {
    while (this.digits.length <= index) this.digits.push(this.draw());
    return this.digits[index] ?? 0n;
  }

  isBelow(other: Uniform): boolean {
    for (let i = 0; ; i += 1) {
      const own = this.digit(i);
      const its = other.digit(i);
      if (own !== its) return own < its;
    }
  }
}

/** P(K <= k) for k = 0..17, times 2^256. */
export function thresholds(): bigint[] {
  let root = 0n;
  let term = ONE;
  for (let n = 1n; term !== 0n; n += 1n) {
    root += term;
    term = -term / (2n * n);
  }
  const weights = Array.from({ length: 28 }, (_, k) => {
    let power = ONE;
    for (let i = 0; i < k * k; i += 1) power = (power * root) >> PRECISION;
    return power;
  });
  const total = weights.reduce((sum, weight) => sum + weight, 0n);
  let sum = 0n;
  return weights.slice(0, 18).map((weight) => {
    sum += weight;
    return ((sum << 257n) / total + 1n) >> 1n;
  });
}

const THRESHOLDS = thresholds();

/** `length` values of round(numerator / 2^bits Z). */
export function slowGaussians(options: {
  readonly length: number;
  readonly numerator: bigint;
  readonly bits: bigint;
  readonly draw: () => bigint;
}): bigint[] {
  return Array.from({ length: options.length }, () => oneGaussian(options));
}

function oneGaussian({
  numerator,
  bits,
  draw,
}: {
  readonly numerator: bigint;
  readonly bits: bigint;
  readonly draw: () => bigint;
}): bigint {
  for (;;) {
    const k = wholePart(draw);
    const x = new Uniform(draw);
    let accepted = true;
    for (let trial = 0n; trial <= k && accepted; trial += 1n)
      accepted = runLength(k, x, draw) % 2 === 0;
    if (!accepted) continue;
    const isNegative = draw() >> 31n === 1n;
    x.digit(1);
    for (let used = 2; ; used += 1) {
      const scale = bits + BITS * BigInt(used);
      let least = k;
      for (let i = 0; i < used; i += 1) least = (least << BITS) + x.digit(i);
      const roundDown = (value: bigint) => (2n * value + (1n << scale)) >> (scale + 1n);
      const low = roundDown(numerator * least);
      if (low !== roundDown(numerator * (least + 1n) - 1n)) continue;
      return isNegative ? -low : low;
    }
  }
}

function wholePart(draw: () => bigint): bigint {
  const real = new Uniform(draw);
  for (const [k, threshold] of THRESHOLDS.entries()) {
    for (let i = 0; i < 8; i += 1) {
      const digit = (threshold >> (BITS * BigInt(7 - i))) & 0xffffffffn;
      if (real.digit(i) < digit) return BigInt(k);
      if (real.digit(i) > digit) break;
    }
  }
  return BigInt(THRESHOLDS.length);
}

function runLength(k: bigint, x: Uniform, draw: () => bigint): number {
  let last = x;
  for (let length = 0; ; length += 1) {
    const z = new Uniform(draw);
    if (!z.isBelow(last)) return length;
    const choice = below(2n * k + 2n, draw);
    if (choice === 0n) return length;
    if (choice === 1n && !new Uniform(draw).isBelow(x)) return length;
    last = z;
  }
}

function below(bound: bigint, draw: () => bigint): bigint {
  for (;;) {
    const product = draw() * bound;
    if ((product & 0xffffffffn) >= (1n << BITS) % bound) return product >> BITS;
  }
}

/** The words of AES-256-CTR from counter 0. */
export function slowWords(key: Uint8Array): () => bigint {
  const stream = createCipheriv("aes-256-ctr", key, new Uint8Array(16));
  return () => {
    const [a = 0, b = 0, c = 0, d = 0] = stream.update(new Uint8Array(4));
    return BigInt(a) + (BigInt(b) << 8n) + (BigInt(c) << 16n) + (BigInt(d) << 24n);
  };
}
