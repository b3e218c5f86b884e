/**
 * One raw record: read and checked to its last byte before anything is written.
 *
 * Reading makes a list of the values that will leave, in the order in which they came, with the objects and arrays
 * around them that are rebuilt; rules that can refuse a value are done right here (make.ts). Only a record that passed
 * every check is handed to actions.ts. So a refused record leaves no output and no hash lane. When several things
 * are wrong: broken UTF-8 first, then broken JSON, then the first of the others in the order of the text, then what
 * is missing.
 */
import {
  STATUS_DUPLICATE_FIELD, STATUS_MISSING_FIELD, STATUS_NOT_JSON, STATUS_NOT_UTF8, STATUS_OK, STATUS_RECORD_ID,
  STATUS_TOO_LARGE, STATUS_UNKNOWN_FIELD, STATUS_WRONG_TYPE,
} from "./abi";
import {
  ACTION_ARRAY, ACTION_CLUSTER, ACTION_DROP, ACTION_KEEP, ACTION_OBJECT, ACTION_REPLACE,
  FIELD_ACTION, FIELD_BYTES, FIELD_CHILD, FIELD_FACTOR, FIELD_NAME_BYTES, FIELD_NEXT, FIELD_REQUIRED, FIELD_ROOM,
  FIELD_SEEN_IN, FIELD_SLOT, FIELD_TYPES,
  fieldCount, findField, firstField, idField, isMade, isNameOf,
} from "./fields";
import { decodeString, forgetSurrogates, hasEscapes, hasLoneSurrogate, scanString } from "./json-strings";
import {
  TYPE_ARRAY, TYPE_BOOLEAN, TYPE_INTEGER, TYPE_NULL, TYPE_NUMBER, TYPE_OBJECT, TYPE_STRING,
  forgetDepth, isInteger, isTooDeep, isWhole, maxDepth, noteDepth, skipSpace, skipValue, valueType,
} from "./json-values";
import { forgetMade, madeEnd, madeStart, makeValue } from "./make";
import { observe, slotCount } from "./observe";
import { forgetOrder, learnOrder, noteOrder } from "./plan";
import { allowsUnknown, idMaxBytes, requiredCount } from "./policy";
import { allAscii, isUtf8 } from "./utf8";

// A value that will leave: where it lies in the record, or where it was made, and what to do with it.
export const VALUE_FIELD: usize = 0;
/** First byte and end; for a string the inside of the quotes; for an end, the bracket. */
export const VALUE_START: usize = 4;
export const VALUE_END: usize = 8;
/** TYPE_ bit, and one of the bits below. */
export const VALUE_TYPE: usize = 12;
export const VALUE_BYTES: usize = 16;
/** The string has escapes. */
export const VALUE_ESCAPED: u32 = 0x100;
/** The end of an object or array that is rebuilt. */
export const VALUE_CLOSES: u32 = 0x200;
/** Start and end are those of a result, decoded text. */
export const VALUE_MADE: u32 = 0x400;
/** Not a value but members that leave as they stand in the record, commas between them: first quote and end. */
export const VALUE_RUN: u32 = 0x800;

/** Most bytes that a made character takes when it is written: \\u00xx. */
const ESCAPED_BYTES: u64 = 6;
/** Objects of a record that may be counted before the numbers begin again. */
const NUMBERS_LEFT: u32 = 0xf0000000;

const TYPES_OF_TEXT: u32 = TYPE_STRING | TYPE_NUMBER;

/** List of values of the record just read, `valueCount` long; index.ts makes room for the most there can be. */
let values: usize = 0;
export let valueCount: u32 = 0;
/** Most bytes that the record just read takes in the output. */
export let recordRoom: u64 = 0;

/** The record id before its rule, decoded: set by readRecord for a record that is fine. */
export let idStart: usize = 0;
export let idEnd: usize = 0;

/** Where escaped strings are decoded to; 64 readable bytes behind it. */
let scratch: usize = 0;

/** Number of the last object, to know which fields it has had; and that of the record itself. */
let objectNumber: u32 = 0;
let recordNumber: u32 = 0;
let problem: u32 = STATUS_OK;
let seenRequired: u32 = 0;

