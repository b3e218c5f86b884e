/**
 * Random numbers from a seed, and virtual time: all that a simulation may know of chance and of the clock.
 *
 * mulberry32 (Tommy Ettinger's 32-bit mixer): one multiplication chain a number, the same on every machine.
 */

export interface Random {
  /** An integer of 0 .. below - 1. */
  below(below: number): number;
  /** True once in `times`. */
  oneIn(times: number): boolean;
  pick<T>(choices: readonly T[]): T;
}

export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const below = (limit: number): number => next() % limit;
  return {
    below,
    oneIn: (times) => below(times) === 0,
    // Because an index below the length is in the list, and an empty list is a mistake of the caller.
    pick: (choices) => choices[below(choices.length)]!,
  };
}

interface Task {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** Runs tasks in the order of their virtual times; of equal times, in the order in which they were asked for. */
export class Scheduler {
  nowMs = 0;
  executed = 0;
  #order = 0;
  readonly #heap: Task[] = [];

  get isEmpty(): boolean {
    return this.#heap.length === 0;
  }

  after(ms: number, run: () => void): void {
    const task = { atMs: this.nowMs + ms, order: this.#order, run };
    this.#order += 1;
    const heap = this.#heap;
    let at = heap.length;
    heap.push(task);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(task, heap[parent]!)) {
        break;
      }
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = task;
  }

  /** Runs the next task; false when there is none before `untilMs`. */
  step(untilMs: number): boolean {
    const first = this.#heap[0];
    if (first === undefined || first.atMs > untilMs) {
      return false;
    }
    this.#removeFirst();
    this.nowMs = first.atMs;
    this.executed += 1;
    first.run();
    return true;
  }

  #removeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) {
      return;
    }
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) {
        break;
      }
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) {
        child += 1;
      }
      if (!isBefore(heap[child]!, last)) {
        break;
      }
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
