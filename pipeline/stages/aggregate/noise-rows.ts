/**
 * Making the noise of one update from the keys of its rows: the work that a thread takes over (noise-thread.ts).
 *
 * What comes out depends on the job's own numbers and keys and, where rows hang together, on the jobs of the same block
 * before it, which `fresh` says. Must not see the noise secret, a contribution or a weight.
 */

import { SealstreamError } from "../../errors.ts";
import { rowFractionBits } from "../../privacy/correlation/coefficients.ts";
import { createNoiseMixer, type NoiseMixer } from "../../privacy/correlation/mixer.ts";
import type { LedgerNoise } from "../../privacy/ledger-noise.ts";
import { noiseRowOf } from "../../privacy/noise.ts";

/** One update's noise to make. */
export interface NoiseJob {
  readonly noise: LedgerNoise;
  /** Values. */
  readonly length: number;
  /** Of a row's values, in grid units. */
  readonly standardDeviation: number;
  /** Whether nothing of the jobs before counts: the first row then is the first of its block. */
  readonly fresh: boolean;
  /** In order, each one step after the one before; the last is the update's own. */
  readonly rows: readonly { readonly step: number; readonly key: Uint8Array }[];
}

/** Makes noise, one job after the other in the order they come. */
export interface NoiseMaker {
  /** @returns a new buffer of integers; rejects when it could not be made, and then knows nothing of what was before */
  make(job: NoiseJob): Promise<Float64Array>;
  close(): Promise<void>;
}

/** Makes noise in the thread of the caller. @returns a function that remembers the block it is in */
export function createRowMixing(): (job: NoiseJob) => Float64Array {
  let mixer: NoiseMixer | null = null;
  return ({ noise, length, standardDeviation, fresh, rows }) => {
    if (fresh || mixer === null) mixer = createNoiseMixer(noise, length);
    let mixed: Float64Array | null = null;
    for (const { step, key } of rows) {
      const fractionBits = rowFractionBits(noise);
      const row = noiseRowOf(key, { length, standardDeviation, fractionBits });
      mixed = mixer.mix(step, row);
    }
    if (mixed === null) throw new SealstreamError("internal", "There is no row to make noise of.");
    return mixed;
  };
}

export function createInlineMaker(): NoiseMaker {
  const mix = createRowMixing();
  return {
    // Because a throw in here must reject, as it does where a thread makes it.
    make: async (job) => mix(job),
    close: async () => undefined,
  };
}
