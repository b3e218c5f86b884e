/**
 * The way back from an anchor: an automaton that reads a text backwards from there and accepts where a match may begin.
 *
 * It knows exactly the bytes that a match can have up to its first anchor, so that the scan follows the automaton of the
 * pattern from no place where it would die before the anchor.
 */
import { buildDfa, DEAD, type Dfa, START } from "../../../spec/patterns/dfa.ts";
import type { ByteStep } from "../../../spec/patterns/nfa.ts";

/** Most states before minimising. */
const PREFIX_STATES_MAX = 4096;

/**
 * The automaton of all prefixes that end with their first byte of `anchor`, reversed; the first byte read is the anchor.
 * `null` when it would be too large.
 * @param anchor bytes of which every match of `dfa` holds one
 */
export function readPrefixes(dfa: Dfa, anchor: readonly number[]): Dfa | null {
  const isAnchor = new Uint8Array(256);
  for (const byte of anchor) isAnchor[byte] = 1;
  const first = dfa.states;
  const steps: ByteStep[][] = Array.from({ length: first + 1 }, () => []);
  const reached = new Set([START]);
  for (const state of reached) {
    for (let byte = 0; byte < 256; byte++) {
      const target = dfa.next[state * dfa.classes + (dfa.classOf[byte] ?? 0)] ?? DEAD;
      if (target === DEAD) continue;
      const from = isAnchor[byte] === 1 ? first : target;
      steps[from]?.push({ from: byte, to: byte, target: state });
      if (isAnchor[byte] === 0) reached.add(target);
    }
  }
  const free = steps.map(() => []);
  const back = buildDfa({ free, steps, start: first, accepts: [START] }, PREFIX_STATES_MAX);
  return typeof back === "string" ? null : back;
}
