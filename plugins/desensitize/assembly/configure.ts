/**
 * Reads the configuration that the host hands over once (grammar: plugins/desensitize/README.md) into field structs,
 * key states (keys.ts), parameters (parameters.ts) and output prefixes.
 *
 * Every length is checked against the buffer; a configuration that asks for anything unknown is refused whole.
 */
import { allocate } from "./arena";
import {
  ACTION_ARRAY, ACTION_CLUSTER, ACTION_KEEP, ACTION_LAST, ACTION_OBJECT, ACTION_PERTURB, ACTION_PSEUDONYMIZE,
  FIELD_ACTION, FIELD_BYTES, FIELD_CHILD, FIELD_NAME, FIELD_NAME_BYTES, FIELD_NEXT, FIELD_PARENT, FIELD_PLAIN,
  FIELD_PREFIX, FIELD_PREFIX_BYTES, FIELD_REQUIRED, FIELD_TYPES,
  insertField, isMade, setFields,
} from "./fields";
import { prepareLanes } from "./hmac-lanes";
import { isPlain, writeEscaped } from "./json-strings";
import { DEEPEST, setMaxDepth } from "./json-values";
import { addKey, prepareKeys } from "./keys";
import { addSlot } from "./observe";
import { readParameters } from "./parameters";
import { setAllowsUnknown, setHasPositions, setIdMaxBytes, setRequiredCount, setWork } from "./policy";
import { isUtf8 } from "./utf8";

/** "SDC2", little-endian. */
const CONFIG_MAGIC: u32 = 0x32434453;
const MOST_KEYS: u32 = 64;
const MOST_FIELDS: u32 = 1024;
/** Longest field name or key, in bytes. */
const LONGEST_TEXT: u32 = 65536;
/** Longest block of parameters: a hierarchy or list of some hundred thousand values. */
const LONGEST_BLOCK: u32 = 16_777_216;
const ALL_TYPES: u32 = 127;
/** Unknown fields are dropped; batches have a second column, the position of each record. */
const FLAG_UNKNOWN: u32 = 1;
const FLAG_POSITIONS: u32 = 2;
const FLAGS: u32 = 3;
/** Flags of a field: every record must have it; the host sees its value. */
const FIELD_FLAG_REQUIRED: u32 = 1;
const FIELD_FLAG_OBSERVED: u32 = 2;
const FIELD_FLAGS: u32 = 3;
/** The parent of a field of the record itself. */
const NO_PARENT: u32 = 0xffffffff;

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
function takeBytes(count: u32, most: u32): usize {
  if (count > most) return 0;
  const padded = (<usize>count + 3) & ~3;
  if (limit - cursor < padded) return 0;
  const start = cursor;
  cursor += padded;
  return start;
}

