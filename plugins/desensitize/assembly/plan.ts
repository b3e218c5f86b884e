/**
 * The plan: in which order the fields of the next record are expected, which is that of a record before.
 *
 * Each entry has what quick.ts needs of a field in one place. A record that was read the long way (record.ts) and was
 * fine makes a new plan, unless it had fewer fields than the plan has: some fields may be missing from any record.
 * Knows nothing of records.
 */
import {
  ACTION_DROP, ACTION_HASH, ACTION_KEEP, ACTION_OBJECT, ACTION_REPLACE,
  FIELD_ACTION, FIELD_FACTOR, FIELD_PREFIX, FIELD_PREFIX_BYTES, FIELD_REQUIRED, FIELD_ROOM, FIELD_SLOT, FIELD_TYPES, idField,
} from "./fields";
import { TYPE_ARRAY, TYPE_BOOLEAN, TYPE_OBJECT } from "./json-values";

/** The first 16 bytes of `"name":`, and a mask of those that are its own. */
export const ENTRY_TEXT: usize = 0;
export const ENTRY_MASK: usize = 16;
export const ENTRY_FIELD: usize = 32;
/** Length of `"name":`. */
export const ENTRY_TEXT_BYTES: usize = 36;
/** One of the KIND_ codes. */
export const ENTRY_KIND: usize = 40;
/** TYPE_ bits that are taken the short way. */
export const ENTRY_TYPES: usize = 44;
/** 1: a record without it is refused; ID_COUNTS more for the id, without which every record is refused. */
export const ENTRY_REQUIRED: usize = 48;
export const ENTRY_BYTES: usize = 64;
/** More than all required fields. */
export const ID_COUNTS: u32 = 0x10000;

/** Leaves as it stands. */
export const KIND_KEPT: u32 = 0;
/** Is listed, and nothing about it can fail but its type. */
export const KIND_LISTED: u32 = 1;
/** Goes through takeValue. */
export const KIND_TAKEN: u32 = 2;
export const KIND_DROPPED: u32 = 3;
/** An object or array that is rebuilt. */
export const KIND_REBUILT: u32 = 4;

/** Most entries; records with more fields go the long way. */
const MOST_ENTRIES: u32 = 128;
/** Records that may go the long way before a plan with fewer fields replaces one with more. */
const PATIENCE: u32 = 64;

export const PLAN: usize = memory.data(8192, 16);
const ORDER: usize = memory.data(512, 16);

/** Where the plan ends; PLAN while there is none. */
export let planEnd: usize = PLAN;
/** Most bytes that a record of the plan takes in the output: ROOM + FACTOR * its own. */
export let planRoom: u64 = 0;
export let planFactor: u64 = 0;

/** Fields of the record that is being read the long way; more than MOST_ENTRIES are counted, not kept. */
let orderCount: u32 = 0;
let waited: u32 = 0;

export function forgetOrder(): void {
  orderCount = 0;
}

/** Notes the next field of the record itself. */
// @ts-ignore: decorator
@inline
export function noteOrder(field: usize): void {
  if (orderCount < MOST_ENTRIES) store<u32>(ORDER + (<usize>orderCount << 2), <u32>field);
  orderCount++;
}

function kindOf(field: usize): u32 {
  const action = load<u32>(field, FIELD_ACTION);
  if (action >= ACTION_OBJECT) return KIND_REBUILT;
  if (field == idField || action > ACTION_HASH || load<u32>(field, FIELD_SLOT)) return KIND_TAKEN;
  if (action == ACTION_DROP) return KIND_DROPPED;
  return action == ACTION_KEEP ? KIND_KEPT : KIND_LISTED;
}

function writeEntry(entry: usize, field: usize): void {
  const text = <usize>load<u32>(field, FIELD_PREFIX);
  const bytes = load<u32>(field, FIELD_PREFIX_BYTES);
  for (let i: u32 = 0; i < 16; i++) {
    const counts = i < bytes;
    store<u8>(entry + i, counts ? load<u8>(text + i) : 0, ENTRY_TEXT);
    store<u8>(entry + i, counts ? 255 : 0, ENTRY_MASK);
  }
  const kind = kindOf(field);
  let types = load<u32>(field, FIELD_TYPES);
  // Only constants take the place of these: other rules refuse them.
  if (kind == KIND_LISTED && load<u32>(field, FIELD_ACTION) != ACTION_REPLACE) types &= ~(TYPE_BOOLEAN | TYPE_OBJECT | TYPE_ARRAY);
  store<u32>(entry, <u32>field, ENTRY_FIELD);
  store<u32>(entry, bytes, ENTRY_TEXT_BYTES);
  store<u32>(entry, kind, ENTRY_KIND);
  store<u32>(entry, types, ENTRY_TYPES);
  store<u32>(entry, load<u32>(field, FIELD_REQUIRED) + (field == idField ? ID_COUNTS : 0), ENTRY_REQUIRED);
}

/** Makes the order of the record just read, which was fine, the plan. */
export function learnOrder(): void {
  if (!orderCount || orderCount > MOST_ENTRIES) return;
  const entries = <u32>((planEnd - PLAN) / ENTRY_BYTES);
  if (orderCount < entries && ++waited < PATIENCE) return;
  waited = 0;
  planRoom = 0;
  planFactor = 1;
  planEnd = PLAN;
  for (let i: u32 = 0; i < orderCount; i++) {
    const field = <usize>load<u32>(ORDER + (<usize>i << 2));
    writeEntry(planEnd, field);
    planEnd += ENTRY_BYTES;
    planRoom += load<u32>(field, FIELD_ROOM);
    planFactor = max<u64>(planFactor, load<u32>(field, FIELD_FACTOR));
  }
}
