/**
 * Checkpoints: weights and their metadata as one safetensors file, of exactly one spelling.
 *
 * Source: the safetensors format (github.com/huggingface/safetensors, README "Format"). Any safetensors reader opens
 * what is written here; this reader is stricter than the format: it accepts only the bytes that `encodeCheckpoint`
 * writes for the same content (canonical header), so duplicate keys, gaps, overlaps, padding and trailing bytes have no
 * way in. Callers authenticate a checkpoint before it comes here; this parser must stay safe all the same.
 *
 * Grammar, versions 1 to 3 (integers little-endian):
 *   checkpoint = headerBytes:u64 header:headerBytes data
 *   header     = JSON object, UTF-8, no spaces inside, then spaces (0x20) up to a multiple of 8:
 *                {"__metadata__":{...},"layers.0.bias":T,"layers.0.kernel":T,"layers.1.bias":T,...}
 *   metadata   = string to string, keys sorted by code unit: the caller's, and
 *                version 1, of dense layers with `square` or `none` only:
 *                  "sealstream.activations": one activation a layer, joined by ","
 *                  "sealstream.checkpoint": "1"
 *                version 2, of networks that version 1 cannot say, and 3, of those that 2 cannot (network-json.ts):
 *                  "sealstream.checkpoint": "2" or "3"
 *                  "sealstream.network": JSON of the network, its keys in the order of `plainNetwork`
 *                and, only when there are trainer tensors: "sealstream.trainer": "1"
 *   T          = {"dtype":"F32","shape":[...],"data_offsets":[begin,end]}
 *   data       = float32 of layers.0.bias, layers.0.kernel, layers.1.bias, ... row-major, without gaps
 * Shapes: bias [out], [filters], [gates*units], gru [2,3*units] or layerNorm [features]; kernel [in,out],
 * [height,width,channels,filters], [features,gates*units], embedding [vocabulary,width] or layerNorm [features]; and
 * behind a recurrent layer's kernel "layers.N.recurrent" [units,gates*units]. A pool has none, an embedding no bias.
 * Trainer tensors (trainer-tensors.ts): those of float64 stand before the layers, those of float32 behind them, each
 * group sorted by name, in header and data alike. A reader of before them refuses a file that has some.
 */
import { SealstreamError } from "../errors.ts";
import { putNumbers, takeNumbers } from "../little-endian.ts";
import { tensorShapes } from "./checkpoint-shapes.ts";
import { MAX_LAYERS, MAX_PARAMETERS, type Network, networkFault } from "./definition.ts";
import { networkVersion, plainNetwork, readNetwork } from "./network-json.ts";
import { chainProducts, weightSizes } from "./products.ts";
import {
  bytesOf,
  claimsFault,
  claimsOf,
  ITERATE,
  MAX_TRAINER_BYTES,
  numbersFault,
  readClaims,
  TRAINER_PREFIX,
  type TrainerClaim,
  type TrainerTensors,
} from "./trainer-tensors.ts";
import { unflatten, type Weights, weightsFault } from "./weights.ts";

export interface Checkpoint {
  readonly network: Network;
  readonly weights: Weights;
  /** Public facts about the weights; never anything about a record. Keys: a letter, then letters, digits, `.`, `-`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What training goes on from beside the weights; absent: nothing. */
  readonly trainer?: TrainerTensors;
}

const LENGTH_BYTES = 8;
/** The format asks for no alignment; 8 keeps the data aligned for readers that map it. */
const HEADER_ALIGNMENT = 8;
/** 64 KiB: 16 layers need under 12 KiB with their polynomials, the rest is for metadata. */
const MAX_HEADER_BYTES = 65_536;
const FLOAT_BYTES = 4;
const DOUBLE_BYTES = 8;
const SPACE = 0x20;
const RESERVED_PREFIX = "sealstream.";
const FORMAT_KEY = "sealstream.checkpoint";
const ACTIVATIONS_KEY = "sealstream.activations";
const NETWORK_KEY = "sealstream.network";
const TRAINER_KEY = "sealstream.trainer";
/** Starts with a letter: not integer-like (JSON.parse would move it) and never `__proto__`. */
const METADATA_KEY = /^[A-Za-z][A-Za-z0-9.-]{0,63}$/;
const MAX_METADATA_ENTRIES = 64;

/** Largest checkpoint this version reads, in bytes. */
export const MAX_CHECKPOINT_BYTES =
  LENGTH_BYTES + MAX_HEADER_BYTES + MAX_PARAMETERS * FLOAT_BYTES + MAX_TRAINER_BYTES;

/**
 * A checkpoint as safetensors bytes; the same content gives the same bytes.
 * @returns a new buffer
 * @throws checkpoint-invalid when weights do not fit the network, are not finite, or the metadata is out of bounds
 */
