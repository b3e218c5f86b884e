/** Random numbers from a printed seed: the same seed makes the same decisions. Not for anything secret. */

import { createHash } from "node:crypto";

export interface Random {
  /** 0 <= x < 1 */
  next(): number;
  /** Integer, both ends included. */
  between(least: number, most: number): number;
  pick<T>(items: readonly T[]): T;
  /** A new list. */
  shuffle<T>(items: readonly T[]): T[];
}

/** mulberry32 (Tommy Ettinger, public domain): 32 bits of state are plenty for choosing faults. */
export function createRandom(seed: number): Random {
  // Hashed, because neighbouring seeds begin with similar numbers otherwise.
  let state = createHash("sha256").update(String(seed)).digest().readUInt32BE();
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (least: number, most: number): number =>
    least + Math.floor(next() * (most - least + 1));
  const pick = <T>(items: readonly T[]): T => {
    const [item] = items.slice(between(0, items.length - 1));
    if (item === undefined) {
      throw new Error("nothing to pick from");
    }
    return item;
  };
  const shuffle = <T>(items: readonly T[]): T[] => {
    const left = [...items];
    const out: T[] = [];
    while (left.length > 0) {
      out.push(...left.splice(between(0, left.length - 1), 1));
    }
    return out;
  };
  return { next, between, pick, shuffle };
}
