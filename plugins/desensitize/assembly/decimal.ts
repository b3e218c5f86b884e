/**
 * The number that a text stands for, rounded down to an integer: exactly, from its decimal digits, without floats.
 *
 * The texts are JSON numbers (RFC 8259 section 6). Must not round in any other way: 39.999999999999999999 is 39.
 */
import { skipNumber } from "./json-values";

/** Integers of this magnitude and above are not told apart: 10^15, below the 2^53 of other JSON readers. */
export const DECIMAL_LIMIT: i64 = 1_000_000_000_000_000;
/** Digits before the point of the limit. */
const LIMIT_DIGITS: i64 = 16;
/** Exponents past this are as good as it: no text that fits in memory has as many digits. */
const MOST_EXPONENT: i64 = 1_000_000_000;

/** Whether the whole text is a number. */
export function isNumberText(start: usize, end: usize): bool {
  if (start >= end) return false;
  const first: u32 = load<u8>(start);
  return (first == 0x2d || first - 0x30 < 10) && skipNumber(start, end) == end;
}

/** The exponent of a number's text, 0 when it has none. */
function exponentOf(start: usize, end: usize): i64 {
  let p = start;
  while (p < end && (load<u8>(p) | 0x20) != 0x65) p++;
  if (p >= end) return 0;
  p++;
  const negative = load<u8>(p) == 0x2d;
  if (negative || load<u8>(p) == 0x2b) p++;
  let exponent: i64 = 0;
  for (; p < end; p++) exponent = min<i64>(exponent * 10 + <i64>(load<u8>(p) - 0x30), MOST_EXPONENT);
  return negative ? -exponent : exponent;
}

/** The number rounded towards minus infinity, but DECIMAL_LIMIT or its negative where that is nearer to 0. */
export function floorOf(start: usize, end: usize): i64 {
  const exponent = exponentOf(start, end);
  let whole: i64 = 0;
  let seenPoint = false;
  for (let p = start; p < end; p++) {
    const byte: u32 = load<u8>(p);
    if ((byte | 0x20) == 0x65) break;
    if (byte == 0x2e) seenPoint = true;
    else if (byte != 0x2d && !seenPoint) whole++;
  }
  // Digits that stand before the point once the exponent has moved it.
  const before = whole + exponent;
  let value: i64 = 0;
  let read: i64 = 0;
  let hasFraction = false;
  for (let p = start; p < end; p++) {
    const byte: u32 = load<u8>(p);
    if ((byte | 0x20) == 0x65) break;
    if (byte == 0x2d || byte == 0x2e) continue;
    const digit = <i64>byte - 0x30;
    if (read < before) value = min<i64>(value * 10 + digit, DECIMAL_LIMIT);
    else if (digit) hasFraction = true;
    read++;
  }
  // Zeros that the exponent adds; a value that is not 0 passes the limit within as many as the limit has.
  if (value) {
    for (let zeros = min<i64>(before - read, LIMIT_DIGITS); zeros > 0; zeros--) value = min<i64>(value * 10, DECIMAL_LIMIT);
  }
  if (load<u8>(start) != 0x2d) return value;
  return max<i64>(hasFraction ? -value - 1 : -value, -DECIMAL_LIMIT);
}

/** Writes an integer; at most 20 characters. */
export function writeInteger(out: usize, value: i64): usize {
  if (value < 0) {
    store<u8>(out++, 0x2d);
    value = -value;
  }
  let digits: usize = 1;
  for (let rest = value / 10; rest; rest /= 10) digits++;
  for (let p = out + digits; p > out; value /= 10) store<u8>(--p, 0x30 + <u32>(value % 10));
  return out + digits;
}