/** What decodeToScratch has written so far, to drop what it writes from here on. */
export function decodedSoFar(): usize {
  return scratch;
}

export function dropDecoded(from: usize): void {
  scratch = from;
}

/** Whether the record has had no fault yet. */
export function isFine(): bool {
  return problem == STATUS_OK;
}

/** Says that the list ends before `item`. */
export function setValueCount(item: usize): void {
  valueCount = <u32>((item - values) / VALUE_BYTES);
}

export function addRoom(bytes: u64): void {
  recordRoom += bytes;
}

/** Hands over the room for a batch: a list of values, and as many scratch bytes as the batch has data, and 64. */
export function prepareRecords(valueList: usize, scratchBytes: usize): void {
  values = valueList;
  scratch = scratchBytes;
}

/** Decodes the inside of a string into scratch; it stays there until the batch ends. Returns its start. */
export function decodeToScratch(start: usize, end: usize): usize {
  const text = scratch;
  scratch = decodeString(start, end, text);
  return text;
}

/** End of what decodeToScratch wrote last. */
// @ts-ignore: decorator
@inline
export function scratchEnd(): usize {
  return scratch;
}

/** The n-th value of the record just read. */
// @ts-ignore: decorator
@inline
export function valueAt(index: u32): usize {
  return values + <usize>index * VALUE_BYTES;
}

// @ts-ignore: decorator
@inline
function note(status: u32): void {
  if (problem == STATUS_OK) problem = status;
}

function nextRecordNumber(): void {
  recordNumber = ++objectNumber;
  if (recordNumber < NUMBERS_LEFT) return;
  // Before 2^32 objects the numbers begin again: no field may look as if it had been seen.
  for (let i: usize = 0; i < fieldCount; i++) store<u32>(firstField + i * FIELD_BYTES, 0, FIELD_SEEN_IN);
  recordNumber = 1;
  objectNumber = 1;
}

/** Whether the schema allows the value just passed for the field. */
// @ts-ignore: decorator
@inline
function isAllowed(field: usize, start: usize, end: usize): bool {
  const types = load<u32>(field, FIELD_TYPES);
  if (types & valueType) return true;
  return valueType == TYPE_NUMBER && bool(types & TYPE_INTEGER) && (isWhole || isInteger(start, end));
}

/** Keeps the id of the record for its outgoing key. */
function keepId(start: usize, end: usize, escaped: bool): void {
  if (!(valueType & TYPES_OF_TEXT)) {
    note(STATUS_RECORD_ID);
    return;
  }
  // A lone surrogate is refused at the end; what it decodes to never leaves.
  idStart = escaped ? decodeToScratch(start, end) : start;
  idEnd = escaped ? scratch : end;
  const bytes = idEnd - idStart;
  if (!bytes || bytes > idMaxBytes) note(STATUS_RECORD_ID);
}

/** Whether a field is the first of its name in the object of that number; notes it when it is not. */
// @ts-ignore: decorator
@inline
function isFirst(field: usize, number: u32): bool {
  if (load<u32>(field, FIELD_SEEN_IN) == number) {
    note(STATUS_DUPLICATE_FIELD);
    return false;
  }
  store<u32>(field, number, FIELD_SEEN_IN);
  seenRequired += load<u32>(field, FIELD_REQUIRED);
  return true;
}

/** Lists a value of a record that has had no fault yet. */
// @ts-ignore: decorator
@inline
function list(field: usize, start: usize, end: usize, type: u32): void {
  const value = valueAt(valueCount++);
  store<u32>(value, <u32>field, VALUE_FIELD);
  store<u32>(value, <u32>start, VALUE_START);
  store<u32>(value, <u32>end, VALUE_END);
  store<u32>(value, type, VALUE_TYPE);
}

