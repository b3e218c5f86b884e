/**
 * exp, log, sine and cosine made of +, -, * and / alone: the same bits on every machine.
 *
 * ECMAScript leaves the last digits of Math.exp and its kin to the engine; what maps publish must not depend on it.
 * Errors are below 4 units of the last place of the arguments that maps use, which is all that is promised. Must not be
 * used where an argument is NaN or infinite.
 * Sources: Cody & Waite, Software Manual for the Elementary Functions (1980): reductions in two parts; Taylor's series.
 */

/** ln 2 and pi / 2 in two parts: the first has 32 trailing zero bits, so that a product with a small integer is exact. */
const LN2_HIGH = 6.931471803691238e-1;
const LN2_LOW = 1.9082149292705877e-10;
const HALF_PI_HIGH = 1.5707963267341256;
const HALF_PI_LOW = 6.077100506506192e-11;
/** Terms after which a series is exact for reduced arguments: (ln 2 / 2)^14 / 14! < 2^-57, (pi / 4)^18 / 18! < 2^-58. */
const EXP_TERMS = 14;
const TRIGONOMETRIC_TERMS = 9;
/** f^2 <= 0.0295 in a logarithm: 0.0295^11 / 23 < 2^-60. */
const LOG_TERMS = 11;
/** Below this e^x is no normal number: 0 is given. */
const LEAST_EXPONENT = -708;

/** 2^k, exact for the k of normal numbers. */
function powerOfTwo(k: number): number {
  let result = 1;
  let base = k < 0 ? 0.5 : 2;
  for (let left = Math.abs(k); left > 0; left >>= 1) {
    if ((left & 1) === 1) result *= base;
    base *= base;
  }
  return result;
}

/** e^x for x <= 709; 0 below -708. */
export function exp(x: number): number {
  if (x < LEAST_EXPONENT) return 0;
  const k = Math.round(x / Math.LN2);
  const rest = x - k * LN2_HIGH - k * LN2_LOW;
  let sum = 1;
  for (let term = EXP_TERMS; term > 0; term -= 1) sum = 1 + (rest / term) * sum;
  return sum * powerOfTwo(k);
}

/** Natural logarithm of a normal number above 0. */
export function log(x: number): number {
  let mantissa = x;
  let k = 0;
  for (; mantissa < Math.SQRT1_2; k -= 1) mantissa *= 2;
  for (; mantissa > Math.SQRT2; k += 1) mantissa /= 2;
  const f = (mantissa - 1) / (mantissa + 1);
  const square = f * f;
  let sum = 0;
  for (let term = LOG_TERMS; term >= 0; term -= 1) sum = sum * square + 1 / (2 * term + 1);
  return k * LN2_HIGH + (2 * f * sum + k * LN2_LOW);
}

/** Sine and cosine of an angle in radians, |angle| <= 10^6. */
export function sinCos(angle: number): readonly [sine: number, cosine: number] {
  const k = Math.round(angle / (Math.PI / 2));
  const rest = angle - k * HALF_PI_HIGH - k * HALF_PI_LOW;
  const square = -rest * rest;
  let sine = 1;
  let cosine = 1;
  for (let term = TRIGONOMETRIC_TERMS; term > 0; term -= 1) {
    sine = 1 + (square / (2 * term * (2 * term + 1))) * sine;
    cosine = 1 + (square / (2 * term * (2 * term - 1))) * cosine;
  }
  sine *= rest;
  const quarter = ((k % 4) + 4) % 4;
  if (quarter === 0) return [sine, cosine];
  if (quarter === 1) return [cosine, -sine];
  if (quarter === 2) return [-sine, -cosine];
  return [-cosine, sine];
}

/** Sine and cosine of 2 pi numerator / denominator, integers: exact where the angle is a multiple of a quarter turn. */
export function turn(
  numerator: number,
  denominator: number,
): readonly [sine: number, cosine: number] {
  const part = ((numerator % denominator) + denominator) % denominator;
  const quarters = Math.round((4 * part) / denominator);
  // What is left is at most an eighth of a turn, and exact up to one division.
  const rest = (2 * Math.PI * (4 * part - quarters * denominator)) / (4 * denominator);
  const [sine, cosine] = sinCos(rest);
  if (quarters % 4 === 0) return [sine, cosine];
  if (quarters % 4 === 1) return [cosine, -sine];
  if (quarters % 4 === 2) return [-sine, -cosine];
  return [-cosine, sine];
}
