/**
 * The clipped sum of a block with the library's tape: any layer, on any backend.
 *
 * Per-example clipping without a second backward pass: zero tensors ("taps") are added to the pre-activations, so one
 * `tf.grads` over the taps gives every example's delta at every layer (tfjs-layers.ts); norms and sums follow from
 * inputs and deltas (tfjs-clip.ts). Between the two the squared norms come to the host, which makes the factors of them
 * in double precision (clip-factors.ts). Must not choose a clip (clip-margin.ts does), or leave a tensor behind.
 */
import { SealstreamError } from "../../errors.ts";
import { classCount } from "../../network/definition.ts";
import type { BackendName } from "./backend.ts";
import { type ClipFactors, clipFactors, isFine, type RowFacts } from "./clip-factors.ts";
import { addTo, type HostBlock, type HostRequest } from "./host-chain.ts";
import { download, runOn, tf, tidied } from "./tfjs.ts";
import { clippedSums, type KeptProduct, keptProducts, rowFacts } from "./tfjs-clip.ts";
import { tappedLogits, tensorLayers } from "./tfjs-layers.ts";
import { at, type Taps } from "./tfjs-taps.ts";

interface TapedPass {
  readonly layers: KeptProduct[][];
  readonly squares: tf.Tensor;
  readonly losses: tf.Tensor;
}

/** Backends whose batched products read, and multiply by zero, what lies behind an example: see `addGuardedBlock`. */
const GUARDED: readonly BackendName[] = ["webgpu", "tfjs-node-gpu"];

/**
 * Adds the clipped sum of a block to `total`.
 * @param total flat, the length of the network's parameters
 */
export function addTapedBlock(
  name: BackendName,
  request: HostRequest,
  block: HostBlock,
  total: Float64Array,
): Promise<BlockCounts> {
  const add = GUARDED.includes(name) ? addGuardedBlock : addBlock;
  return add(name, request, block, total);
}

export type BlockCounts = Pick<ClipFactors, "clippedRows" | "unusableRows" | "lossSum">;

async function addBlock(
  name: BackendName,
  request: HostRequest,
  block: HostBlock,
  total: Float64Array,
): Promise<BlockCounts> {
  const pass = await runOn(name, () => tapedPass(request, block));
  try {
    return await addSums(name, { ...request, block, total }, pass, await readFacts(pass));
  } finally {
    drop(pass);
  }
}

/**
 * On a GPU a NaN of one example may reach others: the batched product of tfjs-backend-webgpu 4.22 reads beyond an
 * example and multiplies by zero what it finds. So an example whose values are not fine is taken out, and the rest is
 * computed again as if its place had been empty. Inputs, slopes and losses, by which it is known, come from operations
 * that keep rows apart. A place of zeros behind the others tells of weights with which even an empty place is not fine:
 * then no example is usable, which follows from the weights alone.
 */
async function addGuardedBlock(
  name: BackendName,
  request: HostRequest,
  block: HostBlock,
  total: Float64Array,
): Promise<BlockCounts> {
  const rows = block.labels.length;
  const width = request.network.inputs;
  const inputs = new Float32Array((rows + 1) * width);
  inputs.set(block.inputs);
  const labels = new Int32Array(rows + 1).fill(-1);
  labels.set(block.labels);
  const present = labels.filter((label) => label >= 0).length;
  let refused = 0;
  // Each time an example fewer, so it ends; in practice there are two passes at most.
  for (let turn = 0; turn <= rows + 1; turn += 1) {
    const again: HostBlock = { inputs, labels };
    const pass = await runOn(name, () => tapedPass(request, again));
    try {
      const facts = await readFacts(pass);
      const spoiled = Array.from(labels.keys()).filter((row) => !isFine(facts, row));
      if (spoiled.includes(rows)) return { clippedRows: 0, unusableRows: present, lossSum: 0 };
      if (spoiled.length === 0) {
        const counts = await addSums(name, { ...request, block: again, total }, pass, facts);
        return { ...counts, unusableRows: counts.unusableRows + refused };
      }
      for (const row of spoiled) {
        if ((labels[row] ?? -1) >= 0) refused += 1;
        labels[row] = -1;
        inputs.fill(0, row * width, (row + 1) * width);
      }
    } finally {
      drop(pass);
    }
  }
  throw new SealstreamError("internal", "An empty place differs from another.");
}

async function readFacts(pass: TapedPass): Promise<RowFacts> {
  const [losses, squares] = await Promise.all([download(pass.losses), download(pass.squares)]);
  return rowFacts(pass.layers, losses, squares);
}

function drop(pass: TapedPass): void {
  tf.dispose(pass.layers.flat().flatMap(({ tensors }) => [...tensors]));
}

async function addSums(
  name: BackendName,
  { block, total, ...request }: HostRequest & { block: HostBlock; total: Float64Array },
  pass: TapedPass,
  facts: RowFacts,
): Promise<ClipFactors> {
  const clip = clipFactors(facts, block.labels, request.clipping, request.target);
  const parts = await runOn(name, () => tidied(() => clippedSums(pass.layers, clip)));
  const values = await Promise.all(parts.map((part) => download(part.values)));
  const picks = await Promise.all(
    parts.map(({ picks: own }) => (own === null ? null : download(own))),
  );
  for (const [index, { offset }] of parts.entries()) {
    const picked = picks[index] ?? null;
    if (picked === null) addTo(total, offset, at(values, index));
    else addPicked(total, offset, at(values, index), picked);
  }
  return clip;
}

/** Adds each step's row to the row of the table that the step picked. @param values [rows][T][columns] @param picks [rows][T] */
function addPicked(
  total: Float64Array,
  offset: number,
  values: Float32Array,
  picks: Float32Array,
): void {
  const columns = values.length / picks.length;
  for (const [step, pick] of picks.entries()) {
    // Of a spoiled row, which adds zeros.
    if (!(pick >= 0)) continue;
    const to = offset + pick * columns;
    for (let column = 0; column < columns; column += 1) {
      total[to + column] = (total[to + column] ?? 0) + (values[step * columns + column] ?? 0);
    }
  }
}

/** Tensors that outlive it: all in the result. */
function tapedPass({ network, weights }: HostRequest, block: HostBlock): TapedPass {
  return tidied(() => {
    const rows = block.labels.length;
    const oneHot = oneHotLabels(block.labels, classCount(network));
    const input = tf.tensor2d(block.inputs, [rows, network.inputs]);
    const layers = tensorLayers(network, weights, rows);
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
      const kept = keptProducts({ layers, inputs: tape.inputs, deltas });
      const losses = at(tape.losses, 0).clone();
      return { layers: kept.layers.map(outliving), squares: tf.concat(kept.squares), losses };
    } finally {
      // Kept tensors outlive the tidy around them, also when it throws.
      tf.dispose([...tape.inputs, ...tape.losses]);
    }
  });
}

/** With handles of its own, because inputs are disposed with the tape. */
function outliving(products: readonly KeptProduct[]): KeptProduct[] {
  return products.map(({ product, tensors }) => ({
    product,
    tensors: tensors.map((own) => own.clone()),
  }));
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

/** One-hot rows, all zero for an empty place. */
function oneHotLabels(labels: Int32Array, classes: number): tf.Tensor2D {
  const oneHot = new Float32Array(labels.length * classes);
  for (const [row, label] of labels.entries()) if (label >= 0) oneHot[row * classes + label] = 1;
  return tf.tensor2d(oneHot, [labels.length, classes]);
}
