/**
 * What a training backend is: per-example clipped gradient sums, however they are computed.
 *
 * TensorFlow.js is behind it: libtensorflow (tfjs-node, tfjs-node-gpu), WebGPU through Dawn, WebAssembly, plain JavaScript.
 * A backend must not add noise, see a record id, or keep anything of a micro-batch after the call.
 */
import type { Network } from "../../network/definition.ts";
import type { Weights } from "../../network/weights.ts";
import type { BackendChoice } from "../../spec/training-spec.ts";
import type { Clipping } from "./clip-factors.ts";

export type BackendName = Exclude<BackendChoice, "auto">;

/** Label of a place that holds no example: a refused record, or the zero-filled end of a tail. */
export const EMPTY_PLACE = -1;

export interface GradientRequest {
  readonly network: Network;
  /** Finite, of the network's shape. */
  readonly weights: Weights;
  /** [rows][inputs], row-major. Rows of empty places are ignored. Not kept, not written. */
  readonly inputs: Float32Array;
  /** [rows], 0..classes-1, or EMPTY_PLACE. */
  readonly labels: Int32Array;
  readonly rows: number;
  readonly l2ClipNorm: number;
  /** Default: `flat`. */
  readonly clipping?: Clipping | undefined;
}

/** The size of the work, without data. */
export type MicroBatchShape = Pick<GradientRequest, "network" | "rows" | "l2ClipNorm" | "clipping">;

export interface ClippedSum {
  /**
   * Sum over examples of the gradient of softmax cross-entropy (not its mean), each clipped to `l2ClipNorm`, in the
   * flat order of `network/weights.ts`. Finite. Changing one place to empty moves it by at most `l2ClipNorm` in L2
   * (`clip-margin.ts`). A new buffer, owned by the caller.
   */
  readonly sum: Float32Array | Float64Array;
  /** Examples whose gradient was scaled down. */
  readonly clippedRows: number;
  /** Examples that contributed nothing because a feature, an activation or the gradient was not finite or absurdly large. */
  readonly unusableRows: number;
  /** Sum of the losses of the examples that contributed; never leaves the training zone. */
  readonly lossSum: number;
}

export interface TrainBackend {
  /** The backend in use; `auto` has chosen one only after `load`. */
  readonly name: BackendName | "auto";
  /**
   * Make it ready; idempotent.
   * @param shape what it will be asked for: `auto` measures with it
   * @throws backend-unavailable when this machine cannot run it
   */
  load(shape?: MicroBatchShape): Promise<void>;
  /**
   * @throws limit-exceeded when rows or clip are outside what the margin covers; internal on shapes that do not fit
   */
  clippedGradientSum(request: GradientRequest): Promise<ClippedSum>;
  /** Tensors alive in the library: constant between calls. For tests and metrics. */
  liveTensors(): number;
}