export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  const { network, weights, metadata, trainer = {} } = checkpoint;
  const claims = claimsOf(trainer);
  const fault =
    networkFault(network) ??
    weightsFault(network, weights) ??
    metadataFault(metadata, true) ??
    claimsFault(claims) ??
    numbersFault(trainer);
  if (fault !== null) throw invalid(fault);
  const header = encodeHeader(network, metadata, claims);
  if (header.length > MAX_HEADER_BYTES) throw invalid("the metadata is too long");
  const extra = (dtype: TrainerClaim["dtype"]) =>
    claims.flatMap((claim) =>
      claim.dtype === dtype ? [trainer[claim.name] ?? new Float32Array(0)] : [],
    );
  const tensors = [
    ...extra("F64"),
    ...weights.layers.flatMap(({ kernel, bias }) => [bias, kernel]),
    ...extra("F32"),
  ];
  const dataBytes = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const bytes = new Uint8Array(LENGTH_BYTES + header.length + dataBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, LENGTH_BYTES);
  let at = LENGTH_BYTES + header.length;
  for (const tensor of tensors) {
    putNumbers(bytes, at, tensor);
    at += tensor.byteLength;
  }
  return bytes;
}

/** The weights that gradients are taken at: what readers use, unless the checkpoint holds others. */
export function iterateOf({ network, weights, trainer }: Checkpoint): Weights {
  const iterate = trainer?.[ITERATE];
  return iterate === undefined ? weights : unflatten(network, iterate);
}

/**
 * The content of a checkpoint.
 * @param bytes untrusted; not kept
 * @returns new buffers
 * @throws checkpoint-invalid for anything that `encodeCheckpoint` would not have written
 */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  if (bytes.length < LENGTH_BYTES) throw invalid("it is too short");
  if (bytes.length > MAX_CHECKPOINT_BYTES) throw invalid("it is too long");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = view.getBigUint64(0, true);
  if (headerBytes > BigInt(Math.min(MAX_HEADER_BYTES, bytes.length - LENGTH_BYTES))) {
    throw invalid("its header does not fit");
  }
  const dataAt = LENGTH_BYTES + Number(headerBytes);
  const header = bytes.subarray(LENGTH_BYTES, dataAt);
  const { network, metadata, claims } = decodeHeader(header);
  const canonical = encodeHeader(network, metadata, claims);
  if (Buffer.compare(canonical, header) !== 0) throw invalid("its header is not canonical");

  const read = dataReader(bytes, dataAt);
  const trainer: Record<string, Float32Array | Float64Array> = {};
  const takeClaims = (dtype: TrainerClaim["dtype"]): void => {
    for (const claim of claims) {
      if (claim.dtype !== dtype) continue;
      trainer[claim.name] =
        dtype === "F64" ? read.doubles(claim.length) : read.floats(claim.length);
    }
  };
  takeClaims("F64");
  const layers = chainProducts(network.inputs, network.layers).map((products) => {
    const sizes = weightSizes(products);
    const bias = read.floats(sizes.bias);
    return { kernel: read.floats(sizes.kernel), bias };
  });
  takeClaims("F32");
  if (read.at() !== bytes.length) throw invalid("bytes follow its data");
  const weights: Weights = { layers };
  const fault = weightsFault(network, weights) ?? numbersFault(trainer);
  if (fault !== null) throw invalid(fault);
  return { network, weights, metadata, ...(claims.length === 0 ? {} : { trainer }) };
}

/** Takes one tensor after the other; nothing is allocated that the bytes do not hold. */
function dataReader(bytes: Uint8Array, dataAt: number) {
  let at = dataAt;
  const begin = (length: number, width: number): number => {
    const from = at;
    at += length * width;
    if (at > bytes.length) throw invalid("its data is too short");
    return from;
  };
  return {
    at: () => at,
    floats(length: number): Float32Array {
      const from = begin(length, FLOAT_BYTES);
      return takeNumbers(new Float32Array(length), bytes, from);
    },
    doubles(length: number): Float64Array {
      const from = begin(length, DOUBLE_BYTES);
      return takeNumbers(new Float64Array(length), bytes, from);
    },
  };
}

