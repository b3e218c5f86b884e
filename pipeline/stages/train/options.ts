/**
 * What the train stage is given, and what it reports: types only.
 */
import type { KeyDirectory } from "../../crypto/directory.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import type { Network } from "../../network/definition.ts";
import type { Weights } from "../../network/weights.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { TrainBackend } from "./backend.ts";

/** The newest model, found through its ledger entry. */
export interface CurrentModel {
  /** 32 lower-case hex digits. */
  readonly runId: string;
  readonly modelVersion: number;
  /** Of its ledger entry: the configuration that its run is fixed by. */
  readonly configHash: string;
  /** Of its ledger entry: lane (decimal) to the source offset up to which the model has the lane's records. */
  readonly laneNext: Readonly<Record<string, number>>;
  readonly network: Network;
  /** The model that readers use. */
  readonly weights: Weights;
  /** What gradients are taken at: an average of such may be what readers use. */
  readonly iterate: Weights;
}

/** What became of one micro-batch. Stays in the training zone. */
export interface ContributionProgress {
  readonly lane: number;
  readonly modelVersion: number;
  readonly from: number;
  readonly to: number;
  readonly places: number;
  readonly used: number;
  readonly unusableRows: number;
  readonly clippedRows: number;
  readonly lossSum: number;
}

/** Accuracy of a model on the validation records of one step. Stays in the training zone; not covered by the bound. */
export interface ValidationProgress {
  readonly lane: number;
  readonly modelVersion: number;
  readonly correct: number;
  readonly records: number;
}

export interface TrainStageOptions {
  readonly spec: Pick<PipelineSpec, "name" | "features" | "train" | "privacy">;
  readonly directory: KeyDirectory;
  /** Ms since the epoch, by the clock of `process`: every entry that was in `keys` before then is in the directory. */
  readonly keysFreshAsOf: () => number;
  /** The stage's train-signing key. */
  readonly signer: SigningKey;
  /** Wraps data keys for recipients whose key is in a service. */
  readonly kms?: Kms | undefined;
  /** The newest model, or null when there is none yet. Called often: it must be cheap. */
  readonly model: () => CurrentModel | null;
  readonly backend: TrainBackend;
  /** As aggregate is given it: part of the configuration that both must agree on. */
  readonly noiseMultiplier?: number | undefined;
  /** That many bytes of a CSPRNG. */
  readonly random: (bytes: number) => Uint8Array;
  readonly onContribution?: ((progress: ContributionProgress) => void) | undefined;
  readonly onValidation?: ((progress: ValidationProgress) => void) | undefined;
  /** Contributions sealed under one data key. */
  readonly rotateAfterContributions?: number | undefined;
}
