/**
 * Deterministic automata over bytes: subset construction, then the smallest automaton by partition refinement (Moore).
 *
 * State 0 is dead, state 1 the start; accepting states come last, so that a reader tells them by one comparison. Bytes
 * that no state tells apart share a class.
 */
import type { Nfa } from "./nfa.ts";

/** The empty set of NFA states. */
export const DEAD = 0;
export const START = 1;

export interface Dfa {
  readonly states: number;
  readonly classes: number;
  /** Class of each byte value. */
  readonly classOf: Uint8Array;
  /** `next[state * classes + class]`. */
  readonly next: Uint16Array;
  /** States from this one on accept. */
  readonly firstAccepting: number;
  /** Bit p is set where pattern p accepts, by state. */
  readonly accepts: Uint32Array;
}

/** A DFA in the making, before states are numbered for good. */
interface Raw {
  readonly classOf: Uint8Array;
  readonly classes: number;
  /** Targets by state, one per class. */
  readonly rows: readonly (readonly number[])[];
  readonly accepts: readonly number[];
}

/** Classes of bytes that no step tells apart. */
function byteClasses(nfa: Nfa): { classOf: Uint8Array; first: number[] } {
  const isStart = new Uint8Array(257);
  isStart[0] = 1;
  for (const steps of nfa.steps) {
    for (const { from, to } of steps) {
      isStart[from] = 1;
      isStart[to + 1] = 1;
    }
  }
  const classOf = new Uint8Array(256);
  const first: number[] = [];
  for (let byte = 0; byte < 256; byte++) {
    if (isStart[byte] === 1) first.push(byte);
    classOf[byte] = first.length - 1;
  }
  return { classOf, first };
}

/** Adds what can be reached without a byte; keeps only states with steps or that accept. Sorted. */
function closure(nfa: Nfa, isKept: Uint8Array, seeds: Iterable<number>): number[] {
  const seen = new Set(seeds);
  for (const state of seen) for (const target of nfa.free[state] ?? []) seen.add(target);
  return [...seen].filter((state) => isKept[state] === 1).sort((a, b) => a - b);
}

/** Members of sets, times classes of bytes: a second of work or so. */
const WORK_MAX = 8_000_000;

/** Subset construction; `null` above `limit` states, or where their sets are too large to be worked through. */
function determinise(nfa: Nfa, limit: number): Raw | null {
  const { classOf, first } = byteClasses(nfa);
  const isKept = Uint8Array.from(nfa.steps, ({ length }) => (length > 0 ? 1 : 0));
  for (const state of nfa.accepts) isKept[state] = 1;
  const numbers = new Map<string, number>();
  const sets: number[][] = [];
  const numberOf = (set: number[]): number => {
    const key = set.join();
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, sets.length);
    return sets.push(set) - 1;
  };
  numberOf([]);
  numberOf(closure(nfa, isKept, [nfa.start]));
  const rows: number[][] = [];
  let members = 0;
  for (let state = 0; state < sets.length; state++) {
    members += sets[state]?.length ?? 0;
    if (sets.length > limit || members * first.length > WORK_MAX) return null;
    const targets: Set<number>[] = first.map(() => new Set());
    for (const member of sets[state] ?? []) {
      for (const { from, to, target } of nfa.steps[member] ?? []) {
        for (let c = classOf[from] ?? 0; c <= (classOf[to] ?? 0); c++) targets[c]?.add(target);
      }
    }
    rows.push(targets.map((set) => (set.size === 0 ? DEAD : numberOf(closure(nfa, isKept, set)))));
  }
  const bit = new Map<number, number>();
  nfa.accepts.forEach((state, p) => {
    bit.set(state, (bit.get(state) ?? 0) | (1 << p));
  });
  const accepts = sets.map((set) =>
    set.reduce((mask, member) => (mask | (bit.get(member) ?? 0)) >>> 0, 0),
  );
  return { classOf, classes: first.length, rows, accepts };
}

/** Block of every state when states that behave alike share one. */
function blocksOf({ rows, accepts, classes }: Raw): { blockOf: number[]; blocks: number } {
  const group = (keys: readonly (number | string)[]): { of: number[]; count: number } => {
    const numbers = new Map<number | string, number>();
    const of = keys.map((key) => {
      const number = numbers.get(key) ?? numbers.size;
      numbers.set(key, number);
      return number;
    });
    return { of, count: numbers.size };
  };
  let { of: blockOf, count: blocks } = group(accepts);
  for (;;) {
    const before = blocks;
    for (let c = 0; c < classes; c++) {
      const size = rows.length;
      // The newest blocks on both sides: any partition on the way is as good, and the newest is the finest.
      const now = blockOf;
      const keys = rows.map((row, state) => (now[state] ?? 0) * size + (now[row[c] ?? 0] ?? 0));
      ({ of: blockOf, count: blocks } = group(keys));
    }
    if (blocks === before) return { blockOf, blocks };
  }
}

