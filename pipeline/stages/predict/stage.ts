/**
 * predict: evaluates the newest model on packs of ciphertexts and signs what comes out.
 *
 * Holds no CKKS secret and no data key (invariant 2). A pack is believed only with the owner's signature, under the
 * consumer's published keys, and with a sequence that rises (a replay is refused); its ciphertexts are parsed in a
 * killable worker only. What is refused becomes a dead letter and the lane goes on; a pack without a model waits, one
 * without the keys it names waits until `keys` has been read up to the time at which this lane first saw it. A model
 * that cannot be evaluated is passed over. Every result names the model and the ledger entry it was made with.
 * Must not look into record ids, nor know Kafka.
 */

import type { CiphertextWeights, PlannedPacks } from "../../ckks/engine.ts";
import {
  type CkksParameters,
  DEFAULT_PARAMETERS,
  fitsKernels,
  type Packing,
} from "../../ckks/parameters.ts";
import { depthFault } from "../../ckks/plan.ts";
import type { EvaluatorPool } from "../../ckks/pool.ts";
import type { KeyDirectory } from "../../crypto/directory.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import { SealstreamError } from "../../errors.ts";
import type { Network } from "../../network/definition.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import type { Weights } from "../../network/weights.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { LaneBounds, Stage } from "../../stream/contract.ts";
import { consumerParameters, warmUpSample } from "./consumer-keys.ts";
import { createPredictLane } from "./lane-processor.ts";
import { packLimits } from "./limits.ts";
import { createModelChoice, type RefusedModel } from "./model-choice.ts";
import type { PredictState } from "./state.ts";

/** A model as this stage needs it: `privacy/model-reader.ts` with its checkpoint decoded. */
export interface PredictModel {
  readonly entry: {
    readonly runId: string;
    readonly modelVersion: number;
    readonly model: { readonly sha256: string };
  };
  readonly entryHash: string;
  readonly network: Network;
  /** Ciphertexts under `predict.model: encrypted`. */
  readonly weights: Weights | EncryptedWeights;
}

/** Weights under one consumer's key: they serve packs under the same key only. */
export interface EncryptedWeights extends CiphertextWeights {
  /** Hex SHA-256 of the consumer's public key. */
  readonly consumerKeyId: string;
}

/** Whether the consumer's keys fit the network of the pipeline file. */
export interface KeyFit {
  /**
   * Whether the newest keys are complete.
   * @throws SealstreamError when they are, and do not fit
   */
  isReady(): boolean;
  /** Whether packs under the keys with this public key (hex id) can be evaluated at all. */
  serves(consumerKeyId: string): boolean;
  /** How owners pack under these keys; undefined when they do not fit. */
  planned(consumerKeyId: string): PlannedPacks | undefined;
}

/** What became of one pack. */
export interface PackReport {
  readonly lane: number;
  /** Records in the pack. */
  readonly rows: number;
  readonly classes: number;
  readonly packing: Packing;
  readonly modelVersion: number;
  /** Wall time inside the worker. */
  readonly evaluationMs: number;
}

export interface PredictStageOptions {
  readonly spec: PipelineSpec;
  /** With the blobs `ckks-public` and `ckks-evaluation`, caught up if possible. */
  readonly directory: KeyDirectory;
  /** The `result-signing` key. */
  readonly signer: SigningKey;
  /**
   * The newest complete model, or null before the first.
   * @param consumerKeyId of the pack that it is for, when models are encrypted; null: any
   */
  readonly model: (consumerKeyId: string | null) => PredictModel | null;
  /**
   * Milliseconds since the epoch, on the clock of `process`: every entry that was in `keys` before that time has been
   * applied to `directory`.
   */
  readonly keysFreshAsOf: () => number;
  /** Unless it is handed in, all keys fit. */
  readonly keyFit?: KeyFit | undefined;
  readonly evaluator: EvaluatorPool;
  /** The planned parameter set: sizes the lanes while no keys are published. */
  readonly parameters?: CkksParameters | undefined;
  /** How long the end of a pack that has begun is waited for, in milliseconds. Ten minutes unless said. */
  readonly packDeadlineMs?: number | undefined;
  /** Called for each pack that was evaluated, before its transaction commits. */
  readonly onPack?: ((report: PackReport) => void) | undefined;
  /** Called once for each model that was the newest and cannot be evaluated. */
  readonly onModelRefused?: ((refused: RefusedModel) => void) | undefined;
}

/**
 * Makes the stage; it owns `evaluator` and closes it.
 * @throws limit-exceeded when the pipeline's network is too deep for the consumer's parameters
 */
export function createPredictStage(options: PredictStageOptions): Stage<PredictState> {
  const { spec, directory, evaluator } = options;
  const network = networkFromSpec(spec.features, spec.train);
  const sets = consumerParameters(directory, options.parameters ?? DEFAULT_PARAMETERS);
  const [newest] = sets;
  // Packs of the version before: what our kernels evaluate was planned before there were keys.
  const tooDeep = fitsKernels(newest) ? null : depthFault(network, newest);
  if (tooDeep !== null) {
    throw new SealstreamError("limit-exceeded", `train.network cannot be predicted: ${tooDeep}.`);
  }
  const limits = packLimits(sets, network.inputs);
  const bounds: LaneBounds = { maxRecords: limits.window.records, maxBytes: limits.window.bytes };
  const models = createModelChoice(options);
  // As many packs are held as are evaluated.
  const turns = createTurns(evaluator.workers);
  return {
    name: "predict",
    bounds,
    openLane: (lane) =>
      createPredictLane({ options, models, lane, limits, features: network.inputs, turns }),
    warmUp: () => evaluator.warmUp(warmUpSample(directory, spec, network)),
    close: () => evaluator.close(),
  };
}

/** Lets `count` callers at a time hold a pack in memory; the others wait in order. */
export interface Turns {
  run<R>(work: () => Promise<R>): Promise<R>;
}

function createTurns(count: number): Turns {
  let free = count;
  const waiting: (() => void)[] = [];
  return {
    async run(work) {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        if (next === undefined) free += 1;
        else next();
      }
    },
  };
}
