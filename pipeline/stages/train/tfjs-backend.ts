/**
 * Training backends on TensorFlow.js: the clipped sum of a micro-batch, block by block.
 *
 * Per-example clipping without a second backward pass: zero tensors ("taps") are added to the pre-activations, so one
 * `tf.grads` over the taps gives every example's delta at every layer (tfjs-layers.ts); norms and sums follow from
 * inputs and deltas (tfjs-clip.ts). Must not choose a clip (clip-margin.ts does), add noise, or leave a tensor behind.
 */
import { SealstreamError } from "../../errors.ts";
import { classCount, parameterCount } from "../../network/definition.ts";
import { weightsFault } from "../../network/weights.ts";
import { createAutoBackend } from "./auto-backend.ts";
import type { BackendName, ClippedSum, GradientRequest, TrainBackend } from "./backend.ts";
import { clipTarget, rowsOfBlock } from "./clip-margin.ts";
import { download, loadTfjs, runOn, tf } from "./tfjs.ts";
import { clipAndSum } from "./tfjs-clip.ts";
import { tappedLogits, tensorLayers } from "./tfjs-layers.ts";
import { at, type Taps } from "./tfjs-taps.ts";

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

async function clippedGradientSum(
  name: BackendName,
  request: GradientRequest,
): Promise<ClippedSum> {
  const { network, weights, inputs, labels, rows, l2ClipNorm } = request;
  const target = clipTarget(network, rows, l2ClipNorm);
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
  const blockRows = rowsOfBlock(network);
  for (let begin = 0; begin < rows; begin += blockRows) {
    const end = Math.min(rows, begin + blockRows);
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
    const layers = tensorLayers(network, weights, block.rows);
    const shapes = layers.flatMap(({ products }) => products.flatMap(({ taps }) => taps));
    const zeros = shapes.map((shape) => tf.zeros([...shape]));
    const tape: Tape = { inputs: [], losses: [] };
    try {
      const deltas = tf.grads((...taps) => {
        const logits = tappedLogits(layers, input, taping(tape, taps));
        const losses = tf.neg(tf.sum<tf.Tensor1D>(tf.mul(oneHot, tf.logSoftmax(logits)), 1));
        tape.losses.push(tf.keep(losses.clone()));
        return tf.sum<tf.Scalar>(losses);
      })(zeros);
      const losses = at(tape.losses, 0);
      return clipAndSum({ layers, inputs: tape.inputs, deltas, losses, present }, target);
    } finally {
      // Kept tensors outlive the tidy around them, also when it throws.
      tf.dispose([...tape.inputs, ...tape.losses]);
    }
  });
}

/** What the forward pass leaves behind: kept tensors. */
interface Tape {
  readonly inputs: tf.Tensor[];
  readonly losses: tf.Tensor1D[];
}

function taping(tape: Tape, taps: readonly tf.Tensor[]): Taps {
  return {
    next: (input) => {
      // A copy of the handle, because keeping and disposing the input itself would take it from its owner.
      tape.inputs.push(tf.keep(input.clone()));
      return at(taps, tape.inputs.length - 1);
    },
  };
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
