/**
 * Generalizing: a number to a range, a date to its month, year or decade, a text to its first characters, a value to
 * its level of a hierarchy.
 *
 * What a value is not understood as is refused, never passed on. Each function answers a status and leaves its result
 * between `resultStart` and `resultEnd`: at `out`, which has room for 64 bytes, or in the rule or the text itself.
 */
import { STATUS_OK, STATUS_WRONG_TYPE } from "./abi";
import { DECIMAL_LIMIT, floorOf, isNumberText, writeInteger } from "./decimal";
import { FIELD_DATA, FIELD_FIRST, FIELD_SECOND } from "./fields";
import { compareBytes } from "./bytes";
import { afterCodePoints, countCodePoints } from "./utf8";

export let resultStart: usize = 0;
export let resultEnd: usize = 0;

function answer(start: usize, end: usize): u32 {
  resultStart = start;
  resultEnd = end;
  return STATUS_OK;
}

/** ` to `, little-endian. */
const TO: u32 = 0x206f7420;

/** Writes `low-high`, or `low to high` where a minus sign would make that hard to read. */
function writeRange(out: usize, low: i64, high: i64): usize {
  let end = writeInteger(out, low);
  if (low < 0) {
    store<u32>(end, TO);
    end += 4;
  } else {
    store<u8>(end++, 0x2d);
  }
  return writeInteger(end, high);
}

/** Ranges of one width, from 0 up and down. FIELD_FIRST and FIELD_SECOND are the width, low word first. */
export function toWidth(field: usize, start: usize, end: usize, out: usize): u32 {
  if (!isNumberText(start, end)) return STATUS_WRONG_TYPE;
  const value = floorOf(start, end);
  if (value >= DECIMAL_LIMIT || value <= -DECIMAL_LIMIT) return STATUS_WRONG_TYPE;
  const width = <i64>load<u32>(field, FIELD_FIRST) | (<i64>load<u32>(field, FIELD_SECOND) << 32);
  let low = value - (value % width);
  if (low > value) low -= width;
  return answer(out, writeRange(out, low, low + width - 1));
}

/**
 * Ranges between bounds. FIELD_DATA: their number, a zero, the bounds as i64, and after each other the offset of a name
 * from FIELD_DATA and its length, one more than bounds.
 */
export function toBounds(field: usize, start: usize, end: usize): u32 {
  if (!isNumberText(start, end)) return STATUS_WRONG_TYPE;
  const value = floorOf(start, end);
  const data = <usize>load<u32>(field, FIELD_DATA);
  const count = load<u32>(data);
  let range: u32 = 0;
  while (range < count && value >= load<i64>(data + 8 + (<usize>range << 3))) range++;
  const name = data + 8 + (<usize>(count + range) << 3);
  const text = data + load<u32>(name);
  return answer(text, text + load<u32>(name, 4));
}

/** The number that `digits` digits at `p` stand for, or -1. */
function digitsAt(p: usize, digits: usize): i32 {
  let value: i32 = 0;
  for (let i: usize = 0; i < digits; i++) {
    const digit = <u32>load<u8>(p + i) - 0x30;
    if (digit > 9) return -1;
    value = value * 10 + <i32>digit;
  }
  return value;
}

function daysOf(year: i32, month: i32): i32 {
  if (month == 2) return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/** Whether `p` to `end` is `Z` or an offset of hours and minutes. */
function isZone(p: usize, end: usize): bool {
  if (end - p == 1) return load<u8>(p) == 0x5a;
  if (end - p != 6 || (load<u8>(p) != 0x2b && load<u8>(p) != 0x2d) || load<u8>(p, 3) != 0x3a) return false;
  const hours = digitsAt(p + 1, 2);
  const minutes = digitsAt(p + 4, 2);
  return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

/** Whether `p` to `end` is a time after its T: hh:mm, :ss, a fraction and a zone, all but the first optional. */
function isTime(p: usize, end: usize): bool {
  if (end - p < 5 || load<u8>(p, 2) != 0x3a) return false;
  const hours = digitsAt(p, 2);
  const minutes = digitsAt(p + 3, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return false;
  p += 5;
  if (end - p >= 3 && load<u8>(p) == 0x3a) {
    // A leap second is second 60.
    const seconds = digitsAt(p + 1, 2);
    if (seconds < 0 || seconds > 60) return false;
    p += 3;
    if (end - p >= 2 && (load<u8>(p) == 0x2e || load<u8>(p) == 0x2c)) {
      const from = ++p;
      while (p < end && <u32>load<u8>(p) - 0x30 < 10) p++;
      if (p == from) return false;
    }
  }
  return p == end || isZone(p, end);
}

export const DATE_MONTH: u32 = 0;
export const DATE_YEAR: u32 = 1;
export const DATE_DECADE: u32 = 2;

/** ISO 8601: YYYY-MM-DD, with or without a time. FIELD_FIRST is what is left of it. */
export function toDate(field: usize, start: usize, end: usize, out: usize): u32 {
  if (end - start < 10 || load<u8>(start, 4) != 0x2d || load<u8>(start, 7) != 0x2d) return STATUS_WRONG_TYPE;
  const year = digitsAt(start, 4);
  const month = digitsAt(start + 5, 2);
  const day = digitsAt(start + 8, 2);
  if (year < 0 || month < 1 || month > 12 || day < 1 || day > daysOf(year, month)) return STATUS_WRONG_TYPE;
  if (end - start > 10 && (load<u8>(start, 10) != 0x54 || !isTime(start + 11, end))) return STATUS_WRONG_TYPE;
  const part = load<u32>(field, FIELD_FIRST);
  if (part == DATE_MONTH) return answer(start, start + 7);
  if (part == DATE_YEAR) return answer(start, start + 4);
  // 1984 becomes 1980s.
  store<u32>(out, load<u32>(start));
  store<u16>(out, 0x7330, 3);
  return answer(out, out + 5);
}

/** The first FIELD_FIRST characters of a text that has more: the whole of it would not be general. */
export function toPrefix(field: usize, start: usize, end: usize): u32 {
  const kept = load<u32>(field, FIELD_FIRST);
  if (countCodePoints(start, end) <= kept) return STATUS_WRONG_TYPE;
  return answer(start, afterCodePoints(start, end, kept));
}

/**
 * What a table says a value becomes. FIELD_DATA: flags (1: a value that is not there becomes the last text), the number
 * of values, and for each value, in the order of their bytes, offset and length of it and of what it becomes; after
 * them offset and length of the last text.
 */
export function lookUp(field: usize, start: usize, end: usize): u32 {
  const data = <usize>load<u32>(field, FIELD_DATA);
  const count = load<u32>(data, 4);
  let low: u32 = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    const row = data + 8 + (<usize>middle << 4);
    const order = compareBytes(start, end - start, data + load<u32>(row), load<u32>(row, 4));
    if (!order) {
      const text = data + load<u32>(row, 8);
      return answer(text, text + load<u32>(row, 12));
    }
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  if (!load<u32>(data)) return STATUS_WRONG_TYPE;
  const last = data + 8 + (<usize>count << 4);
  const text = data + load<u32>(last);
  return answer(text, text + load<u32>(last, 4));
}
