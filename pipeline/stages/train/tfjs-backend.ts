/**
 * Training backends on TensorFlow.js: the only file that imports it.
 *
 * Per-example clipping by ghost norms, without a second backward pass: zero tensors ("taps") are added to the
 * pre-activations, so one `tf.grads` over the taps gives every example's delta at every layer. A dense layer's
 * per-example gradient is the outer product of its input a (with a 1 for the bias) and delta d, so its squared norm is
 * (|a|^2 + 1) |d|^2, and the clipped sum over examples is one product a^T (c d). (Goodfellow 2015, "Efficient
 * per-example gradient computations"; Li et al. 2022, "Large language models can be strong differentially private
 * learners", section 4.)
 *
 * Must not choose a clip (clip-margin.ts does), add noise, or leave a tensor behind. Traps: on wasm a matMul with
 * `transposeA` is 3.5 times slower than an explicit transpose (findings/training.md); bare tfjs-core registers no
 * gradients; 0 * NaN is NaN, so an unusable row is selected away on both sides of a product.
 */
import { createRequire } from "node:module";
import path from "node:path";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { SealstreamError } from "../../errors.ts";
import { classCount, parameterCount } from "../../network/definition.ts";
import { weightsFault } from "../../network/weights.ts";
import { createAutoBackend } from "./auto-backend.ts";
import type { BackendName, ClippedSum, GradientRequest, TrainBackend } from "./backend.ts";
import { BLOCK_ROWS, clipTarget, MAX_SQUARED_ACTIVATION } from "./clip-margin.ts";

/** Largest finite float32: `x <= FLOAT32_MAX` is false for NaN and infinity. */
const FLOAT32_MAX = 3.4028234663852886e38;

/**
 * The backend that a pipeline file asks for: `auto` measures those of this file at `load`.
 * @param clock milliseconds, from any origin
 */
export function createTrainBackend(
  choice: BackendName | "auto",
  clock: () => number = () => performance.now(),
): TrainBackend {
  if (choice !== "auto") return createTfjsBackend(choice);
  return createAutoBackend([createTfjsBackend("wasm"), createTfjsBackend("cpu")], clock);
}

/**
 * A backend on TensorFlow.js. Nothing is loaded before `load`; load one before another computes, because loading leaves
 * the library without a backend for a moment.
 */
export function createTfjsBackend(name: BackendName): TrainBackend {
  let loading: Promise<void> | null = null;
  const load = (): Promise<void> => {
    loading ??= loadTfjs(name);
    return loading;
  };
  return {
    name,
    load: () => load(),
    clippedGradientSum: async (request) => {
      await load();
      return clippedGradientSum(name, request);
    },
    liveTensors: () => tf.memory().numTensors,
  };
}

async function loadTfjs(name: BackendName): Promise<void> {
  // Production mode: without it the library greets on stderr and checks every value of every kernel twice.
  tf.enableProdMode();
  if (name === "wasm") {
    const main = createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm");
    setWasmPaths(`${path.dirname(main)}/`);
  }
  if (!(await tf.setBackend(name))) {
    throw new SealstreamError(
      "backend-unavailable",
      `TensorFlow.js cannot start its ${name} backend here; set train.backend to another.`,
    );
  }
  await tf.ready();
}

/**
 * Runs `work` on a loaded backend. TensorFlow.js has one current backend for the whole process: between choosing it and
 * the work there must be no `await`, or another lane's choice comes in between.
 */
async function runOn(name: BackendName, work: () => tf.Tensor): Promise<tf.Tensor> {
  // For a backend that is loaded the switch takes effect before the promise is made.
  const switched = tf.getBackend() === name ? null : tf.setBackend(name);
  if (tf.getBackend() !== name) throw new SealstreamError("internal", "A backend is not loaded.");
  const tensor = work();
  await switched;
  return tensor;
}

async function clippedGradientSum(
  name: BackendName,
  request: GradientRequest,
): Promise<ClippedSum> {
  const { network, weights, inputs, labels, rows, l2ClipNorm } = request;
  const target = clipTarget(network, rows, l2ClipNorm);
  const isPlain = network.layers.every(
    ({ kind, activation }) => kind === undefined && typeof activation === "string",
  );
  if (!isPlain) throw new SealstreamError("internal", "Only dense layers train so far.");
  const fault = weightsFault(network, weights);
  if (fault !== null || inputs.length !== rows * network.inputs || labels.length !== rows) {
    throw new SealstreamError(
      "internal",
      `The micro-batch does not fit the network: ${fault ?? "rows"}.`,
    );
  }
  const parameters = parameterCount(network);
  const total = new Float64Array(parameters);
  const counts = { clippedRows: 0, unusableRows: 0, lossSum: 0 };
  for (let begin = 0; begin < rows; begin += BLOCK_ROWS) {
    const end = Math.min(rows, begin + BLOCK_ROWS);
    const block: Block = {
      inputs: inputs.subarray(begin * network.inputs, end * network.inputs),
      labels: labels.subarray(begin, end),
      rows: end - begin,
    };
    const values = await download(await runOn(name, () => blockSum(request, block, target)));
    for (let index = 0; index < parameters; index += 1) {
      total[index] = (total[index] ?? 0) + (values[index] ?? 0);
    }
    addFacts(counts, values.subarray(parameters), block.labels);
  }
  return { sum: Float32Array.from(total), ...counts };
}

interface Block {
  readonly inputs: Float32Array;
  readonly labels: Int32Array;
  readonly rows: number;
}

async function download(tensor: tf.Tensor): Promise<Float32Array> {
  try {
    // A float32 tensor's data is a Float32Array because tf.concat keeps the type.
    return (await tensor.data()) as Float32Array;
  } finally {
    tensor.dispose();
  }
}

