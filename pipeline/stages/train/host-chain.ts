/**
 * The clipped sum of a block without a tape: a hand-written pass for chains of dense, conv2d and averagePool2d layers.
 *
 * For backends whose memory is the host's: only the products of matrices are given away (`Matrices`); windows, slopes,
 * norms and factors are loops over flat arrays, because each call of the library costs more than such a loop (findings/
 * training.md: 1.5 times as fast as taps). Norms are sums of squares in double precision. The convolution's gradients are
 * made for every example and added in double; a dense layer's are never made: their sum is one product a^T (c d).
 *
 * Must not sum over examples before factors are known: row r of every array depends on example r alone. Must not choose
 * a clip (clip-margin.ts), nor know TensorFlow.js.
 */
import { SealstreamError } from "../../errors.ts";
import type { Network, NetworkLayer } from "../../network/definition.ts";
import {
  applications,
  type Conv2dLayer,
  type DenseLayer,
  type PoolLayer,
} from "../../network/layers.ts";
import type { LayerWeights, Weights } from "../../network/weights.ts";
import { type ClipFactors, type Clipping, clipFactors, type RowFacts } from "./clip-factors.ts";
import { biasedActivation, timesSlope } from "./host-activations.ts";
import { addWindows, averageWindows, cutWindows, flatRuns, spreadMeans } from "./host-windows.ts";

/** A matrix of the backend, or a batch of matrices; lives until the block is done. */
export interface Matrix {
  readonly shape: readonly number[];
}

/** Products on the backend. Row r of a result must not depend on other rows of `left`. */
export interface Matrices<M extends Matrix = Matrix> {
  /** Takes the values; they are not written any more. */
  put(values: Float32Array, shape: readonly number[]): M;
  /** The same numbers under another shape. */
  reshape(matrix: M, shape: readonly number[]): M;
  /** left x right, or left^T x right, for each of a batch where the rank is 3. A new array. */
  product(left: M, right: M, transposeLeft?: boolean): Float32Array;
  /** Adds left^T x right of two matrices to `total` from `offset` on. */
  addTransposedProduct(total: Float64Array, offset: number, left: M, right: M): void;
}

export interface HostBlock {
  /** [rows][inputs] */
  readonly inputs: Float32Array;
  /** [rows], 0..classes-1, or negative for an empty place. */
  readonly labels: Int32Array;
}

/** A layer of one block: `forward` first, then `backward`, then `facts`, then `addSum`. */
interface Pass {
  forward(values: Float32Array): Float32Array;
  /** @param deltas slopes by the outputs; written @returns slopes by the inputs, or null when nobody asks for them */
  backward(deltas: Float32Array, inputsToo: boolean): Float32Array | null;
  /** Null for a layer without weights. */
  facts(): { readonly norm2: Float64Array; readonly input2: Float64Array } | null;
  /** Adds the sum of factor times gradient, in the layer's flat order. */
  addSum(total: Float64Array, offset: number, factor: Float32Array, clip: ClipFactors): void;
}

/** Whether every layer is of a kind that this pass knows. */
export function isHostChain(network: Network): boolean {
  return network.layers.every(
    ({ kind }) => kind === undefined || kind === "conv2d" || kind === "averagePool2d",
  );
}

/**
 * Adds the clipped sum of a block to `total`.
 * @param total flat, the length of the network's parameters
 * @throws internal when the network is no host chain
 */
export function addHostBlock(
  { network, weights, clipping, target }: HostRequest,
  block: HostBlock,
  matrices: Matrices,
  total: Float64Array,
): ClipFactors {
  const rows = block.labels.length;
  const passes = network.layers.map((layer, index) =>
    passOf(layer, weights.layers[index] ?? NO_WEIGHTS, rows, matrices),
  );
  const logits = passes.reduce((values, pass) => pass.forward(values), block.inputs);
  const { losses, deltas } = softmaxSlopes(logits, block.labels);
  let slopes: Float32Array | null = deltas;
  for (let index = passes.length - 1; index >= 0; index -= 1) {
    if (slopes !== null) slopes = passes[index]?.backward(slopes, index > 0) ?? null;
  }
  const facts = passes.map((pass) => pass.facts());
  const weighted = facts.flatMap((fact) => (fact === null ? [] : [fact]));
  const rowFacts: RowFacts = {
    losses,
    norms2: weighted.map(({ norm2 }) => norm2),
    inputs2: weighted.map(({ input2 }) => input2),
  };
  const clip = clipFactors(rowFacts, block.labels, clipping, target);
  let offset = 0;
  let at = 0;
  for (const [index, pass] of passes.entries()) {
    const own = weights.layers[index] ?? NO_WEIGHTS;
    if (facts[index] !== null) {
      pass.addSum(total, offset, clip.factors[at] ?? new Float32Array(rows), clip);
      at += 1;
    }
    offset += own.kernel.length + own.bias.length;
  }
  return clip;
}

