/**
 * Ranges of code points as sequences of byte ranges in UTF-8 (RFC 3629 section 4), for automata over bytes.
 *
 * A range is cut where the length of the encoding changes, at the surrogates, which have none, and then so that every
 * byte but the last of a piece is one value or a whole run of continuation bytes.
 */
import type { CodeRange } from "./pattern-syntax.ts";

/** Bytes from..to, both included. */
export type ByteRange = readonly [from: number, to: number];

/** Where encodings of 1, 2, 3 (before and after the surrogates) and 4 bytes begin and end. */
const LENGTHS: readonly (readonly [from: number, to: number, bytes: number])[] = [
  [0x0, 0x7f, 1],
  [0x80, 0x7ff, 2],
  [0x800, 0xd7ff, 3],
  [0xe000, 0xffff, 3],
  [0x10000, 0x10ffff, 4],
];
/** High bits of a lead byte, by the length of the encoding. */
const LEADS = [0, 0, 0xc0, 0xe0, 0xf0] as const;

function encode(code: number, bytes: number): number[] {
  if (bytes === 1) return [code];
  const tail: number[] = [];
  let rest = code;
  for (let i = 1; i < bytes; i++) {
    tail.unshift(0x80 | (rest & 63));
    rest >>= 6;
  }
  return [(LEADS[bytes] ?? 0) | rest, ...tail];
}

/** Cuts from..to, encoded in `bytes` bytes, until each piece is a product of byte ranges. */
function cut(from: number, to: number, bytes: number, pieces: ByteRange[][]): void {
  for (let tail = 1; tail < bytes; tail++) {
    const mask = (1 << (6 * tail)) - 1;
    if ((from & ~mask) === (to & ~mask)) continue;
    if ((from & mask) !== 0) {
      cut(from, from | mask, bytes, pieces);
      cut((from | mask) + 1, to, bytes, pieces);
      return;
    }
    if ((to & mask) !== mask) {
      cut(from, (to & ~mask) - 1, bytes, pieces);
      cut(to & ~mask, to, bytes, pieces);
      return;
    }
  }
  const low = encode(from, bytes);
  const high = encode(to, bytes);
  pieces.push(low.map((byte, i) => [byte, high[i] ?? byte]));
}

/** Sequences of byte ranges that together are the UTF-8 of every code point in `ranges` but surrogates. */
export function utf8Sequences(ranges: readonly CodeRange[]): ByteRange[][] {
  const pieces: ByteRange[][] = [];
  for (const [from, to] of ranges) {
    for (const [first, last, bytes] of LENGTHS) {
      const start = Math.max(from, first);
      const end = Math.min(to, last);
      if (start <= end) cut(start, end, bytes, pieces);
    }
  }
  return pieces;
}
