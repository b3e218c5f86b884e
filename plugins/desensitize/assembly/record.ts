/**
 * One raw record: read and checked to its last byte before anything is written.
 *
 * Reading makes a list of the fields that will leave, in the order in which they came; only a record that passed
 * every check is handed to actions.ts. So a refused record leaves no output and no hash lane. When several things
 * are wrong: broken UTF-8 first, then broken JSON, then the first of the others in the order of the text, then what
 * is missing.
 */
import {
  STATUS_DUPLICATE_FIELD, STATUS_MISSING_FIELD, STATUS_NOT_JSON, STATUS_NOT_UTF8, STATUS_OK, STATUS_RECORD_ID,
  STATUS_TOO_LARGE, STATUS_UNKNOWN_FIELD, STATUS_WRONG_TYPE,
} from "./abi";
import {
  ACTION_DROP, ACTION_MASK, ACTION_PSEUDONYMIZE,
  FIELD_ACTION, FIELD_BYTES, FIELD_NAME_BYTES, FIELD_NEXT, FIELD_REQUIRED, FIELD_SEEN_IN, FIELD_TYPES,
  fieldCount, findField, firstField, idField, isNameOf,
} from "./fields";
import { decodeString, forgetSurrogates, hasEscapes, hasLoneSurrogate, scanString } from "./json-strings";
import {
  TYPE_ARRAY, TYPE_BOOLEAN, TYPE_INTEGER, TYPE_NULL, TYPE_NUMBER, TYPE_OBJECT, TYPE_STRING,
  forgetDepth, isInteger, isTooDeep, skipSpace, skipValue, valueType,
} from "./json-values";
import { allowsUnknown, idMaxBytes, requiredCount } from "./policy";
import { isUtf8 } from "./utf8";

// A value that will leave: where it lies in the record and what to do with it.
export const VALUE_FIELD: usize = 0;
/** First byte and end; for a string the inside of the quotes. */
export const VALUE_START: usize = 4;
export const VALUE_END: usize = 8;
/** TYPE_ bit; VALUE_ESCAPED besides when the string has escapes. */
export const VALUE_TYPE: usize = 12;
export const VALUE_BYTES: usize = 16;
export const VALUE_ESCAPED: u32 = 0x100;

const TYPES_OF_TEXT: u32 = TYPE_STRING | TYPE_NUMBER;

/** List of values of the record just read, `valueCount` long; room for every field once. */
let values: usize = 0;
export let valueCount: u32 = 0;

/** The record id before its rule, decoded: set by readRecord for a record that is fine. */
export let idStart: usize = 0;
export let idEnd: usize = 0;

/** Where escaped strings are decoded to; 64 readable bytes behind it. */
let scratch: usize = 0;

/** Number of the record, to know which fields it has had. */
let recordNumber: u32 = 0;
let problem: u32 = STATUS_OK;
let seenRequired: u32 = 0;

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
  recordNumber++;
  if (recordNumber) return;
  // After 2^32 records the numbers begin again: no field may look as if it had been seen.
  for (let i: usize = 0; i < fieldCount; i++) store<u32>(firstField + i * FIELD_BYTES, 0, FIELD_SEEN_IN);
  recordNumber = 1;
}

/** Whether the schema allows the value just passed for the field. */
// @ts-ignore: decorator
@inline
function isAllowed(field: usize, start: usize, end: usize): bool {
  const types = load<u32>(field, FIELD_TYPES);
  if (types & valueType) return true;
  return valueType == TYPE_NUMBER && bool(types & TYPE_INTEGER) && isInteger(start, end);
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

/** Judges the value of a known field, `from` to `to` in the record, and lists it if it will leave. */
function takeValue(field: usize, from: usize, to: usize): void {
  if (load<u32>(field, FIELD_SEEN_IN) == recordNumber) {
    note(STATUS_DUPLICATE_FIELD);
    return;
  }
  store<u32>(field, recordNumber, FIELD_SEEN_IN);
  seenRequired += load<u32>(field, FIELD_REQUIRED);
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
  if (action == ACTION_DROP) return;
  if (action == ACTION_MASK || action == ACTION_PSEUDONYMIZE) {
    if (valueType & (TYPE_BOOLEAN | TYPE_OBJECT | TYPE_ARRAY)) {
      note(STATUS_WRONG_TYPE);
      return;
    }
  }
  const value = valueAt(valueCount++);
  store<u32>(value, <u32>field, VALUE_FIELD);
  store<u32>(value, <u32>start, VALUE_START);
  store<u32>(value, <u32>end, VALUE_END);
  store<u32>(value, valueType | (escaped ? VALUE_ESCAPED : 0), VALUE_TYPE);
}

/** Finds the field of a name that is not the one that was guessed; `start` to `quote` is the inside of the string. */
function fieldOf(start: usize, quote: usize): usize {
  if (!hasEscapes) return findField(start, quote - start);
  const name = decodeToScratch(start, quote);
  return findField(name, scratch - name);
}

/** Reads the members of the record's object; `p` is at the first name. Returns the end of the object, or 0. */
function readMembers(p: usize, end: usize): usize {
  let guess = firstField;
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
      field = fieldOf(start, p);
      if (field && before) store<u32>(before, <u32>field, FIELD_NEXT);
    }
    p = skipSpace(p + 1, end);
    if (p >= end || load<u8>(p) != 0x3a) return 0;
    p = skipSpace(p + 1, end);
    const from = p;
    p = skipValue(p, end, 1);
    if (!p) return 0;
    if (field) {
      takeValue(field, from, p);
      guess = load<u32>(field, FIELD_NEXT);
      before = field;
    } else if (!allowsUnknown) {
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

/** What is left to say about an object that is JSON. */
function judgeObject(): u32 {
  if (problem != STATUS_OK) return problem;
  if (load<u32>(idField, FIELD_SEEN_IN) != recordNumber) return STATUS_RECORD_ID;
  return seenRequired == requiredCount ? STATUS_OK : STATUS_MISSING_FIELD;
}

/** Reads the record from `p` to `end`. On STATUS_OK the values are listed and the id is set. */
export function readRecord(p: usize, end: usize): u32 {
  if (!isUtf8(p, end)) return STATUS_NOT_UTF8;
  nextRecordNumber();
  forgetSurrogates();
  forgetDepth();
  problem = STATUS_OK;
  valueCount = 0;
  seenRequired = 0;
  p = skipSpace(p, end);
  if (p >= end) return STATUS_NOT_JSON;
  const isObject = load<u8>(p) == 0x7b;
  if (!isObject) {
    p = skipValue(p, end, 0);
  } else {
    p = skipSpace(p + 1, end);
    p = p < end && load<u8>(p) == 0x7d ? p + 1 : readMembers(p, end);
  }
  if (isTooDeep) return STATUS_TOO_LARGE;
  if (!p || skipSpace(p, end) != end) return STATUS_NOT_JSON;
  if (hasLoneSurrogate) return STATUS_NOT_UTF8;
  return isObject ? judgeObject() : STATUS_WRONG_TYPE;
}
