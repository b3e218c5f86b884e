/**
 * Where a micro-batch ends: a pure function of the places in the committed log.
 *
 * A micro-batch ends after exactly `size` places; never by time, by bytes or by which records could be opened. The one
 * exception is a tail whose end was committed beforehand as a cut. Must not look into an example.
 */
import { SealstreamError } from "../../errors.ts";
import type { WindowItem } from "./example-window.ts";
import type { Cut } from "./state.ts";

export type Batch =
  /** Items `start` (inclusive) to `end` (exclusive) are one micro-batch; the item before `end` is its last place. */
  | { readonly kind: "whole"; readonly end: number }
  /** Not enough places yet; `lastPlace` is the index of the last one, `firstPlace` of the first (-1: none). */
  | {
      readonly kind: "short";
      readonly places: number;
      readonly firstPlace: number;
      readonly lastPlace: number;
    };

/**
 * The next micro-batch from item `start` on.
 * @param size places of a micro-batch
 */
export function nextBatch(items: readonly WindowItem[], start: number, size: number): Batch {
  let places = 0;
  let firstPlace = -1;
  let lastPlace = -1;
  for (let index = start; index < items.length; index += 1) {
    if (items[index]?.place !== true) continue;
    places += 1;
    if (firstPlace === -1) firstPlace = index;
    lastPlace = index;
    if (places === size) return { kind: "whole", end: index + 1 };
  }
  return { kind: "short", places, firstPlace, lastPlace };
}

/**
 * The micro-batch that a committed cut ends, or null while its records have not all been handed in.
 * @throws state-mismatch when the log does not hold the places that the cut counted
 */
export function batchOfCut(items: readonly WindowItem[], start: number, cut: Cut): number | null {
  const last = items.findIndex((item) => item.offset >= cut.to - 1);
  if (last === -1) return null;
  const end = last + 1;
  const places = items.slice(start, end).filter((item) => item.place).length;
  if (items[last]?.offset !== cut.to - 1 || places !== cut.places) {
    throw new SealstreamError(
      "state-mismatch",
      "The records before a committed cut are not those it counted: the topic was made anew or records expired. Start a new generation of the pipeline.",
    );
  }
  return end;
}
