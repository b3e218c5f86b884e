/**
 * A network as JSON: one spelling to write, and a reader that takes nothing for granted.
 *
 * The reader checks types only; whether a network makes sense is `networkFault`'s business. Must not throw on any value.
 */
import type { Activation } from "./activation.ts";
import { MAX_LAYERS, type Network } from "./definition.ts";
import { type NetworkLayer, plainLayer } from "./layers.ts";

type Json = Readonly<Record<string, unknown>>;

/** A network with exactly its own keys, in one order. */
export function plainNetwork({ inputs, layers }: Network): Network {
  return { inputs, layers: layers.map(plainLayer) };
}

/** Whether a network is what version 1 of the formats can say: dense layers, none or square. */
export function isPlainDense({ layers }: Network): boolean {
  return layers.every(
    ({ kind, activation }) => kind === undefined && typeof activation === "string",
  );
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
  if (kind === undefined) return { outputs, activation };
  if (kind === "rnn") {
    const input = pairOf(item["input"]);
    return input === null ? null : { kind, input, outputs, activation };
  }
  const input = tripleOf(item["input"]);
  const strides = pairOf(item["strides"]);
  if (input === null || strides === null) return null;
  if (kind === "averagePool2d") {
    const poolSize = pairOf(item["poolSize"]);
    if (poolSize === null || activation !== "none") return null;
    return { kind, input, poolSize, strides, outputs, activation };
  }
  const { filters, padding } = item;
  const kernelSize = pairOf(item["kernelSize"]);
  if (kind !== "conv2d" || kernelSize === null || typeof filters !== "number") return null;
  if (padding !== "valid" && padding !== "same") return null;
  return { kind, input, filters, kernelSize, strides, padding, outputs, activation };
}

function readActivation(value: unknown): Activation | null {
  if (value === "none" || value === "square") return value;
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
