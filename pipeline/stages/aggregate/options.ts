/**
 * What the aggregate stage is given, and what it reports: types only.
 */
import type { KeyDirectory } from "../../crypto/directory.ts";
import type { KeyStore } from "../../crypto/key-store.ts";
import type { Kms } from "../../crypto/kms/kms.ts";
import type { Network } from "../../network/definition.ts";
import type { Weights } from "../../network/weights.ts";
import type { HashedEntry } from "../../privacy/ledger-entry.ts";
import type { ReadModel } from "../../privacy/model-reader.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { NoiseMaker } from "./noise-rows.ts";

/** What `ledger` and `models` hold, read to their ends. */
export interface RestoredLedger {
  /** Every entry, oldest first. */
  readonly entries: readonly HashedEntry[];
  /** The newest model that is complete; aggregate starts only if it is the last entry's. */
  readonly newest: ReadModel | null;
}

/** A model of ciphertexts: what the prediction zone gets under `predict.model: encrypted`. */
export interface CiphertextModel {
  /** Bytes of `ckks/slots/encrypted-model-file.ts`. */
  readonly file: Uint8Array;
  /** Id of the CKKS parameter set. */
  readonly parameters: string;
  /** Hex SHA-256 of the consumer's public key. */
  readonly consumerKeyId: string;
}

export interface ModelEncryption {
  ready(): boolean;
  /** @returns null when this model cannot be evaluated on ciphertexts: prediction goes on with the one before */
  encrypt(network: Network, weights: Weights): Promise<CiphertextModel | null>;
}

/** What became of one update. Public facts: the same stands in the ledger. */
export interface UpdateProgress {
  readonly modelVersion: number;
  /** Updates of the run; 0 for the model it begins with. */
  readonly step: number;
  /** Composed over the runs of the source topic. */
  readonly epsilon: number;
  /** Places of the update that held a record. */
  readonly records: number;
}

export interface AggregateStageOptions {
  readonly spec: Pick<PipelineSpec, "name" | "features" | "train" | "privacy">;
  /** Fed with `keys` for as long as the stage runs; holds the contribution-unwrap key. */
  readonly directory: KeyDirectory;
  /** Ms since the epoch, by the clock of `process`: every entry that was in `keys` before then is in the directory. */
  readonly keysFreshAsOf: () => number;
  /** The noise secret and the model-signing key. */
  readonly keys: Pick<KeyStore, "secret" | "signing">;
  /** Wraps data keys for recipients whose key is in a service. */
  readonly kms?: Kms | undefined;
  /** Reads `ledger` and `models` anew; called after the previous owner was fenced, before the first record. */
  readonly restore: () => Promise<RestoredLedger>;
  /** That many bytes of a CSPRNG: run ids and first weights. */
  readonly random: (bytes: number) => Uint8Array;
  /**
   * Encrypts a model for the prediction zone, which then never gets it in the clear; undefined: it gets the model itself.
   * `ready` is false until the consumer's public key is known: until then no model is published.
   */
  readonly modelEncryption?: ModelEncryption | undefined;
  /** Noise of the run instead of what the budget asks for; the budget is held all the same. */
  readonly noiseMultiplier?: number | undefined;
  /** Weights that the first run begins with; random ones unless said. */
  readonly warmStart?: Weights | null | undefined;
  /** Makes noise rows beside the stage's own thread; unless said, they are made in it. */
  readonly noiseMaker?: NoiseMaker | undefined;
  /**
   * Called when training cannot go on and waiting will not help, with why in a sentence or two of public facts: the
   * stage then takes nothing in any more, and the newest model stays what it is.
   */
  readonly onEnded?: ((reason: string) => void) | undefined;
  /** May be called again for an update whose transaction had to be repeated. */
  readonly onUpdate?: ((progress: UpdateProgress) => void) | undefined;
}
