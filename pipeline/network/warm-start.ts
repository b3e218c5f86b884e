/**
 * Weights to begin a run with, out of a safetensors file that somebody made elsewhere from public data.
 *
 * Any writer of the format may have made it: header order, metadata and what lies between tensors do not matter. Names and
 * shapes are those of a checkpoint (checkpoint-shapes.ts): `layers.0.kernel`, `layers.0.bias`, ..., float32, and so every
 * export and checkpoint of Sealstream is one. It may end early: layers 0 to n are taken, the others begin as ever, so that
 * a body can be had from elsewhere and the head is learnt. Nothing is skipped silently: a tensor that is not of these
 * layers is refused, but for `trainer.*`. Must not read a file; the caller has compared the hash of the bytes.
 */
import { SealstreamError } from "../errors.ts";
import { tensorShapes } from "./checkpoint-shapes.ts";
import type { Network } from "./definition.ts";
import { TRAINER_PREFIX } from "./trainer-tensors.ts";
import type { LayerWeights, Weights } from "./weights.ts";

const LENGTH_BYTES = 8;
const FLOAT_BYTES = 4;
/** The format's own limit is 100 MB; names of a few hundred tensors take some KiB. */
const MAX_HEADER_BYTES = 1_048_576;

export interface WarmStart {
  /** Of the first layers; fewer than the network's where the file ends early. */
  readonly weights: Weights;
  /** Layers with weights that were in the file, and that the network has. */
  readonly given: number;
  readonly wanted: number;
}

interface Tensor {
  readonly shape: readonly number[];
  readonly values: () => Float32Array;
}

/**
 * @param bytes of the file; not kept
 * @throws checkpoint-invalid when the file is no safetensors, or holds anything but the network's first layers
 */
export function readWarmStart(bytes: Uint8Array, network: Network): WarmStart {
  const found = readTensors(bytes);
  const byLayer = network.layers.map((_, index) =>
    tensorShapes(network).filter(([name]) => name.startsWith(`layers.${index}.`)),
  );
  const isThere = byLayer.map((shapes) => shapes.some(([name]) => found.has(name)));
  const end = isThere.lastIndexOf(true) + 1;
  const layers = byLayer.slice(0, end).map((shapes) => layerOf(shapes, found));
  const known = new Set(byLayer.flat().map(([name]) => name));
  if ([...found.keys()].some((name) => !known.has(name))) {
    throw invalid("it holds tensors that are not of this network");
  }
  if (end === 0) throw invalid("it holds no layer of this network");
  return {
    weights: { layers },
    given: isThere.filter(Boolean).length,
    wanted: byLayer.filter((shapes) => shapes.length > 0).length,
  };
}

function layerOf(
  shapes: readonly (readonly [string, readonly number[]])[],
  found: ReadonlyMap<string, Tensor>,
): LayerWeights {
  const kernel: number[] = [];
  const bias: number[] = [];
  for (const [name, shape] of shapes) {
    const tensor = found.get(name);
    if (tensor === undefined) throw invalid(`it lacks ${name}`);
    if (JSON.stringify(tensor.shape) !== JSON.stringify(shape)) {
      throw invalid(`${name} must have the shape [${shape.join(", ")}]`);
    }
    const values = tensor.values();
    if (!values.every(Number.isFinite)) throw invalid(`${name} holds a number that is not finite`);
    const part = name.endsWith(".bias") ? bias : kernel;
    for (const value of values) part.push(value);
  }
  return { kernel: Float32Array.from(kernel), bias: Float32Array.from(bias) };
}

/** The tensors of a file by name, but for trainer tensors. */
function readTensors(bytes: Uint8Array): Map<string, Tensor> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = bytes.length < LENGTH_BYTES ? 0n : view.getBigUint64(0, true);
  if (headerBytes > BigInt(Math.min(MAX_HEADER_BYTES, bytes.length - LENGTH_BYTES))) {
    throw invalid("its header does not fit");
  }
  const dataAt = LENGTH_BYTES + Number(headerBytes);
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, dataAt));
  const tensors = new Map<string, Tensor>();
  for (const [name, claim] of Object.entries(header)) {
    if (name === "__metadata__" || name.startsWith(TRAINER_PREFIX)) continue;
    tensors.set(name, tensorOf(claim, view, dataAt));
  }
  return tensors;
}

function parseHeader(header: Uint8Array): object {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(header));
    if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed;
  } catch {
    // Because every way not to be such a header has the same remedy.
  }
  throw invalid("it is not a safetensors file");
}

function tensorOf(claim: unknown, view: DataView, dataAt: number): Tensor {
  // What it is at all is asked of each part below.
  const { dtype, shape, data_offsets: offsets } = Object(claim) as Record<string, unknown>;
  if (!isLengths(shape) || !isLengths(offsets)) throw invalid("a tensor has no shape or place");
  if (dtype !== "F32") throw invalid("its tensors must be of float32 (F32)");
  const [begin = 0, end = 0] = offsets;
  const length = shape.reduce((product, size) => product * size, 1);
  if (end - begin !== length * FLOAT_BYTES || dataAt + end > view.byteLength) {
    throw invalid("a tensor's data is not where its header says");
  }
  return {
    shape,
    values: () =>
      Float32Array.from({ length }, (_, index) =>
        view.getFloat32(dataAt + begin + index * FLOAT_BYTES, true),
      ),
  };
}

function isLengths(value: unknown): value is number[] {
  return (
    Array.isArray(value) && value.every((one) => Number.isSafeInteger(one) && (one as number) >= 0)
  );
}

function invalid(fault: string): SealstreamError {
  return new SealstreamError(
    "checkpoint-invalid",
    `The file of train.warmStart cannot be used: ${fault}.`,
  );
}
