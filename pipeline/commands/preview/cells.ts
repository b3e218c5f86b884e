/**
 * Text in the cells of a table on a terminal: never longer than its cell, and nothing that a terminal acts on.
 */
import { escapeUnsafe } from "../dead-letters/text.ts";

const ELLIPSIS = "…";
/** Marks of one character beyond this are a prank, or an attack on whoever draws them. */
const MOST_UNITS = 16;
const REPLACEMENT = "\ufffd";

/** East Asian wide and fullwidth characters (UAX #11), and emoji: two columns each. */
const WIDE =
  /[\u1100-\u115f\u231a\u231b\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18cff}\u{1b000}-\u{1b2fb}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;
const ONLY_MARKS = /^\p{M}+$/u;

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

function widthOf(character: string): number {
  if (ONLY_MARKS.test(character)) return 0;
  return WIDE.test(character) ? 2 : 1;
}

/** Columns that a text takes. @param text without characters that a terminal acts on */
export function textWidth(text: string): number {
  let width = 0;
  for (const { segment } of segmenter.segment(text)) width += widthOf(segment);
  return width;
}

/** The text in exactly `width` columns: cut with an ellipsis, or filled with spaces. */
export function cell(text: string, width: number): string {
  let shown = "";
  let used = 0;
  /** Where to cut if the text turns out to be too long. */
  let cut = "";
  let cutWidth = 0;
  for (const { segment } of segmenter.segment(escapeUnsafe(text))) {
    const drawn = segment.length > MOST_UNITS ? REPLACEMENT : segment;
    const columns = widthOf(drawn);
    if (used + columns > width) return `${cut}${ELLIPSIS}${" ".repeat(width - cutWidth - 1)}`;
    shown += drawn;
    used += columns;
    if (used < width) [cut, cutWidth] = [shown, used];
  }
  return shown + " ".repeat(width - used);
}
