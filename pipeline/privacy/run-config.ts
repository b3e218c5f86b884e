/**
 * The name of a run's configuration: one hash of everything in the pipeline file that the mechanism or the model
 * depends on.
 *
 * Aggregate writes it into the ledger, train makes contributions only while the newest model's entry has the one that
 * it computes itself, and every contribution carries it. So a train that clips by another norm than the run's, whose
 * noise would then not cover what it adds, is noticed on both sides. Settings that only say how the work is done
 * (backend, waiting times, staleness) are no part of it: changing them must not spend budget. Must not read a file.
 *
 *   configHash = lower-case hex SHA-256 of RFC 8785 canonical JSON of
 *     {features: {inputs, label}, noiseMultiplier: number / null, privacy: {delta, epsilon},
 *      train: {l2ClipNorm, learningRate, microBatchRecords, network, protect, updateBatchRecords}}
 */
import canonicalize from "canonicalize";
import { sha256 } from "../crypto/chunks.ts";
import { hex } from "../crypto/key-handles.ts";
import { SealstreamError } from "../errors.ts";
import type { LedgerEntry } from "./ledger-entry.ts";

/** Parts of a pipeline file that fix a run, and what was given beside it. Other fields are ignored. */
export interface RunConfig {
  readonly spec: {
    readonly features: { readonly inputs: unknown; readonly label: unknown };
    readonly privacy: { readonly epsilon: number; readonly delta: number };
    readonly train: {
      readonly microBatchRecords: number;
      readonly updateBatchRecords: number;
      readonly l2ClipNorm: number;
      readonly learningRate: number;
      readonly protect: string;
    };
  };
  /** Of the same file (network/definition.ts). */
  readonly network: LedgerEntry["network"];
  /** Noise that was asked for instead of what the budget leaves. */
  readonly noiseMultiplier?: number | undefined;
}

/** 64 lower-case hex digits. @throws when a setting is NaN or Infinity */
export function runConfigHash({ spec, network, noiseMultiplier }: RunConfig): string {
  const { features, train, privacy } = spec;
  const { microBatchRecords, updateBatchRecords, l2ClipNorm, learningRate, protect } = train;
  const fixed = canonicalize({
    features: { inputs: features.inputs, label: features.label },
    noiseMultiplier: noiseMultiplier ?? null,
    privacy: { epsilon: privacy.epsilon, delta: privacy.delta },
    train: {
      ...{ network, microBatchRecords, updateBatchRecords, l2ClipNorm, learningRate, protect },
    },
  });
  if (fixed === undefined) throw new SealstreamError("internal", "The settings are not JSON.");
  return hex(sha256(new TextEncoder().encode(fixed)));
}
