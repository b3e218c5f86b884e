/** What a lane makes sure of before it commits a stage's step. */
import type { StreamRecord } from "./contract.ts";
import type { Step } from "./lane-events.ts";

const EMPTY = new Uint8Array();

/** Whether two states are the same; none is the same as an empty one. */
export function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return Buffer.compare(a ?? EMPTY, b ?? EMPTY) === 0;
}

/** A bug of a stage must not become a wrong commit. */
export function isPossible(
  { consumedTo, refused, entries }: Step,
  view: readonly StreamRecord[],
): boolean {
  const first = view.at(0);
  const last = view.at(-1);
  const isInside =
    consumedTo === null ||
    (first !== undefined &&
      last !== undefined &&
      consumedTo > first.offset &&
      consumedTo <= last.offset + 1);
  const isKept = entries.length === 0 || consumedTo !== null;
  return (
    isInside && isKept && refused.every((offset) => consumedTo !== null && offset < consumedTo)
  );
}
