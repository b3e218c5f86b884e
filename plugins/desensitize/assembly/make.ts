/**
 * Rules that can refuse a value: done while the record is read, so that nothing can fail once it is written.
 *
 * Each takes decoded text (a string's, or that of a number) and leaves decoded text, either in the room here or in the
 * configuration. A value that a rule does not understand is `wrong-type` and makes the whole record a dead letter.
 * Results live until the next record is read.
 */
import { STATUS_OK, STATUS_WRONG_TYPE } from "./abi";
import { allocate } from "./arena";
import { fake, pick, pickedEnd } from "./fake";
import { FF1_MOST, encryptNumerals } from "./ff1";
import {
  ACTION_BOUNDS, ACTION_CLUSTER, ACTION_DATE, ACTION_FAKE, ACTION_FPE, ACTION_LOOK_UP, ACTION_PERTURB, ACTION_PICK,
  ACTION_PREFIX, ACTION_WIDTH,
  FIELD_ACTION, FIELD_DATA, FIELD_FIRST, FIELD_KEY, FIELD_SECOND,
  fieldCount,
} from "./fields";
import { lookUp, resultEnd, resultStart, toBounds, toDate, toPrefix, toWidth } from "./generalize";
import { TYPE_NUMBER } from "./json-values";
import { noiseEnd, perturb } from "./noise";
import { observe } from "./observe";
import { nests } from "./policy";

/** Most bytes of a result of a fixed kind (two numbers, a date); other results are no longer than their value. */
const RESULT_BYTES: usize = 64;
/** Fewest texts that one of a length may be among: NIST SP 800-38G revision 1 requires radix^length >= 1,000,000. */
export const FPE_FEWEST: u64 = 1_000_000;
/** Bytes that a copy may write behind a result. */
const SLACK: usize = 16;

/** The result of the last makeValue() that was fine. */
export let madeStart: usize = 0;
export let madeEnd: usize = 0;

let room: usize = 0;
let top: usize = 0;

/** Takes the room for the results of one record of at most `longest` bytes. */
export function prepareMade(longest: usize): bool {
  // In arrays each value takes two bytes of the record at least, its comma counted; else each field comes once.
  const values = <u64>fieldCount + (nests ? <u64>longest >> 1 : 0);
  const bytes = <u64>longest + values * RESULT_BYTES + SLACK;
  room = bytes > 0x7fffffff ? 0 : allocate(<usize>bytes, 16);
  top = room;
  return bool(room);
}

/** Drops the results of the record before. */
export function forgetMade(): void {
  top = room;
}

/**
 * Encrypts a text of an alphabet; FIELD_DATA: the alphabet, FIELD_FIRST characters long, and the tweak, FIELD_SECOND
 * long. Text of another alphabet, too short to hide among a million others, or too long is refused.
 */
function encrypt(field: usize, start: usize, end: usize): bool {
  const alphabet = <usize>load<u32>(field, FIELD_DATA);
  const radix = load<u32>(field, FIELD_FIRST);
  const count = <u32>(end - start);
  if (end - start > <usize>FF1_MOST) return false;
  let texts: u64 = 1;
  for (let i: u32 = 0; i < count; i++) {
    const character: u32 = load<u8>(start + i);
    let numeral: u32 = 0;
    while (numeral < radix && load<u8>(alphabet + numeral) != character) numeral++;
    if (numeral == radix) return false;
    store<u8>(top + i, numeral);
    texts = min<u64>(texts * radix, FPE_FEWEST);
  }
  if (texts < FPE_FEWEST) return false;
  encryptNumerals(load<u32>(field, FIELD_KEY), radix, top, count, alphabet + radix, load<u32>(field, FIELD_SECOND));
  for (let i: u32 = 0; i < count; i++) store<u8>(top + i, load<u8>(alphabet + load<u8>(top + i)));
  return true;
}

/** Takes the result of generalize.ts; a result that was written here keeps its room. */
function takeResult(status: u32): u32 {
  if (status != STATUS_OK) return status;
  madeStart = resultStart;
  madeEnd = resultEnd;
  if (madeStart == top) top = madeEnd;
  return STATUS_OK;
}

/** Does the rule of a field to the text from `start` to `end`, a string's or a number's by `type`. */
export function makeValue(field: usize, start: usize, end: usize, type: u32): u32 {
  switch (load<u32>(field, FIELD_ACTION)) {
    case ACTION_WIDTH:
      return takeResult(toWidth(field, start, end, top));
    case ACTION_BOUNDS:
      return takeResult(toBounds(field, start, end));
    case ACTION_DATE:
      return takeResult(toDate(field, start, end, top));
    case ACTION_PREFIX:
      return takeResult(toPrefix(field, start, end));
    case ACTION_LOOK_UP:
      return takeResult(lookUp(field, start, end));
    case ACTION_PICK:
      madeStart = pick(field, start, end);
      madeEnd = pickedEnd;
      return STATUS_OK;
    case ACTION_FAKE:
      madeStart = top;
      top = fake(field, start, end, top);
      madeEnd = top;
      return STATUS_OK;
    case ACTION_FPE:
      if (!encrypt(field, start, end)) return STATUS_WRONG_TYPE;
      madeStart = top;
      top += end - start;
      madeEnd = top;
      return STATUS_OK;
    case ACTION_PERTURB:
      if (type != TYPE_NUMBER || perturb(field, start, end, top) != STATUS_OK) return STATUS_WRONG_TYPE;
      madeStart = top;
      top = noiseEnd;
      madeEnd = top;
      return STATUS_OK;
    case ACTION_CLUSTER:
      observe(field, start, end, type);
      madeStart = start;
      madeEnd = start;
      return STATUS_OK;
  }
  return STATUS_WRONG_TYPE;
}
