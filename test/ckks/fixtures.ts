/** What the CKKS tests share: seeded numbers, a small trained network on the real digits, and keys made once a file. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { type ConsumerKeys, createConsumerKeys } from "../../pipeline/ckks/keys.ts";
import { type CkksParameters, createParameters } from "../../pipeline/ckks/parameters.ts";
import type { Network } from "../../pipeline/network/definition.ts";
import { argmax, forward } from "../../pipeline/network/forward.ts";
import type { Weights } from "../../pipeline/network/weights.ts";

/** A set small enough to be quick: one dense layer deep, 2,048 slots. */
export const SMALL: CkksParameters = createParameters(4096, [46, 46, 17], 30);

/** mulberry32: reproducible test data, never key material. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function network(inputs: number, ...widths: number[]): Network {
  return {
    inputs,
    layers: widths.map((outputs, index) => ({
      outputs,
      activation: index === widths.length - 1 ? "none" : "square",
    })),
  };
}

/** Weights uniform in +-sqrt(3 / in), biases in +-0.5. */
export function randomWeights({ inputs, layers }: Network, random: () => number): Weights {
  let width = inputs;
  return {
    layers: layers.map(({ outputs }) => {
      const limit = Math.sqrt(3 / width);
      const kernel = Float32Array.from(
        { length: width * outputs },
        () => (2 * random() - 1) * limit,
      );
      width = outputs;
      return { kernel, bias: Float32Array.from({ length: outputs }, () => random() - 0.5) };
    }),
  };
}

const keyRings = new Map<string, Promise<ConsumerKeys>>();

/** Keys of a set, made once. */
export function keysFor(parameters: CkksParameters): Promise<ConsumerKeys> {
  const known = keyRings.get(parameters.id) ?? createConsumerKeys(parameters);
  keyRings.set(parameters.id, known);
  return known;
}

export interface Digits {
  /** [rows][64] in 0..1 */
  readonly pixels: Float32Array;
  readonly labels: Uint8Array;
  readonly rows: number;
}

/** The 1,797 digits of the demo (UCI, CC BY 4.0). */
export function readDigits(): Digits {
  const file = fileURLToPath(new URL("../../examples/digits/digits_8x8.csv.gz", import.meta.url));
  const lines = gunzipSync(readFileSync(file)).toString("utf8").trim().split("\n");
  const pixels = new Float32Array(lines.length * 64);
  const labels = new Uint8Array(lines.length);
  for (const [row, line] of lines.entries()) {
    const values = line.split(",").map(Number);
    pixels.set(
      values.slice(0, 64).map((value) => value / 16),
      row * 64,
    );
    labels[row] = values[64]!;
  }
  return { pixels, labels, rows: lines.length };
}

function affine({ kernel, bias }: Weights["layers"][number], x: ArrayLike<number>): Float64Array {
  const sum = Float64Array.from(bias);
  for (let i = 0; i < x.length; i += 1)
    for (let j = 0; j < sum.length; j += 1) sum[j]! += x[i]! * kernel[i * sum.length + j]!;
  return sum;
}

/** Gradient of softmax cross-entropy by the logits. */
function softmaxError(logits: Float64Array, label: number): Float64Array {
  const top = Math.max(...logits);
  const powers = logits.map((v) => Math.exp(v - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p, j) => p / sum - (j === label ? 1 : 0));
}

/** 64-32-10 by plain SGD with softmax cross-entropy: not private, good enough to be compared with. */
export function trainDigits(
  digits: Digits,
  trainRows: number,
): { network: Network; weights: Weights } {
  const shape = network(64, 32, 10);
  const random = seeded(7);
  const weights = randomWeights(shape, random);
  const [first, last] = weights.layers as [Weights["layers"][number], Weights["layers"][number]];
  const rate = 0.02;
  for (let step = 0; step < 12 * trainRows; step += 1) {
    const row = Math.floor(random() * trainRows);
    const x = digits.pixels.subarray(row * 64, row * 64 + 64);
    const z = affine(first, x);
    const logits = affine(
      last,
      z.map((v) => v ** 2),
    );
    const error = softmaxError(logits, digits.labels[row]!);
    for (let i = 0; i < 32; i += 1) {
      let back = 0;
      for (let j = 0; j < 10; j += 1) {
        back += last.kernel[i * 10 + j]! * error[j]!;
        last.kernel[i * 10 + j]! -= rate * error[j]! * z[i]! ** 2;
      }
      const slope = 2 * z[i]! * back;
      for (let k = 0; k < 64; k += 1) first.kernel[k * 32 + i]! -= rate * slope * x[k]!;
      first.bias[i]! -= rate * slope;
    }
    for (let j = 0; j < 10; j += 1) last.bias[j]! -= rate * error[j]!;
  }
  return { network: shape, weights };
}

/** How decrypted logits compare with the network in floats. */
export function compare(
  shape: Network,
  weights: Weights,
  inputs: Float32Array,
  logits: readonly Float64Array[],
): { maxError: number; precisionBits: number; agreement: number } {
  let maxError = 0;
  let same = 0;
  for (const [row, encrypted] of logits.entries()) {
    const plain = forward(
      shape,
      weights,
      inputs.subarray(row * shape.inputs, (row + 1) * shape.inputs),
    );
    for (const [index, value] of plain.entries())
      maxError = Math.max(maxError, Math.abs(value - encrypted[index]!));
    if (argmax(plain) === argmax(encrypted)) same += 1;
  }
  return { maxError, precisionBits: -Math.log2(maxError), agreement: same / logits.length };
}
