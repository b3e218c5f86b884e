/**
 * Compiles detectors into groups: patterns that are looked for by the same anchors share one automaton.
 *
 * Must not know the bytes that the guest reads; encode.ts writes those.
 */
import { SealstreamError } from "../../../errors.ts";
import { compilePattern } from "../../../spec/patterns/compile-pattern.ts";
import { buildDfa, type Dfa, shortestMatch } from "../../../spec/patterns/dfa.ts";
import { buildNfa } from "../../../spec/patterns/nfa.ts";
import type { PatternNode } from "../../../spec/patterns/pattern-syntax.ts";
import type { DetectorSpec } from "../../../spec/pipeline-spec.ts";
import { type Anchors, findAnchors, startBytes } from "./anchors.ts";
import { BUILTIN_SHAPES, BUILTIN_TYPES, JOINERS, type Shape, VALIDATORS } from "./builtin.ts";
import { readPrefixes } from "./prefixes.ts";

/** Most states of a group: above it, patterns are kept apart. */
const GROUP_STATES_MAX = 6000;
/** A set of patterns is one 32-bit word in the guest. */
const GROUP_PATTERNS_MAX = 31;

export type Detector = DetectorSpec;

export interface GroupPattern {
  /** Index of the detector. */
  readonly type: number;
  readonly validator: number;
  readonly joiners: number;
}

export interface Group {
  readonly dfa: Dfa;
  readonly patterns: readonly GroupPattern[];
  /** Bytes of which every match holds one. */
  readonly anchor: readonly number[];
  /** The way back from an anchor to where a match may begin. */
  readonly prefixes: Dfa;
}

export interface CompiledDetectors {
  /** Names in the order in which they win; a type's index is its place here. */
  readonly names: readonly string[];
  /** Shortest match in bytes, by type. */
  readonly shortest: readonly number[];
  readonly groups: readonly Group[];
}

/** One pattern by itself, before it joins a group. */
interface Part extends GroupPattern {
  readonly name: string;
  readonly node: PatternNode;
  readonly dfa: Dfa;
  readonly anchors: Anchors;
}

function compileShape(name: string, type: number, shape: Shape): Part {
  const { node, dfa } = compilePattern(name, shape.pattern, shape.ignoreCase ?? false);
  return {
    name,
    type,
    validator: VALIDATORS[shape.validator ?? "none"],
    joiners: (shape.joiners ?? []).reduce((mask, joiner) => mask | JOINERS[joiner], 0),
    node,
    dfa,
    anchors: findAnchors(dfa),
  };
}

/** The parts in one automaton, or `null` when that would be too large. */
function joinParts(parts: readonly Part[]): Group | null {
  const [first] = parts;
  if (first === undefined || parts.length > GROUP_PATTERNS_MAX) return null;
  const dfa =
    parts.length === 1
      ? first.dfa
      : buildDfa(
          buildNfa(
            first.name,
            parts.map(({ node }) => node),
          ),
          GROUP_STATES_MAX,
        );
  if (typeof dfa === "string") return null;
  const patterns = parts.map(({ type, validator, joiners }) => ({ type, validator, joiners }));
  const { anchor } = first.anchors;
  const prefixes = readPrefixes(dfa, anchor);
  if (prefixes !== null) return { dfa, patterns, anchor, prefixes };
  if (parts.length > 1) return null;
  // Where the way back has no small automaton, every byte that a match can begin with is an anchor.
  const start = startBytes(dfa);
  const trivial = readPrefixes(dfa, start);
  return trivial === null ? null : { dfa, patterns, anchor: start, prefixes: trivial };
}

/** Puts parts with the same anchors together as long as their automaton stays small. */
function groupParts(parts: readonly Part[]): Group[] {
  const byAnchor = Map.groupBy(parts, ({ anchors }) => anchors.anchor.join());
  const groups: Group[] = [];
  for (const alike of byAnchor.values()) {
    const whole = joinParts(alike);
    if (whole !== null) {
      groups.push(whole);
      continue;
    }
    const halves = [alike.slice(0, alike.length >> 1), alike.slice(alike.length >> 1)];
    groups.push(...halves.flatMap(groupParts));
  }
  return groups;
}

/**
 * Compiles a list of detectors; the order says who wins, built-in types always in theirs and before users' patterns.
 * @throws spec-invalid when a pattern is not of the subset, a name stands there twice or there is none;
 * limit-exceeded when a pattern needs too many states
 */
export function compileDetectors(detectors: readonly Detector[]): CompiledDetectors {
  const builtin = BUILTIN_TYPES.filter((type) => detectors.includes(type));
  const users = detectors.filter((one) => typeof one !== "string");
  const names = [...builtin, ...users.map(({ name }) => name)];
  if (names.length !== detectors.length || new Set(names).size !== names.length) {
    throw new SealstreamError("spec-invalid", "a detector stands there twice: name each once");
  }
  if (names.length === 0) {
    throw new SealstreamError("spec-invalid", "there is no detector: name at least one");
  }
  const shapes = [...builtin.map((type) => BUILTIN_SHAPES[type]), ...users.map((user) => [user])];
  const parts = shapes.flatMap((alike, type) =>
    alike.map((shape) => compileShape(names[type] ?? "", type, shape)),
  );
  const shortest = names.map((_, type) =>
    Math.min(...parts.filter((part) => part.type === type).map(({ dfa }) => shortestMatch(dfa))),
  );
  return { names, shortest, groups: groupParts(parts) };
}
