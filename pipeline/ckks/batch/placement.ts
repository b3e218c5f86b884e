/**
 * Gives every ciphertext of a program its place in one working memory, first fit, reusing what is not needed any more.
 *
 * Places are fixed before anything runs: what a program needs is known and can be refused, and nothing is allocated while
 * it runs. An operation's outputs never lie on its inputs, but for a sum that is added to (`tiles.ts`), which stays where it is.
 */
import type { BatchOp } from "./program.ts";

export interface Placement {
  /** By ciphertext, in limbs; -1: not in memory. */
  readonly places: Int32Array;
  readonly limbs: number;
}

function inputsOf(op: BatchOp): Iterable<number> {
  if (op.kind === "affine") return op.fromWire ? [] : op.inputs;
  if (op.kind === "product") return [op.left, op.right];
  return op.kind === "finish" ? [op.input] : [];
}

function outputsOf(op: BatchOp): Iterable<number> {
  return op.kind === "affine" ? op.outputs : [op.output];
}

/**
 * @param sizes by ciphertext, in limbs
 * @param kept ciphertexts that are read after the last operation
 */
export function placeCiphertexts(
  ops: readonly BatchOp[],
  sizes: Uint32Array,
  kept: ReadonlySet<number>,
): Placement {
  const lastUse = new Map<number, number>();
  for (const [at, op] of ops.entries()) {
    for (const id of inputsOf(op)) lastUse.set(id, at);
  }
  const places = new Int32Array(sizes.length).fill(-1);
  const memory = createFreeList();
  for (const [at, op] of ops.entries()) {
    const outputs = [...outputsOf(op)].filter((id) => places[id] === -1);
    for (const id of outputs) places[id] = memory.take(sizes[id] ?? 0);
    // What nothing reads is free again at once.
    const done = new Set([...inputsOf(op), ...outputs]);
    for (const id of done) {
      if ((lastUse.get(id) ?? at) === at && !kept.has(id)) {
        memory.give(places[id] ?? 0, sizes[id] ?? 0);
      }
    }
  }
  return { places, limbs: memory.most() };
}

/** Gaps below the end of what was ever taken, rising. */
function createFreeList() {
  const gaps: { from: number; to: number }[] = [];
  let end = 0;
  return {
    most: () => end,
    take(size: number): number {
      const index = gaps.findIndex(({ from, to }) => to - from >= size);
      const gap = gaps[index];
      if (gap === undefined) {
        // A gap at the very end grows.
        const last = gaps.at(-1)?.to === end ? gaps.pop() : undefined;
        const place = last?.from ?? end;
        end = place + size;
        return place;
      }
      const place = gap.from;
      gap.from += size;
      if (gap.from === gap.to) gaps.splice(index, 1);
      return place;
    },
    give(from: number, size: number): void {
      const to = from + size;
      const found = gaps.findIndex((gap) => gap.from >= to);
      const next = found === -1 ? gaps.length : found;
      const before = gaps[next - 1];
      const after = gaps[next];
      if (before?.to === from && after?.from === to) {
        before.to = after.to;
        gaps.splice(next, 1);
      } else if (before?.to === from) before.to = to;
      else if (after?.from === to) after.from = from;
      else gaps.splice(next, 0, { from, to });
    },
  };
}
