/**
 * The checked form of how a model is trained: `train`, `privacy` and `features.maps` of a pipeline file.
 *
 * Types only, as pipeline-spec.ts, of which it is a part.
 */
import type { LayerSpec } from "./layer-spec.ts";

/** [height, width] or [height, width, channels] of the values a map reads. */
export type ImageShape = readonly [number, number] | readonly [number, number, number];

/**
 * A fixed public map from features to features, applied by `encrypt` in the owner's zone. It holds nothing that was
 * learned from records: its random numbers, if any, are made from `seed`, which is public.
 */
export type FeatureMapSpec =
  /** Wavelet scattering (Mallat 2012; Kymatio): `scales` J octaves, `angles` L orientations, order 1 or 2. */
  | {
      readonly scattering: {
        readonly shape: readonly [number, number];
        readonly scales: number;
        readonly angles: number;
        readonly order: 1 | 2;
      };
    }
  /** Group normalisation of [groups][...] values by each record's own mean and deviation. */
  | { readonly groupNorm: { readonly groups: number } }
  /** Divided by its own L2 norm. */
  | { readonly normalize: "l2" }
  /** (x - mean) / deviation by public constants, one for all values or one each. */
  | {
      readonly standardize: {
        readonly mean: number | readonly number[];
        readonly deviation: number | readonly number[];
      };
    }
  /** Gaussian random projection, scaled by 1 / sqrt(outputs). */
  | { readonly randomProjection: { readonly outputs: number; readonly seed: number } }
  /** Random Fourier features of a Gaussian kernel (Rahimi & Recht 2007). */
  | {
      readonly fourier: {
        readonly outputs: number;
        readonly bandwidth: number;
        readonly seed: number;
      };
    }
  /** Random filters, rectified and averaged over windows. */
  | {
      readonly randomConvolution: {
        readonly shape: ImageShape;
        readonly filters: number;
        readonly kernelSize: readonly [number, number];
        readonly poolSize: readonly [number, number];
        readonly seed: number;
      };
    };

/** What the network reads of a record: the inputs behind the maps. */
export interface MapOutputs {
  /** Numbers. */
  readonly length: number;
  /** Every number lies in [low, high]. */
  readonly range: readonly [low: number, high: number];
  /** Largest L2 norm of a record's numbers. */
  readonly norm: number;
}

/** How learning rate changes with the update t = 1, 2, ... of a run; times `learningRate`. */
export interface ScheduleSpec {
  /** Rises linearly over the first updates. */
  readonly warmupUpdates: number;
  readonly decay: "none" | "linear" | "cosine" | "inverse-sqrt";
  /** Updates after which linear and cosine end at 0; null for the others. */
  readonly updates: number | null;
}

export type OptimizerSpec =
  /** Polyak momentum, scaled by (1 - momentum). */
  | { readonly kind: "sgd"; readonly momentum: number }
  | {
      readonly kind: "adam";
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
    };

/** What the published model is of the iterates: post-processing, free of privacy cost. */
export type AveragingSpec =
  | { readonly kind: "none" }
  /** Exponential, corrected for its start. */
  | { readonly kind: "decay"; readonly decay: number }
  /** Polynomial decay (Shamir & Zhang 2013): weight of the newest (power + 1) / (t + power). */
  | { readonly kind: "polynomial"; readonly power: number };

export type BackendChoice = "auto" | "wasm" | "cpu" | "tfjs-node" | "tfjs-node-gpu" | "webgpu";

export interface TrainSpec {
  /** `statistics`: private sufficient statistics of a linear model, one release, no gradient. */
  readonly method: "gradient" | "statistics";
  readonly network: readonly LayerSpec[];
  readonly microBatchRecords: number;
  readonly updateBatchRecords: number;
  readonly l2ClipNorm: number;
  /** `flat`: by the whole gradient's norm; `per-layer`: each of n layers to l2ClipNorm / sqrt(n); `automatic`: always
   * scaled to l2ClipNorm (Bu et al. 2023), so that the clip is a scale and no threshold. */
  readonly clipping: "flat" | "per-layer" | "automatic";
  readonly learningRate: number;
  readonly optimizer: OptimizerSpec;
  readonly schedule: ScheduleSpec;
  readonly averaging: AveragingSpec;
  readonly initialization: "he" | "glorot" | "zeros";
  /** Weights to start from, made from public data: a safetensors file and the hash of its bytes. */
  readonly warmStart: { readonly file: string; readonly sha256: string } | null;
  /** Of `statistics`: ridge added to X^T X / records, above what the noise asks for. */
  readonly ridge: number;
  readonly backend: BackendChoice;
  readonly protect: "sealed";
  readonly maxStalenessUpdates: number;
  /** Cut a zero-filled micro-batch after this many ms without enough records; null: wait for ever. */
  readonly tailAfterMs: number | null;
}

/** How the noise of a run's updates hangs together. Correlated noise begins anew after every `updates` updates. */
export type NoiseSpec =
  | { readonly kind: "independent" }
  /** Square-root Toeplitz factorisation (Fichtenberger, Henzinger & Upadhyay 2023). */
  | { readonly kind: "toeplitz"; readonly updates: number }
  /** Optimised banded Toeplitz (Choquette-Choo et al. 2023). */
  | { readonly kind: "banded"; readonly updates: number; readonly bands: number }
  /** Buffered linear Toeplitz (Dvijotham et al. 2024): constant memory. */
  | { readonly kind: "blt"; readonly updates: number; readonly buffers: number };

export interface PrivacySpec {
  readonly epsilon: number;
  readonly delta: number;
  readonly noise: NoiseSpec;
  /** The accountant that the file claims; null: the one that follows from how records are delivered. */
  readonly accountant: "one-pass" | "k-fold" | "correlated" | "statistics" | "poisson" | null;
  /** Releases of a run that one record may take part in. */
  readonly participations: number;
  /** Records of one subject that may train; null: the bound is per record. */
  readonly recordsPerSubject: number | null;
}
