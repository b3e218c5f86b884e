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
 *   T          = {"dtype":"F32","shape":[...],"data_offsets":[begin,end]}
 *   data       = float32 of layers.0.bias, layers.0.kernel, layers.1.bias, ... row-major, without gaps
 * Shapes: bias [out], [filters], [gates*units], gru [2,3*units] or layerNorm [features]; kernel [in,out],
 * [height,width,channels,filters], [features,gates*units], embedding [vocabulary,width] or layerNorm [features]; and
 * behind a recurrent layer's kernel "layers.N.recurrent" [units,gates*units]. A pool has none, an embedding no bias.
 */
import { SealstreamError } from "../errors.ts";
import { MAX_LAYERS, MAX_PARAMETERS, type Network, networkFault } from "./definition.ts";
import { isRecurrent, type NetworkLayer, unitsOf } from "./layers.ts";
import { networkVersion, plainNetwork, readNetwork } from "./network-json.ts";
import { chainProducts, type LayerProduct, weightSizes } from "./products.ts";
import { type Weights, weightsFault } from "./weights.ts";

export interface Checkpoint {
  readonly network: Network;
  readonly weights: Weights;
  /** Public facts about the weights; never anything about a record. Keys: a letter, then letters, digits, `.`, `-`. */
  readonly metadata: Readonly<Record<string, string>>;
}

const LENGTH_BYTES = 8;
/** The format asks for no alignment; 8 keeps the data aligned for readers that map it. */
const HEADER_ALIGNMENT = 8;
/** 64 KiB: 16 layers need under 12 KiB with their polynomials, the rest is for metadata. */
const MAX_HEADER_BYTES = 65_536;
const FLOAT_BYTES = 4;
const SPACE = 0x20;
const RESERVED_PREFIX = "sealstream.";
const FORMAT_KEY = "sealstream.checkpoint";
const ACTIVATIONS_KEY = "sealstream.activations";
const NETWORK_KEY = "sealstream.network";
/** Starts with a letter: not integer-like (JSON.parse would move it) and never `__proto__`. */
const METADATA_KEY = /^[A-Za-z][A-Za-z0-9.-]{0,63}$/;
const MAX_METADATA_ENTRIES = 64;

/** Largest checkpoint this version reads, in bytes. */
export const MAX_CHECKPOINT_BYTES = LENGTH_BYTES + MAX_HEADER_BYTES + MAX_PARAMETERS * FLOAT_BYTES;

/**
 * A checkpoint as safetensors bytes; the same content gives the same bytes.
 * @returns a new buffer
 * @throws checkpoint-invalid when weights do not fit the network, are not finite, or the metadata is out of bounds
 */
export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  const { network, weights, metadata } = checkpoint;
  const fault =
    networkFault(network) ?? weightsFault(network, weights) ?? metadataFault(metadata, true);
  if (fault !== null) throw invalid(fault);
  const header = encodeHeader(network, metadata);
  if (header.length > MAX_HEADER_BYTES) throw invalid("the metadata is too long");
  const tensors = weights.layers.flatMap(({ kernel, bias }) => [bias, kernel]);
  const dataBytes = tensors.reduce((sum, tensor) => sum + tensor.length * FLOAT_BYTES, 0);
  const bytes = new Uint8Array(LENGTH_BYTES + header.length + dataBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, LENGTH_BYTES);
  let at = LENGTH_BYTES + header.length;
  for (const tensor of tensors) {
    for (const value of tensor) {
      view.setFloat32(at, value, true);
      at += FLOAT_BYTES;
    }
  }
  return bytes;
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
  const { network, metadata } = decodeHeader(header);
  const canonical = encodeHeader(network, metadata);
  if (Buffer.compare(canonical, header) !== 0) throw invalid("its header is not canonical");

  let at = dataAt;
  const take = (length: number): Float32Array => {
    if (at + length * FLOAT_BYTES > bytes.length) throw invalid("its data is too short");
    const tensor = new Float32Array(length);
    for (let index = 0; index < length; index += 1) {
      tensor[index] = view.getFloat32(at, true);
      at += FLOAT_BYTES;
    }
    return tensor;
  };
  const layers = chainProducts(network.inputs, network.layers).map((products) => {
    const sizes = weightSizes(products);
    const bias = take(sizes.bias);
    return { kernel: take(sizes.kernel), bias };
  });
  if (at !== bytes.length) throw invalid("bytes follow its data");
  const weights: Weights = { layers };
  const fault = weightsFault(network, weights);
  if (fault !== null) throw invalid(fault);
  return { network, weights, metadata };
}