function addFacts(
  counts: { clippedRows: number; unusableRows: number; lossSum: number },
  facts: Float32Array,
  labels: Int32Array,
): void {
  const rows = labels.length;
  for (let row = 0; row < rows; row += 1) {
    if ((labels[row] ?? -1) < 0) continue;
    const usable = facts[2 * rows + row] === 1;
    if (!usable) counts.unusableRows += 1;
    else {
      counts.lossSum += facts[row] ?? 0;
      counts.clippedRows += facts[rows + row] ?? 0;
    }
  }
}

/** One tensor: the flat clipped sum, then per row the loss, whether clipped, whether usable. The caller disposes it. */
function blockSum(request: GradientRequest, block: Block, target: number): tf.Tensor {
  const { network, weights } = request;
  return tf.tidy(() => {
    const { oneHot, present } = labelTensors(block, classCount(network));
    const input = tf.tensor2d(block.inputs, [block.rows, network.inputs]);
    const layers = weights.layers.map(({ kernel, bias }, index) => ({
      kernel: tf.tensor2d(kernel, [kernel.length / bias.length, bias.length]),
      bias: tf.tensor1d(bias),
      square: network.layers[index]?.activation === "square",
    }));
    const taps = layers.map(({ bias }) => tf.zeros<tf.Rank.R2>([block.rows, bias.size]));
    const tape: Tape = { activations: [], losses: [] };
    const pass = { input, layers, oneHot, tape };
    try {
      const deltas = tf.grads((...given) => tapedLoss(pass, given))(taps);
      return clipAndSum(tape, deltas, present, target);
    } finally {
      // Kept tensors outlive the tidy around them, also when it throws.
      tf.dispose([...tape.activations, ...tape.losses]);
    }
  });
}

interface TensorLayer {
  readonly kernel: tf.Tensor2D;
  readonly bias: tf.Tensor1D;
  readonly square: boolean;
}

/** What the forward pass leaves behind: kept tensors, [rows][in] per layer and [rows] once. */
interface Tape {
  readonly activations: tf.Tensor2D[];
  readonly losses: tf.Tensor1D[];
}

interface Pass {
  readonly input: tf.Tensor2D;
  readonly layers: readonly TensorLayer[];
  readonly oneHot: tf.Tensor2D;
  readonly tape: Tape;
}

/** The summed loss as a function of the taps. */
function tapedLoss(pass: Pass, taps: readonly tf.Tensor[]): tf.Scalar {
  const { layers, oneHot, tape } = pass;
  let values = pass.input;
  for (const [index, { kernel, bias, square }] of layers.entries()) {
    // A copy of the handle, because keeping and disposing the input itself would take it from its owner.
    tape.activations.push(tf.keep(values.clone()));
    const sum: tf.Tensor2D = tf.add(tf.add(tf.matMul(values, kernel), bias), at(taps, index));
    values = square ? tf.square(sum) : sum;
  }
  const losses = tf.neg(tf.sum<tf.Tensor1D>(tf.mul(oneHot, tf.logSoftmax(values)), 1));
  tape.losses.push(tf.keep(losses.clone()));
  return tf.sum<tf.Scalar>(losses);
}

function clipAndSum(
  tape: Tape,
  deltas: readonly tf.Tensor[],
  present: tf.Tensor1D,
  target: number,
): tf.Tensor {
  const losses = at(tape.losses, 0);
  const squares = tape.activations.map((activation) => tf.sum(tf.square(activation), 1));
  const norm2 = tf.addN(
    squares.map((a2, index) => tf.mul(tf.add(a2, 1), tf.sum(tf.square(at(deltas, index)), 1))),
  );
  const usable = [
    tf.cast(present, "bool"),
    tf.lessEqual(norm2, FLOAT32_MAX),
    tf.lessEqual(losses, FLOAT32_MAX),
    ...squares.map((a2) => tf.lessEqual(a2, MAX_SQUARED_ACTIVATION)),
  ].reduce((left, right) => tf.logicalAnd(left, right));
  const norm = tf.sqrt(norm2);
  // Where the norm is at most `target` the factor is exactly 1; a norm of 0 divides nothing.
  const factor = tf.expandDims(tf.div(target, tf.maximum(norm, target)), 1);
  const column = tf.expandDims(usable, 1);
  const keep = (values: tf.Tensor): tf.Tensor => tf.where(column, values, tf.zerosLike(values));
  const parts = tape.activations.flatMap((activation, index) => {
    const scaled = keep(tf.mul(at(deltas, index), factor));
    const kernel = tf.matMul(tf.transpose(keep(activation)), scaled);
    return [tf.reshape(kernel, [-1]), tf.sum(scaled, 0)];
  });
  const clipped = tf.greater(norm, target);
  return tf.concat([...parts, losses, tf.cast(clipped, "float32"), tf.cast(usable, "float32")]);
}

/** One-hot rows, all zero for an empty place, and whether a place holds an example. */
function labelTensors(
  block: Block,
  classes: number,
): { oneHot: tf.Tensor2D; present: tf.Tensor1D } {
  const oneHot = new Float32Array(block.rows * classes);
  const present = new Float32Array(block.rows);
  for (const [row, label] of block.labels.entries()) {
    if (label >= classes) {
      throw new SealstreamError("internal", "A label is out of range; refuse it before training.");
    }
    if (label < 0) continue;
    oneHot[row * classes + label] = 1;
    present[row] = 1;
  }
  return { oneHot: tf.tensor2d(oneHot, [block.rows, classes]), present: tf.tensor1d(present) };
}

function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new SealstreamError("internal", "A layer has no tensor.");
  return item;
}
