/**
 * JSON strings (RFC 8259 section 7): finding their end, decoding their escapes to UTF-8, writing them again.
 *
 * The escapes written are those of ECMA-262 JSON.stringify: the short forms, and \u00xx for other control characters.
 * The text must be valid UTF-8 already; whether an escape is one is checked here, once, while scanning.
 */
import { copyBytes } from "./bytes";

export const QUOTE: u32 = 0x22;
const BACKSLASH: u32 = 0x5c;

/** Set by scanString: the string has escapes. */
export let hasEscapes: bool = false;

/**
 * Set by scanString and kept until forgetSurrogates(): an escape was half of a surrogate pair. Such text cannot be
 * UTF-8 (RFC 8259 section 8.2, RFC 7493 section 2.1).
 */
export let hasLoneSurrogate: bool = false;

export function forgetSurrogates(): void {
  hasLoneSurrogate = false;
}

/** What a letter after a backslash stands for; 0: it is not an escape. `u` is not among them. */
// @ts-ignore: decorator
@inline
function shortEscape(letter: u32): u32 {
  switch (letter) {
    case 0x22:
    case 0x5c:
    case 0x2f:
      return letter;
    case 0x62:
      return 8;
    case 0x66:
      return 12;
    case 0x6e:
      return 10;
    case 0x72:
      return 13;
    case 0x74:
      return 9;
  }
  return 0;
}

/** Value of a hexadecimal digit, or -1. */
function hexValue(digit: u32): i32 {
  if (digit - 0x30 < 10) return digit - 0x30;
  const letter = digit | 0x20;
  return letter - 0x61 < 6 ? letter - 0x57 : -1;
}

/** The four hexadecimal digits at `p` as a number; negative when they are not. */
function hexFour(p: usize): i32 {
  const a = hexValue(load<u8>(p));
  const b = hexValue(load<u8>(p, 1));
  const c = hexValue(load<u8>(p, 2));
  const d = hexValue(load<u8>(p, 3));
  return (a | b | c | d) < 0 ? -1 : (a << 12) | (b << 8) | (c << 4) | d;
}

/** The end of the escape whose backslash is at `p`, or 0. A surrogate pair is two escapes and passed as one. */
function skipEscape(p: usize, end: usize): usize {
  if (end - p < 2) return 0;
  const letter: u32 = load<u8>(p, 1);
  if (letter != 0x75) return shortEscape(letter) ? p + 2 : 0;
  if (end - p < 6) return 0;
  const unit = hexFour(p + 2);
  if (unit < 0) return 0;
  if ((unit & 0xf800) != 0xd800) return p + 6;
  if (unit < 0xdc00 && end - p >= 12 && load<u16>(p, 6) == 0x755c) {
    const low = hexFour(p + 8);
    if (low >= 0 && (low & 0xfc00) == 0xdc00) return p + 12;
  }
  hasLoneSurrogate = true;
  return p + 6;
}

/** Must be called before scanEscaped(), which only ever sets hasEscapes. */
// @ts-ignore: decorator
@inline
export function forgetEscapes(): void {
  hasEscapes = false;
}

/** What ends a plain run, 16 times each: quote, backslash, the last control character. Loaded they cost less than made. */
const ENDS: usize = memory.data<u8>(
  [
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22,
    0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c, 0x5c,
    0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f,
  ],
  16,
);

/** A bit for each of the 16 bytes at `p` that ends a plain run. */
// @ts-ignore: decorator
@inline
function specialAt(p: usize): u32 {
  const bytes = v128.load(p);
  const ends = v128.or(i8x16.eq(bytes, v128.load(ENDS)), i8x16.eq(bytes, v128.load(ENDS, 16)));
  return i8x16.bitmask(v128.or(ends, i8x16.le_u(bytes, v128.load(ENDS, 32))));
}

/** Passes what stands between quotes as it is; stops at another byte, or somewhere at or past `end`. */
// @ts-ignore: decorator
@inline
export function passPlain(p: usize, end: usize): usize {
  while (p < end) {
    // 32 at a time: most values are shorter, and so one step ends them.
    const special = specialAt(p) | (specialAt(p + 16) << 16);
    if (special) return p + ctz(special);
    p += 32;
  }
  return p;
}

/** Finds the closing quote from the first backslash or control character on. */
export function scanEscaped(p: usize, end: usize): usize {
  while (p < end) {
    const byte: u32 = load<u8>(p);
    if (byte == QUOTE) return p;
    if (byte != BACKSLASH) return 0;
    hasEscapes = true;
    p = skipEscape(p, end);
    if (!p) return 0;
    p = passPlain(p, end);
  }
  return 0;
}

