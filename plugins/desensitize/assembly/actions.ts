/**
 * Writes a record that passed every check: its listed values, each after the rule of its field.
 *
 * Nothing here can fail: the room was reserved and the types were judged before. Pseudonyms are queued, their
 * digits are written later into the place kept for them.
 */
import { copyBytes, copyWide, fillBytes } from "./bytes";
import { redactText } from "./detect/redact";
import { formBytes, writeDigestIn } from "./digest-text";
import {
  ACTION_CLUSTER, ACTION_HASH, ACTION_KEEP, ACTION_MASK, ACTION_OBJECT, ACTION_PERTURB, ACTION_REDACT, ACTION_REPLACE,
  FIELD_ACTION, FIELD_DATA, FIELD_FIRST, FIELD_KEY, FIELD_PREFIX, FIELD_PREFIX_BYTES, FIELD_SECOND, FIELD_TEXT, FIELD_TEXT_BYTES,
  idField,
} from "./fields";
import { push } from "./hmac-lanes";
import { writeEscaped, writeText } from "./json-strings";
import { TYPE_ARRAY, TYPE_NULL, TYPE_OBJECT, TYPE_STRING } from "./json-values";
import { placeHole } from "./observe";
import {
  VALUE_CLOSES, VALUE_END, VALUE_ESCAPED, VALUE_FIELD, VALUE_MADE, VALUE_RUN, VALUE_START, VALUE_TYPE,
  decodeToScratch, idEnd, idStart, scratchEnd, valueAt, valueCount,
} from "./record";
import { digest } from "./sha256";
import { afterCodePoints, allAscii, beforeCodePoints, countCodePoints } from "./utf8";

const DIGEST: usize = memory.data(32, 16);

/** "null", little-endian. */
const NULL_TEXT: u32 = 0x6c6c756e;

/** The outgoing record key of the record just written: the id after its rule. Pseudonyms are there after flush(). */
export let keyStart: usize = 0;
export let keyBytes: usize = 0;
/** Where the record being written begins. */
let recordStart: usize = 0;

/** Writes the mask character of a field `count` times. */
function writeMask(out: usize, field: usize, count: u32): usize {
  const text = <usize>load<u32>(field, FIELD_TEXT);
  const bytes = <usize>load<u32>(field, FIELD_TEXT_BYTES);
  if (bytes == 1) {
    return fillBytes(out, load<u8>(text), count);
  }
  for (; count; count--) out = copyBytes(out, text, bytes);
  return out;
}

/**
 * Writes text with all but its first and last code points masked, one for one. Text with no more code points than
 * are kept is masked whole: what would be kept of it would be all of it.
 */
function writeMasked(out: usize, field: usize, start: usize, end: usize, escape: bool): usize {
  // Text without escapes of a batch that is all ASCII is ASCII.
  const isAscii = allAscii && !escape;
  const count = isAscii ? <u32>(end - start) : countCodePoints(start, end);
  const first = load<u32>(field, FIELD_FIRST);
  const last = load<u32>(field, FIELD_SECOND);
  if (<u64>first + <u64>last >= count) return writeMask(out, field, count);
  const headEnd = isAscii ? start + first : afterCodePoints(start, end, first);
  const tailStart = isAscii ? end - last : beforeCodePoints(start, end, last);
  out = writeText(out, start, headEnd, escape);
  out = writeMask(out, field, count - first - last);
  return writeText(out, tailStart, end, escape);
}

/** Writes the label of the key and, now or by flush(), the pseudonym. */
function writePseudonym(out: usize, field: usize, start: usize, end: usize): usize {
  const form = load<u32>(field, FIELD_FIRST);
  const label = load<u32>(field, FIELD_TEXT_BYTES);
  const characters = formBytes(form);
  if (field == idField) {
    keyStart = out;
    keyBytes = label + characters;
  }
  if (label) out = copyBytes(out, load<u32>(field, FIELD_TEXT), label);
  push(load<u32>(field, FIELD_KEY), start, end - start, out, form);
  return out + characters;
}

function writeHash(out: usize, field: usize, start: usize, end: usize): usize {
  const form = load<u32>(field, FIELD_FIRST);
  digest(start, end - start, DIGEST);
  writeDigestIn(form, DIGEST, out);
  return out + formBytes(form);
}

