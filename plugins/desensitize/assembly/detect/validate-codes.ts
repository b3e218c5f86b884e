/**
 * Check digits of numbers that name a person or an account: cards, IBANs, social security and identity numbers.
 *
 * Each is given the bytes of a match, whose shape an automaton has judged, with the separators in it.
 */
import { isDigit } from "./words";

/**
 * Length of an IBAN by the two letters of its country; 0: there is none. From the SWIFT IBAN registry,
 * and the lengths of countries that use the form without being in it.
 */
const IBAN_LENGTHS: usize = memory.data<u8>(
  [
    0, 0, 0, 24, 23, 0, 0, 0, 0, 0, 0, 28, 0, 0, 25, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 28,
    20, 0, 0, 0, 16, 28, 22, 22, 27, 28, 0, 0, 0, 0, 0, 0, 0, 29, 0, 0, 0, 0, 0, 0, 28, 0,
    0, 0, 0, 0, 0, 27, 27, 21, 28, 0, 0, 0, 27, 0, 0, 0, 0, 22, 0, 0, 0, 25, 0, 0, 28, 24,
    0, 0, 0, 0, 22, 0, 0, 0, 0, 27, 18, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 26,
    0, 0, 0, 0, 20, 0, 29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 18, 0, 18, 0, 0, 0, 18, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 0,
    27, 22, 0, 0, 22, 0, 0, 0, 23, 0, 0, 18, 0, 0, 0, 0, 27, 27, 0, 28, 0, 0, 25, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 21, 0, 0, 28, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 0, 23, 26, 26, 27, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 20,
    0, 28, 32, 0, 0, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 20, 21, 0, 0, 25, 0,
    28, 0, 27, 24, 22, 0, 27, 0, 0, 0, 19, 28, 0, 20, 0, 0, 0, 27, 0, 31, 30, 0, 0, 0, 0, 25,
    0, 0, 0, 0, 28, 0, 0, 0, 28, 0, 0, 18, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 28, 0, 0, 0, 0, 0, 0, 29, 25, 0, 0, 0, 0, 0, 0,
    29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 22, 0, 33, 0, 0, 0, 0, 0,
    24, 0, 31, 18, 24, 0, 0, 0, 19, 0, 24, 0, 27, 28, 23, 0, 0, 0, 0, 25, 0, 28, 0, 0, 0, 0,
    0, 0, 0, 27, 0, 0, 28, 0, 0, 0, 0, 23, 0, 24, 0, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0, 0,
    29, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    22, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  ],
  16,
);
/** Weights 2^(17 - i) mod 11 of GB 11643-1999, for the first 17 digits. */
const CN_WEIGHTS: usize = memory.data<u8>([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], 16);
/** "10X98765432": the check character by the weighted sum mod 11. */
const CN_CHECKS: usize = memory.data<u8>([0x31, 0x30, 0x58, 0x39, 0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32], 16);
/** Bit p is set where p is the first two digits of a region (GB/T 2260): one word for each tens digit. */
const CN_REGIONS: usize = memory.data<u32>([0, 0x3e, 0x0e, 0xfe, 0x7e, 0x1f, 0x3e, 0x02, 0x0e, 0x02], 16);

/** 12 to 19 digits that pass Luhn (ISO/IEC 7812-1, annex B). */
export function isCard(from: usize, to: usize): bool {
  let sum: u32 = 0;
  let count: u32 = 0;
  let isEven = false;
  while (to > from) {
    const byte: u32 = load<u8>(--to);
    if (!isDigit(byte)) continue;
    let digit = byte - 0x30;
    if (isEven) {
      digit <<= 1;
      if (digit > 9) digit -= 9;
    }
    isEven = !isEven;
    sum += digit;
    count++;
  }
  return count >= 12 && count <= 19 && sum % 10 == 0;
}