export interface HostRequest {
  readonly network: Network;
  readonly weights: Weights;
  readonly clipping: Clipping;
  /** The norm that an example is clipped to (clip-margin.ts). */
  readonly target: number;
}

const NO_WEIGHTS: LayerWeights = { kernel: new Float32Array(0), bias: new Float32Array(0) };

function passOf(layer: NetworkLayer, weights: LayerWeights, rows: number, on: Matrices): Pass {
  if (layer.kind === undefined) return densePass(layer, weights, rows, on);
  if (layer.kind === "conv2d") return convolutionPass(layer, weights, rows, on);
  if (layer.kind === "averagePool2d") return poolPass(layer, rows);
  throw new SealstreamError("internal", "The tape-free pass does not know a layer.");
}

function densePass(layer: DenseLayer, own: LayerWeights, rows: number, on: Matrices): Pass {
  const width = layer.outputs;
  const depth = own.kernel.length / width;
  let inputs: Float32Array = NONE;
  let input: Matrix | null = null;
  let z: Float32Array = NONE;
  let deltas: Float32Array = NONE;
  return {
    forward: (values) => {
      inputs = values;
      input = on.put(values, [rows, depth]);
      z = on.product(input, on.put(own.kernel, [depth, width]));
      return biasedActivation(layer.activation, z, own.bias);
    },
    backward: (slopes, inputsToo) => {
      timesSlope(layer.activation, z, slopes);
      deltas = slopes;
      if (!inputsToo) return null;
      const back = on.put(transposed(own.kernel, depth, width), [width, depth]);
      return on.product(on.put(deltas, [rows, width]), back);
    },
    facts: () => {
      const input2 = rowSquares(inputs, rows);
      const norm2 = rowSquares(deltas, rows);
      for (let row = 0; row < rows; row += 1) {
        norm2[row] = ((input2[row] ?? 0) + 1) * (norm2[row] ?? 0);
      }
      return { norm2, input2 };
    },
    addSum: (total, offset, factor, clip) => {
      const scaled = scaledRows(deltas, factor);
      const clean = clip.anySpoiled
        ? on.put(cleanRows(inputs, clip.spoiled), [rows, depth])
        : input;
      if (clean === null) throw new SealstreamError("internal", "A pass went backward only.");
      on.addTransposedProduct(total, offset, clean, on.put(scaled, [rows, width]));
      const biases = offset + own.kernel.length;
      for (let index = 0; index < scaled.length; ) {
        for (let column = 0; column < width; column += 1, index += 1) {
          total[biases + column] = (total[biases + column] ?? 0) + (scaled[index] ?? 0);
        }
      }
    },
  };
}

function convolutionPass(layer: Conv2dLayer, own: LayerWeights, rows: number, on: Matrices): Pass {
  const filters = layer.filters;
  const depth = own.kernel.length / filters;
  const positions = applications(layer);
  const runs = flatRuns(layer);
  let image = 0;
  let input2: Float64Array = new Float64Array(rows);
  let windows: Matrix | null = null;
  let z: Float32Array = NONE;
  let kernels: Float32Array = NONE;
  let biases: Float32Array = NONE;
  return {
    forward: (values) => {
      image = values.length / rows;
      input2 = rowSquares(values, rows);
      const cut = cutWindows(runs, values, rows, positions * depth);
      const flat = on.put(cut, [rows * positions, depth]);
      windows = on.reshape(flat, [rows, positions, depth]);
      z = on.product(flat, on.put(own.kernel, [depth, filters]));
      return biasedActivation(layer.activation, z, own.bias);
    },
    backward: (slopes, inputsToo) => {
      timesSlope(layer.activation, z, slopes);
      if (windows === null) throw new SealstreamError("internal", "A pass went backward only.");
      const flat = on.put(slopes, [rows * positions, filters]);
      kernels = on.product(windows, on.reshape(flat, [rows, positions, filters]), true);
      biases = positionSums(slopes, rows, filters);
      if (!inputsToo) return null;
      const back = on.put(transposed(own.kernel, depth, filters), [filters, depth]);
      return addWindows(runs, on.product(flat, back), rows, image);
    },
    facts: () => {
      const norm2 = rowSquares(kernels, rows);
      const bias2 = rowSquares(biases, rows);
      for (let row = 0; row < rows; row += 1) norm2[row] = (norm2[row] ?? 0) + (bias2[row] ?? 0);
      return { norm2, input2 };
    },
    addSum: (total, offset, factor) => {
      addScaledRows(total, offset, kernels, factor);
      addScaledRows(total, offset + own.kernel.length, biases, factor);
    },
  };
}

