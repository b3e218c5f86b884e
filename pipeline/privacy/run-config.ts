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
 * and, of the settings in LATER, those whose value is not the one named there: a file that does not use them keeps its
 * name, whatever version reads it. Of a warm start only the hash of its bytes counts, not where they lie.
 */
import canonicalize from "canonicalize";
import { sha256 } from "../crypto/chunks.ts";
import { hex } from "../crypto/key-handles.ts";
import { SealstreamError } from "../errors.ts";
import type { LedgerEntry } from "./ledger-entry.ts";

/** Settings that came after runs had names, each with what a file means that does not have it. */
const LATER = {
  features: { maps: [] },
  privacy: { noise: { kind: "independent" }, participations: 1, recordsPerSubject: null },
  train: {
    averaging: { kind: "none" },
    clipping: "flat",
    initialization: "he",
    method: "gradient",
    optimizer: { kind: "sgd", momentum: 0 },
    ridge: 0,
    schedule: { decay: "none", updates: null, warmupUpdates: 0 },
  },
} as const;

type LaterSettings<Defaults> = { readonly [Key in keyof Defaults]?: unknown };

/** Parts of a pipeline file that fix a run, and what was given beside it. Other fields are ignored. */
export interface RunConfig {
  readonly spec: {
    readonly features: {
      readonly inputs: unknown;
      readonly label: unknown;
      readonly maps?: unknown;
    };
    readonly privacy: { readonly epsilon: number; readonly delta: number } & LaterSettings<
      typeof LATER.privacy
    >;
    readonly train: {
      readonly microBatchRecords: number;
      readonly updateBatchRecords: number;
      readonly l2ClipNorm: number;
      readonly learningRate: number;
      readonly protect: string;
      readonly warmStart?: { readonly sha256: string } | null | undefined;
    } & LaterSettings<typeof LATER.train>;
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
  const warmStart = train.warmStart ?? null;
  const fixed = canonicalize({
    features: {
      ...{ inputs: features.inputs, label: features.label },
      ...unusual(features, LATER.features),
    },
    noiseMultiplier: noiseMultiplier ?? null,
    privacy: {
      ...{ epsilon: privacy.epsilon, delta: privacy.delta },
      ...unusual(privacy, LATER.privacy),
    },
    train: {
      ...{ network, microBatchRecords, updateBatchRecords, l2ClipNorm, learningRate, protect },
      ...unusual(train, LATER.train),
      ...(warmStart === null ? {} : { warmStart: warmStart.sha256 }),
    },
  });
  if (fixed === undefined) throw new SealstreamError("internal", "The settings are not JSON.");
  return hex(sha256(new TextEncoder().encode(fixed)));
}

/** Those of the settings that do not have their usual value. */
function unusual<Defaults extends object>(
  settings: LaterSettings<Defaults>,
  defaults: Defaults,
): Record<string, unknown> {
  const changed = Object.entries(defaults).flatMap(([key, usual]) => {
    // Because the keys of the table are those of its type.
    const value = settings[key as keyof Defaults];
    return value === undefined || canonicalize(value) === canonicalize(usual) ? [] : [[key, value]];
  });
  return Object.fromEntries(changed);
}
