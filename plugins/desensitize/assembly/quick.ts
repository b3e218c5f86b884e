/**
 * The short way through a record that is as planned (plan.ts): its fields in the planned order, of which some may be
 * missing, without whitespace, and nothing wrong with it.
 *
 * Says only "fine" or "not sure": what it is not sure of is read again the long way (record.ts), which alone finds
 * faults and knows which of them comes first. Fields that come in the order of a plan cannot come twice.
 */
import { sameBytes } from "./bytes";
import { FIELD_PREFIX } from "./fields";
import { QUOTE, forgetEscapes, hasLoneSurrogate, passPlain, scanEscaped } from "./json-strings";
import { TYPE_ARRAY, TYPE_INTEGER, TYPE_NUMBER, TYPE_STRING, isWhole, maxDepth, noteString, skipFlatNumbers, skipOther, valueType } from "./json-values";
import {
  ENTRY_BYTES, ENTRY_FIELD, ENTRY_KIND, ENTRY_MASK, ENTRY_REQUIRED, ENTRY_TEXT, ENTRY_TEXT_BYTES, ENTRY_TYPES,
  ID_COUNTS, KIND_DROPPED, KIND_KEPT, KIND_LISTED, KIND_REBUILT, PLAN, planEnd, planFactor, planRoom,
} from "./plan";
import { requiredCount } from "./policy";
import {
  VALUE_BYTES, VALUE_END, VALUE_ESCAPED, VALUE_FIELD, VALUE_RUN, VALUE_START, VALUE_TYPE,
  addRoom, dropDecoded, decodedSoFar, isFine, openRecord, readContainer, setValueCount, takeValue, valueAt, valueCount,
} from "./record";
import { allAscii, isUtf8 } from "./utf8";

/** Longest record that goes the short way: its room in the output is guessed high. */
const LONGEST: usize = 65536;

/** Whether `"name":` of an entry stands at `p`. */
// @ts-ignore: decorator
@inline
function isPlanned(entry: usize, p: usize, end: usize): bool {
  const low = (load<u64>(p) ^ load<u64>(entry, ENTRY_TEXT)) & load<u64>(entry, ENTRY_MASK);
  const high = (load<u64>(p, 8) ^ load<u64>(entry, ENTRY_TEXT + 8)) & load<u64>(entry, ENTRY_MASK + 8);
  if (low | high) return false;
  const bytes = <usize>load<u32>(entry, ENTRY_TEXT_BYTES);
  if (bytes <= 16) return true;
  return p + bytes < end && sameBytes(p, load<u32>(load<u32>(entry, ENTRY_FIELD), FIELD_PREFIX), bytes);
}

// @ts-ignore: decorator
@inline
function writeItem(item: usize, field: usize, start: usize, end: usize, type: u32): void {
  store<u32>(item, <u32>field, VALUE_FIELD);
  store<u32>(item, <u32>start, VALUE_START);
  store<u32>(item, <u32>end, VALUE_END);
  store<u32>(item, type, VALUE_TYPE);
}

/** Follows the plan from the opening brace at `p`; returns whether the record ends at `end` and is fine. */
function followPlan(p: usize, end: usize): bool {
  const from = p;
  let entry = PLAN;
  let item = valueAt(0);
  let required: u32 = 0;
  // Where the last item ends, if it is a run.
  let runEnd: usize = 0;
  do {
    const member = ++p;
    if (p >= end) return false;
    while (!isPlanned(entry, p, end)) {
      entry += ENTRY_BYTES;
      if (entry >= planEnd) return false;
    }
    const kind = load<u32>(entry, ENTRY_KIND);
    const field = <usize>load<u32>(entry, ENTRY_FIELD);
    p += load<u32>(entry, ENTRY_TEXT_BYTES);
    required += load<u32>(entry, ENTRY_REQUIRED);
    if (kind == KIND_REBUILT) {
      setValueCount(item);
      p = readContainer(field, p, end, 1);
      if (!p || !isFine()) return false;
      item = valueAt(valueCount);
      runEnd = 0;
      entry += ENTRY_BYTES;
      if (entry >= planEnd) break;
      continue;
    }
    const start = p;
    let type: u32 = TYPE_STRING;
    let quote: u32 = 0;
    if (load<u8>(p) == QUOTE) {
      quote = 1;
      noteString();
      forgetEscapes();
      p = passPlain(p + 1, end);
      if (p >= end) return false;
      if (load<u8>(p) != QUOTE) {
        p = scanEscaped(p, end);
        if (!p) return false;
        type = TYPE_STRING | VALUE_ESCAPED;
      }
      p++;
    } else {
      p = load<u8>(p) == 0x5b ? skipFlatNumbers(p, end) : 0;
      type = TYPE_ARRAY;
      if (!p) {
        p = skipOther(start, end, 1);
        type = valueType;
        if (!p) return false;
      }
    }
    const allowed = type == TYPE_NUMBER && isWhole ? type | TYPE_INTEGER : type;
    if (!(load<u32>(entry, ENTRY_TYPES) & allowed)) return false;
    if (kind == KIND_KEPT) {
      if (runEnd && runEnd + 1 == member) {
        store<u32>(item - VALUE_BYTES, <u32>p, VALUE_END);
      } else {
        writeItem(item, 0, member, p, VALUE_RUN);
        item += VALUE_BYTES;
      }
      runEnd = p;
    } else if (kind == KIND_LISTED) {
      writeItem(item, field, start + quote, p - quote, type);
      item += VALUE_BYTES;
      runEnd = 0;
    } else if (kind != KIND_DROPPED) {
      setValueCount(item);
      takeValue(field, start, p);
      if (!isFine()) return false;
      item = valueAt(valueCount);
      runEnd = 0;
    }
    entry += ENTRY_BYTES;
    if (entry >= planEnd) break;
  } while (load<u8>(p) == 0x2c);
  if (load<u8>(p) != 0x7d || p + 1 != end || required != requiredCount + ID_COUNTS || hasLoneSurrogate) return false;
  setValueCount(item);
  addRoom(planRoom + <u64>(end - from) * planFactor);
  return true;
}

/**
 * Reads the record from `p` to `end` the short way. True: it is fine, the values are listed and the id is set. False:
 * it is not as planned, or not fine; nothing has been done that readRecord() does not do anew.
 */
export function readQuickly(p: usize, end: usize): bool {
  // Arrays of numbers are passed without a look at the limit of depth.
  if (planEnd == PLAN || maxDepth < 2 || p >= end || end - p > LONGEST || load<u8>(p) != 0x7b) return false;
  if (!allAscii && !isUtf8(p, end)) return false;
  const decoded = decodedSoFar();
  openRecord();
  if (followPlan(p, end)) return true;
  dropDecoded(decoded);
  return false;
}