/** Does a rule that can refuse the value, and lists its result. */
function makeAndList(field: usize, start: usize, end: usize, escaped: bool): void {
  const text = escaped ? decodeToScratch(start, end) : start;
  const status = makeValue(field, text, escaped ? scratch : end, valueType);
  note(status);
  if (status != STATUS_OK) return;
  recordRoom += <u64>(madeEnd - madeStart) * ESCAPED_BYTES;
  // Rules that pass a part of the text on point into it; it stays until the batch ends.
  list(field, madeStart, madeEnd, VALUE_MADE);
}

/** Notes a value that the host sees and that has a rule of its own. */
function observeValue(field: usize, start: usize, end: usize, escaped: bool): void {
  if (!load<u32>(field, FIELD_SLOT)) return;
  const text = escaped ? decodeToScratch(start, end) : start;
  observe(field, text, escaped ? scratch : end, valueType);
}

/** Judges the value of a known field, `from` to `to` in the record, and lists it if it will leave. */
export function takeValue(field: usize, from: usize, to: usize): void {
  if (problem != STATUS_OK) return;
  if (!isAllowed(field, from, to)) {
    note(STATUS_WRONG_TYPE);
    return;
  }
  const isString = valueType == TYPE_STRING;
  const escaped = isString && hasEscapes;
  const start = isString ? from + 1 : from;
  const end = isString ? to - 1 : to;
  if (field == idField) keepId(start, end, escaped);
  const action = load<u32>(field, FIELD_ACTION);
  if (slotCount && action != ACTION_CLUSTER) observeValue(field, start, end, escaped);
  if (action == ACTION_DROP) return;
  if (action != ACTION_KEEP && action != ACTION_REPLACE) {
    if (valueType & (TYPE_BOOLEAN | TYPE_OBJECT | TYPE_ARRAY)) {
      note(STATUS_WRONG_TYPE);
      return;
    }
  }
  recordRoom += <u64>(to - from) * load<u32>(field, FIELD_FACTOR) + load<u32>(field, FIELD_ROOM);
  if (isMade(action) && valueType != TYPE_NULL) makeAndList(field, start, end, escaped);
  else list(field, start, end, valueType | (escaped ? VALUE_ESCAPED : 0));
}

/** Finds the field of a name that is not the one that was guessed; `start` to `quote` is the inside of the string. */
function fieldOf(parent: usize, start: usize, quote: usize): usize {
  if (!hasEscapes) return findField(parent, start, quote - start);
  const name = decodeToScratch(start, quote);
  return findField(parent, name, scratch - name);
}

/**
 * Reads the members of an object; `p` is at the first name. Returns the end of the object, or 0.
 * @param parent the field that the object is the value of, or 0: the record; @param guess the field that is probably
 * first; @param depth containers that are open, this one counted
 */
function readMembers(p: usize, end: usize, parent: usize, guess: usize, depth: u32, number: u32): usize {
  let before: usize = 0;
  while (true) {
    if (p >= end || load<u8>(p) != 0x22) return 0;
    p++;
    let field = guess;
    if (isNameOf(field, p, end)) {
      p += load<u32>(field, FIELD_NAME_BYTES);
    } else {
      const start = p;
      p = scanString(p, end);
      if (!p) return 0;
      field = fieldOf(parent, start, p);
      if (field && before) store<u32>(before, <u32>field, FIELD_NEXT);
    }
    p = skipSpace(p + 1, end);
    if (p >= end || load<u8>(p) != 0x3a) return 0;
    p = skipSpace(p + 1, end);
    const first = field ? isFirst(field, number) : false;
    if (first && !parent) noteOrder(field);
    if (first && load<u32>(field, FIELD_ACTION) >= ACTION_OBJECT) {
      p = readContainer(field, p, end, depth);
    } else {
      const from = p;
      p = skipValue(p, end, depth);
      if (p && first) takeValue(field, from, p);
    }
    if (!p) return 0;
    if (field) {
      guess = load<u32>(field, FIELD_NEXT);
      before = field;
    } else if (!parent && !allowsUnknown) {
      note(STATUS_UNKNOWN_FIELD);
    }
    p = skipSpace(p, end);
    if (p >= end) return 0;
    const byte: u32 = load<u8>(p);
    if (byte == 0x7d) return p + 1;
    if (byte != 0x2c) return 0;
    p = skipSpace(p + 1, end);
  }
}

