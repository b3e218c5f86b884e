/**
 * Finds the bytes by which a pattern is looked for: an anchor set of which every match holds a byte, and how far before
 * the first of them a match may begin.
 *
 * A scan then jumps from anchor to anchor and goes back from each over the bytes that may stand before it. Nothing is
 * guessed: each candidate is proven on the automaton, and the bytes that a match can begin with always do.
 */
import { DEAD, type Dfa, START } from "../../../spec/patterns/dfa.ts";

export interface Anchors {
  /** Bytes of which every match holds one. */
  readonly anchor: readonly number[];
  /** Most bytes before the first anchor. */
  readonly lookback: number;
}

/**
 * Longest way in bytes without a place where a match could end: what is longer is no match. It bounds the work at each
 * byte; before an anchor there is no such place, so it is the longest way back too. The guest has the same number.
 */
export const GAP_MAX = 512;
const LOOKBACK_MAX = GAP_MAX - 1;

const DIGITS = [..."0123456789"].map((digit) => digit.charCodeAt(0));
/** Anchors to try, the rarest in everyday text first. */
const CANDIDATES: readonly (readonly number[])[] = [
  ...[..."@|~^`\\{}[]<>$%&#+=*_;!?:()/\"'"].map((character) => [character.charCodeAt(0)]),
  DIGITS,
  ..."-,.".split("").map((character) => [character.charCodeAt(0)]),
];

/** Bytes that lead from a state to one that is not dead. */
function liveBytes(dfa: Dfa, state: number): number[] {
  const bytes: number[] = [];
  for (let byte = 0; byte < 256; byte++) {
    if (dfa.next[state * dfa.classes + (dfa.classOf[byte] ?? 0)] !== DEAD) bytes.push(byte);
  }
  return bytes;
}

/** The bytes that a match can begin with. */
export function startBytes(dfa: Dfa): number[] {
  return liveBytes(dfa, START);
}

/**
 * Longest way onwards over bytes outside `anchor`, by state; without end where there is a loop. `null` when such a way
 * can end in a match.
 */
function waysOutside(dfa: Dfa, isOutside: readonly boolean[]): Map<number, number> | null {
  const ways = new Map<number, number>();
  const walk = (state: number): number | null => {
    const known = ways.get(state);
    if (known !== undefined) return known;
    // Whoever comes back here while this state is being walked has found a loop.
    ways.set(state, Number.POSITIVE_INFINITY);
    let longest = 0;
    for (let c = 0; c < dfa.classes; c++) {
      const target = dfa.next[state * dfa.classes + c] ?? DEAD;
      if (target === DEAD || isOutside[c] !== true) continue;
      const onwards = target >= dfa.firstAccepting ? null : walk(target);
      if (onwards === null) return null;
      longest = Math.max(longest, onwards + 1);
    }
    ways.set(state, longest);
    return longest;
  };
  return walk(START) === null ? null : ways;
}

/** How far before the first byte of `anchor` a match may begin, or `null` when one may hold none. */
function tryAnchor(dfa: Dfa, anchor: ReadonlySet<number>): Anchors | null {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const outside = bytes.filter((byte) => !anchor.has(byte));
  const isOutside: boolean[] = [];
  for (const byte of outside) isOutside[dfa.classOf[byte] ?? 0] = true;
  const ways = waysOutside(dfa, isOutside);
  if (ways === null) return null;
  const lookback = Math.min(ways.get(START) ?? 0, LOOKBACK_MAX);
  return { anchor: [...anchor], lookback };
}

/** The anchors of the DFA of one pattern. */
export function findAnchors(dfa: Dfa): Anchors {
  const found = CANDIDATES.map((candidate) => tryAnchor(dfa, new Set(candidate)));
  const sound = found.filter((anchors) => anchors !== null);
  const best = sound.find(({ lookback }) => lookback < LOOKBACK_MAX) ?? sound[0];
  if (best !== undefined) return best;
  return { anchor: startBytes(dfa), lookback: 0 };
}
