/**
 * Seeded randomness for fuzz tests: a failure prints the seed, and the seed gives the failure again.
 */
import { randomInt } from "node:crypto";

export interface Random {
  readonly seed: number;
  /** An integer from 0 to `below` - 1. */
  int(below: number): number;
  pick<T>(from: readonly T[]): T;
  chance(probability: number): boolean;
}

/** `SEED` in the environment repeats a run. The generator is mulberry32: small and good enough for tests. */
export function createRandom(seed = Number(process.env["SEED"] ?? randomInt(2 ** 31))): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below: number): number => Math.floor(next() * below);
  return {
    seed,
    int,
    pick: (from) => from[int(from.length)]!,
    chance: (probability) => next() < probability,
  };
}
