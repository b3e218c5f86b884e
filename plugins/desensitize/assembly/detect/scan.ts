/**
 * Looks for detections in a text: from anchor to anchor by SIMD, from each anchor back with one automaton to where
 * a match can begin, and from there on with another.
 *
 * Each pattern is looked for by itself, from left to right: at each start the longest match counts that passes its
 * checks; when none does, the next byte is the next start. A start is tried once for each group and followed for at most
 * GAP_MAX bytes past the last good end. Characters in the middle of a word after which the shape could end do not count:
 * an address may have a word of any length. Starts are where words begin, so at most GAP_MAX of them reach any byte, and
 * the work is at most GAP_MAX steps a byte and group, whatever the text.
 */
import {
  BACK, GROUP_ACCEPTS, GROUP_BYTES, GROUP_CLASS_OF, GROUP_FIRST_ACCEPTING, GROUP_FREE, GROUP_HAS_FOUND, GROUP_NEXT,
  GROUP_PATTERNS, GROUP_PATTERN_COUNT, GROUP_ROW, GROUP_SHIFT, GROUP_TRIED,
  PATTERN_BEST, PATTERN_BYTES, PATTERN_FREE, PATTERN_JOINERS, PATTERN_TYPE, PATTERN_VALIDATOR,
  SET_ANCHORS, SET_DIGIT_RUNS, SET_GROUPS, SET_GROUP_COUNT, SET_HIGH, SET_LOW,
} from "./layout";
import { addSpan, forgetSpans, GAP_MAX, hasRoom } from "./spans";
import { passes } from "./validators";
import { isJoined, isWordAfter, isWordBefore } from "./words";

const START_STATE: u32 = 1;
/** Starts of the anchor at hand. */
const STARTS: usize = memory.data(512 * 4, 16);

// The text at hand.
let set: usize = 0;
let textStart: usize = 0;
let textEnd: usize = 0;
/** Next sixteen bytes to look for anchors in, and the anchors of the sixteen before that are still to be visited. */
let cursor: usize = 0;
let waiting: u32 = 0;
/** 1: the byte before the cursor is a digit. */
let digitBefore: u32 = 0;
/**
 * The byte behind the last anchor, and that anchor's groups. An anchor of the same groups there, within the same word, can
 * begin nothing, and what began before it has been tried.
 */
let repeatAt: usize = 0;
let repeatBits: u32 = 0;

/** Starts on a text. */
export function beginScan(detectors: usize, start: usize, end: usize): void {
  set = detectors;
  textStart = start;
  textEnd = end;
  cursor = start;
  waiting = 0;
  digitBefore = 0;
  repeatAt = 0;
  forgetSpans();
  const groups = <usize>load<u32>(set, SET_GROUPS);
  const groupsEnd = groups + <usize>load<u32>(set, SET_GROUP_COUNT) * GROUP_BYTES;
  for (let group = groups; group < groupsEnd; group += GROUP_BYTES) {
    store<u32>(group, <u32>start, GROUP_TRIED);
    // What no text has had a detection of since the last time is as it was.
    if (!load<u32>(group, GROUP_HAS_FOUND)) continue;
    store<u32>(group, 0, GROUP_HAS_FOUND);
    store<u32>(group, 0, GROUP_FREE);
    const patterns = <usize>load<u32>(group, GROUP_PATTERNS);
    const patternsEnd = patterns + <usize>load<u32>(group, GROUP_PATTERN_COUNT) * PATTERN_BYTES;
    for (let pattern = patterns; pattern < patternsEnd; pattern += PATTERN_BYTES) {
      store<u32>(pattern, 0, PATTERN_FREE);
    }
  }
}

/** Judges a place outside a word where patterns can end a match; notes those that do. Returns them. */
function judge(patterns: usize, accepted: u32, from: usize, to: usize): u32 {
  let good: u32 = 0;
  for (; accepted; accepted &= accepted - 1) {
    const index = ctz(accepted);
    const pattern = patterns + <usize>index * PATTERN_BYTES;
    if (<usize>load<u32>(pattern, PATTERN_FREE) > from) continue;
    if (isJoined(from, to, textStart, textEnd, load<u32>(pattern, PATTERN_JOINERS))) continue;
    if (!passes(load<u32>(pattern, PATTERN_VALIDATOR), from, to)) continue;
    store<u32>(pattern, <u32>to, PATTERN_BEST);
    good |= 1 << index;
  }
  return good;
}

/** Turns the longest matches from `from` into detections. */
function settle(group: usize, good: u32, from: usize): void {
  const patterns = <usize>load<u32>(group, GROUP_PATTERNS);
  for (; good; good &= good - 1) {
    const pattern = patterns + <usize>ctz(good) * PATTERN_BYTES;
    const to = load<u32>(pattern, PATTERN_BEST);
    store<u32>(pattern, to, PATTERN_FREE);
    addSpan(from, to, load<u32>(pattern, PATTERN_TYPE));
  }
  store<u32>(group, 1, GROUP_HAS_FOUND);
  let free = u32.MAX_VALUE;
  for (let i: u32 = 0; i < load<u32>(group, GROUP_PATTERN_COUNT); i++) {
    free = min(free, load<u32>(patterns + <usize>i * PATTERN_BYTES, PATTERN_FREE));
  }
  store<u32>(group, free, GROUP_FREE);
}

