/**
 * Reads a set of detectors as the host compiled it (grammar: plugins/desensitize/assembly/detect/README.md).
 *
 * Every length, state, class and index is checked: the scan reads the tables without looking. The block is copied, so
 * the host may overwrite it afterwards.
 */
import { allocate } from "../arena";
import { isPlain } from "../json-strings";
import { countCodePoints, isUtf8 } from "../utf8";
import {
  BACK, GROUP_ACCEPTS, GROUP_BYTES, GROUP_CLASS_OF, GROUP_FIRST_ACCEPTING, GROUP_HAS_FOUND, GROUP_NEXT,
  GROUP_PATTERNS, GROUP_PATTERN_COUNT, GROUP_ROW, GROUP_SHIFT,
  MOST_GROUPS, MOST_PATTERNS, MOST_TYPES,
  PATTERN_BYTES, PATTERN_JOINERS, PATTERN_TYPE, PATTERN_VALIDATOR,
  SET_ANCHORS, SET_BYTES, SET_DIGIT_RUNS, SET_GROUPS, SET_GROUP_COUNT, SET_GROWTH, SET_HIGH, SET_LOW, SET_TYPES,
  TYPE_BYTES, TYPE_IS_MASK, TYPE_TEXT, TYPE_TEXT_BYTES,
} from "./layout";
import { LAST_VALIDATOR } from "./validators";

/** "SDD2", little-endian. */
const DETECT_MAGIC: u32 = 0x32444453;
const MOST_STATES: u32 = 65535;
const LONGEST_TEXT: u32 = 1024;
const ALL_JOINERS: u32 = 15;

let cursor: usize = 0;
let limit: usize = 0;

/** Takes `bytes` bytes, padded to a multiple of four; 0 when the block ends before. */
function take(bytes: usize): usize {
  const padded = (bytes + 3) & ~3;
  if (limit - cursor < padded) return 0;
  const start = cursor;
  cursor += padded;
  return start;
}

/** Reads a type into `type`; returns the growth that it asks for, 0 when it is refused. */
function readType(type: usize): u32 {
  const words = take(12);
  if (!words) return 0;
  const shortest = load<u32>(words);
  const isMask = load<u32>(words, 4);
  const bytes = load<u32>(words, 8);
  if (!shortest || isMask > 1 || bytes > LONGEST_TEXT) return 0;
  const text = take(bytes);
  if (!text || !isUtf8(text, text + bytes) || !isPlain(text, text + bytes)) return 0;
  if (isMask && countCodePoints(text, text + bytes) != 1) return 0;
  store<u32>(type, <u32>text, TYPE_TEXT);
  store<u32>(type, bytes, TYPE_TEXT_BYTES);
  store<u32>(type, isMask, TYPE_IS_MASK);
  return max(1, isMask ? bytes : (bytes + shortest - 1) / shortest);
}

/** Gives the bytes of a 256-bit set at `bits` the group's bit in the table at `table`. */
function spread(table: usize, bits: usize, bit: u32): void {
  for (let byte: usize = 0; byte < 256; byte++) {
    if (!((<u32>load<u8>(bits + (byte >> 3)) >> (<u32>byte & 7)) & 1)) continue;
    store<u32>(table + (byte << 2), load<u32>(table + (byte << 2)) | bit);
  }
}

function readPatterns(group: usize, count: u32, types: u32): bool {
  const patterns = allocate(<usize>count * PATTERN_BYTES, 4);
  if (!patterns) return false;
  store<u32>(group, <u32>patterns, GROUP_PATTERNS);
  for (let i: usize = 0; i < <usize>count; i++) {
    const words = take(12);
    if (!words) return false;
    const pattern = patterns + i * PATTERN_BYTES;
    store<u32>(pattern, load<u32>(words), PATTERN_TYPE);
    store<u32>(pattern, load<u32>(words, 4), PATTERN_VALIDATOR);
    store<u32>(pattern, load<u32>(words, 8), PATTERN_JOINERS);
    if (load<u32>(words) >= types || load<u32>(words, 4) > LAST_VALIDATOR) return false;
    if (load<u32>(words, 8) > ALL_JOINERS) return false;
  }
  return true;
}

