/**
 * Looks for detections in a text: from anchor to anchor by SIMD, from each anchor back to where a match can begin, and
 * from there on with the group's automaton.
 *
 * Each pattern is looked for by itself, from left to right: at each start the longest match counts that passes its
 * checks; when none does, the next byte is the next start. A start is tried once for each group and followed for at most
 * GAP_MAX bytes past the last good end. Characters in the middle of a word after which the shape could end do not count:
 * an address may have a word of any length. Starts are where words begin, so at most GAP_MAX of them reach any byte, and
 * the work is at most GAP_MAX steps a byte and group, whatever the text.
 */
import {
  GROUP_ACCEPTS, GROUP_BYTES, GROUP_CLASSES, GROUP_CLASS_OF, GROUP_FIRST_ACCEPTING, GROUP_FREE, GROUP_LOOKBACK,
  GROUP_NEXT, GROUP_PATTERNS, GROUP_PATTERN_COUNT, GROUP_TRIED,
  PATTERN_BEST, PATTERN_BYTES, PATTERN_FREE, PATTERN_JOINERS, PATTERN_TYPE, PATTERN_VALIDATOR,
  SET_ANCHORS, SET_BACKS, SET_GROUPS, SET_GROUP_COUNT, SET_HIGH, SET_LOW, SET_STARTS,
} from "./layout";
import { addSpan, forgetSpans, GAP_MAX, hasRoom } from "./spans";
import { passes } from "./validators";
import { isJoined, isWordAfter, isWordBefore } from "./words";

const START_STATE: u32 = 1;

// The text at hand.
let set: usize = 0;
let textStart: usize = 0;
let textEnd: usize = 0;
/** Next sixteen bytes to look for anchors in, and the anchors of the sixteen before that are still to be visited. */
let cursor: usize = 0;
let waiting: u32 = 0;
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
  repeatAt = 0;
  forgetSpans();
  const groups = <usize>load<u32>(set, SET_GROUPS);
  const groupsEnd = groups + <usize>load<u32>(set, SET_GROUP_COUNT) * GROUP_BYTES;
  for (let group = groups; group < groupsEnd; group += GROUP_BYTES) {
    store<u32>(group, <u32>start, GROUP_TRIED);
    store<u32>(group, 0, GROUP_FREE);
    const patterns = <usize>load<u32>(group, GROUP_PATTERNS);
    const patternsEnd = patterns + <usize>load<u32>(group, GROUP_PATTERN_COUNT) * PATTERN_BYTES;
    for (let pattern = patterns; pattern < patternsEnd; pattern += PATTERN_BYTES) {
      store<u32>(pattern, 0, PATTERN_FREE);
    }
  }
}

/** Judges a place where patterns can end a match; notes those that do. Returns them. */
function judge(patterns: usize, accepted: u32, from: usize, to: usize): u32 {
  if (isWordAfter(to, textEnd)) return 0;
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
  let free = u32.MAX_VALUE;
  for (let i: u32 = 0; i < load<u32>(group, GROUP_PATTERN_COUNT); i++) {
    free = min(free, load<u32>(patterns + <usize>i * PATTERN_BYTES, PATTERN_FREE));
  }
  store<u32>(group, free, GROUP_FREE);
}

/** Whether `p` is inside a word. */
function isInWord(p: usize): bool {
  return isWordAfter(p, textEnd) && isWordBefore(p, textStart);
}

/** Follows a group's automaton from `from`. */
function follow(group: usize, from: usize): void {
  const next = <usize>load<u32>(group, GROUP_NEXT);
  const classOf = <usize>load<u32>(group, GROUP_CLASS_OF);
  const classes = load<u32>(group, GROUP_CLASSES);
  const firstAccepting = load<u32>(group, GROUP_FIRST_ACCEPTING);
  let state = START_STATE;
  let good: u32 = 0;
  let p = from;
  let limit = min(textEnd, from + GAP_MAX);
  while (p < limit) {
    const index = state * classes + <u32>load<u8>(classOf + <usize>load<u8>(p));
    state = load<u16>(next + (<usize>index << 1));
    p++;
    if (!state) break;
    if (state < firstAccepting) continue;
    const accepted = load<u32>(<usize>load<u32>(group, GROUP_ACCEPTS) + (<usize>(state - firstAccepting) << 2));
    const ended = judge(load<u32>(group, GROUP_PATTERNS), accepted, from, p);
    if (ended) limit = min(textEnd, p + GAP_MAX);
    else if (isInWord(p)) limit = min(textEnd, limit + (load<u8>(p - 1) < 0x80 ? 1 : 2));
    good |= ended;
  }
  if (good) settle(group, good, from);
}

/** Tries every start of a group that the anchor at `anchor` can be the first anchor of a match from. */
function visitGroup(group: usize, bit: u32, anchor: usize): void {
  const tried = <usize>load<u32>(group, GROUP_TRIED);
  store<u32>(group, <u32>(anchor + 1), GROUP_TRIED);
  const lookback = <usize>load<u32>(group, GROUP_LOOKBACK);
  const farthest = anchor - tried > lookback ? anchor - lookback : tried;
  let from = anchor;
  while (from > farthest && load<u32>(set + (<usize>load<u8>(from - 1) << 2), SET_BACKS) & bit) from--;
  for (; from <= anchor; from++) {
    if (!(load<u32>(set + (<usize>load<u8>(from) << 2), SET_STARTS) & bit)) continue;
    if (isWordBefore(from, textStart) || <u32>from < load<u32>(group, GROUP_FREE)) continue;
    follow(group, from);
  }
}

/** A bit for each of the sixteen bytes at `p` that may be an anchor. */
// @ts-ignore: decorator
@inline
function anchorsAt(p: usize): u32 {
  const bytes = v128.load(p);
  const low = i8x16.swizzle(v128.load(set, SET_LOW), v128.and(bytes, i8x16.splat(15)));
  const high = i8x16.swizzle(v128.load(set, SET_HIGH), i8x16.shr_u(bytes, 4));
  return <u32>i8x16.bitmask(i8x16.ne(v128.and(low, high), i8x16.splat(0)));
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
      for (; bits; bits &= bits - 1) visitGroup(groups + <usize>ctz(bits) * GROUP_BYTES, bits & -bits, anchor);
    }
    if (cursor >= textEnd) return textEnd;
    waiting = anchorsAt(cursor);
    cursor += 16;
  }
  return textEnd;
}