function encodeHeader(network: Network, metadata: Readonly<Record<string, string>>): Buffer {
  const version = networkVersion(network);
  const own: Record<string, string> =
    version === 1
      ? {
          [ACTIVATIONS_KEY]: network.layers.map(({ activation }) => activation).join(","),
          [FORMAT_KEY]: "1",
        }
      : { [FORMAT_KEY]: `${version}`, [NETWORK_KEY]: JSON.stringify(plainNetwork(network)) };
  const entries = { ...metadata, ...own };
  const sorted = Object.fromEntries(Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1)));
  const header: Record<string, unknown> = { __metadata__: sorted };
  let begin = 0;
  for (const [name, shape] of tensorShapes(network)) {
    const end = begin + shape.reduce((product, size) => product * size, FLOAT_BYTES);
    header[name] = { dtype: "F32", shape, data_offsets: [begin, end] };
    begin = end;
  }
  const json = Buffer.from(JSON.stringify(header), "utf8");
  const padded = Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
  return Buffer.concat([json, Buffer.alloc(padded - json.length, SPACE)]);
}

/** Names and shapes in the order of their data: bias, kernel, and the rows of a kernel that belong to the state. */
function tensorShapes({ inputs, layers }: Network): (readonly [string, readonly number[]])[] {
  const products = chainProducts(inputs, layers);
  return layers.flatMap((layer, index) =>
    layerShapes(layer, products[index] ?? []).map(
      ([name, shape]) => [`layers.${index}.${name}`, shape] as const,
    ),
  );
}

function layerShapes(
  layer: NetworkLayer,
  [product]: readonly LayerProduct[],
): (readonly [string, readonly number[]])[] {
  if (product === undefined) return [];
  const { rows, columns } = product;
  if (layer.kind === "embedding") return [["kernel", [rows, columns]]];
  const bias = ["bias", layer.kind === "gru" ? [2, columns] : [columns]] as const;
  if (isRecurrent(layer)) {
    return [bias, ["kernel", [layer.input[1], columns]], ["recurrent", [unitsOf(layer), columns]]];
  }
  if (layer.kind === "layerNorm") return [bias, ["kernel", [columns]]];
  return [
    bias,
    [
      "kernel",
      layer.kind === "conv2d" ? [...layer.kernelSize, layer.input[2], columns] : [rows, columns],
    ],
  ];
}

/** What a header claims. The caller compares it with the canonical header of that claim. */
function decodeHeader(header: Uint8Array): Pick<Checkpoint, "network" | "metadata"> {
  const root = asObject(parseJson(header));
  const claimed = asObject(root["__metadata__"]);
  const metadata: Record<string, string> = {};
  for (const [key, value] of Object.entries(claimed)) {
    if (typeof value !== "string") throw invalid("a metadata value is not a string");
    if (!key.startsWith(RESERVED_PREFIX)) metadata[key] = value;
  }
  const fault = metadataFault(metadata, false);
  if (fault !== null) throw invalid(fault);
  const network = claimedNetwork(root, claimed);
  const shapeFault = networkFault(network);
  if (shapeFault !== null) throw invalid(shapeFault);
  return { network, metadata };
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