/** Whether an automaton may have these sizes. */
function areSizes(states: u32, classes: u32, firstAccepting: u32): bool {
  return firstAccepting >= 2 && firstAccepting <= states && states <= MOST_STATES && classes - 1 < 256;
}

/** Turns the states at `next` into shifted places of rows, and keeps all of the automaton at `automaton`. */
function keepAutomaton(automaton: usize, classOf: usize, next: usize, states: u32, classes: u32, firstAccepting: u32): bool {
  if (!classOf || !next) return false;
  for (let byte: usize = 0; byte < 256; byte++) if (load<u8>(classOf + byte) >= classes) return false;
  let shift: u32 = 0;
  while ((<u64>states * (((classes - 1) >> shift) + 1)) > 0x10000) shift++;
  const row = ((classes - 1) >> shift) + 1;
  const rows = allocate((<usize>states * row) << (shift + 1), 16);
  if (!rows) return false;
  for (let state: u32 = 0; state < states; state++) {
    for (let c: u32 = 0; c < classes; c++) {
      const target: u32 = load<u16>(next + ((<usize>state * classes + c) << 1));
      if (target >= states) return false;
      store<u16>(rows + ((<usize>((state * row) << shift) + c) << 1), target * row);
    }
  }
  store<u32>(automaton, <u32>classOf, GROUP_CLASS_OF);
  store<u32>(automaton, <u32>rows, GROUP_NEXT);
  store<u32>(automaton, shift, GROUP_SHIFT);
  store<u32>(automaton, row, GROUP_ROW);
  store<u32>(automaton, firstAccepting * row, GROUP_FIRST_ACCEPTING);
  return true;
}

/** classOf accepts next */
function readAutomaton(group: usize, states: u32, classes: u32, firstAccepting: u32): bool {
  const classOf = take(256);
  const accepts = take(<usize>(states - firstAccepting) << 2);
  const next = take((<usize>states * classes) << 1);
  const patterns = load<u32>(group, GROUP_PATTERN_COUNT);
  if (!accepts || !next) return false;
  for (let i: usize = 0; i < <usize>(states - firstAccepting); i++) {
    if (load<u32>(accepts + (i << 2)) >> patterns) return false;
  }
  store<u32>(group, <u32>accepts, GROUP_ACCEPTS);
  return keepAutomaton(group, classOf, next, states, classes, firstAccepting);
}

/** backClassOf backNext */
function readWayBack(group: usize, states: u32, classes: u32, firstAccepting: u32): bool {
  const classOf = take(256);
  const next = take((<usize>states * classes) << 1);
  return keepAutomaton(group + BACK, classOf, next, states, classes, firstAccepting);
}

/** Whether the ten digits are anchors of the same groups. */
function hasDigitRuns(set: usize): bool {
  const bits = load<u32>(set + (0x30 << 2), SET_ANCHORS);
  for (let digit: usize = 0x31; digit <= 0x39; digit++) {
    if (load<u32>(set + (digit << 2), SET_ANCHORS) != bits) return false;
  }
  return bits != 0;
}

function readGroup(set: usize, group: usize, bit: u32, types: u32): bool {
  const words = take(28);
  if (!words) return false;
  const patterns = load<u32>(words);
  const states = load<u32>(words, 4);
  const classes = load<u32>(words, 8);
  const firstAccepting = load<u32>(words, 12);
  const backStates = load<u32>(words, 16);
  const backClasses = load<u32>(words, 20);
  const backFirstAccepting = load<u32>(words, 24);
  if (!patterns || patterns > MOST_PATTERNS || !areSizes(states, classes, firstAccepting)) return false;
  if (!areSizes(backStates, backClasses, backFirstAccepting)) return false;
  const anchors = take(32);
  if (!anchors) return false;
  store<u32>(group, patterns, GROUP_PATTERN_COUNT);
  store<u32>(group, 1, GROUP_HAS_FOUND);
  spread(set + SET_ANCHORS, anchors, bit);
  return (
    readPatterns(group, patterns, types) && readAutomaton(group, states, classes, firstAccepting) &&
    readWayBack(group, backStates, backClasses, backFirstAccepting)
  );
}

