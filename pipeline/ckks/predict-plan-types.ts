/**
 * What the planner is asked and what it answers. Types only.
 */
import type { NetworkFeatures, NetworkTraining } from "../network/from-spec.ts";
import type { PackingOutlook } from "./packing-outlook.ts";
import type { CkksParameters, ModelMode, Packing } from "./parameters.ts";

/** The parts of a pipeline file that a plan depends on. */
export interface PredictRequest {
  readonly kafka: { readonly partitions: number };
  readonly features: NetworkFeatures & {
    /** Every number that the network reads lies in [low, high]. */
    readonly outputs: { readonly range: readonly [low: number, high: number] };
  };
  readonly train: NetworkTraining;
  readonly encrypt: {
    readonly packs: {
      readonly lingerMs: number;
      readonly maxBytesPerRecord: number;
      /** Unlabelled records a second over all lanes; null: packs are taken to be full. */
      readonly rate: number | null;
    };
  };
  readonly predict: {
    readonly packing: "auto" | Packing;
    readonly model: ModelMode;
    readonly precisionBits: number;
    readonly workers: "auto" | number;
    /** An id, or auto. */
    readonly parameters: string;
  };
}

/** `fit`: too few or too small primes, or slots; `keys`: evaluation keys too large; `dearer`: it would do. */
export type RefusalKind = "fit" | "keys" | "precision" | "bytes" | "dearer";

/** Why a set, or one packing under it, is not taken. */
export interface Refusal {
  readonly name: string;
  readonly id: string;
  /** Null: the set itself, whatever the packing. */
  readonly packing: Packing | null;
  readonly kind: RefusalKind;
  /** End of a sentence, without a full stop. */
  readonly reason: string;
}

/** A figure at the expected fill of a pack, and when packs are full. */
export interface AtFill {
  readonly atFill: number;
  readonly whenFull: number;
}

/** What one packing costs a record. */
export interface PackingFigures {
  readonly bytesPerRecordIn: AtFill;
  readonly bytesPerRecordOut: AtFill;
  readonly msPerRecord: AtFill;
  /** From the first record of a pack to its prediction, without Kafka: waiting and evaluating. */
  readonly latencyMs: number;
}

/** One way to predict. All figures are predictions, for one core and one lane; those of {@link PackingFigures} are `packing`'s. */
export interface PredictPlan extends PackingFigures {
  readonly parameters: CkksParameters;
  /** Name of the set, or its id when it has none. */
  readonly name: string;
  readonly mode: ModelMode;
  /** Products of ciphertexts that follow each other. */
  readonly depth: number;
  /** The packing of a pack with `expectedRecords`. */
  readonly packing: Packing;
  /** What the keys allow: null where a packing is not wanted or not possible under the set. */
  readonly packings: Readonly<Record<Packing, PackingOutlook | null>>;
  readonly figures: Readonly<Record<Packing, PackingFigures | null>>;
  /** Records that a lane gathers until a pack leaves; null: the rate was not said. */
  readonly expectedRecords: number | null;
  readonly packRecords: number;
  readonly precisionBits: number;
  readonly precisionGoal: number;
  /** Keys that the consumer publishes. */
  readonly needsRelin: boolean;
  readonly rotationSteps: readonly number[];
  readonly evaluationKeyBytes: number;
  /** Of one predict process with one worker. */
  readonly memoryMiB: number;
  readonly assumption: string;
  /** Sentences: why this one. */
  readonly reasons: readonly string[];
  readonly refusals: readonly Refusal[];
}

/** The part of a pipeline file that has to change. */
export type RefusedKey =
  | "predict.parameters"
  | "predict.packing"
  | "train.network"
  | "encrypt.packs.maxBytesPerRecord";

export type PlanOutcome =
  | { readonly status: "ok"; readonly plan: PredictPlan }
  /** `message` is a sentence without a full stop. */
  | {
      readonly status: "refused";
      readonly key: RefusedKey;
      readonly message: string;
      readonly refusals: readonly Refusal[];
    };
