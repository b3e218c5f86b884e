/**
 * JSON values (RFC 8259 sections 2 to 6): each function passes over one and says where it ends, or 0 when it is not one.
 *
 * Nothing here reads a byte at or past `end` as part of a value: what follows is the next record. Nesting has a
 * limit, so the stack of open containers is a fixed array. Nothing here knows rules or fields.
 */
import { scanString } from "./json-strings";

/** Kinds of value, as the bits of a field's `types`; an integer is a number too, for which both bits are asked. */
export const TYPE_STRING: u32 = 1;
export const TYPE_NUMBER: u32 = 2;
export const TYPE_INTEGER: u32 = 4;
export const TYPE_BOOLEAN: u32 = 8;
export const TYPE_NULL: u32 = 16;
export const TYPE_OBJECT: u32 = 32;
export const TYPE_ARRAY: u32 = 64;

/** Most nesting that a configuration may ask for, the record itself counted. */
export const DEEPEST: u32 = 256;

/** One byte for each open container: `}` or `]`. */
const OPEN: usize = memory.data(256, 16);

/** Most containers that may be open at a time. */
export let maxDepth: u32 = 64;

/** Set when a value was nested deeper than allowed, and kept until forgetDepth(). */
export let isTooDeep: bool = false;

export function setMaxDepth(depth: u32): void {
  maxDepth = depth;
}

export function forgetDepth(): void {
  isTooDeep = false;
}

/** Says that a container which is read elsewhere would be nested deeper than allowed. */
export function noteDepth(): void {
  isTooDeep = true;
}

/** Passes insignificant whitespace (section 2). */
// @ts-ignore: decorator
@inline
export function skipSpace(p: usize, end: usize): usize {
  while (p < end) {
    const byte: u32 = load<u8>(p);
    if (byte > 0x20 || (byte != 0x20 && byte != 0x0a && byte != 0x0d && byte != 0x09)) break;
    p++;
  }
  return p;
}

// @ts-ignore: decorator
@inline
function isDigit(p: usize, end: usize): bool {
  return p < end && <u32>load<u8>(p) - 0x30 < 10;
}

// @ts-ignore: decorator
@inline
function startsNumber(byte: u32): bool {
  return byte - 0x30 < 10 || byte == 0x2d;
}

/** Set by skipNumber: the number has no point and no exponent. */
export let isWhole: bool = false;

/** Passes a number byte by byte. */
function skipAnyNumber(p: usize, end: usize): usize {
  isWhole = true;
  if (load<u8>(p) == 0x2d) p++;
  if (!isDigit(p, end)) return 0;
  if (load<u8>(p++) != 0x30) {
    while (isDigit(p, end)) p++;
  }
  if (p < end && load<u8>(p) == 0x2e) {
    isWhole = false;
    p++;
    if (!isDigit(p, end)) return 0;
    while (isDigit(p, end)) p++;
  }
  if (p < end && (load<u8>(p) | 0x20) == 0x65) {
    isWhole = false;
    p++;
    if (p < end && (load<u8>(p) == 0x2b || load<u8>(p) == 0x2d)) p++;
    if (!isDigit(p, end)) return 0;
    while (isDigit(p, end)) p++;
  }
  return p;
}

/** Passes a number (section 6); one of at most 15 bytes without exponent at once. */
// @ts-ignore: decorator
@inline
export function skipNumber(p: usize, end: usize): usize {
  // A bit for each byte that is no digit; bits 16 and up are set.
  const others = ~i8x16.bitmask(i8x16.le_u(i8x16.sub(v128.load(p), i8x16.splat(0x30)), i8x16.splat(9)));
  const sign: usize = load<u8>(p) == 0x2d ? 1 : 0;
  const digits = <usize>ctz(others >>> <u32>sign);
  let to = p + sign + digits;
  let byte: u32 = load<u8>(to);
  isWhole = true;
  let isPlain = digits > 0 && (digits == 1 || load<u8>(p + sign) != 0x30);
  if (byte == 0x2e) {
    isWhole = false;
    const point = to - p;
    to = p + <usize>ctz((others & (<u32>-2 << <u32>point)) | 0x10000);
    isPlain = isPlain && to > p + point + 1;
    byte = load<u8>(to);
  }
  // Sixteen bytes were looked at: a number that goes on behind them, or has an exponent, is not judged here.
  if (isPlain && to - p < 16 && to <= end && (byte | 0x20) != 0x65) return to;
  return skipAnyNumber(p, end);
}

/**
 * Whether the number from `p` to `end` has no fractional part, judged exactly by its text: 1.0 and 15e1
 * have none, 15e-1 has one. JSON Schema 2020-12 (core, section 4.2.3) calls such numbers integers.
 */
export function isInteger(p: usize, end: usize): bool {
  let seenPoint = false;
  // Digits read, those of them before the point, and which was the last that is not 0; counted from 1.
  let position: i64 = 0;
  let whole: i64 = 0;
  let lastNonZero: i64 = 0;
  for (; p < end; p++) {
    const byte: u32 = load<u8>(p);
    if (byte == 0x2d) continue;
    if (byte == 0x2e) {
      seenPoint = true;
      continue;
    }
    if ((byte | 0x20) == 0x65) break;
    position++;
    if (!seenPoint) whole = position;
    if (byte != 0x30) lastNonZero = position;
  }
  if (!lastNonZero) return true;
  // Decimal places that the exponent must shift away; negative when zeros stand before the point.
  const places = lastNonZero - whole;
  if (p >= end) return places <= 0;
  p++;
  const negative = load<u8>(p) == 0x2d;
  if (negative || load<u8>(p) == 0x2b) p++;
  let exponent: i64 = 0;
  // Past a billion no text that fits in memory has as many digits.
  for (; p < end; p++) exponent = min<i64>(exponent * 10 + <i64>(load<u8>(p) - 0x30), 1_000_000_000);
  return places <= (negative ? -exponent : exponent);
}