function encodeHeader(
  network: Network,
  metadata: Readonly<Record<string, string>>,
  claims: readonly TrainerClaim[],
): Buffer {
  const version = networkVersion(network);
  const own: Record<string, string> =
    version === 1
      ? {
          [ACTIVATIONS_KEY]: network.layers.map(({ activation }) => activation).join(","),
          [FORMAT_KEY]: "1",
        }
      : { [FORMAT_KEY]: `${version}`, [NETWORK_KEY]: JSON.stringify(plainNetwork(network)) };
  if (claims.length > 0) own[TRAINER_KEY] = "1";
  const entries = { ...metadata, ...own };
  const sorted = Object.fromEntries(Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1)));
  const header: Record<string, unknown> = { __metadata__: sorted };
  let begin = 0;
  const add = (name: string, dtype: string, shape: readonly number[], bytes: number): void => {
    header[name] = { dtype, shape, data_offsets: [begin, begin + bytes] };
    begin += bytes;
  };
  const addClaims = (dtype: TrainerClaim["dtype"]): void => {
    for (const claim of claims) {
      if (claim.dtype !== dtype) continue;
      add(TRAINER_PREFIX + claim.name, dtype, [claim.length], bytesOf(claim));
    }
  };
  addClaims("F64");
  for (const [name, shape] of tensorShapes(network)) {
    add(
      name,
      "F32",
      shape,
      shape.reduce((product, size) => product * size, FLOAT_BYTES),
    );
  }
  addClaims("F32");
  const json = Buffer.from(JSON.stringify(header), "utf8");
  const padded = Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
  return Buffer.concat([json, Buffer.alloc(padded - json.length, SPACE)]);
}

/** What a header claims. The caller compares it with the canonical header of that claim. */
function decodeHeader(
  header: Uint8Array,
): Pick<Checkpoint, "network" | "metadata"> & { readonly claims: readonly TrainerClaim[] } {
  const root = asObject(parseJson(header));
  const claimed = asObject(root["__metadata__"]);
  const metadata: Record<string, string> = {};
  for (const [key, value] of Object.entries(claimed)) {
    if (typeof value !== "string") throw invalid("a metadata value is not a string");
    if (!key.startsWith(RESERVED_PREFIX)) metadata[key] = value;
  }
  const wrong = metadataFault(metadata, false);
  if (wrong !== null) throw invalid(wrong);
  const network = claimedNetwork(root, claimed);
  const shapeFault = networkFault(network);
  if (shapeFault !== null) throw invalid(shapeFault);
  const claims = readClaims(root);
  if (claims === null) throw invalid("a trainer tensor is not a list of numbers");
  const fault = claimsFault(claims);
  if (fault !== null) throw invalid(fault);
  return { network, metadata, claims };
}

/** The network that a header claims, unchecked but of the right types. */
function claimedNetwork(root: Record<string, unknown>, claimed: Record<string, unknown>): Network {
  const description = claimed[NETWORK_KEY];
  const activations = claimed[ACTIVATIONS_KEY];
  const version = claimed[FORMAT_KEY];
  if ((version === "2" || version === "3") && typeof description === "string") {
    const network = readNetwork(parseJson(description));
    if (network !== null) return network;
  }
  if (version !== "1" || typeof activations !== "string") {
    throw invalid("it is not a Sealstream checkpoint of version 1 to 3");
  }
  // MAX_LAYERS bounds the work before any shape is looked at.
  const names = activations.split(",", MAX_LAYERS + 1);
  const shapes = names.map((_, index) => kernelShape(root[`layers.${index}.kernel`]));
  return {
    inputs: shapes[0]?.[0] ?? 0,
    layers: names.map((name, index) => ({
      outputs: shapes[index]?.[1] ?? 0,
      activation: asActivation(name),
    })),
  };
}

function kernelShape(tensor: unknown): readonly [number, number] {
  const shape = asObject(tensor)["shape"];
  if (!Array.isArray(shape) || shape.length !== 2) throw invalid("a kernel is not a matrix");
  const [inputs, outputs]: unknown[] = shape;
  if (typeof inputs !== "number" || typeof outputs !== "number") {
    throw invalid("a shape is not made of numbers");
  }
  return [inputs, outputs];
}

function asActivation(name: string): "square" | "none" {
  if (name === "square" || name === "none") return name;
  throw invalid("an activation is neither square nor none");
}

function parseJson(text: Uint8Array | string): unknown {
  try {
    return JSON.parse(
      typeof text === "string" ? text : new TextDecoder("utf-8", { fatal: true }).decode(text),
    );
  } catch (cause) {
    throw new SealstreamError("checkpoint-invalid", "The checkpoint's header is not JSON.", {
      cause,
    });
  }
}

function asObject(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("its header lacks a part");
  }
  // A non-null object that is no array, out of JSON.parse, is a record because JSON knows no other.
  return value as Record<string, unknown>;
}

function metadataFault(
  metadata: Readonly<Record<string, string>>,
  refuseReserved: boolean,
): string | null {
  const keys = Object.keys(metadata);
  if (keys.length > MAX_METADATA_ENTRIES) return "it has too many metadata entries";
  if (!keys.every((key) => METADATA_KEY.test(key))) return "a metadata key is not allowed";
  if (refuseReserved && keys.some((key) => key.startsWith(RESERVED_PREFIX))) {
    return "a metadata key is reserved";
  }
  return null;
}

function invalid(fault: string): SealstreamError {
  return new SealstreamError("checkpoint-invalid", `The checkpoint is refused: ${fault}.`);
}
