/**
 * Reads the configuration that the host hands over once (grammar: plugins/desensitize/README.md) into field structs,
 * HMAC midstates and output prefixes, and forgets the key bytes.
 *
 * Every length is checked against the buffer; a configuration that asks for anything unknown is refused whole.
 */
import { allocate } from "./arena";
import { setIdMaxBytes, setGrowth, setAllowsUnknown, setRequiredCount } from "./policy";
import {
  ACTION_KEEP, ACTION_MASK, ACTION_PSEUDONYMIZE, ACTION_REPLACE,
  FIELD_ACTION, FIELD_BYTES, FIELD_KEEP_FIRST, FIELD_KEEP_LAST, FIELD_KEY, FIELD_NAME, FIELD_NAME_BYTES, FIELD_NEXT,
  FIELD_PLAIN, FIELD_PREFIX, FIELD_PREFIX_BYTES, FIELD_REQUIRED, FIELD_TEXT, FIELD_TEXT_BYTES, FIELD_TYPES,
  insertField, setFields,
} from "./fields";
import { HEX_BYTES, prepareLanes } from "./hmac-lanes";
import { isPlain, writeEscaped } from "./json-strings";
import { DEEPEST, setMaxDepth } from "./json-values";
import { KEY_STATE_BYTES, prepareKey } from "./sha256";
import { countCodePoints, isUtf8 } from "./utf8";

/** "SDC1", little-endian. */
const CONFIG_MAGIC: u32 = 0x31434453;
const MOST_KEYS: u32 = 64;
const MOST_FIELDS: u32 = 1024;
/** Longest field name, replacement or key, in bytes. */
const LONGEST_TEXT: u32 = 65536;
const ALL_TYPES: u32 = 127;

/** What configure() answers: 0, or which part was refused. */
export const CONFIG_OK: i32 = 0;
const CONFIG_BAD_HEADER: i32 = 1;
const CONFIG_BAD_KEY: i32 = 2;
const CONFIG_BAD_FIELD: i32 = 3;
const CONFIG_NO_MEMORY: i32 = 4;
const CONFIG_BAD_ID: i32 = 5;
export const CONFIG_TWICE: i32 = 6;

let cursor: usize = 0;
let limit: usize = 0;

/** Takes `count` words; 0 when the buffer ends before. */
function takeWords(count: usize): usize {
  if (limit - cursor < count << 2) return 0;
  const start = cursor;
  cursor += count << 2;
  return start;
}

/** Takes bytes padded to a multiple of four; 0 when the buffer ends before or they are too many. */
function takeBytes(count: u32): usize {
  if (count > LONGEST_TEXT) return 0;
  const padded = (<usize>count + 3) & ~3;
  if (limit - cursor < padded) return 0;
  const start = cursor;
  cursor += padded;
  return start;
}

function readKeys(count: u32): usize {
  if (count > MOST_KEYS) return 0;
  const states = allocate(max<usize>(1, count) * KEY_STATE_BYTES, 16);
  if (!states) return 0;
  for (let i: usize = 0; i < count; i++) {
    const header = takeWords(1);
    if (!header) return 0;
    const bytes = load<u32>(header);
    const key = takeBytes(bytes);
    if (!key || !bytes) return 0;
    prepareKey(key, bytes, states + i * KEY_STATE_BYTES);
    memory.fill(key, 0, bytes);
  }
  return states;
}

/** Copies a name and writes its output prefix. */
function readName(field: usize, name: usize, bytes: usize): i32 {
  // 16 bytes behind the name for SIMD comparison; the prefix has at most 6 bytes for one, quotes and colon.
  const copy = allocate(bytes + 16, 16);
  const prefix = allocate(bytes * 6 + 3 + 16, 16);
  if (!copy || !prefix) return CONFIG_NO_MEMORY;
  memory.copy(copy, name, bytes);
  store<u8>(prefix, 0x22);
  const quote = writeEscaped(prefix + 1, name, name + bytes);
  store<u16>(quote, 0x3a22);
  store<u32>(field, <u32>copy, FIELD_NAME);
  store<u32>(field, <u32>bytes, FIELD_NAME_BYTES);
  store<u32>(field, <u32>prefix, FIELD_PREFIX);
  store<u32>(field, <u32>(quote + 2 - prefix), FIELD_PREFIX_BYTES);
  store<u32>(field, u32(isPlain(name, name + bytes)), FIELD_PLAIN);
  return CONFIG_OK;
}

/** Keeps the escaped mask character, or the quoted replacement. */
function readText(field: usize, action: u32, text: usize, bytes: usize): i32 {
  const wanted = action == ACTION_MASK || action == ACTION_REPLACE;
  if (!wanted) return bytes ? CONFIG_BAD_FIELD : CONFIG_OK;
  if (!isUtf8(text, text + bytes)) return CONFIG_BAD_FIELD;
  if (action == ACTION_MASK && countCodePoints(text, text + bytes) != 1) return CONFIG_BAD_FIELD;
  const room = allocate(bytes * 6 + 2 + 16, 16);
  if (!room) return CONFIG_NO_MEMORY;
  let end = room;
  if (action == ACTION_REPLACE) store<u8>(end++, 0x22);
  end = writeEscaped(end, text, text + bytes);
  if (action == ACTION_REPLACE) store<u8>(end++, 0x22);
  store<u32>(field, <u32>room, FIELD_TEXT);
  store<u32>(field, <u32>(end - room), FIELD_TEXT_BYTES);
  return CONFIG_OK;
}

