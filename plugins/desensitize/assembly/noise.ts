/**
 * Bounded Laplace or Gaussian noise on a number, by keyed hash of the record's position: a retry repeats it.
 *
 * The seed is HMAC-SHA-256 of the position (12 bytes of the host: lane and offset) and of how many values of the record
 * had noise before (u32, big-endian). Sums are rounded to a fixed number of decimals and written from integers. Floats are
 * not exact: this is no mechanism whose epsilon could be claimed.
 */
import { STATUS_OK, STATUS_WRONG_TYPE } from "./abi";
import { writeInteger } from "./decimal";
import { nextWord, seed } from "./fake";
import { FIELD_DATA, FIELD_FIRST, FIELD_KEY, FIELD_SECOND } from "./fields";

export const NOISE_LAPLACE: u32 = 0;
export const NOISE_GAUSSIAN: u32 = 1;
export const MOST_DECIMALS: u32 = 6;
export const POSITION_BYTES: u32 = 12;
/** Most that noise may be bounded by. */
export const MOST_NOISE: f64 = 1e12;
/** Values and results of this magnitude are refused: with six decimals an i64 still holds them. */
const LARGEST: f64 = 1e12;
/** Exponents beyond this decide by themselves; powers of ten up to it are finite. */
const FARTHEST: i32 = 300;

const SEED: usize = memory.data(16, 16);
let ordinal: u32 = 0;

/** Begins a record; `position` is readable for 16 bytes. */
export function startNoise(position: usize): void {
  v128.store(SEED, v128.load(position));
  ordinal = 0;
}

/** A number between 0 and 1, neither of them, in steps of 2^-53. */
function uniform(key: usize): f64 {
  const high = <u64>nextWord(key);
  const bits = (high << 32) | <u64>nextWord(key);
  return (<f64>(bits >> 11) + 0.5) * 1.1102230246251565e-16;
}

/** Laplace noise given that its magnitude is at most `within`: the inverse of its distribution function. */
function laplace(key: usize, scale: f64, within: f64): f64 {
  const side = uniform(key);
  const most = 1 - Math.exp(-within / scale);
  const size = -scale * Math.log(1 - uniform(key) * most);
  return min<f64>(size, within) * (side < 0.5 ? -1 : 1);
}

/** Gaussian noise given the same: Marsaglia's polar method, drawn again until it is inside. */
function gaussian(key: usize, scale: f64, within: f64): f64 {
  while (true) {
    const x = uniform(key) * 2 - 1;
    const y = uniform(key) * 2 - 1;
    const square = x * x + y * y;
    if (square >= 1 || square == 0) continue;
    const noise = scale * x * sqrt<f64>((-2 * Math.log(square)) / square);
    if (abs<f64>(noise) <= within) return noise;
  }
}

/** The number from `start` to `end`, to about 17 digits; LARGEST or more when it is not below. */
function valueOf(start: usize, end: usize): f64 {
  let digits: i64 = 0;
  let shift: i32 = 0;
  let seenPoint = false;
  let p = start;
  for (; p < end; p++) {
    const byte: u32 = load<u8>(p);
    if ((byte | 0x20) == 0x65) break;
    if (byte == 0x2d) continue;
    if (byte == 0x2e) {
      seenPoint = true;
      continue;
    }
    // Digits past the seventeenth only move the point.
    if (digits < 10_000_000_000_000_000) {
      digits = digits * 10 + <i64>(byte - 0x30);
      if (seenPoint) shift--;
    } else if (!seenPoint) {
      shift++;
    }
  }
  let exponent: i32 = 0;
  if (p < end) {
    p++;
    const negative = load<u8>(p) == 0x2d;
    if (negative || load<u8>(p) == 0x2b) p++;
    for (; p < end; p++) exponent = min<i32>(exponent * 10 + (<i32>load<u8>(p) - 0x30), 1_000_000);
    if (negative) exponent = -exponent;
  }
  let value = <f64>digits;
  shift = max<i32>(-FARTHEST, min<i32>(FARTHEST, shift + exponent));
  if (!digits) return 0;
  for (; shift > 0 && value < LARGEST; shift--) value *= 10;
  for (; shift < 0; shift++) value /= 10;
  return load<u8>(start) == 0x2d ? -value : value;
}

/** Writes a number of `decimals` decimals from its value in units of the last. */
function writeDecimal(out: usize, units: i64, decimals: u32): usize {
  if (units < 0) {
    store<u8>(out++, 0x2d);
    units = -units;
  }
  let one: i64 = 1;
  for (let i: u32 = 0; i < decimals; i++) one *= 10;
  out = writeInteger(out, units / one);
  if (!decimals) return out;
  store<u8>(out++, 0x2e);
  let rest = units % one;
  for (let p = out + decimals; p > out; rest /= 10) store<u8>(--p, 0x30 + <u32>(rest % 10));
  return out + decimals;
}

/** End of what perturb() wrote. */
export let noiseEnd: usize = 0;

/**
 * Writes the number from `start` to `end` with noise at `out`, in at most 24 characters. FIELD_FIRST is the kind,
 * FIELD_SECOND the decimals; FIELD_DATA: scale and bound as f64.
 */
export function perturb(field: usize, start: usize, end: usize, out: usize): u32 {
  const key = <usize>load<u32>(field, FIELD_KEY);
  const data = <usize>load<u32>(field, FIELD_DATA);
  const decimals = load<u32>(field, FIELD_SECOND);
  store<u32>(SEED, bswap<u32>(ordinal++), POSITION_BYTES);
  seed(key, SEED, SEED + 16);
  const scale = load<f64>(data);
  const within = load<f64>(data, 8);
  const noise = load<u32>(field, FIELD_FIRST) == NOISE_LAPLACE ? laplace(key, scale, within) : gaussian(key, scale, within);
  const value = valueOf(start, end);
  const sum = value + noise;
  if (!(abs<f64>(value) < LARGEST && abs<f64>(sum) < LARGEST)) return STATUS_WRONG_TYPE;
  let one: f64 = 1;
  for (let i: u32 = 0; i < decimals; i++) one *= 10;
  // The fraction by itself: the product of a large sum would no longer be exact.
  const whole = trunc<f64>(sum);
  const units = <i64>whole * <i64>one + <i64>nearest<f64>((sum - whole) * one);
  noiseEnd = writeDecimal(out, units, decimals);
  return STATUS_OK;
}
