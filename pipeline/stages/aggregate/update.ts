/**
 * One update: exact sum of its contributions, one noise row, one step down the mean gradient.
 *
 * sum      = integers of the fixed-point grid, added exactly (4,096 contributions of 31 bits stay below 2^43)
 * noisy    = sum + noise row, integers too, below 2^53: exact; this is what is released, the rest is post-processing
 * gradient = noisy / (B 2^fractionBits), where B is the public update batch, whoever was in it
 * weights' = weights - learningRate gradient, in double precision, rounded to float32 once
 *
 * Depends on nothing but its arguments: the same contributions give the same weights on every attempt.
 */
import { hex, type SecretKey } from "../../crypto/key-handles.ts";
import { contributionsHash } from "../../privacy/contribution.ts";
import { noiseRow } from "../../privacy/noise.ts";
import type { PendingContribution } from "./inbox.ts";
import type { RunSettings } from "./run-settings.ts";

export interface UpdateInput {
  readonly settings: RunSettings;
  readonly noise: Pick<SecretKey, "hkdf">;
  readonly runId: string;
  /** Number of this update in its run, from 1. */
  readonly step: number;
  readonly noiseMultiplier: number;
  readonly updateBatchRecords: number;
  readonly learningRate: number;
  /** Flat, not written. */
  readonly weights: Float32Array;
  /** Exactly those of this update, in log order. */
  readonly contributions: readonly PendingContribution[];
}

export interface UpdateResult {
  /** Flat, a new buffer. */
  readonly weights: Float32Array;
  /** Lower-case hex. */
  readonly contributionsHash: string;
}

export function applyUpdate(input: UpdateInput): UpdateResult {
  const { settings, runId, step, weights, contributions } = input;
  const unit = 2 ** settings.fractionBits;
  const hash = contributionsHash(contributions.map(({ digest }) => digest));
  const noisy = noiseRow({
    noise: input.noise,
    runId,
    step,
    contributionsHash: hash,
    length: settings.parameters,
    standardDeviation: input.noiseMultiplier * settings.sensitivity * unit,
  });
  for (const { contribution } of contributions) {
    for (const [index, value] of contribution.sum.entries()) {
      // `?? 0` is never taken: the inbox admits sums of exactly this length; it satisfies noUncheckedIndexedAccess.
      noisy[index] = (noisy[index] ?? 0) + value;
    }
  }
  const scale = input.learningRate / (input.updateBatchRecords * unit);
  const next = weights.map((weight, index) => weight - scale * (noisy[index] ?? 0));
  return { weights: next, contributionsHash: hex(hash) };
}