/** Passes `true`, `false` or `null`; which of them cannot be predicted, so it is not asked. */
// @ts-ignore: decorator
@inline
function skipLiteral(p: usize, end: usize): usize {
  const four = load<u32>(p);
  const isFalse = u32(four == 0x736c6166) & u32(load<u8>(p, 4) == 0x65);
  const isOther = u32(four == 0x65757274) | u32(four == 0x6c6c756e);
  const to = p + 4 + isFalse;
  return (isFalse | isOther) & u32(to <= end) ? to : 0;
}

/** Passes a string, number or literal. */
function skipScalar(p: usize, end: usize): usize {
  const byte: u32 = load<u8>(p);
  if (byte == 0x22) {
    const quote = scanString(p + 1, end);
    return quote ? quote + 1 : 0;
  }
  return startsNumber(byte) ? skipNumber(p, end) : skipLiteral(p, end);
}

/** Passes `"name" :` and the whitespace around it, inside a nested object. */
function skipName(p: usize, end: usize): usize {
  if (p >= end || load<u8>(p) != 0x22) return 0;
  p = scanString(p + 1, end);
  if (!p) return 0;
  p = skipSpace(p + 1, end);
  if (p >= end || load<u8>(p) != 0x3a) return 0;
  return skipSpace(p + 1, end);
}

/**
 * Passes an array of numbers with nothing but commas between; `p` is at its opening bracket.
 * @returns 0 when it is anything else, or not JSON
 */
// @ts-ignore: decorator
@inline
export function skipFlatNumbers(p: usize, end: usize): usize {
  do {
    p++;
    if (p >= end || !startsNumber(load<u8>(p))) return 0;
    p = skipNumber(p, end);
    if (!p) return 0;
  } while (load<u8>(p) == 0x2c);
  if (p >= end || load<u8>(p) != 0x5d) return 0;
  // Not that of its last number.
  valueType = TYPE_ARRAY;
  return p + 1;
}

/** Passes a number and, in an array, those that follow with nothing but a comma between. */
function skipNumbers(p: usize, end: usize, isArray: bool): usize {
  while (true) {
    p = skipNumber(p, end);
    if (!p || !isArray || p + 1 >= end || load<u8>(p) != 0x2c || !startsNumber(load<u8>(p, 1))) return p;
    p++;
  }
}

/**
 * Passes an object or array; `p` is at its opening bracket.
 * @param outer containers that are open around it
 */
export function skipContainer(p: usize, end: usize, outer: u32): usize {
  let depth: u32 = 0;
  let wantsValue = true;
  while (true) {
    if (p >= end) return 0;
    const byte: u32 = load<u8>(p);
    if (wantsValue) {
      if ((byte | 0x20) != 0x7b) {
        p = startsNumber(byte) ? skipNumbers(p, end, load<u8>(OPEN + depth - 1) == 0x5d) : skipScalar(p, end);
        if (!p) return 0;
        wantsValue = false;
      } else {
        if (depth + outer >= maxDepth) {
          isTooDeep = true;
          return 0;
        }
        // Both closing brackets are their opening ones plus two.
        store<u8>(OPEN + depth++, byte + 2);
        p = skipSpace(p + 1, end);
        if (p < end && load<u8>(p) == byte + 2) {
          p++;
          depth--;
          wantsValue = false;
        } else if (byte == 0x7b) {
          p = skipName(p, end);
          if (!p) return 0;
        }
      }
    } else if (byte == 0x2c) {
      p = skipSpace(p + 1, end);
      if (load<u8>(OPEN + depth - 1) == 0x7d) {
        p = skipName(p, end);
        if (!p) return 0;
      }
      wantsValue = true;
    } else if (byte == load<u8>(OPEN + depth - 1)) {
      p++;
      depth--;
    } else {
      return 0;
    }
    if (wantsValue) continue;
    if (!depth) return p;
    p = skipSpace(p, end);
  }
}

/** Set by skipValue: one of the TYPE_ bits; TYPE_NUMBER for every number. */
export let valueType: u32 = 0;

/** Passes any value and sets valueType; after a string, hasEscapes of json-strings tells about it. */
export function skipValue(p: usize, end: usize, outer: u32): usize {
  if (p >= end) return 0;
  if (load<u8>(p) != 0x22) return skipOther(p, end, outer);
  valueType = TYPE_STRING;
  const quote = scanString(p + 1, end);
  return quote ? quote + 1 : 0;
}

/** Says that the value just passed, by other means than skipValue, is a string. */
// @ts-ignore: decorator
@inline
export function noteString(): void {
  valueType = TYPE_STRING;
}

/** Passes any value but a string; `p` is before `end`. */
// @ts-ignore: decorator
@inline
export function skipOther(p: usize, end: usize, outer: u32): usize {
  const byte: u32 = load<u8>(p);
  if (startsNumber(byte)) {
    valueType = TYPE_NUMBER;
    return skipNumber(p, end);
  }
  if ((byte | 0x20) == 0x7b) {
    valueType = byte == 0x7b ? TYPE_OBJECT : TYPE_ARRAY;
    return skipContainer(p, end, outer);
  }
  valueType = byte == 0x6e ? TYPE_NULL : TYPE_BOOLEAN;
  return skipLiteral(p, end);
}