/** Takes the letters and digits from..to into a remainder mod 97 (ISO 7064), letters as 10 to 35. */
function remainder97(from: usize, to: usize, rest: u32): u32 {
  for (; from < to; from++) {
    const byte: u32 = load<u8>(from);
    const letter = (byte | 0x20) - 0x61;
    if (isDigit(byte)) rest = (rest * 10 + byte - 0x30) % 97;
    else if (letter < 26) rest = (rest * 100 + letter + 10) % 97;
  }
  return rest;
}

/** Length by country and remainder 1 (ISO 13616-1). The first four characters stand together. */
export function isIban(from: usize, to: usize): bool {
  const country = ((<u32>load<u8>(from) | 0x20) - 0x61) * 26 + (<u32>load<u8>(from, 1) | 0x20) - 0x61;
  const length = load<u8>(IBAN_LENGTHS + <usize>country);
  if (!length || to - from < length) return false;
  let count: u32 = 0;
  for (let p = from; p < to; p++) {
    const byte: u32 = load<u8>(p);
    count += u32(isDigit(byte) || (byte | 0x20) - 0x61 < 26);
  }
  if (count != length) return false;
  return remainder97(from, from + 4, remainder97(from + 4, to, 0)) == 1;
}

/** The number in the `count` digits at `p`. */
export function numberAt(p: usize, count: u32): u32 {
  let value: u32 = 0;
  for (let i: u32 = 0; i < count; i++) value = value * 10 + load<u8>(p + i) - 0x30;
  return value;
}

/** Areas 000, 666 and 900 to 999, group 00 and serial 0000 were never given out. */
export function isSsn(from: usize): bool {
  const area = numberAt(from, 3);
  return area != 0 && area != 666 && area < 900 && numberAt(from + 4, 2) != 0 && numberAt(from + 7, 4) != 0;
}

/**
 * German tax id: ISO 7064 mod 11, 10; of the first ten digits exactly one stands there twice or three times, but not
 * three times in a row (section 139b of the tax code and its technical description).
 */
export function isDeTaxId(from: usize, to: usize): bool {
  let product: u32 = 10;
  let counts: u64 = 0;
  let index: u32 = 0;
  let last: u32 = 10;
  let run: u32 = 0;
  for (; from < to; from++) {
    const byte: u32 = load<u8>(from);
    if (!isDigit(byte)) continue;
    const digit = byte - 0x30;
    if (index++ == 10) return tenDigitsAreRight(counts) && (11 - product) % 10 == digit;
    run = digit == last ? run + 1 : 1;
    if (run == 3) return false;
    last = digit;
    counts += (<u64>1) << (<u64>digit << 2);
    const sum = (digit + product) % 10;
    product = ((sum ? sum : 10) << 1) % 11;
  }
  return false;
}

/** Whether of ten digits, counted in four bits each, exactly one is there more than once, and at most three times. */
function tenDigitsAreRight(counts: u64): bool {
  let repeated: u32 = 0;
  for (let digit = 0; digit < 10; digit++, counts >>= 4) {
    const count = <u32>counts & 15;
    if (count > 3) return false;
    repeated += u32(count > 1);
  }
  return repeated == 1;
}

/** Days of a month in the Gregorian calendar; 0 when there is no such month. */
export function daysIn(year: u32, month: u32): u32 {
  if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  if (month < 1 || month > 12) return 0;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/** Chinese resident identity number (GB 11643-1999): region, date of birth, check character. 18 bytes at `from`. */
export function isCnId(from: usize): bool {
  const region = load<u32>(CN_REGIONS + (<usize>numberAt(from, 1) << 2));
  if (!((region >> numberAt(from + 1, 1)) & 1)) return false;
  const year = numberAt(from + 6, 4);
  const day = numberAt(from + 12, 2);
  if (year < 1800 || year > 2099 || day < 1 || day > daysIn(year, numberAt(from + 10, 2))) return false;
  let sum: u32 = 0;
  for (let i: usize = 0; i < 17; i++) sum += (<u32>load<u8>(from + i) - 0x30) * load<u8>(CN_WEIGHTS + i);
  const check: u32 = load<u8>(from, 17);
  return (check == 0x78 ? 0x58 : check) == load<u8>(CN_CHECKS + <usize>(sum % 11));
}