/** Reads the elements of an array; `p` is at the first. Returns the end of the array, or 0. */
function readElements(p: usize, end: usize, element: usize, depth: u32): usize {
  const isContainer = load<u32>(element, FIELD_ACTION) >= ACTION_OBJECT;
  while (true) {
    if (isContainer) {
      p = readContainer(element, p, end, depth);
    } else {
      const from = p;
      p = skipValue(p, end, depth);
      if (p) takeValue(element, from, p);
    }
    if (!p) return 0;
    p = skipSpace(p, end);
    if (p >= end) return 0;
    const byte: u32 = load<u8>(p);
    if (byte == 0x5d) return p + 1;
    if (byte != 0x2c) return 0;
    p = skipSpace(p + 1, end);
  }
}

/** Reads a value that must be the object or array which the field rebuilds, or null. Returns its end, or 0. */
export function readContainer(field: usize, p: usize, end: usize, depth: u32): usize {
  if (p >= end) return 0;
  const isObject = load<u32>(field, FIELD_ACTION) == ACTION_OBJECT;
  const opening: u32 = isObject ? 0x7b : 0x5b;
  if (load<u8>(p) != opening) {
    const from = p;
    p = skipValue(p, end, depth);
    if (!p) return 0;
    // takeValue would let other types pass that the schema allows here.
    if (valueType == TYPE_NULL) takeValue(field, from, p);
    else note(STATUS_WRONG_TYPE);
    return p;
  }
  if (depth >= maxDepth) {
    noteDepth();
    return 0;
  }
  if (!(load<u32>(field, FIELD_TYPES) & (isObject ? TYPE_OBJECT : TYPE_ARRAY))) note(STATUS_WRONG_TYPE);
  recordRoom += load<u32>(field, FIELD_ROOM);
  if (problem == STATUS_OK) list(field, 0, 0, isObject ? TYPE_OBJECT : TYPE_ARRAY);
  p = skipSpace(p + 1, end);
  const child = <usize>load<u32>(field, FIELD_CHILD);
  // Both closing brackets are their opening ones plus two.
  if (p < end && load<u8>(p) == opening + 2) p++;
  else if (isObject) p = readMembers(p, end, field, child, depth + 1, ++objectNumber);
  else p = readElements(p, end, child, depth + 1);
  if (p && problem == STATUS_OK) list(field, opening + 2, 0, VALUE_CLOSES);
  return p;
}

/** What is left to say about an object that is JSON. */
function judgeObject(): u32 {
  if (problem != STATUS_OK) return problem;
  if (load<u32>(idField, FIELD_SEEN_IN) != recordNumber) return STATUS_RECORD_ID;
  if (seenRequired != requiredCount) return STATUS_MISSING_FIELD;
  learnOrder();
  return STATUS_OK;
}

/** Forgets the record before. */
export function openRecord(): void {
  nextRecordNumber();
  forgetSurrogates();
  forgetDepth();
  forgetMade();
  problem = STATUS_OK;
  valueCount = 0;
  // Braces.
  recordRoom = 2;
  seenRequired = 0;
}

/** Reads the record from `p` to `end`. On STATUS_OK the values are listed and the id is set. */
export function readRecord(p: usize, end: usize): u32 {
  if (!allAscii && !isUtf8(p, end)) return STATUS_NOT_UTF8;
  openRecord();
  forgetOrder();
  p = skipSpace(p, end);
  if (p >= end) return STATUS_NOT_JSON;
  const isObject = load<u8>(p) == 0x7b;
  if (!isObject) {
    p = skipValue(p, end, 0);
  } else {
    p = skipSpace(p + 1, end);
    p = p < end && load<u8>(p) == 0x7d ? p + 1 : readMembers(p, end, 0, firstField, 1, recordNumber);
  }
  if (isTooDeep) return STATUS_TOO_LARGE;
  if (!p || skipSpace(p, end) != end) return STATUS_NOT_JSON;
  if (hasLoneSurrogate) return STATUS_NOT_UTF8;
  return isObject ? judgeObject() : STATUS_WRONG_TYPE;
}
