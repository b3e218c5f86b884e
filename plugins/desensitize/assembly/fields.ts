/**
 * The fields that the configuration knows, and finding one by its name.
 *
 * Records of one topic mostly have their fields in the same order, so each field remembers which one came after it
 * last time and that one is tried first: a hit costs one comparison and saves the scan for the closing quote. Else a
 * hash table decides. Names are compared as decoded UTF-8, never as they are spelled in the record.
 */
import { sameBytes } from "./bytes";

// A field is a struct of 16 words in the arena; these are the offsets of its members.
/** Decoded name, with 16 readable bytes behind it, and its length. */
export const FIELD_NAME: usize = 0;
export const FIELD_NAME_BYTES: usize = 4;
/** One of the ACTION_ codes. */
export const FIELD_ACTION: usize = 8;
/** TYPE_ bits that the record schema allows. */
export const FIELD_TYPES: usize = 12;
/** 1: a record without it is refused. */
export const FIELD_REQUIRED: usize = 16;
/** Midstates of the HMAC key (pseudonymize). */
export const FIELD_KEY: usize = 20;
/** Code points kept (mask). */
export const FIELD_KEEP_FIRST: usize = 24;
export const FIELD_KEEP_LAST: usize = 28;
/** Escaped mask character, or the whole quoted text (replace), and its length. */
export const FIELD_TEXT: usize = 32;
export const FIELD_TEXT_BYTES: usize = 36;
/** `"name":` as it is written, and its length. */
export const FIELD_PREFIX: usize = 40;
export const FIELD_PREFIX_BYTES: usize = 44;
/** Number of the last record that had it. */
export const FIELD_SEEN_IN: usize = 48;
/** 1: the name can stand between quotes without escapes, so its bytes can be looked for in the record. */
export const FIELD_PLAIN: usize = 52;
/** The field that came after it last time. */
export const FIELD_NEXT: usize = 56;
/** The next field of the same hash bucket, or 0. */
export const FIELD_CHAIN: usize = 60;
export const FIELD_BYTES: usize = 64;

export const ACTION_DROP: u32 = 0;
export const ACTION_KEEP: u32 = 1;
export const ACTION_MASK: u32 = 2;
export const ACTION_REPLACE: u32 = 3;
export const ACTION_PSEUDONYMIZE: u32 = 4;

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

/** Bucket of a name: its length and its first and last eight bytes. Names looked up are never inserted. */
function bucketOf(name: usize, bytes: usize): usize {
  let mix: u64 = bytes;
  if (bytes >= 8) {
    mix ^= load<u64>(name) * 0x9e3779b97f4a7c15 + rotr<u64>(load<u64>(name + bytes - 8), 23);
  } else if (bytes) {
    mix ^= load<u64>(name) << ((8 - bytes) << 3);
  }
  mix *= 0x9e3779b97f4a7c15;
  return TABLE + (<usize>(mix >>> 56) & (BUCKETS - 1)) * 4;
}

/** Makes a field findable. False when there is one of the same name already. */
export function insertField(field: usize): bool {
  const name = <usize>load<u32>(field, FIELD_NAME);
  const bytes = <usize>load<u32>(field, FIELD_NAME_BYTES);
  if (findField(name, bytes)) return false;
  const bucket = bucketOf(name, bytes);
  store<u32>(field, load<u32>(bucket), FIELD_CHAIN);
  store<u32>(bucket, <u32>field);
  return true;
}

/** The field of a decoded name, or 0. `name` is readable 16 bytes past its end. */
export function findField(name: usize, bytes: usize): usize {
  let field = <usize>load<u32>(bucketOf(name, bytes));
  while (field) {
    const length = <usize>load<u32>(field, FIELD_NAME_BYTES);
    if (length == bytes && sameBytes(name, load<u32>(field, FIELD_NAME), bytes)) return field;
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