/** New numbers: dead, start, other states in the order met, accepting ones last. */
function renumber(blocks: number, dead: number, start: number, isAccepting: readonly boolean[]) {
  const plain: number[] = [];
  const accepting: number[] = [];
  for (let block = 0; block < blocks; block++) {
    if (block === dead || block === start) continue;
    (isAccepting[block] === true ? accepting : plain).push(block);
  }
  const order = [dead, start, ...plain, ...accepting];
  return { order, firstAccepting: 2 + plain.length };
}

/** Classes whose columns are the same in every state become one. */
function mergeClasses(
  rows: readonly (readonly number[])[],
  classes: number,
): { kept: number[]; of: number[] } {
  const numbers = new Map<string, number>();
  const kept: number[] = [];
  const of: number[] = [];
  for (let c = 0; c < classes; c++) {
    const key = rows.map((row) => row[c]).join();
    const number = numbers.get(key) ?? numbers.size;
    if (number === numbers.size) kept.push(c);
    numbers.set(key, number);
    of.push(number);
  }
  return { kept, of };
}

/** Bytes that automata meet most: their classes come first, so that rows have them in one line of the cache. */
const FREQUENT = Buffer.from("0123456789 .-/:()+@eaointrslducmphgbfvywkxjqzEAOINTRSLDUCM");

/** The classes in the order of their most frequent byte: which of `kept` comes where, and the new number of each. */
function sortClasses(
  classOf: Uint8Array,
  kept: readonly number[],
): { kept: number[]; of: number[] } {
  const order = [...new Set([...FREQUENT, ...classOf.keys()].map((byte) => classOf[byte] ?? 0))];
  const of: number[] = [];
  order.forEach((c, number) => {
    of[c] = number;
  });
  return { kept: order.map((c) => kept[c] ?? 0), of };
}

function minimise(raw: Raw): Dfa {
  const { blockOf, blocks } = blocksOf(raw);
  const sample: number[] = [];
  blockOf.forEach((block, state) => {
    sample[block] ??= state;
  });
  const isAccepting = sample.map((state) => raw.accepts[state] !== 0);
  const [dead = 0, start = 0] = blockOf;
  const { order, firstAccepting } = renumber(blocks, dead, start, isAccepting);
  const numberOf: number[] = [];
  order.forEach((block, number) => {
    numberOf[block] = number;
  });
  const rows = order.map((block) =>
    (raw.rows[sample[block] ?? 0] ?? []).map((target) => numberOf[blockOf[target] ?? 0] ?? DEAD),
  );
  const merged = mergeClasses(rows, raw.classes);
  const classOf = raw.classOf.map((c) => merged.of[c] ?? 0);
  const { kept, of } = sortClasses(classOf, merged.kept);
  return {
    states: rows.length,
    classes: kept.length,
    classOf: classOf.map((c) => of[c] ?? 0),
    next: Uint16Array.from(rows.flatMap((row) => kept.map((c) => row[c] ?? DEAD))),
    firstAccepting,
    accepts: Uint32Array.from(order, (block) => raw.accepts[sample[block] ?? 0] ?? 0),
  };
}

/** Why there is no automaton: over the limit of states, matches the empty text, or no text at all. */
export type DfaFault = "too-large" | "matches-empty" | "matches-nothing";

/**
 * The smallest DFA of an NFA.
 * @param limit most states before minimising, at most 65,535
 */
export function buildDfa(nfa: Nfa, limit: number): Dfa | DfaFault {
  const raw = determinise(nfa, limit);
  if (raw === null) return "too-large";
  if (raw.accepts.every((mask) => mask === 0)) return "matches-nothing";
  if (raw.accepts[START] !== 0) return "matches-empty";
  return minimise(raw);
}

/** Patterns (as bits) that accept exactly `bytes`: for tests and for checks of a pattern by itself. */
export function acceptsOf(dfa: Dfa, bytes: Uint8Array): number {
  let state = START;
  for (const byte of bytes) {
    state = dfa.next[state * dfa.classes + (dfa.classOf[byte] ?? 0)] ?? DEAD;
    if (state === DEAD) return 0;
  }
  return dfa.accepts[state] ?? 0;
}

/** Shortest match of a DFA in bytes. */
export function shortestMatch(dfa: Dfa): number {
  const seen = new Set([START]);
  let front = [START];
  for (let length = 1; front.length > 0; length++) {
    const following = new Set<number>();
    for (const state of front) {
      for (const target of dfa.next.subarray(state * dfa.classes, (state + 1) * dfa.classes)) {
        if (target >= dfa.firstAccepting) return length;
        if (target !== DEAD && !seen.has(target)) following.add(target);
      }
    }
    for (const state of following) seen.add(state);
    front = [...following];
  }
  return 0;
}
