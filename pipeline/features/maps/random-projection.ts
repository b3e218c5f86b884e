/**
 * Maps by a matrix of public normal numbers: the Gaussian random projection, and random Fourier features.
 *
 * The matrix is drawn row by row from `public-random.ts` and rounded to float32; it lies in the kernels' memory, at most
 * 128 MiB of it (pipeline/spec/feature-maps.ts bounds outputs x inputs).
 * Sources: Johnson & Lindenstrauss (1984); Rahimi & Recht, Random Features for Large-Scale Kernel Machines (2007).
 */
import { sinCos } from "./elementary.ts";
import { createArena, type FeatureArena } from "./kernels.ts";
import type { FeatureMap } from "./map.ts";
import { createPublicRandom, type PublicRandom } from "./public-random.ts";

const FLOAT_BYTES = 4;
/** The kernel reads rows in pieces of this many numbers. */
const ROW_MULTIPLE = 8;

/** x -> W x / sqrt(outputs), W standard normal: lengths are kept on average. */
export function createRandomProjection(
  inputs: number,
  { outputs, seed }: { readonly outputs: number; readonly seed: number },
): FeatureMap {
  const random = createPublicRandom("randomProjection", seed);
  return { outputs, apply: createProduct({ inputs, outputs, random, scale: outputs ** -0.5 }) };
}

/**
 * x -> sqrt(2 / outputs) cos(W x / bandwidth + b), W standard normal, b uniform over a turn: inner products are near the
 * Gaussian kernel exp(-|x - y|^2 / (2 bandwidth^2)).
 */
export function createFourierFeatures(
  inputs: number,
  spec: { readonly outputs: number; readonly bandwidth: number; readonly seed: number },
): FeatureMap {
  const { outputs, bandwidth, seed } = spec;
  const random = createPublicRandom("fourier", seed);
  const project = createProduct({ inputs, outputs, random, scale: 1 / bandwidth });
  const phases = Float64Array.from({ length: outputs }, () => 2 * Math.PI * random.unit());
  const amplitude = Math.sqrt(2 / outputs);
  return {
    outputs,
    apply: (x) =>
      project(x).map((value, at) => {
        const [, cosine] = sinCos(value + (phases[at] ?? 0));
        return amplitude * cosine;
      }),
  };
}

function createProduct({
  inputs,
  outputs,
  random,
  scale,
}: {
  readonly inputs: number;
  readonly outputs: number;
  readonly random: PublicRandom;
  readonly scale: number;
}): (x: Float32Array) => Float32Array {
  const arena = createArena();
  const columns = Math.ceil(inputs / ROW_MULTIPLE) * ROW_MULTIPLE;
  const matrix = arena.take(outputs * columns * FLOAT_BYTES);
  const from = arena.take(columns * FLOAT_BYTES);
  const to = arena.take(outputs * FLOAT_BYTES);
  writeNormals(arena, { matrix, rows: outputs, inputs, columns, random, scale });
  return (x) => {
    arena.floats(from, columns).set(x.subarray(0, inputs));
    arena.kernels.matrixVector(matrix, outputs, columns, from, to);
    return arena.floats(to, outputs).slice();
  };
}

function writeNormals(
  arena: FeatureArena,
  by: {
    readonly matrix: number;
    readonly rows: number;
    readonly inputs: number;
    readonly columns: number;
    readonly random: PublicRandom;
    readonly scale: number;
  },
): void {
  const weights = arena.floats(by.matrix, by.rows * by.columns);
  for (let row = 0; row < by.rows; row += 1) {
    for (let column = 0; column < by.inputs; column += 1) {
      weights[row * by.columns + column] = by.random.normal() * by.scale;
    }
  }
}
