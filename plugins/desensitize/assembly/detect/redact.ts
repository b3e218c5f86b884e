/**
 * Writes text with its detections replaced, as the inside of a JSON string.
 *
 * The room is the caller's to reserve: redactGrowth() times the bytes of the text as it stood in the record, and 16 of
 * slack. Nothing here can fail.
 */
import { copyBytes } from "../bytes";
import { writeText } from "../json-strings";
import { countCodePoints } from "../utf8";
import { SET_TYPES, TYPE_BYTES, TYPE_IS_MASK, TYPE_TEXT, TYPE_TEXT_BYTES } from "./layout";
import { beginScan, scanOn } from "./scan";
import { takenEnd, takenStart, takenType, takeSpan } from "./spans";

/** Writes what stands in place of the detection start..end. */
function writeReplacement(out: usize, type: usize, start: usize, end: usize): usize {
  const text = <usize>load<u32>(type, TYPE_TEXT);
  const bytes = <usize>load<u32>(type, TYPE_TEXT_BYTES);
  let count: u32 = load<u32>(type, TYPE_IS_MASK) ? countCodePoints(start, end) : 1;
  for (; count; count--) out = copyBytes(out, text, bytes);
  return out;
}

/**
 * Writes the UTF-8 text start..end to `out` with every detection of a set replaced.
 * @param set of configureDetectors()
 * @param escape whether what is left of the text may need escapes
 * @returns the end of what was written
 */
export function redactText(set: usize, out: usize, start: usize, end: usize, escape: bool): usize {
  beginScan(set, start, end);
  let written = start;
  let safe: usize = 0;
  do {
    safe = scanOn();
    while (takeSpan(safe)) {
      const from = takenStart();
      out = writeText(out, written, from, escape);
      const type = <usize>load<u32>(set, SET_TYPES) + <usize>takenType() * TYPE_BYTES;
      written = takenEnd();
      out = writeReplacement(out, type, from, written);
    }
  } while (safe != end);
  return writeText(out, written, end, escape);
}
