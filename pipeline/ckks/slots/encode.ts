/**
 * Numbers in slots to integer coefficients, and those to ring form: how weights enter an evaluation.
 *
 * Slot j is the value at zeta^(3^j), zeta = exp(i pi / N), of a real polynomial of degree below N; 3 is the generator of
 * SEAL's slot order, so that rotations agree. With U_i the value at zeta^(2 i + 1), the coefficients are
 * c_k = zeta^-k / N sum_i U_i exp(-2 pi i k i / N): one Fourier transform of length N and a twist.
 *
 * Rounding. Slots are real, so c_(N-k) = -c_k before rounding, and the real part of every slot depends on
 * d_k = c_k - c_(N-k) = 2 c_k only. Rounding c_k and c_(N-k) alike would round d_k to even numbers; here d_k is rounded
 * to the nearest integer and split in two, an odd one to either side in turn. The real part of a slot is then off by a
 * variance of N / 48 instead of N / 12: one bit more of every weight. What is left over goes into imaginary parts, which
 * nothing reads (a square sees them in second order: z^2 - (Im z)^2).
 * Bounds. f64 throughout: exact to 2^-45 of the largest coefficient. Must not be used for what is encrypted as a secret
 * without the bounds of `layout.ts`; it holds no randomness.
 */
import { SealstreamError } from "../../errors.ts";
import type { Ring } from "../ring.ts";

export interface SlotEncoder {
  /**
   * Integer coefficients, natural order; a new array of N.
   * @param slots [N / 2]
   * @throws limit-exceeded when a coefficient is not a number f64 holds
   */
  coefficients(slots: Float64Array, scale: number): Float64Array;
}

/** Variance of the real part of a slot from rounding, for degree N: see above. */
export function encodingVariance(degree: number): number {
  return degree / 48;
}

/** Tables of a degree: 40 N bytes. */
export function createSlotEncoder(degree: number): SlotEncoder {
  const slots = degree / 2;
  // The index i of the odd exponent 2 i + 1 = 3^j, and of its conjugate.
  const places = new Uint32Array(slots);
  for (let slot = 0, power = 1; slot < slots; slot += 1) {
    places[slot] = (power - 1) / 2;
    power = (power * 3) % (2 * degree);
  }
  const cosines = new Float64Array(2 * degree);
  const sines = new Float64Array(2 * degree);
  for (let k = 0; k < 2 * degree; k += 1) {
    cosines[k] = Math.cos((Math.PI * k) / degree);
    sines[k] = Math.sin((Math.PI * k) / degree);
  }
  const real = new Float64Array(degree);
  const imaginary = new Float64Array(degree);
  return {
    coefficients(values, scale) {
      imaginary.fill(0);
      for (let slot = 0; slot < slots; slot += 1) {
        const value = ((values[slot] ?? 0) * scale) / degree;
        const place = places[slot] ?? 0;
        real[place] = value;
        real[degree - 1 - place] = value;
      }
      transform(real, imaginary, cosines, sines);
      const rounded = roundReal(real, imaginary, cosines, sines);
      if (!rounded.every(Number.isFinite)) {
        throw new SealstreamError(
          "limit-exceeded",
          "A weight is too large to be encoded in slots.",
        );
      }
      return rounded;
    },
  };
}

/** X_k = sum x_i exp(-2 pi i k i / N), in place, radix 2. `cosines[2 k]` is the cosine of 2 pi k / N. */
function transform(
  real: Float64Array,
  imaginary: Float64Array,
  cosines: Float64Array,
  sines: Float64Array,
): void {
  const { length } = real;
  reverseBits(real, imaginary);
  for (let half = 1; half < length; half *= 2) {
    const stride = length / half;
    for (let start = 0; start < length; start += 2 * half) {
      for (let k = 0; k < half; k += 1) {
        // Because noUncheckedIndexedAccess: all indices are below the length.
        const c = cosines[k * stride] as number;
        const s = -(sines[k * stride] as number);
        const low = start + k;
        const high = low + half;
        const a = real[high] as number;
        const b = imaginary[high] as number;
        const x = a * c - b * s;
        const y = a * s + b * c;
        real[high] = (real[low] as number) - x;
        imaginary[high] = (imaginary[low] as number) - y;
        real[low] = (real[low] as number) + x;
        imaginary[low] = (imaginary[low] as number) + y;
      }
    }
  }
}

function reverseBits(real: Float64Array, imaginary: Float64Array): void {
  const { length } = real;
  for (let i = 1, j = 0; i < length; i += 1) {
    let bit = length >> 1;
    for (; (j & bit) !== 0; bit >>= 1) j ^= bit;
    j |= bit;
    if (i >= j) continue;
    const [a = 0, b = 0] = [real[i], imaginary[i]];
    real[i] = real[j] ?? 0;
    imaginary[i] = imaginary[j] ?? 0;
    real[j] = a;
    imaginary[j] = b;
  }
}

/** The twist by zeta^-k and the rounding of pairs; a new array. */
function roundReal(
  real: Float64Array,
  imaginary: Float64Array,
  cosines: Float64Array,
  sines: Float64Array,
): Float64Array {
  const { length } = real;
  const rounded = new Float64Array(length);
  // Re((a + b i)(cos - i sin)) = a cos + b sin, at angle pi k / N.
  const at = (k: number): number =>
    (real[k] ?? 0) * (cosines[k] ?? 0) + (imaginary[k] ?? 0) * (sines[k] ?? 0);
  rounded[0] = Math.round(at(0));
  for (let k = 1; k < length / 2; k += 1) {
    const difference = Math.round(2 * at(k));
    const up = k % 2 === 0 ? Math.ceil(difference / 2) : Math.floor(difference / 2);
    rounded[k] = up;
    rounded[length - k] = up - difference;
  }
  return rounded;
}

/** Most |coefficient| that the ring takes as it is. */
const DIRECT_BOUND = 2 ** 50;

/**
 * Coefficients to ring form over the first `limbs` primes.
 * @param work address of one limb, overwritten; must not lie in `to`
 * @param to address of [limbs][N]
 */
export function writePlain(
  ring: Ring,
  coefficients: Float64Array,
  { limbs, work, to }: { readonly limbs: number; readonly work: number; readonly to: number },
): void {
  const most = coefficients.reduce((bound, value) => Math.max(bound, Math.abs(value)), 0);
  for (let limb = 0; limb < limbs; limb += 1) {
    const prime = ring.primes[limb] ?? 1n;
    const reduced =
      most <= DIRECT_BOUND ? coefficients : coefficients.map((value) => reduce(value, prime));
    ring.floats(work, ring.degree).set(reduced);
    ring.forward(work, limb, to + limb * ring.limbBytes);
  }
}

/** An integer of any size modulo a prime; exact, because a large f64 is an integer. */
function reduce(value: number, prime: bigint): number {
  return Number(BigInt(value) % prime);
}
