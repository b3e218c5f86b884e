/**
 * What is measured against what: parameters, scales and levels, ours and the peers', in one place.
 *
 * A peer's circuit is ours where the case says "same"; "standard" is how the library's documentation has it done: 60-bit
 * ends, a rescale after every product. Scales are chosen so that the largest logit of the trained networks, below 2^4,
 * stays below half the last modulus.
 */
import type { Circuit } from "../../pipeline/network/circuit.ts";

/** A dense layer as peers take it. */
export interface PeerLayer {
  /** [outputs][inputs] */
  readonly matrix: readonly (readonly number[])[];
  readonly bias: readonly number[];
}

interface Shape {
  readonly degree: number;
  readonly bits: readonly number[];
  /** log2 of the scale of the features. */
  readonly inputBits: number;
}

/** A ciphertext a feature: dense, square, dense. */
export interface BatchJob extends Shape {
  readonly kind: "batch";
  /** log2 of the scale of each layer's weights. */
  readonly weightBits: readonly [number, number];
  /** Whether to relinearize, and to rescale after the first product and after the square. */
  readonly rescale: boolean;
}

/** A record a ciphertext, replicated for the first matrix. */
export interface ReplicatedJob extends Shape {
  readonly kind: "replicated";
  readonly weightBits: readonly [number, number];
}

/** TenSEAL's own tensor, which chooses everything else itself. */
export interface TensorJob extends Shape {
  readonly kind: "tensor";
}

export interface KeyJob {
  readonly kind: "keys";
  readonly operation: "rotate" | "relinearize";
  readonly degree: number;
  readonly bits: readonly number[];
  readonly steps: readonly number[];
}

export type NetworkJob = BatchJob | ReplicatedJob | TensorJob;

/** No rescale, no relinearization: 3 polynomials over both primes leave. */
export const BATCH_SMALL: BatchJob = {
  kind: "batch",
  degree: 4096,
  bits: [46, 46, 17],
  inputBits: 24,
  weightBits: [10, 11],
  rescale: false,
};

export const BATCH_STANDARD: BatchJob = {
  kind: "batch",
  degree: 8192,
  bits: [60, 30, 30, 40],
  inputBits: 30,
  weightBits: [30, 20],
  rescale: true,
};

/** Three products deep with a rescale each, which `CKKSTensor` does by itself. */
export const TENSOR: TensorJob = {
  kind: "tensor",
  degree: 8192,
  bits: [40, 30, 30, 30, 40],
  inputBits: 30,
};

export const REPLICATED_LARGE: ReplicatedJob = {
  kind: "replicated",
  degree: 8192,
  bits: [48, 40, 48],
  inputBits: 20,
  weightBits: [15, 12],
};

export const REPLICATED_SMALL: ReplicatedJob = {
  kind: "replicated",
  degree: 4096,
  bits: [40, 33, 36],
  inputBits: 20,
  weightBits: [10, 7],
};

/** Rotations of one record 64-32-10 in the replicated packing at N = 8192: 2 records a ciphertext. */
export const ROTATION_STEPS: readonly number[] = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048];

/** The dense layers of a circuit whose steps read exactly the step before. */
export function peerLayers({ steps }: Circuit): PeerLayer[] {
  return steps.map(({ inputs, outputs, rowStarts, columns, values, bias }) => ({
    matrix: Array.from({ length: outputs }, (_, output) => {
      const row = new Array<number>(inputs.length).fill(0);
      for (let at = rowStarts[output]!; at < rowStarts[output + 1]!; at += 1)
        row[columns[at]!] = values[at]!;
      return row;
    }),
    bias: [...bias],
  }));
}
