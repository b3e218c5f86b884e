/**
 * Word boundaries in UTF-8, looked at in both directions from a place.
 *
 * Word characters are the ASCII letters, digits and underscore, and U+00C0 to U+04FF (Latin, Greek, Cyrillic) but the
 * signs U+00D7 and U+00F7. Scripts that are written without spaces, or put prefixes before numbers, bound words: what
 * stands among them is found.
 */

/** 1 for ASCII letters, digits and the underscore. */
const IS_WORD: usize = memory.data<u8>(
  [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0,
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1,
    0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,
  ],
  16,
);

export const JOINER_DOT: u32 = 1;
export const JOINER_HYPHEN: u32 = 2;
export const JOINER_COLON: u32 = 4;
export const JOINER_SLASH: u32 = 8;

// @ts-ignore: decorator
@inline
export function isDigit(byte: u32): bool {
  return byte - 0x30 < 10;
}

// @ts-ignore: decorator
@inline
export function isHex(byte: u32): bool {
  return isDigit(byte) || (byte | 0x20) - 0x61 < 6;
}

/** A word character of two bytes. */
function isWordPair(lead: u32, tail: u32): bool {
  if (lead < 0xc3 || lead > 0xd3) return false;
  return lead != 0xc3 || (tail != 0x97 && tail != 0xb7);
}

/** Whether a word character ends at `p`; the text begins at `start`. */
// @ts-ignore: decorator
@inline
export function isWordBefore(p: usize, start: usize): bool {
  if (p == start) return false;
  const byte: u32 = load<u8>(p - 1);
  if (byte < 0x80) return bool(load<u8>(IS_WORD + byte));
  return p - start >= 2 && isWordPair(load<u8>(p - 2), byte);
}

/** Whether a word character begins at `p`; the text ends at `end`. */
// @ts-ignore: decorator
@inline
export function isWordAfter(p: usize, end: usize): bool {
  if (p == end) return false;
  const byte: u32 = load<u8>(p);
  if (byte < 0x80) return bool(load<u8>(IS_WORD + byte));
  return end - p >= 2 && isWordPair(byte, load<u8>(p, 1));
}

/** Whether `byte` is one of the joiners, and `beyond` a digit, or for a colon a hexadecimal digit. */
function joins(byte: u32, beyond: u32, joiners: u32): bool {
  switch (byte) {
    case 0x2e:
      return bool(joiners & JOINER_DOT) && isDigit(beyond);
    case 0x2d:
      return bool(joiners & JOINER_HYPHEN) && isDigit(beyond);
    case 0x3a:
      return bool(joiners & JOINER_COLON) && isHex(beyond);
    case 0x2f:
      return bool(joiners & JOINER_SLASH) && isDigit(beyond);
  }
  return false;
}

/** Whether from..to is part of something longer that a joiner holds together. */
export function isJoined(from: usize, to: usize, start: usize, end: usize, joiners: u32): bool {
  if (!joiners) return false;
  if (from - start >= 2 && joins(load<u8>(from - 1), load<u8>(from - 2), joiners)) return true;
  return end - to >= 2 && joins(load<u8>(to), load<u8>(to, 1), joiners);
}
