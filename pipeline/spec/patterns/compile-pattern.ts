/**
 * One detector pattern to its automaton, or to the sentence that says why it has none.
 *
 * The loader asks this of every pattern in a pipeline file, so that what `check` accepts can be compiled; the detectors
 * of the desensitize stage are made of the same automata.
 */
import { SealstreamError } from "../../errors.ts";
import { buildDfa, type Dfa } from "./dfa.ts";
import { buildNfa } from "./nfa.ts";
import { type PatternNode, readPattern } from "./pattern-syntax.ts";

/** Most states of the automaton of one pattern, before it is made as small as it can be. */
const PATTERN_STATES_MAX = 4096;

const FAULTS = {
  "too-large": `needs over ${PATTERN_STATES_MAX} states: make its counts smaller or its alternatives fewer`,
  "matches-empty": "matches the empty text: every detection must have a character",
  "matches-nothing": "matches no text at all",
} as const;

export interface CompiledPattern {
  readonly node: PatternNode;
  readonly dfa: Dfa;
}

/**
 * @param name of the detector, for the sentence of a refusal
 * @throws spec-invalid when the pattern is not of the subset, limit-exceeded when its automaton is too large
 */
export function compilePattern(
  name: string,
  pattern: string,
  ignoreCase: boolean,
): CompiledPattern {
  const node = readPattern(name, pattern, ignoreCase);
  const dfa = buildDfa(buildNfa(name, [node]), PATTERN_STATES_MAX);
  if (typeof dfa !== "string") return { node, dfa };
  const code = dfa === "too-large" ? "limit-exceeded" : "spec-invalid";
  throw new SealstreamError(code, `the pattern of detector ${name} ${FAULTS[dfa]}`);
}
