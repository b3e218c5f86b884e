/**
 * The layers of `train.network`: what their keys must mean together, and their checked form.
 *
 * Shapes are followed from layer to layer, so that a mistake is shown at the layer that cannot read what comes before
 * it. Limits of size are the business of `pipeline/network/`, which this room may not import.
 */
import {
  LAYER_KINDS,
  type LayerKind,
  type NetworkLayerEntry,
} from "../../schemas/network-layers.ts";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint, KeyPath } from "./complaint.ts";
import { mapOutputs } from "./feature-maps.ts";
import type { LocatedTree } from "./located-tree.ts";
import type { ActivationSpec, LayerSpec } from "./pipeline-spec.ts";

type Say = (path: KeyPath, message: string) => void;
type Pair = readonly [number, number];

/** Keys beside the one that says the kind. */
const KEYS_OF: Readonly<Record<LayerKind, readonly (keyof NetworkLayerEntry)[]>> = {
  dense: ["activation"],
  conv2d: ["kernelSize", "strides", "padding", "activation"],
  averagePool2d: ["strides"],
  rnn: ["activation"],
  reshape: [],
};

/** The checked form of a file whose network has no complaint. */
export function toLayers(entries: readonly NetworkLayerEntry[]): LayerSpec[] {
  return entries.map((entry) => {
    const activation = toActivation(entry.activation);
    if (entry.dense !== undefined) return { dense: entry.dense, activation };
    if (entry.rnn !== undefined) return { rnn: entry.rnn, activation };
    if (entry.conv2d !== undefined) {
      return {
        conv2d: entry.conv2d,
        kernelSize: toPair(entry.kernelSize ?? 1),
        strides: toPair(entry.strides ?? 1),
        padding: entry.padding ?? "valid",
        activation,
      };
    }
    if (entry.averagePool2d !== undefined) {
      const size = toPair(entry.averagePool2d);
      return { averagePool2d: size, strides: toPair(entry.strides ?? [...size]) };
    }
    return { reshape: entry.reshape ?? [] };
  });
}

function toPair(sides: number | readonly [number, number]): Pair {
  return typeof sides === "number" ? [sides, sides] : sides;
}

function toActivation(activation: NetworkLayerEntry["activation"]): ActivationSpec {
  if (activation === undefined || typeof activation === "string") return activation ?? "none";
  const { minimax, degree, range, polynomial } = activation;
  // The checks below have refused a file in which neither form is whole.
  return minimax === undefined
    ? { polynomial: polynomial ?? [] }
    : { minimax, degree: degree ?? 0, range: range ?? 0 };
}

/** Everything about `train.network` that does not fit together. */
export function checkNetwork(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const entries = file.train.network;
  const complaints: Complaint[] = [];
  const say: Say = (path, message) => {
    complaints.push(tree.complain(["train", "network", ...path], message));
  };
  for (const [index, entry] of entries.entries()) {
    checkKeys(entry, index, say);
    checkActivation(entry, [index, "activation"], say);
  }
  if (complaints.length > 0) return complaints;
  checkPlaces(entries, say);
  checkShapes(file, say);
  return complaints;
}

function kindsOf(entry: NetworkLayerEntry): LayerKind[] {
  return LAYER_KINDS.filter((kind) => entry[kind] !== undefined);
}

function checkKeys(entry: NetworkLayerEntry, index: number, say: Say): void {
  const [kind, second] = kindsOf(entry);
  if (kind === undefined || second !== undefined) {
    const found = kind === undefined ? "none" : `${kind} and ${second}`;
    say([index], `a layer has one of ${LAYER_KINDS.join(", ")}; found ${found}`);
    return;
  }
  for (const key of Object.keys(entry)) {
    // Because the keys of a strict object are those of its type.
    const own = key as keyof NetworkLayerEntry;
    if (entry[own] !== undefined && key !== kind && !KEYS_OF[kind].includes(own)) {
      say([index, key], `${kind} has no ${key}`);
    }
  }
  if (kind === "conv2d" && entry.kernelSize === undefined) {
    say([index], "conv2d needs kernelSize, one number or [height, width]");
  }
}

function checkActivation({ activation }: NetworkLayerEntry, path: KeyPath, say: Say): void {
  if (activation === undefined || typeof activation === "string") return;
  const { minimax, degree, range, polynomial } = activation;
  const parts = [minimax, degree, range].filter((part) => part !== undefined).length;
  if (polynomial === undefined ? parts !== 3 : parts !== 0) {
    say(path, "expected minimax, degree and range together, or polynomial");
  } else if ((minimax === "sigmoid" || minimax === "tanh") && degree === 2) {
    say(
      [...path, "degree"],
      `the best polynomial of degree 2 for ${minimax} is a line: expected 3`,
    );
  } else if (polynomial?.at(-1) === 0) {
    say([...path, "polynomial"], "expected a last coefficient other than 0");
  }
}

