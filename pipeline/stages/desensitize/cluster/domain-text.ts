/**
 * Texts as codes: their first eight characters, six bits each, so that a range of codes is a prefix.
 *
 * Letters are folded: case and accents do not count. What is not in the alphabet is one character, `~`. A range is
 * rendered as `10*`, or as `10[0-4]*` where it ends inside a character; `$` in such a class is the end of the text, and a
 * prefix without `*` is all of the text. Must not know records.
 */
import type { Domain } from "./domain.ts";

const CHARACTERS = 8;
const BITS = 6;
const VALUES = 1 << BITS;
const SIZE = 2 ** (CHARACTERS * BITS);
const END = 0;
/** By code; halves of it are halves of classes: ends and separators, digits, letters a to p, q to z. */
const ALPHABET = "$ !\"#%&'()+,-./:0123456789;<=>?@abcdefghijklmnopqrstuvwxyz_{|}`~";
const OTHER = VALUES - 1;
const CODES: ReadonlyMap<string, number> = new Map([...ALPHABET].map((one, code) => [one, code]));

/** Codes of the characters of a text, as many as count, ended by END. */
function charactersOf(text: string): number[] {
  // Because folding may make several characters of one, and only a few are read.
  const folded = text
    .slice(0, CHARACTERS * 8)
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase();
  const codes: number[] = [];
  for (const one of folded) {
    const code = CODES.get(one) ?? OTHER;
    codes.push(code === END ? OTHER : code);
    if (codes.length === CHARACTERS) break;
  }
  while (codes.length < CHARACTERS) codes.push(END);
  return codes;
}

/** The character at a place of a code, 0 to 7. */
function characterAt(code: number, place: number): number {
  return Math.floor(code / 2 ** (BITS * (CHARACTERS - 1 - place))) % VALUES;
}

function renderTexts(low: number, high: number): string {
  let prefix = "";
  for (let place = 0; place < CHARACTERS; place++) {
    const [from, to] = [characterAt(low, place), characterAt(high, place)];
    if (from !== to) {
      const whole = from === 0 && to === OTHER;
      return whole ? `${prefix}*` : `${prefix}[${ALPHABET[from]}-${ALPHABET[to]}]*`;
    }
    if (from === END) return prefix;
    prefix += ALPHABET[from];
  }
  return `${prefix}*`;
}

/** All codes that begin as low and high both do, from the lower to the higher of the first character that differs. */
function coveredTexts(low: number, high: number): number {
  for (let place = 0; place < CHARACTERS; place++) {
    const [from, to] = [characterAt(low, place), characterAt(high, place)];
    if (from !== to) return (to - from + 1) * 2 ** (BITS * (CHARACTERS - 1 - place));
  }
  return 1;
}

export function createTextDomain(): Domain {
  return {
    size: SIZE,
    encode: (text) => charactersOf(text).reduce((code, one) => code * VALUES + one, 0),
    render: renderTexts,
    middle: (low, high) => low + Math.floor((high - low - 1) / 2),
    covered: coveredTexts,
    mean: null,
  };
}