function poolPass(layer: PoolLayer, rows: number): Pass {
  const channels = layer.input[2];
  const size = layer.poolSize[0] * layer.poolSize[1];
  const runs = flatRuns(layer);
  let image = 0;
  return {
    forward: (values) => {
      image = values.length / rows;
      const cut = cutWindows(runs, values, rows, applications(layer) * size * channels);
      return averageWindows(cut, size, channels);
    },
    backward: (deltas, inputsToo) =>
      inputsToo ? addWindows(runs, spreadMeans(deltas, size, channels), rows, image) : null,
    facts: () => null,
    addSum: () => undefined,
  };
}

const NONE: Float32Array = new Float32Array(0);

/** Softmax cross-entropy of each row and its slopes by the logits; no slopes in an empty place. */
function softmaxSlopes(
  logits: Float32Array,
  labels: Int32Array,
): { readonly losses: Float64Array; readonly deltas: Float32Array } {
  const rows = labels.length;
  const classes = logits.length / rows;
  const losses = new Float64Array(rows);
  const deltas = new Float32Array(logits.length);
  const powers = new Float64Array(classes);
  for (let row = 0; row < rows; row += 1) {
    const label = labels[row] ?? -1;
    if (label < 0) continue;
    const from = row * classes;
    let most = Number.NEGATIVE_INFINITY;
    for (let index = 0; index < classes; index += 1) {
      // Math.max gives NaN when there is one.
      most = Math.max(most, logits[from + index] ?? 0);
    }
    let sum = 0;
    for (let index = 0; index < classes; index += 1) {
      const power = Math.exp((logits[from + index] ?? 0) - most);
      powers[index] = power;
      sum += power;
    }
    losses[row] = Math.log(sum) - ((logits[from + label] ?? 0) - most);
    for (let index = 0; index < classes; index += 1) {
      deltas[from + index] = (powers[index] ?? 0) / sum - (index === label ? 1 : 0);
    }
  }
  return { losses, deltas };
}

function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      out[column * rows + row] = values[row * columns + column] ?? 0;
    }
  }
  return out;
}

/** Sum of squares of each row, in double precision. */
function rowSquares(values: Float32Array, rows: number): Float64Array {
  const width = values.length / rows;
  const squares = new Float64Array(rows);
  for (let row = 0; row < rows; row += 1) {
    let sum = 0;
    for (let index = row * width; index < (row + 1) * width; index += 1) {
      const value = values[index] ?? 0;
      sum += value * value;
    }
    squares[row] = sum;
  }
  return squares;
}

/** [rows][columns] out of [rows][positions][columns]. */
function positionSums(values: Float32Array, rows: number, columns: number): Float32Array {
  const own = values.length / rows;
  const out = new Float32Array(rows * columns);
  const sums = new Float64Array(columns);
  for (let row = 0; row < rows; row += 1) {
    sums.fill(0);
    for (let index = row * own; index < (row + 1) * own; ) {
      for (let column = 0; column < columns; column += 1, index += 1) {
        sums[column] = (sums[column] ?? 0) + (values[index] ?? 0);
      }
    }
    out.set(sums, row * columns);
  }
  return out;
}

/** Each row times its factor; zeros where the factor is 0, whatever the row holds. */
function scaledRows(values: Float32Array, factor: Float32Array): Float32Array {
  const width = values.length / factor.length;
  const out = new Float32Array(values.length);
  for (let row = 0; row < factor.length; row += 1) {
    const times = factor[row] ?? 0;
    if (times === 0) continue;
    for (let index = row * width; index < (row + 1) * width; index += 1) {
      out[index] = (values[index] ?? 0) * times;
    }
  }
  return out;
}

/** A copy with zeros in place of spoiled rows. */
function cleanRows(values: Float32Array, spoiled: readonly boolean[]): Float32Array {
  const width = values.length / spoiled.length;
  const out = Float32Array.from(values);
  for (const [row, is] of spoiled.entries()) if (is) out.fill(0, row * width, (row + 1) * width);
  return out;
}

function addScaledRows(
  total: Float64Array,
  offset: number,
  values: Float32Array,
  factor: Float32Array,
): void {
  const width = values.length / factor.length;
  for (let row = 0; row < factor.length; row += 1) {
    const times = factor[row] ?? 0;
    if (times === 0) continue;
    const from = row * width;
    for (let index = 0; index < width; index += 1) {
      total[offset + index] = (total[offset + index] ?? 0) + (values[from + index] ?? 0) * times;
    }
  }
}

/** total[offset + i] += values[i] */
export function addTo(total: Float64Array, offset: number, values: Float32Array): void {
  for (let index = 0; index < values.length; index += 1) {
    total[offset + index] = (total[offset + index] ?? 0) + (values[index] ?? 0);
  }
}
