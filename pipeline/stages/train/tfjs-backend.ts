/**
 * Training backends on TensorFlow.js: the clipped sum of a micro-batch, block by block, so that a micro-batch may be
 * larger than memory.
 *
 * Two ways to the same sum. Where the backend's memory is the host's (tfjs-node, wasm, cpu) chains of dense, conv2d and
 * averagePool2d layers go without a tape (host-chain.ts), on wasm over products of our own (wasm-matrices.ts); on a GPU,
 * and for every other layer, taps do it (tfjs-tape.ts).
 * Must not choose a clip (clip-margin.ts does), add noise, or leave a tensor behind.
 */
import { SealstreamError } from "../../errors.ts";
import { classCount, parameterCount } from "../../network/definition.ts";
import { weightsFault } from "../../network/weights.ts";
import { createAutoBackend } from "./auto-backend.ts";
import type { BackendName, ClippedSum, GradientRequest, TrainBackend } from "./backend.ts";
import type { ClipFactors } from "./clip-factors.ts";
import { clipTarget, rowsOfBlock } from "./clip-margin.ts";
import {
  addHostBlock,
  type HostBlock,
  type HostRequest,
  isHostChain,
  type Matrices,
} from "./host-chain.ts";
import type { PackageFolders } from "./optional-packages.ts";
import { loadTfjs, runOn, tf } from "./tfjs.ts";
import { tfjsMatrices } from "./tfjs-matrices.ts";
import { addTapedBlock } from "./tfjs-tape.ts";
import { createWasmMatrices, type WasmMatrices } from "./wasm-matrices.ts";

/** Backends that `auto` tries, the fastest first where nothing is measured. */
const CANDIDATES: readonly BackendName[] = ["tfjs-node-gpu", "tfjs-node", "webgpu", "wasm", "cpu"];
/** Backends that compute in the host's memory. */
const ON_HOST: readonly BackendName[] = ["tfjs-node", "wasm", "cpu"];

/**
 * The backend that a pipeline file asks for: `auto` measures those that are installed at `load`.
 * @param clock milliseconds, from any origin
 */
export function createTrainBackend(
  choice: BackendName | "auto",
  clock: () => number = () => performance.now(),
  folders: PackageFolders = {},
): TrainBackend {
  if (choice !== "auto") return createTfjsBackend(choice, folders);
  return createAutoBackend(
    CANDIDATES.map((name) => createTfjsBackend(name, folders)),
    clock,
  );
}

/**
 * A backend on TensorFlow.js. Nothing is loaded before `load`; load one before another computes, because loading leaves
 * the library without a backend for a moment.
 * @param way `taps`: also where a chain could go without a tape; for comparisons
 */
export function createTfjsBackend(
  name: BackendName,
  folders: PackageFolders = {},
  way: "fastest" | "taps" = "fastest",
): TrainBackend {
  let loading: Promise<void> | null = null;
  let own: WasmMatrices | null = null;
  const load = (): Promise<void> => {
    loading ??= loadTfjs(name, folders);
    return loading;
  };
  // Our own products are four times as fast as the library's on wasm.
  const matricesOf = (): Matrices => {
    if (name !== "wasm") return tfjsMatrices();
    own ??= createWasmMatrices();
    return own.begin();
  };
  return {
    name,
    load: () => load(),
    clippedGradientSum: async (request) => {
      await load();
      return clippedGradientSum(name, request, way === "fastest" ? matricesOf : null);
    },
    liveTensors: () => tf.memory().numTensors,
  };
}

async function clippedGradientSum(
  name: BackendName,
  request: GradientRequest,
  matricesOf: (() => Matrices) | null,
): Promise<ClippedSum> {
  const { network, weights, inputs, labels, rows, l2ClipNorm } = request;
  const target = clipTarget(network, rows, l2ClipNorm);
  check(request);
  const own: HostRequest = { network, weights, clipping: request.clipping ?? "flat", target };
  const total = new Float64Array(parameterCount(network));
  const counts = { clippedRows: 0, unusableRows: 0, lossSum: 0 };
  const blockRows = rowsOfBlock(network);
  const matrices = ON_HOST.includes(name) && isHostChain(network) ? matricesOf : null;
  for (let begin = 0; begin < rows; begin += blockRows) {
    const end = Math.min(rows, begin + blockRows);
    const block: HostBlock = {
      inputs: inputs.subarray(begin * network.inputs, end * network.inputs),
      labels: labels.subarray(begin, end),
    };
    const facts =
      matrices === null
        ? await addTapedBlock(name, own, block, total)
        : await runOn(name, () => hostBlock(matrices, own, block, total));
    counts.clippedRows += facts.clippedRows;
    counts.unusableRows += facts.unusableRows;
    counts.lossSum += facts.lossSum;
  }
  return { sum: total, ...counts };
}

/** A block on the host, whose matrices are disposed with it. */
function hostBlock(
  matricesOf: () => Matrices,
  request: HostRequest,
  block: HostBlock,
  total: Float64Array,
): ClipFactors {
  // Not `tidy`, which walks through every number of a result to look for tensors.
  tf.engine().startScope();
  try {
    return addHostBlock(request, block, matricesOf(), total);
  } finally {
    tf.engine().endScope();
  }
}

/** @throws internal on shapes that do not fit, or a label out of range */
function check({ network, weights, inputs, labels, rows }: GradientRequest): void {
  const fault = weightsFault(network, weights);
  if (fault !== null || inputs.length !== rows * network.inputs || labels.length !== rows) {
    throw new SealstreamError(
      "internal",
      `The micro-batch does not fit the network: ${fault ?? "rows"}.`,
    );
  }
  const classes = classCount(network);
  if (labels.some((label) => label >= classes)) {
    throw new SealstreamError("internal", "A label is out of range; refuse it before training.");
  }
}