/** Follows a group's automaton from `from`. */
function follow(group: usize, from: usize): void {
  const next = <usize>load<u32>(group, GROUP_NEXT);
  const classOf = <usize>load<u32>(group, GROUP_CLASS_OF);
  const shift = load<u32>(group, GROUP_SHIFT);
  const firstAccepting = load<u32>(group, GROUP_FIRST_ACCEPTING);
  let row = load<u32>(group, GROUP_ROW) * START_STATE;
  let good: u32 = 0;
  let p = from;
  let limit = min(textEnd, from + GAP_MAX);
  while (p < limit) {
    const entry = (row << shift) + <u32>load<u8>(classOf + <usize>load<u8>(p));
    row = load<u16>(next + (<usize>entry << 1));
    p++;
    if (!row) break;
    if (row < firstAccepting) continue;
    if (isWordAfter(p, textEnd)) {
      // The middle of a word does not count.
      if (isWordBefore(p, textStart)) limit = min(textEnd, limit + (load<u8>(p - 1) < 0x80 ? 1 : 2));
      continue;
    }
    const state = <usize>((row - firstAccepting) / load<u32>(group, GROUP_ROW));
    const accepted = load<u32>(<usize>load<u32>(group, GROUP_ACCEPTS) + (state << 2));
    const ended = judge(load<u32>(group, GROUP_PATTERNS), accepted, from, p);
    if (ended) limit = min(textEnd, p + GAP_MAX);
    good |= ended;
  }
  if (good) settle(group, good, from);
}

/** Tries every start of a group that the anchor at `anchor` can be the first anchor of a match from. */
function visitGroup(group: usize, anchor: usize): void {
  const tried = <usize>load<u32>(group, GROUP_TRIED);
  store<u32>(group, <u32>(anchor + 1), GROUP_TRIED);
  const farthest = anchor - tried < GAP_MAX ? tried : anchor + 1 - GAP_MAX;
  const next = <usize>load<u32>(group, BACK + GROUP_NEXT);
  const classOf = <usize>load<u32>(group, BACK + GROUP_CLASS_OF);
  const shift = load<u32>(group, BACK + GROUP_SHIFT);
  const firstAccepting = load<u32>(group, BACK + GROUP_FIRST_ACCEPTING);
  let row = load<u32>(group, BACK + GROUP_ROW) * START_STATE;
  let starts = STARTS;
  for (let p = anchor; p >= farthest; p--) {
    const entry = (row << shift) + <u32>load<u8>(classOf + <usize>load<u8>(p));
    row = load<u16>(next + (<usize>entry << 1));
    if (!row) break;
    if (row < firstAccepting || isWordBefore(p, textStart)) continue;
    store<u32>(starts, <u32>p);
    starts += 4;
  }
  // Found from right to left, tried from left to right.
  while (starts > STARTS) {
    starts -= 4;
    const from = load<u32>(starts);
    if (from >= load<u32>(group, GROUP_FREE)) follow(group, from);
  }
}

/**
 * A bit for each of the sixteen bytes at the cursor that may be an anchor. Of a run of digits the first is enough: the
 * others stand in the same word behind an anchor of the same groups.
 */
// @ts-ignore: decorator
@inline
function anchorsAtCursor(): u32 {
  const bytes = v128.load(cursor);
  const low = i8x16.swizzle(v128.load(set, SET_LOW), v128.and(bytes, i8x16.splat(15)));
  const high = i8x16.swizzle(v128.load(set, SET_HIGH), i8x16.shr_u(bytes, 4));
  const anchors = <u32>i8x16.bitmask(i8x16.ne(v128.and(low, high), i8x16.splat(0)));
  if (!anchors || !load<u32>(set, SET_DIGIT_RUNS)) {
    digitBefore = 0;
    return anchors;
  }
  const digits = <u32>i8x16.bitmask(i8x16.lt_u(i8x16.sub(bytes, i8x16.splat(0x30)), i8x16.splat(10)));
  const repeated = digits & ((digits << 1) | digitBefore);
  digitBefore = digits >> 15;
  return anchors & ~repeated;
}

/**
 * Goes on with the scan until it is at the end or the list of detections is full.
 * @returns the place before which no more detections can end that are not in the list; the end of the text at the end
 */
export function scanOn(): usize {
  const groups = <usize>load<u32>(set, SET_GROUPS);
  while (true) {
    while (waiting) {
      const anchor = cursor - 16 + ctz(waiting);
      if (anchor >= textEnd) break;
      // The anchor is visited when the list has been emptied of what is final.
      if (!hasRoom()) return anchor - textStart > GAP_MAX ? anchor - GAP_MAX : textStart;
      let bits = load<u32>(set + (<usize>load<u8>(anchor) << 2), SET_ANCHORS);
      waiting &= waiting - 1;
      const isRepeated = anchor == repeatAt && bits == repeatBits && isWordBefore(anchor, textStart);
      repeatAt = anchor + 1;
      repeatBits = bits;
      if (isRepeated) continue;
      for (; bits; bits &= bits - 1) visitGroup(groups + <usize>ctz(bits) * GROUP_BYTES, anchor);
    }
    if (cursor >= textEnd) return textEnd;
    waiting = anchorsAtCursor();
    cursor += 16;
  }
  return textEnd;
}
