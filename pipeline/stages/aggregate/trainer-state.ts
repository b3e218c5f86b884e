/**
 * What training goes on from, and what a rule that moves it on promises.
 *
 * A rule is pure and deterministic: everything follows from the state, the noisy sum, the number of the step and the
 * pipeline file. Its arithmetic is in double precision; what a checkpoint holds as float32 is rounded once a step, and a
 * state that was written and read again goes on to the last bit as if it had not been. Must not know an optimizer.
 */
import { SealstreamError } from "../../errors.ts";
import type { TrainerTensors } from "../../network/trainer-tensors.ts";

/** Where training stands between two updates. Buffers are shared: nobody writes them. */
export interface TrainerState {
  /** Weights that readers use: flat, in the order of network/weights.ts. */
  readonly published: Float32Array;
  /** Weights that gradients are taken at; the same buffer as `published` where they do not differ. */
  readonly iterate: Float32Array;
  /** Whatever else the next step needs, by name: momentum, moments, sums. */
  readonly extras: TrainerTensors;
}

/** A sum of contributions with its noise. */
export interface NoisySum {
  /** [coordinates], on the contributions' grid. Not written, not kept. */
  readonly sum: Float64Array;
  /** sum / divisor is the noisy mean in gradient units: B 2^fractionBits. */
  readonly divisor: number;
}

export interface UpdateRule {
  /** Numbers of a contribution and of a noise row. */
  readonly coordinates: number;
  /** The state that a run begins with. @param random gives that many bytes of a CSPRNG */
  initial(random: (bytes: number) => Uint8Array): TrainerState;
  /**
   * The state out of a checkpoint of the run.
   * @param published flat
   * @throws checkpoint-invalid when the tensors are not exactly those that this rule writes
   */
  restore(published: Float32Array, trainer: TrainerTensors | undefined): TrainerState;
  /**
   * @param step number of the update in its run, from 1
   * @returns new buffers
   * @throws limit-exceeded when the model computes no numbers any more; the sentence names the setting to change
   */
  step(state: TrainerState, noisy: NoisySum, step: number): TrainerState;
  /** What a checkpoint must hold beside the published weights; undefined: nothing. */
  stored(state: TrainerState): TrainerTensors | undefined;
}

/** What a rule expects in a checkpoint: by name, whether of doubles, and how long. */
export type Expected = Readonly<
  Record<string, { readonly double: boolean; readonly length: number }>
>;

/**
 * The trainer tensors of a checkpoint, if they are exactly what is expected.
 * @throws checkpoint-invalid otherwise
 */
export function requireTensors(
  found: TrainerTensors | undefined,
  expected: Expected,
): TrainerTensors {
  const tensors = found ?? {};
  const names = Object.keys(expected);
  const fits =
    Object.keys(tensors).length === names.length &&
    names.every((name) => {
      const tensor = tensors[name];
      return (
        tensor?.length === expected[name]?.length &&
        tensor instanceof Float64Array === expected[name]?.double
      );
    });
  if (fits) return tensors;
  throw new SealstreamError(
    "checkpoint-invalid",
    "The checkpoint's trainer tensors are not those of this run's optimizer: restore the topics together or start a new generation.",
  );
}
