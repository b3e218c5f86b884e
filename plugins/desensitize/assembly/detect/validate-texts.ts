/**
 * What no automaton judges of addresses, dates and telephone numbers: IPv6 groups, the calendar, lengths by country.
 *
 * Each is given the bytes of a match, whose shape an automaton has judged.
 */
import { daysIn } from "./validate-codes";
import { isDigit, isHex } from "./words";

const DOT: u32 = 0x2e;
const HYPHEN: u32 = 0x2d;
const COLON: u32 = 0x3a;
const SLASH: u32 = 0x2f;

/** Whether from..to is four numbers of 0 to 255, without leading zeros, with dots between. */
function isDottedQuad(from: usize, to: usize): bool {
  let value: u32 = 0;
  let digits: u32 = 0;
  let dots: u32 = 0;
  for (; from < to; from++) {
    const byte: u32 = load<u8>(from);
    if (byte == DOT) {
      if (!digits) return false;
      dots++;
      digits = 0;
      value = 0;
      continue;
    }
    value = value * 10 + byte - 0x30;
    if (!isDigit(byte) || value > 255 || (digits && value < 10)) return false;
    digits++;
  }
  return dots == 3 && digits > 0;
}

/**
 * RFC 4291 section 2.2: eight groups, or fewer with one `::`, the last two maybe as IPv4. An address without a decimal
 * digit does not count: `a::b` is a name in many languages.
 */
export function isIpv6(from: usize, to: usize): bool {
  let groups: u32 = 0;
  let gaps: u32 = 0;
  let hasDigit = false;
  let p = from;
  while (p < to) {
    const groupStart = p;
    while (p < to && isHex(load<u8>(p))) hasDigit = isDigit(load<u8>(p++)) || hasDigit;
    if (p < to && load<u8>(p) == DOT) {
      if (!isDottedQuad(groupStart, to)) return false;
      groups += 2;
      break;
    }
    if (p > groupStart) groups++;
    if (p == to) break;
    // A colon: the second of two makes a gap, and one alone may stand neither first nor last.
    p++;
    if (p < to && load<u8>(p) == COLON) {
      gaps++;
      p++;
      if (p < to && load<u8>(p) == COLON) return false;
    } else if (p == to || groupStart + 1 == p) {
      return false;
    }
  }
  if (!hasDigit || gaps > 1) return false;
  return gaps ? groups <= 7 : groups == 8;
}

// The numbers of the date at hand, and how many digits each has.
let first: u32 = 0;
let second: u32 = 0;
let third: u32 = 0;
let thirdDigits: u32 = 0;

/** Reads the first three numbers of a date. */
function readNumbers(from: usize, to: usize): void {
  let index: u32 = 0;
  let value: u32 = 0;
  let digits: u32 = 0;
  for (; index < 3; from++) {
    const byte: u32 = from < to ? load<u8>(from) : 0;
    if (isDigit(byte)) {
      value = value * 10 + byte - 0x30;
      digits++;
      continue;
    }
    if (!digits && from < to) continue;
    if (index == 0) first = value;
    else if (index == 1) second = value;
    else third = value;
    thirdDigits = digits;
    index++;
    value = 0;
    digits = 0;
  }
}

/** A year of two digits is one of the last century: leap years aside it does not matter which. */
function isDay(year: u32, month: u32, day: u32): bool {
  return day >= 1 && day <= daysIn(year < 100 ? year + 1900 : year, month);
}

export function isDateYearFirst(from: usize, to: usize): bool {
  readNumbers(from, to);
  return isDay(first, second, third);
}

export function isDateDayFirst(from: usize, to: usize): bool {
  readNumbers(from, to);
  return isDay(third, second, first);
}

/** Day or month first. */
export function isDateSlashes(from: usize, to: usize): bool {
  readNumbers(from, to);
  return isDay(third, second, first) || isDay(third, first, second);
}

