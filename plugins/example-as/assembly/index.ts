/**
 * An example of a plugin: lines of `name=value; name=value`, as older systems write them, become JSON records.
 *
 * What it does exactly is in the README beside it; the examples in Rust and C do the same. The configuration is a list of
 * fields, commas between, whose values become lower-case texts, such as e-mail addresses.
 */
import {
  DROPPED, DUPLICATE_FIELD, NOT_JSON, NOT_UTF8, OK, TOO_LARGE, isUtf8, onConfigure, onRow, put, putBytes, putText,
  remember,
} from "../../sdk/assembly/index";

export { abi_version, alloc, configure, last_error, reset, transform } from "../../sdk/assembly/exports";

const MAX_FIELDS = 64;
/** More digits than this may not come back from a double. */
const MAX_DIGITS = 15;
const MAX_CONFIG_BYTES: usize = 4096;

// Where the current row's names lie: pointer and length each.
const names: usize = memory.data(MAX_FIELDS * 8, 16);
let lowered: usize = 0;
let loweredBytes: usize = 0;

function isSpace(byte: u32): bool {
  return byte == 0x20 || byte == 0x09 || byte == 0x0d || byte == 0x0a;
}

/** First byte at or after `at` that is no space. */
function skipSpaces(at: usize, end: usize): usize {
  while (at < end && isSpace(load<u8>(at))) at++;
  return at;
}

/** End of `at`..`end` without the spaces behind it. */
function trimEnd(at: usize, end: usize): usize {
  while (end > at && isSpace(load<u8>(end - 1))) end--;
  return end;
}

/** First place of a byte, or `end`. */
function find(byte: u32, at: usize, end: usize): usize {
  while (at < end && <u32>load<u8>(at) != byte) at++;
  return at;
}

function isSame(a: usize, aBytes: usize, b: usize, bBytes: usize): bool {
  return aBytes == bBytes && memory.compare(a, b, aBytes) == 0;
}

function isDigit(byte: u32): bool {
  return byte >= 0x30 && byte <= 0x39;
}

/** Whether a value is a JSON number without exponent that a double holds exactly enough. */
function isNumber(at: usize, end: usize): bool {
  if (at < end && load<u8>(at) == 0x2d) at++;
  const start = at;
  let digits = 0;
  while (at < end && isDigit(load<u8>(at))) {
    at++;
    digits++;
  }
  if (!digits || (digits > 1 && load<u8>(start) == 0x30)) return false;
  if (at < end && load<u8>(at) == 0x2e) {
    const point = ++at;
    while (at < end && isDigit(load<u8>(at))) at++;
    if (at == point) return false;
    digits += <i32>(at - point);
  }
  return at == end && digits <= MAX_DIGITS;
}

const TRUE: usize = memory.data<u8>([0x74, 0x72, 0x75, 0x65]);
const FALSE: usize = memory.data<u8>([0x66, 0x61, 0x6c, 0x73, 0x65]);

/** Whether a value needs no quotes. */
function isPlain(at: usize, end: usize): bool {
  return isNumber(at, end) || isSame(at, end - at, TRUE, 4) || isSame(at, end - at, FALSE, 5);
}

/** Whether the configuration lists a name. */
function isLowered(name: usize, bytes: usize): bool {
  const end = lowered + loweredBytes;
  for (let at = lowered; at < end; ) {
    const comma = find(0x2c, at, end);
    const from = skipSpaces(at, comma);
    if (isSame(name, bytes, from, trimEnd(from, comma) - from)) return true;
    at = comma + 1;
  }
  return false;
}

function hexDigit(value: u32): u32 {
  return value < 10 ? 0x30 + value : 0x57 + value;
}

/** Writes a JSON string. */
function putString(at: usize, end: usize, lower: bool): void {
  put(0x22);
  let done = at;
  for (; at < end; at++) {
    const byte = <u32>load<u8>(at);
    const upper = lower && byte >= 0x41 && byte <= 0x5a;
    if (!upper && byte >= 0x20 && byte != 0x22 && byte != 0x5c) continue;
    putBytes(done, at - done);
    done = at + 1;
    if (upper) put(byte + 32);
    else if (byte >= 0x20) {
      put(0x5c);
      put(byte);
    } else {
      putText("\\u00");
      put(hexDigit(byte >> 4));
      put(hexDigit(byte & 15));
    }
  }
  putBytes(done, end - done);
  put(0x22);
}

/** Whether the row's first `count` names have this one. */
function isTaken(name: usize, bytes: usize, count: i32): bool {
  for (let i = 0; i < count; i++) {
    const at = names + (<usize>i << 3);
    if (isSame(name, bytes, <usize>load<u32>(at), <usize>load<u32>(at, 4))) return true;
  }
  return false;
}

function row(at: usize, bytes: usize): i32 {
  const end = at + bytes;
  if (!isUtf8(at, bytes)) return NOT_UTF8;
  if (!bytes || load<u8>(at) == 0x23) return DROPPED;
  if (load<u8>(at) == 0x7b) {
    putBytes(at, bytes);
    return OK;
  }
  let count = 0;
  for (; at < end; ) {
    const stop = find(0x3b, at, end);
    const from = skipSpaces(at, stop);
    const to = trimEnd(from, stop);
    at = stop + 1;
    if (from == to) continue;
    const equals = find(0x3d, from, to);
    const nameBytes = trimEnd(from, equals) - from;
    if (equals == to || !nameBytes) return NOT_JSON;
    if (isTaken(from, nameBytes, count)) return DUPLICATE_FIELD;
    if (count == MAX_FIELDS) return TOO_LARGE;
    store<u32>(names + (<usize>count << 3), <u32>from);
    store<u32>(names + (<usize>count << 3), <u32>nameBytes, 4);
    put(count++ ? 0x2c : 0x7b);
    putString(from, from + nameBytes, false);
    put(0x3a);
    const value = skipSpaces(equals + 1, to);
    const lower = isLowered(from, nameBytes);
    if (!lower && isPlain(value, to)) putBytes(value, to - value);
    else putString(value, to, lower);
  }
  if (!count) return NOT_JSON;
  put(0x7d);
  return OK;
}

/** 1: not UTF-8, 2: too long. */
function readConfig(at: usize, bytes: usize): i32 {
  if (!isUtf8(at, bytes)) return 1;
  if (bytes > MAX_CONFIG_BYTES) return 2;
  lowered = remember(at, bytes);
  loweredBytes = bytes;
  return 0;
}

onRow(row);
onConfigure(readConfig);