function readField(field: usize, keys: usize, keyCount: u32): i32 {
  const words = takeWords(7);
  if (!words) return CONFIG_BAD_FIELD;
  const action = load<u32>(words);
  const types = load<u32>(words, 4);
  const flags = load<u32>(words, 8);
  const first = load<u32>(words, 12);
  const second = load<u32>(words, 16);
  const nameBytes = load<u32>(words, 20);
  const textBytes = load<u32>(words, 24);
  const name = takeBytes(nameBytes);
  const text = takeBytes(textBytes);
  if (!name || !text || action > ACTION_PSEUDONYMIZE || types > ALL_TYPES || flags > 1) return CONFIG_BAD_FIELD;
  if (!isUtf8(name, name + nameBytes)) return CONFIG_BAD_FIELD;
  memory.fill(field, 0, FIELD_BYTES);
  store<u32>(field, action, FIELD_ACTION);
  store<u32>(field, types, FIELD_TYPES);
  store<u32>(field, flags, FIELD_REQUIRED);
  if (action == ACTION_PSEUDONYMIZE) {
    if (first >= keyCount || second) return CONFIG_BAD_FIELD;
    store<u32>(field, <u32>(keys + <usize>first * KEY_STATE_BYTES), FIELD_KEY);
  } else if (action == ACTION_MASK) {
    store<u32>(field, first, FIELD_KEEP_FIRST);
    store<u32>(field, second, FIELD_KEEP_LAST);
  } else if (first || second) {
    return CONFIG_BAD_FIELD;
  }
  const named = readName(field, name, nameBytes);
  if (named != CONFIG_OK) return named;
  const failed = readText(field, action, text, textBytes);
  if (failed != CONFIG_OK) return failed;
  return insertField(field) ? CONFIG_OK : CONFIG_BAD_FIELD;
}

/** Room that one record needs beyond its own bytes: prefixes, commas, digests, replacements and braces. */
function measure(fields: usize, count: u32): void {
  let fixed: u64 = 2;
  let factor: u32 = 1;
  let required: u32 = 0;
  for (let i: usize = 0; i < count; i++) {
    const field = fields + i * FIELD_BYTES;
    const action = load<u32>(field, FIELD_ACTION);
    required += load<u32>(field, FIELD_REQUIRED);
    // A comma, and the quotes that masking puts around a number.
    fixed += load<u32>(field, FIELD_PREFIX_BYTES) + 3;
    if (action == ACTION_PSEUDONYMIZE) fixed += HEX_BYTES;
    if (action == ACTION_REPLACE) fixed += load<u32>(field, FIELD_TEXT_BYTES);
    if (action == ACTION_MASK) factor = max(factor, load<u32>(field, FIELD_TEXT_BYTES));
  }
  setGrowth(factor, fixed);
  setRequiredCount(required);
}

/** Reads the `bytes` bytes at `config`. Returns 0 or the part that was refused. */
export function readConfig(config: usize, bytes: usize): i32 {
  cursor = config;
  limit = config + bytes;
  const header = takeWords(8);
  if (!header || load<u32>(header) != CONFIG_MAGIC) return CONFIG_BAD_HEADER;
  const keyCount = load<u32>(header, 4);
  const count = load<u32>(header, 8);
  const id = load<u32>(header, 12);
  const flags = load<u32>(header, 16);
  const depth = load<u32>(header, 20);
  const idMaxBytes = load<u32>(header, 24);
  if (flags > 1 || depth < 1 || depth > DEEPEST || !idMaxBytes || load<u32>(header, 28)) return CONFIG_BAD_HEADER;
  if (!count || count > MOST_FIELDS || id >= count) return CONFIG_BAD_HEADER;
  const keys = readKeys(keyCount);
  if (!keys) return CONFIG_BAD_KEY;
  const fields = allocate(<usize>count * FIELD_BYTES, 16);
  if (!fields) return CONFIG_NO_MEMORY;
  for (let i: usize = 0; i < count; i++) {
    const field = fields + i * FIELD_BYTES;
    const failed = readField(field, keys, keyCount);
    if (failed != CONFIG_OK) return failed;
    // The first guess at the order: that of the configuration.
    store<u32>(field, <u32>(i + 1 < count ? field + FIELD_BYTES : fields), FIELD_NEXT);
  }
  if (cursor != limit) return CONFIG_BAD_HEADER;
  const idAction = load<u32>(fields + <usize>id * FIELD_BYTES, FIELD_ACTION);
  if (idAction != ACTION_KEEP && idAction != ACTION_PSEUDONYMIZE) return CONFIG_BAD_ID;
  setFields(fields, count, fields + <usize>id * FIELD_BYTES);
  setAllowsUnknown(bool(flags & 1));
  setMaxDepth(depth);
  setIdMaxBytes(idMaxBytes);
  measure(fields, count);
  prepareLanes();
  return CONFIG_OK;
}
