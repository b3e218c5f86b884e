/**
 * Detections of one text on their way out: joined where they overlap, and handed on in order.
 *
 * Detections that overlap become one that covers all of them, so no detector can uncover what another found. It has the
 * type of the one that begins first; of these the longest; of these the one whose type was configured first. Detections
 * come nearly in order: one may begin up to GAP_MAX bytes before the newest.
 */

/**
 * Longest way without a place where a match could end, in bytes, and so the farthest that a later detection can begin
 * before an anchor. The host has the same number (pipeline/stages/desensitize/detect/anchors.ts).
 */
export const GAP_MAX: usize = 512;

/**
 * Spans do not overlap, so at most GAP_MAX + 1 of them can still change, and one anchor adds at most GAP_MAX: the list
 * has room for another anchor below half of it.
 */
const MOST_SPANS: usize = 2048;
const SPAN_END: usize = 4;
/** Length and type of the detection that gives the span its type; it begins where the span begins. */
const SPAN_LENGTH: usize = 8;
const SPAN_TYPE: usize = 12;
const SPAN_BYTES: usize = 16;

const SPANS: usize = memory.data(2048 * 16, 16);

let count: usize = 0;
let next: usize = 0;

// @ts-ignore: decorator
@inline
function spanAt(index: usize): usize {
  return SPANS + index * SPAN_BYTES;
}

/** Whether a detection comes before the one that a span has its type from. */
function wins(start: usize, length: usize, type: u32, span: usize): bool {
  const other = <usize>load<u32>(span);
  if (start != other) return start < other;
  const otherLength = <usize>load<u32>(span, SPAN_LENGTH);
  if (length != otherLength) return length > otherLength;
  return type < load<u32>(span, SPAN_TYPE);
}

function write(span: usize, start: usize, end: usize, length: usize, type: u32): void {
  store<u32>(span, <u32>start);
  store<u32>(span, <u32>end, SPAN_END);
  store<u32>(span, <u32>length, SPAN_LENGTH);
  store<u32>(span, type, SPAN_TYPE);
}

/** Whether there is room for what another anchor can add. */
export function hasRoom(): bool {
  return count < MOST_SPANS / 2;
}

/** Adds a detection; there must have been room before its anchor. */
export function addSpan(start: usize, end: usize, type: u32): void {
  let from = count;
  while (from > next && <usize>load<u32>(spanAt(from - 1), SPAN_END) > start) from--;
  let to = from;
  let length = end - start;
  for (; to < count; to++) {
    const span = spanAt(to);
    if (<usize>load<u32>(span) >= end) break;
    if (!wins(start, length, type, span)) {
      start = load<u32>(span);
      length = load<u32>(span, SPAN_LENGTH);
      type = load<u32>(span, SPAN_TYPE);
    }
    end = max(end, <usize>load<u32>(span, SPAN_END));
  }
  if (from + 1 != to && to < count) memory.copy(spanAt(from + 1), spanAt(to), (count - to) * SPAN_BYTES);
  count = count + 1 + from - to;
  write(spanAt(from), start, end, length, type);
}

/** Takes the next span off if it ends at `safe` or before; false when there is none. */
export function takeSpan(safe: usize): bool {
  if (next == count) {
    count = 0;
    next = 0;
    return false;
  }
  if (<usize>load<u32>(spanAt(next), SPAN_END) > safe) {
    memory.copy(SPANS, spanAt(next), (count - next) * SPAN_BYTES);
    count -= next;
    next = 0;
    return false;
  }
  next++;
  return true;
}

/** Of the span that was taken last. */
export function takenStart(): usize {
  return load<u32>(spanAt(next - 1));
}

export function takenEnd(): usize {
  return load<u32>(spanAt(next - 1), SPAN_END);
}

export function takenType(): u32 {
  return load<u32>(spanAt(next - 1), SPAN_TYPE);
}

export function forgetSpans(): void {
  count = 0;
  next = 0;
}
