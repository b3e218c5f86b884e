/**
 * The fields that the configuration knows, and finding one by its name.
 *
 * Records of one topic mostly have their fields in the same order, so each field remembers which one came after it
 * last time and that one is tried first: a hit costs one comparison and saves the scan for the closing quote. Else a
 * hash table decides. Names are compared as decoded UTF-8, never as they are spelled in the record.
 */
import { sameBytes } from "./bytes";

// A field is a struct of 24 words in the arena; these are the offsets of its members.
/** Decoded name, with 16 readable bytes behind it, and its length; an array's element has none. */
export const FIELD_NAME: usize = 0;
export const FIELD_NAME_BYTES: usize = 4;
/** One of the ACTION_ codes. */
export const FIELD_ACTION: usize = 8;
/** TYPE_ bits that the record schema allows. */
export const FIELD_TYPES: usize = 12;
/** 1: a record without it is refused. */
export const FIELD_REQUIRED: usize = 16;
/** State of the key, when the rule has one. */
export const FIELD_KEY: usize = 20;
/** Two numbers of the rule: code points kept (mask), form and length of a digest (pseudonymize, hash), and so on. */
export const FIELD_FIRST: usize = 24;
export const FIELD_SECOND: usize = 28;
/** Text of the rule, as it is written: mask character, constant with its quotes, label of a key. */
export const FIELD_TEXT: usize = 32;
export const FIELD_TEXT_BYTES: usize = 36;
/** `"name":` as it is written, and its length. */
export const FIELD_PREFIX: usize = 40;
export const FIELD_PREFIX_BYTES: usize = 44;
/** Number of the last object that had it. */
export const FIELD_SEEN_IN: usize = 48;
/** 1: the name can stand between quotes without escapes, so its bytes can be looked for in the record. */
export const FIELD_PLAIN: usize = 52;
/** The field of the same object that came after it last time. */
export const FIELD_NEXT: usize = 56;
/** The next field of the same hash bucket, or 0. */
export const FIELD_CHAIN: usize = 60;
/** The field whose object or array it stands in; 0: the record. */
export const FIELD_PARENT: usize = 64;
/** The first field inside, of an object or array that is rebuilt. */
export const FIELD_CHILD: usize = 68;
/** Most bytes that a value takes in the output: ROOM + FACTOR * its own. */
export const FIELD_ROOM: usize = 72;
export const FIELD_FACTOR: usize = 76;
/** The rule's parameters as the configuration has them, kept with 16 readable bytes behind. */
export const FIELD_DATA: usize = 80;
export const FIELD_DATA_BYTES: usize = 84;
/** Number of its slot among the observed fields, from 1; 0: it is not observed. */
export const FIELD_SLOT: usize = 88;
export const FIELD_BYTES: usize = 96;

export const ACTION_DROP: u32 = 0;
export const ACTION_KEEP: u32 = 1;
export const ACTION_MASK: u32 = 2;
export const ACTION_REPLACE: u32 = 3;
export const ACTION_PSEUDONYMIZE: u32 = 4;
export const ACTION_HASH: u32 = 5;
/** From here to ACTION_PERTURB: rules whose result is made while the record is read, since they can refuse a value. */
export const ACTION_WIDTH: u32 = 6;
export const ACTION_BOUNDS: u32 = 7;
export const ACTION_DATE: u32 = 8;
export const ACTION_PREFIX: u32 = 9;
export const ACTION_LOOK_UP: u32 = 10;
export const ACTION_PICK: u32 = 11;
export const ACTION_FAKE: u32 = 12;
export const ACTION_FPE: u32 = 13;
export const ACTION_PERTURB: u32 = 14;
/** Refuses no text, so it is done when the record is written. */
export const ACTION_REDACT: u32 = 15;
/** Leaves a hole, which the host fills with the range of the record's group. */
export const ACTION_CLUSTER: u32 = 16;
export const ACTION_LAST: u32 = 16;
/** Not rules: an object or array that is rebuilt from the fields inside it. */
export const ACTION_OBJECT: u32 = 64;
export const ACTION_ARRAY: u32 = 65;

/** Whether an action's result is made while the record is read. */
// @ts-ignore: decorator
@inline
export function isMade(action: u32): bool {
  return action - ACTION_WIDTH <= ACTION_PERTURB - ACTION_WIDTH || action == ACTION_CLUSTER;
}

/** Hash buckets: 256 keep chains short up to the most fields a configuration may have (1,024). */
const BUCKETS: u32 = 256;
const TABLE: usize = memory.data(1024, 16);

export let firstField: usize = 0;
export let fieldCount: u32 = 0;
/** The field whose value names the record. */
export let idField: usize = 0;

export function setFields(first: usize, count: u32, id: usize): void {
  firstField = first;
  fieldCount = count;
  idField = id;
}

/** Bucket of a name: its object, its length and its first and last eight bytes. Names looked up are never inserted. */
function bucketOf(parent: usize, name: usize, bytes: usize): usize {
  let mix: u64 = <u64>bytes ^ (<u64>parent << 8);
  if (bytes >= 8) {
    mix ^= load<u64>(name) * 0x9e3779b97f4a7c15 + rotr<u64>(load<u64>(name + bytes - 8), 23);
  } else if (bytes) {
    mix ^= load<u64>(name) << ((8 - bytes) << 3);
  }
  mix *= 0x9e3779b97f4a7c15;
  return TABLE + (<usize>(mix >>> 56) & (BUCKETS - 1)) * 4;
}

/** Makes a field findable. False when there is one of the same name in the same object already. */
export function insertField(field: usize): bool {
  const name = <usize>load<u32>(field, FIELD_NAME);
  const bytes = <usize>load<u32>(field, FIELD_NAME_BYTES);
  const parent = <usize>load<u32>(field, FIELD_PARENT);
  if (findField(parent, name, bytes)) return false;
  const bucket = bucketOf(parent, name, bytes);
  store<u32>(field, load<u32>(bucket), FIELD_CHAIN);
  store<u32>(bucket, <u32>field);
  return true;
}

/** The field of a decoded name in the object of `parent` (0: the record), or 0. Readable 16 bytes past its end. */
export function findField(parent: usize, name: usize, bytes: usize): usize {
  let field = <usize>load<u32>(bucketOf(parent, name, bytes));
  while (field) {
    const length = <usize>load<u32>(field, FIELD_NAME_BYTES);
    if (
      length == bytes && load<u32>(field, FIELD_PARENT) == <u32>parent &&
      sameBytes(name, load<u32>(field, FIELD_NAME), bytes)
    ) return field;
    field = load<u32>(field, FIELD_CHAIN);
  }
  return 0;
}

/** Whether the string that begins at `p` is the plain name of `field`, closing quote included. */
// @ts-ignore: decorator
@inline
export function isNameOf(field: usize, p: usize, end: usize): bool {
  const bytes = <usize>load<u32>(field, FIELD_NAME_BYTES);
  if (end - p <= bytes || load<u8>(p + bytes) != 0x22 || !load<u32>(field, FIELD_PLAIN)) return false;
  return sameBytes(p, load<u32>(field, FIELD_NAME), bytes);
}