/** Which layer may stand where, and with which activation. */
function checkPlaces(entries: readonly NetworkLayerEntry[], say: Say): void {
  const last = entries.length - 1;
  for (const [index, entry] of entries.entries()) {
    const [kind] = kindsOf(entry);
    const isLast = index === last;
    if (isLast && (kind === "rnn" || kind === "reshape")) {
      say([index], `${kind} cannot be the last layer: expected a dense layer behind it`);
    }
    if (kind === "averagePool2d" || kind === "reshape") continue;
    const isLinear = (entry.activation ?? "none") === "none";
    if (isLast && !isLinear) say([index, "activation"], "the last layer has no activation");
    if (!isLast && isLinear) {
      say([index, "activation"], "a hidden layer needs an activation, such as square or quadratic");
    }
  }
}

/** Shapes from the features to the classes; stops at the first that does not fit. */
function checkShapes(file: PipelineFile, say: Say): void {
  const entries = file.train.network;
  const { classes } = file.features.label;
  let shape: readonly number[] = [mapOutputs(file.features).length];
  for (const [index, entry] of entries.entries()) {
    const [kind] = kindsOf(entry);
    const next = shapeBehind(entry, shape);
    if (typeof next === "string" || kind === undefined) {
      say(kind === undefined ? [index] : [index, kind], String(next));
      return;
    }
    shape = next;
  }
  const outputs = shape.reduce((product, size) => product * size, 1);
  const [kind] = kindsOf(entries.at(-1) ?? {});
  if (outputs !== classes && kind !== "rnn" && kind !== "reshape") {
    const message = `the last layer has one output a class: expected ${classes}, found ${outputs}`;
    say([entries.length - 1, kind ?? "dense"], message);
  }
}

/** The shape that a layer makes of another, or what is wrong. */
function shapeBehind(
  entry: NetworkLayerEntry,
  shape: readonly number[],
): readonly number[] | string {
  const { dense, rnn, reshape } = entry;
  if (dense !== undefined) return [dense];
  if (reshape !== undefined) {
    const [held, wanted] = [shape, reshape].map((sizes) => sizes.reduce((p, size) => p * size, 1));
    return held === wanted ? reshape : `${reshape.join(" x ")} are ${wanted} values, found ${held}`;
  }
  if (rnn !== undefined) {
    return shape.length === 2 ? [rnn] : "expected reshape: [steps, features] before an rnn";
  }
  const [height, width, channels] = shape;
  if (height === undefined || width === undefined || channels === undefined) {
    return "expected reshape: [height, width, channels] before it";
  }
  const size = toPair(entry.kernelSize ?? entry.averagePool2d ?? 1);
  const strides = toPair(entry.strides ?? entry.averagePool2d ?? 1);
  const windows = ([length, axis]: Pair): number =>
    entry.padding === "same"
      ? Math.ceil(length / (strides[axis] ?? 1))
      : Math.floor((length - (size[axis] ?? 1)) / (strides[axis] ?? 1)) + 1;
  const rows = windows([height, 0]);
  const columns = windows([width, 1]);
  if (rows < 1 || columns < 1) {
    return `a window of ${size.join(" x ")} is larger than ${height} x ${width}`;
  }
  return [rows, columns, entry.conv2d ?? channels];
}

/** A layer as `check` prints it. */
export function layerText(layer: LayerSpec): string {
  const of = (text: string, activation: ActivationSpec): string => {
    if (activation === "none") return text;
    if (typeof activation === "string") return `${text} ${activation}`;
    return "polynomial" in activation
      ? `${text} polynomial of degree ${activation.polynomial.length - 1}`
      : `${text} ${activation.minimax} by degree ${activation.degree} on ${activation.range}`;
  };
  if ("dense" in layer) return of(`${layer.dense}`, layer.activation);
  if ("rnn" in layer) return of(`rnn ${layer.rnn}`, layer.activation);
  if ("reshape" in layer) return `(${layer.reshape.join(" x ")})`;
  if ("averagePool2d" in layer) return `mean ${layer.averagePool2d.join(" x ")}`;
  return of(`conv ${layer.kernelSize.join(" x ")} x ${layer.conv2d}`, layer.activation);
}