/** Writes a mask, pseudonym, hash or redaction of a string, or of the text of a number, as a string. */
function writeChanged(out: usize, field: usize, value: usize, action: u32): usize {
  let start = <usize>load<u32>(value, VALUE_START);
  let end = <usize>load<u32>(value, VALUE_END);
  const escaped = bool(load<u32>(value, VALUE_TYPE) & VALUE_ESCAPED);
  if (field == idField) {
    start = idStart;
    end = idEnd;
  } else if (escaped) {
    start = decodeToScratch(start, end);
    end = scratchEnd();
  }
  store<u8>(out++, 0x22);
  if (action == ACTION_MASK) out = writeMasked(out, field, start, end, escaped);
  else if (action == ACTION_REDACT) out = redactText(load<u32>(field, FIELD_DATA), out, start, end, escaped);
  else if (action == ACTION_HASH) out = writeHash(out, field, start, end);
  else out = writePseudonym(out, field, start, end);
  store<u8>(out, 0x22);
  return out + 1;
}

/** Writes a result that was made while the record was read. */
function writeMade(out: usize, field: usize, value: usize, action: u32): usize {
  if (action == ACTION_CLUSTER) {
    placeHole(field, out - recordStart);
    return out;
  }
  if (action == ACTION_PERTURB) {
    const start = <usize>load<u32>(value, VALUE_START);
    return copyBytes(out, start, <usize>load<u32>(value, VALUE_END) - start);
  }
  store<u8>(out++, 0x22);
  out = writeEscaped(out, load<u32>(value, VALUE_START), load<u32>(value, VALUE_END));
  store<u8>(out, 0x22);
  return out + 1;
}

function writeValue(out: usize, field: usize, value: usize): usize {
  const action = load<u32>(field, FIELD_ACTION);
  if (action == ACTION_REPLACE) {
    return copyBytes(out, load<u32>(field, FIELD_TEXT), load<u32>(field, FIELD_TEXT_BYTES));
  }
  const type = load<u32>(value, VALUE_TYPE);
  if (action == ACTION_KEEP) {
    // A string's quotes lie just outside.
    const quote: usize = type & TYPE_STRING ? 1 : 0;
    const start = <usize>load<u32>(value, VALUE_START) - quote;
    return copyBytes(out, start, <usize>load<u32>(value, VALUE_END) + quote - start);
  }
  if (type == TYPE_NULL) {
    store<u32>(out, NULL_TEXT);
    return out + 4;
  }
  if (type == VALUE_MADE) return writeMade(out, field, value, action);
  return writeChanged(out, field, value, action);
}

/** Writes the record just read to `out`, where its room and 16 bytes of slack are reserved. Returns the end. */
export function writeRecord(out: usize): usize {
  recordStart = out;
  keyStart = idStart;
  keyBytes = idEnd - idStart;
  store<u8>(out++, 0x7b);
  let isFirst = true;
  for (let i: u32 = 0; i < valueCount; i++) {
    const value = valueAt(i);
    const type = load<u32>(value, VALUE_TYPE);
    if (type == VALUE_RUN) {
      if (!isFirst) store<u8>(out++, 0x2c);
      isFirst = false;
      const start = <usize>load<u32>(value, VALUE_START);
      out = copyWide(out, start, <usize>load<u32>(value, VALUE_END) - start);
      continue;
    }
    if (type == VALUE_CLOSES) {
      store<u8>(out++, load<u32>(value, VALUE_START));
      isFirst = false;
      continue;
    }
    const field = <usize>load<u32>(value, VALUE_FIELD);
    if (!isFirst) store<u8>(out++, 0x2c);
    isFirst = false;
    out = copyWide(out, load<u32>(field, FIELD_PREFIX), load<u32>(field, FIELD_PREFIX_BYTES));
    if (type & (TYPE_OBJECT | TYPE_ARRAY) && load<u32>(field, FIELD_ACTION) >= ACTION_OBJECT) {
      store<u8>(out++, type == TYPE_OBJECT ? 0x7b : 0x5b);
      isFirst = true;
    } else {
      out = writeValue(out, field, value);
    }
  }
  store<u8>(out, 0x7d);
  return out + 1;
}
