/**
 * A network as JSON: one spelling to write, and a reader that takes nothing for granted.
 *
 * The reader checks types only; whether a network makes sense is `networkFault`'s business. Must not throw on any value.
 */
import { type Activation, isFunction } from "./activation.ts";
import { MAX_LAYERS, type Network } from "./definition.ts";
import { type NetworkLayer, plainLayer, type RecurrentLayer, type WindowLayer } from "./layers.ts";

type Json = Readonly<Record<string, unknown>>;

/** A network with exactly its own keys, in one order. */
export function plainNetwork({ inputs, layers }: Network): Network {
  return { inputs, layers: layers.map(plainLayer) };
}

/**
 * The lowest version of a format that can say a network. 1: dense layers, none or square; 2: polynomials, conv2d,
 * averagePool2d, rnn of the last state; 3: all the rest.
 */
export function networkVersion({ layers }: Network): 1 | 2 | 3 {
  const versions = layers.map(layerVersion);
  return versions.includes(3) ? 3 : versions.includes(2) ? 2 : 1;
}

function layerVersion(layer: NetworkLayer): 1 | 2 | 3 {
  const { kind, activation } = layer;
  if (isFunction(activation)) return 3;
  if (kind === undefined) return typeof activation === "string" ? 1 : 2;
  if (kind === "rnn") return layer.sequences === true ? 3 : 2;
  return kind === "conv2d" || kind === "averagePool2d" ? 2 : 3;
}

/** A network of the right types, its numbers unchecked; null when the value is something else. Unknown keys are dropped. */
export function readNetwork(value: unknown): Network | null {
  if (!isRecord(value) || typeof value["inputs"] !== "number") return null;
  const { inputs, layers: listed } = value;
  if (!Array.isArray(listed) || listed.length > MAX_LAYERS || typeof inputs !== "number") {
    return null;
  }
  const layers: NetworkLayer[] = [];
  for (const item of listed) {
    const layer = isRecord(item) ? readLayer(item) : null;
    if (layer === null) return null;
    layers.push(layer);
  }
  return { inputs, layers };
}

function readLayer(item: Json): NetworkLayer | null {
  const { kind, outputs } = item;
  const activation = readActivation(item["activation"]);
  if (typeof outputs !== "number" || activation === null) return null;
  switch (kind) {
    case undefined:
      return { outputs, activation };
    case "conv2d":
    case "averagePool2d":
    case "maxPool2d":
      return readWindows(item, kind, outputs, activation);
    case "rnn":
    case "gru":
    case "lstm":
      return readRecurrent(item, kind, outputs, activation);
    case "embedding": {
      const [steps, ...more] = numbersOf(item["input"]) ?? [];
      const { vocabulary } = item;
      if (steps === undefined || more.length > 0 || typeof vocabulary !== "number") return null;
      return activation === "none"
        ? { kind, input: [steps], vocabulary, outputs, activation }
        : null;
    }
    case "layerNorm": {
      const input = pairOf(item["input"]);
      const { epsilon } = item;
      return input === null || typeof epsilon !== "number"
        ? null
        : { kind, input, epsilon, outputs, activation };
    }
    default:
      return null;
  }
}

function readWindows(
  item: Json,
  kind: WindowLayer["kind"],
  outputs: number,
  activation: Activation,
): NetworkLayer | null {
  const input = tripleOf(item["input"]);
  const strides = pairOf(item["strides"]);
  if (input === null || strides === null) return null;
  if (kind !== "conv2d") {
    const poolSize = pairOf(item["poolSize"]);
    if (poolSize === null || activation !== "none") return null;
    return { kind, input, poolSize, strides, outputs, activation };
  }
  const { filters, padding } = item;
  const kernelSize = pairOf(item["kernelSize"]);
  if (kernelSize === null || typeof filters !== "number") return null;
  if (padding !== "valid" && padding !== "same") return null;
  return { kind, input, filters, kernelSize, strides, padding, outputs, activation };
}

function readRecurrent(
  item: Json,
  kind: RecurrentLayer["kind"],
  outputs: number,
  activation: Activation,
): NetworkLayer | null {
  const input = pairOf(item["input"]);
  const { sequences } = item;
  if (input === null || (sequences !== undefined && sequences !== true)) return null;
  const common = { input, ...(sequences === true ? { sequences: true as const } : {}), outputs };
  if (kind === "rnn") return { kind, ...common, activation };
  return activation === "tanh" ? { kind, ...common, activation } : null;
}

function readActivation(value: unknown): Activation | null {
  if (value === "none" || value === "square" || isFunction(value)) return value;
  const polynomial = isRecord(value) ? numbersOf(value["polynomial"]) : null;
  return polynomial === null ? null : { polynomial };
}

function pairOf(value: unknown): readonly [number, number] | null {
  const [first, second, ...more] = numbersOf(value) ?? [];
  return first === undefined || second === undefined || more.length > 0 ? null : [first, second];
}

function tripleOf(value: unknown): readonly [number, number, number] | null {
  const [first, second, third, ...more] = numbersOf(value) ?? [];
  if (first === undefined || second === undefined || third === undefined) return null;
  return more.length > 0 ? null : [first, second, third];
}

function numbersOf(value: unknown): number[] | null {
  const list: unknown[] = Array.isArray(value) ? value : [null];
  return list.every((item) => typeof item === "number") ? list : null;
}

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