/**
 * Finds the closing quote of the string whose first character is at `p`; sets hasEscapes.
 * @returns 0 when the string has no end, a bare control character or a wrong escape
 */
// @ts-ignore: decorator
@inline
export function scanString(p: usize, end: usize): usize {
  hasEscapes = false;
  p = passPlain(p, end);
  if (p >= end) return 0;
  return load<u8>(p) == QUOTE ? p : scanEscaped(p, end);
}

/** Writes a code point as UTF-8 and returns its end; a lone surrogate, refused elsewhere, becomes three bytes. */
function writeCodePoint(out: usize, code: u32): usize {
  if (code < 0x80) {
    store<u8>(out, code);
    return out + 1;
  }
  if (code < 0x800) {
    store<u8>(out, 0xc0 | (code >> 6));
    store<u8>(out, 0x80 | (code & 63), 1);
    return out + 2;
  }
  if (code < 0x10000) {
    store<u8>(out, 0xe0 | (code >> 12));
    store<u8>(out, 0x80 | ((code >> 6) & 63), 1);
    store<u8>(out, 0x80 | (code & 63), 2);
    return out + 3;
  }
  store<u8>(out, 0xf0 | (code >> 18));
  store<u8>(out, 0x80 | ((code >> 12) & 63), 1);
  store<u8>(out, 0x80 | ((code >> 6) & 63), 2);
  store<u8>(out, 0x80 | (code & 63), 3);
  return out + 4;
}

/**
 * Decodes the inside of a string that scanString has passed, `p` to `end`.
 * @param out room for end - p bytes and 16 of slack: decoded text is never longer
 * @returns the end of the decoded UTF-8
 */
export function decodeString(p: usize, end: usize, out: usize): usize {
  const backslash = i8x16.splat(<i8>BACKSLASH);
  while (p < end) {
    const bytes = v128.load(p);
    const found = i8x16.bitmask(i8x16.eq(bytes, backslash));
    v128.store(out, bytes);
    const run = min<usize>(found ? <usize>ctz(found) : 16, end - p);
    p += run;
    out += run;
    if (run == 16 || p >= end) continue;
    const letter: u32 = load<u8>(p, 1);
    if (letter != 0x75) {
      store<u8>(out++, shortEscape(letter));
      p += 2;
      continue;
    }
    let code: u32 = hexFour(p + 2);
    p += 6;
    if ((code & 0xfc00) == 0xd800 && end - p >= 6 && load<u16>(p) == 0x755c) {
      const low: u32 = hexFour(p + 2);
      if ((low & 0xfc00) == 0xdc00) {
        code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
        p += 6;
      }
    }
    out = writeCodePoint(out, code);
  }
  return out;
}

/** The letter of a control character's short escape, or 0. */
function escapeLetter(byte: u32): u32 {
  switch (byte) {
    case 8:
      return 0x62;
    case 9:
      return 0x74;
    case 10:
      return 0x6e;
    case 12:
      return 0x66;
    case 13:
      return 0x72;
  }
  return 0;
}

/** Whether UTF-8 text can stand between quotes as it is. */
export function isPlain(p: usize, end: usize): bool {
  for (; p < end; p++) {
    const byte: u32 = load<u8>(p);
    if (byte < 0x20 || byte == QUOTE || byte == BACKSLASH) return false;
  }
  return true;
}

/** Writes UTF-8 text, escaped, without quotes; at most 6 bytes for one. Returns the end. */
export function writeEscaped(out: usize, p: usize, end: usize): usize {
  for (; p < end; p++) {
    const byte: u32 = load<u8>(p);
    if (byte >= 0x20 && byte != QUOTE && byte != BACKSLASH) {
      store<u8>(out++, byte);
      continue;
    }
    store<u8>(out, BACKSLASH);
    const letter = byte >= 0x20 ? byte : escapeLetter(byte);
    if (letter) {
      store<u8>(out, letter, 1);
      out += 2;
      continue;
    }
    // "u00", then two lowercase hexadecimal digits; control characters are below 0x20.
    store<u32>(out, 0x30303075, 1);
    store<u8>(out, 0x30 + (byte >> 4), 4);
    const low = byte & 15;
    store<u8>(out, low < 10 ? 0x30 + low : 0x57 + low, 5);
    out += 6;
  }
  return out;
}

/** Writes text that may or may not need escapes. */
// @ts-ignore: decorator
@inline
export function writeText(out: usize, p: usize, end: usize, escape: bool): usize {
  return escape ? writeEscaped(out, p, end) : copyBytes(out, p, end - p);
}