// What stands in the telephone number at hand.
let digitCount: u32 = 0;
let dots: u32 = 0;
let hyphens: u32 = 0;
let slashes: u32 = 0;
let others: u32 = 0;
let opened: i32 = 0;
let hasBrackets: bool = false;
/** The first three digits after the prefix, as one number. */
let leading: u32 = 0;

/** Counts what is in a number, up to its extension. False when its brackets do not pair. */
function countPhone(from: usize, to: usize): bool {
  digitCount = 0;
  dots = 0;
  hyphens = 0;
  slashes = 0;
  others = 0;
  opened = 0;
  hasBrackets = false;
  leading = 0;
  for (; from < to; from++) {
    const byte: u32 = load<u8>(from);
    if (isDigit(byte)) {
      if (++digitCount <= 3) leading = leading * 10 + byte - 0x30;
    } else if (byte == DOT) dots++;
    else if (byte == HYPHEN) hyphens++;
    else if (byte == SLASH) slashes++;
    else if (byte == 0x28) {
      opened++;
      hasBrackets = true;
    } else if (byte == 0x29) {
      if (--opened < 0) return false;
    } else if (byte == 0x20) others++;
    else if (byte < 0x80) break;
  }
  return opened == 0;
}

/** Whether `count` digits after calling code 1, or a calling code of two digits, are a national number; 0: not known. */
function isNationalLength(code: u32, count: u32): bool {
  switch (code) {
    case 31:
    case 33:
    case 34:
      return count == 9;
    case 39:
      return count >= 6 && count <= 11;
    case 44:
      return count == 9 || count == 10;
    case 49:
      return count >= 5 && count <= 13;
    case 55:
    case 86:
      return count == 10 || count == 11;
    case 91:
      return count == 10;
  }
  // E.164: at most 15 digits with the calling code; fewer than 7 nobody has.
  return count + 2 >= 7 && count + 2 <= 15;
}

/**
 * A number with its calling code, after `+` or `00`. Written in one piece after `+` it may have any length of E.164;
 * in groups it has a length of its country, so that it ends where the next number begins. A trunk 0 does not count.
 */
export function isPhoneInternational(from: usize, to: usize): bool {
  const hasPlus = load<u8>(from) == 0x2b;
  from += hasPlus ? 1 : 2;
  if (!countPhone(from, to) || slashes > 1) return false;
  if (hasPlus && <usize>digitCount == to - from) return digitCount >= 7 && digitCount <= 15;
  if (leading / 100 == 1) return digitCount == 11;
  const code = leading / 10;
  const national = digitCount - 2;
  if (isNationalLength(code, national)) return true;
  const hasTrunk = (leading % 10 == 0 && code != 39) || hasBracketZero(from, to);
  return hasTrunk && isNationalLength(code, national - 1);
}

/** `+49 (0) 170 ...`: the 0 is not dialled from abroad. */
function hasBracketZero(from: usize, to: usize): bool {
  for (; from + 3 <= to; from++) {
    if (load<u8>(from) == 0x28 && load<u8>(from, 1) == 0x30 && load<u8>(from, 2) == 0x29) return true;
  }
  return false;
}

/**
 * A number with a trunk 0: 9 to 12 digits, 13 where something separates them, and separators as people set them. Two hyphens go with nothing else, dots
 * neither, and there is one slash at most: `01.02.1990 12` is a date and a number.
 */
export function isPhoneTrunk(from: usize, to: usize): bool {
  if (!countPhone(from, to) || slashes > 1) return false;
  const separators = dots + hyphens + slashes + others;
  // Swedish: 026-366 39.
  if (digitCount == 8) return hyphens == 1 && others > 0 && separators == hyphens + others;
  if (digitCount < 9 || digitCount > u32(hasBrackets || separators ? 13 : 12)) return false;
  if (dots && hyphens + slashes + others) return false;
  return hyphens < 2 || !(dots + slashes + others);
}
