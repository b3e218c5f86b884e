/**
 * Our evaluation of a model, as a contender: the pipeline's own plan, wire format and evaluators, nothing of the bench.
 */
import type { Runner } from "./contest.ts";
import type { Model } from "./models.ts";

/** Our contender with what its plan promised and its ciphertexts weigh. */
export interface OurRunner extends Runner {
  /** Of a full pack. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** As planned. */
  readonly precisionBits: number;
}

export interface OurShape {
  readonly degree: number;
  readonly bits: readonly number[];
  /** log2 of the scale of the features. */
  readonly inputBits: number;
  readonly mode: "shared" | "secret";
}

/** Not there yet. */
export function openOurBatch(_model: Model, _shape: OurShape): Promise<OurRunner | null> {
  return Promise.resolve(null);
}

/** Not there yet. */
export function openOurSlots(_model: Model, _shape: OurShape): Promise<OurRunner | null> {
  return Promise.resolve(null);
}