function readKeys(count: u32): bool {
  if (count > MOST_KEYS || !prepareKeys(count)) return false;
  for (let i: u32 = 0; i < count; i++) {
    const header = takeWords(2);
    if (!header) return false;
    const bytes = load<u32>(header, 4);
    const key = takeBytes(bytes, LONGEST_TEXT);
    if (!key || !addKey(load<u32>(header), key, bytes)) return false;
  }
  return true;
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

/** Puts a field below the field that it is inside; `parent` is an index among those before it. */
function adopt(field: usize, fields: usize, index: u32, parent: u32, nameBytes: u32): bool {
  // A required field that is not in the record makes it fail; inside an object that may be absent nothing is required.
  if (parent == NO_PARENT) return insertField(field);
  if (parent >= index || load<u32>(field, FIELD_REQUIRED)) return false;
  const outer = fields + <usize>parent * FIELD_BYTES;
  const action = load<u32>(outer, FIELD_ACTION);
  if (action < ACTION_OBJECT) return false;
  store<u32>(field, <u32>outer, FIELD_PARENT);
  const first = load<u32>(outer, FIELD_CHILD);
  if (action == ACTION_ARRAY) {
    // An element has no name, and there is one rule for all of them.
    if (first || nameBytes) return false;
    store<u32>(field, 0, FIELD_PREFIX_BYTES);
  } else if (!insertField(field)) {
    return false;
  }
  if (!first) store<u32>(outer, <u32>field, FIELD_CHILD);
  return true;
}

/** Whether a record may have several values of a field. */
function isInArray(field: usize): bool {
  let outer = <usize>load<u32>(field, FIELD_PARENT);
  for (; outer; outer = load<u32>(outer, FIELD_PARENT)) {
    if (load<u32>(outer, FIELD_ACTION) == ACTION_ARRAY) return true;
  }
  return false;
}

function readField(fields: usize, index: u32): i32 {
  const field = fields + <usize>index * FIELD_BYTES;
  const words = takeWords(6);
  if (!words) return CONFIG_BAD_FIELD;
  const action = load<u32>(words);
  const types = load<u32>(words, 4);
  const flags = load<u32>(words, 8);
  const nameBytes = load<u32>(words, 16);
  const blockBytes = load<u32>(words, 20);
  const name = takeBytes(nameBytes, LONGEST_TEXT);
  const block = takeBytes(blockBytes, LONGEST_BLOCK);
  if (!name || !block || types > ALL_TYPES || flags > FIELD_FLAGS) return CONFIG_BAD_FIELD;
  if (action > ACTION_LAST && action != ACTION_OBJECT && action != ACTION_ARRAY) return CONFIG_BAD_FIELD;
  if (!isUtf8(name, name + nameBytes)) return CONFIG_BAD_FIELD;
  memory.fill(field, 0, FIELD_BYTES);
  store<u32>(field, action, FIELD_ACTION);
  store<u32>(field, types, FIELD_TYPES);
  store<u32>(field, flags & FIELD_FLAG_REQUIRED, FIELD_REQUIRED);
  const named = readName(field, name, nameBytes);
  if (named != CONFIG_OK) return named;
  if (!adopt(field, fields, index, load<u32>(words, 12), nameBytes)) return CONFIG_BAD_FIELD;
  if (flags & FIELD_FLAG_OBSERVED) {
    if (action >= ACTION_OBJECT || isInArray(field)) return CONFIG_BAD_FIELD;
    addSlot(field);
  } else if (action == ACTION_CLUSTER) {
    return CONFIG_BAD_FIELD;
  }
  return readParameters(field, action, block, blockBytes) ? CONFIG_OK : CONFIG_BAD_FIELD;
}

/** The first guess at the order of fields: that of the configuration, in each object by itself. */
function linkFields(fields: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const field = fields + <usize>i * FIELD_BYTES;
    const parent = <usize>load<u32>(field, FIELD_PARENT);
    let next = parent ? load<u32>(parent, FIELD_CHILD) : <u32>fields;
    for (let j = i + 1; j < count; j++) {
      const other = fields + <usize>j * FIELD_BYTES;
      if (load<u32>(other, FIELD_PARENT) != <u32>parent) continue;
      next = <u32>other;
      break;
    }
    store<u32>(field, next, FIELD_NEXT);
  }
}

/** Sums up the fields; false when an object or array has nothing inside, or noise has no position to go by. */
function measure(fields: usize, count: u32, positions: bool): bool {
  let required: u32 = 0;
  let nests = false;
  let makes = false;
  for (let i: u32 = 0; i < count; i++) {
    const field = fields + <usize>i * FIELD_BYTES;
    const action = load<u32>(field, FIELD_ACTION);
    required += load<u32>(field, FIELD_REQUIRED);
    if (action >= ACTION_OBJECT) {
      nests = true;
      if (!load<u32>(field, FIELD_CHILD)) return false;
    } else if (isMade(action)) {
      makes = true;
      if (action == ACTION_PERTURB && !positions) return false;
    }
  }
  setWork(nests, makes);
  setRequiredCount(required);
  return true;
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
  if (flags > FLAGS || depth < 1 || depth > DEEPEST || !idMaxBytes || load<u32>(header, 28)) return CONFIG_BAD_HEADER;
  if (!count || count > MOST_FIELDS || id >= count) return CONFIG_BAD_HEADER;
  if (!readKeys(keyCount)) return CONFIG_BAD_KEY;
  const fields = allocate(<usize>count * FIELD_BYTES, 16);
  if (!fields) return CONFIG_NO_MEMORY;
  for (let i: u32 = 0; i < count; i++) {
    const failed = readField(fields, i);
    if (failed != CONFIG_OK) return failed;
  }
  if (cursor != limit) return CONFIG_BAD_HEADER;
  if (!measure(fields, count, bool(flags & FLAG_POSITIONS))) return CONFIG_BAD_FIELD;
  linkFields(fields, count);
  const idField = fields + <usize>id * FIELD_BYTES;
  const idAction = load<u32>(idField, FIELD_ACTION);
  if (idAction != ACTION_KEEP && idAction != ACTION_PSEUDONYMIZE) return CONFIG_BAD_ID;
  if (load<u32>(idField, FIELD_PARENT)) return CONFIG_BAD_ID;
  setFields(fields, count, idField);
  setAllowsUnknown(bool(flags & FLAG_UNKNOWN));
  setHasPositions(bool(flags & FLAG_POSITIONS));
  setMaxDepth(depth);
  setIdMaxBytes(idMaxBytes);
  prepareLanes();
  return CONFIG_OK;
}