/** Low nibbles of the anchors whose high nibble is `high`, as bits. */
function anchorRow(set: usize, high: usize): u32 {
  let row: u32 = 0;
  for (let low: usize = 0; low < 16; low++) {
    row |= u32(load<u32>(set + (((high << 4) | low) << 2), SET_ANCHORS) != 0) << <u32>low;
  }
  return row;
}

/**
 * Fills the nibble tables: high nibbles with the same row share one of eight buckets. A ninth row joins the last one,
 * which then lets through bytes that are no anchors; the scan looks at the table by byte anyway.
 */
function fillNibbles(set: usize): void {
  const rows = memory.data(32);
  memory.fill(rows, 0, 32);
  memory.fill(set + SET_LOW, 0, 32);
  let buckets: usize = 0;
  for (let high: usize = 0; high < 16; high++) {
    const row = anchorRow(set, high);
    if (!row) continue;
    let bucket: usize = 0;
    while (bucket < buckets && load<u32>(rows + (bucket << 2)) != row) bucket++;
    if (bucket == buckets && buckets < 8) store<u32>(rows + (buckets++ << 2), row);
    const bit: u32 = 1 << <u32>min(bucket, 7);
    store<u8>(set + SET_HIGH + high, bit);
    for (let low: usize = 0; low < 16; low++) {
      if (!((row >> <u32>low) & 1)) continue;
      store<u8>(set + SET_LOW + low, <u32>load<u8>(set + SET_LOW + low) | bit);
    }
  }
}

/** Reads the block at cursor..limit into a set. */
function readSet(set: usize): bool {
  const header = take(16);
  if (!header || load<u32>(header) != DETECT_MAGIC || load<u32>(header, 12)) return false;
  const typeCount = load<u32>(header, 4);
  const groupCount = load<u32>(header, 8);
  if (!typeCount || typeCount > MOST_TYPES || !groupCount || groupCount > MOST_GROUPS) return false;
  const types = allocate(<usize>typeCount * TYPE_BYTES, 4);
  const groups = allocate(<usize>groupCount * GROUP_BYTES, 4);
  if (!types || !groups) return false;
  memory.fill(set, 0, SET_BYTES);
  store<u32>(set, <u32>groups, SET_GROUPS);
  store<u32>(set, groupCount, SET_GROUP_COUNT);
  store<u32>(set, <u32>types, SET_TYPES);
  let growth: u32 = 1;
  for (let i: usize = 0; i < <usize>typeCount; i++) {
    const wanted = readType(types + i * TYPE_BYTES);
    if (!wanted) return false;
    growth = max(growth, wanted);
  }
  store<u32>(set, growth, SET_GROWTH);
  for (let i: usize = 0; i < <usize>groupCount; i++) {
    if (!readGroup(set, groups + i * GROUP_BYTES, 1 << <u32>i, typeCount)) return false;
  }
  fillNibbles(set);
  store<u32>(set, u32(hasDigitRuns(set)), SET_DIGIT_RUNS);
  return cursor == limit;
}

/**
 * Reads a set of detectors; may be called several times, for sets that differ.
 * @returns the set, for redactText() and scanning; 0 when the block is refused or memory is at its maximum
 */
export function configureDetectors(block: usize, bytes: usize): usize {
  const set = allocate(SET_BYTES, 16);
  const copy = allocate(bytes, 16);
  if (!set || !copy) return 0;
  memory.copy(copy, block, bytes);
  cursor = copy;
  limit = copy + bytes;
  return readSet(set) ? set : 0;
}

/** Most bytes that redactText() can write for one byte that it reads, its own escapes aside. */
export function redactGrowth(set: usize): u32 {
  return load<u32>(set, SET_GROWTH);
}
