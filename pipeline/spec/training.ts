/**
 * From the keys `train`, `privacy` and `features.maps` of a checked pipeline file to their typed form.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import { toLayers } from "./network-layers.ts";
import { toNoiseKeys } from "./privacy-keys.ts";
import { toTrainer } from "./trainer-keys.ts";
import type { PrivacySpec, TrainSpec } from "./training-spec.ts";

/** What a file means that does not say how it trains: plain SGD from random weights on independent noise. */
export const TRAIN_DEFAULTS = {
  method: "gradient",
  clipping: "flat",
  optimizer: { kind: "sgd", momentum: 0 },
  schedule: { warmupUpdates: 0, decay: "none", updates: null },
  averaging: { kind: "none" },
  initialization: "he",
  warmStart: null,
  ridge: 0,
} as const satisfies Partial<TrainSpec>;

/** Each record in one release with noise of its own, and a bound per record. */
export const PRIVACY_DEFAULTS = {
  noise: { kind: "independent" },
  accountant: null,
  participations: 1,
  recordsPerSubject: null,
} as const satisfies Partial<PrivacySpec>;

/** @param path absolute path of the pipeline file */
export function toTrain({ train }: PipelineFile, path: string): TrainSpec {
  const { momentum: _momentum, adam: _adam, ...own } = train;
  return { ...TRAIN_DEFAULTS, ...own, ...toTrainer(train, path), network: toLayers(train.network) };
}

export function toPrivacy(file: PipelineFile): PrivacySpec {
  return { ...PRIVACY_DEFAULTS, ...file.privacy, ...toNoiseKeys(file) };
}
