/**
 * Thompson's construction: patterns as one nondeterministic automaton over bytes.
 *
 * Counted repetitions are copied out, so the number of states is bounded before anything is determinised.
 */
import { SealstreamError } from "../../errors.ts";
import type { PatternNode } from "./pattern-syntax.ts";
import { type ByteRange, utf8Sequences } from "./utf8-ranges.ts";

/** Most states of one pattern, its counts copied out. */
export const NFA_STATES_MAX = 20_000;

/** A step over one byte. */
export interface ByteStep {
  readonly from: number;
  readonly to: number;
  readonly target: number;
}

export interface Nfa {
  /** Steps without a byte, by state. */
  readonly free: readonly (readonly number[])[];
  /** Steps over a byte, by state. */
  readonly steps: readonly (readonly ByteStep[])[];
  readonly start: number;
  /** The accepting state of each pattern. */
  readonly accepts: readonly number[];
}

/** Collects states; a fragment has one way in and one way out. */
class Builder {
  readonly free: number[][] = [];
  readonly steps: ByteStep[][] = [];
  readonly #name: string;
  readonly #limit: number;

  constructor(name: string, limit: number) {
    this.#name = name;
    this.#limit = limit;
  }

  state(): number {
    if (this.free.length >= this.#limit) {
      throw new SealstreamError(
        "limit-exceeded",
        `the pattern of detector ${this.#name} needs over ${NFA_STATES_MAX} states: make its counts smaller`,
      );
    }
    this.free.push([]);
    return this.steps.push([]) - 1;
  }

  link(from: number, to: number): void {
    this.free[from]?.push(to);
  }

  /** Adds a node that starts at `start`; returns where it ends. */
  add(node: PatternNode, start: number): number {
    switch (node.kind) {
      case "set":
        return this.#bytes(utf8Sequences(node.ranges), start);
      case "sequence":
        return node.parts.reduce((at, part) => this.add(part, at), start);
      case "choice": {
        const end = this.state();
        for (const option of node.options) {
          const first = this.state();
          this.link(start, first);
          this.link(this.add(option, first), end);
        }
        return end;
      }
      case "repeat":
        return this.#repeat(node.of, node.min, node.max, start);
    }
  }

  #repeat(of: PatternNode, min: number, max: number | null, start: number): number {
    let at = start;
    for (let i = 0; i < min; i++) at = this.add(of, at);
    if (max === null) {
      const loop = this.state();
      this.link(at, loop);
      this.link(this.add(of, loop), loop);
      const end = this.state();
      this.link(loop, end);
      return end;
    }
    const end = this.state();
    for (let i = min; i < max; i++) {
      this.link(at, end);
      const next = this.state();
      this.link(at, next);
      at = this.add(of, next);
    }
    this.link(at, end);
    return end;
  }

  #bytes(sequences: readonly (readonly ByteRange[])[], start: number): number {
    const end = this.state();
    for (const sequence of sequences) {
      let at = start;
      sequence.forEach(([from, to], i) => {
        const target = i + 1 === sequence.length ? end : this.state();
        this.steps[at]?.push({ from, to, target });
        at = target;
      });
    }
    return end;
  }
}

/**
 * One automaton for patterns, each with an accepting state of its own.
 * @throws limit-exceeded when the counts of a pattern make too many states
 */
export function buildNfa(name: string, nodes: readonly PatternNode[]): Nfa {
  const builder = new Builder(name, NFA_STATES_MAX * nodes.length);
  const start = builder.state();
  const accepts = nodes.map((node) => {
    const first = builder.state();
    builder.link(start, first);
    return builder.add(node, first);
  });
  return { free: builder.free, steps: builder.steps, start, accepts };
}
