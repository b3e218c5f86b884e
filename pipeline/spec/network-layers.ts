/**
 * The layers of `train.network`: what their keys must mean together, and their checked form.
 *
 * Which layer may stand where, and what shapes it makes, says network-shapes.ts. Limits of size are the business of
 * `pipeline/network/`, which this room may not import.
 */
import {
  ACTIVATION_FUNCTIONS,
  LAYER_KINDS,
  type LayerKind,
  type NetworkLayerEntry,
} from "../../schemas/network-layers.ts";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint } from "./complaint.ts";
import type { ActivationSpec, LayerSpec } from "./layer-spec.ts";
import type { LocatedTree } from "./located-tree.ts";
import { checkPlaces, checkShapes, kindOf, type Say, toPair } from "./network-shapes.ts";

type Key = keyof NetworkLayerEntry;

const CONVOLUTION: readonly Key[] = ["kernelSize", "strides", "padding", "activation"];
/** Keys beside the one that says the kind. */
const KEYS_OF: Readonly<Record<LayerKind, readonly Key[]>> = {
  dense: ["activation"],
  conv2d: CONVOLUTION,
  conv1d: CONVOLUTION,
  averagePool2d: ["strides"],
  averagePool1d: ["strides"],
  maxPool2d: ["strides"],
  maxPool1d: ["strides"],
  globalAveragePool: [],
  rnn: ["sequences", "activation"],
  gru: ["sequences"],
  lstm: ["sequences"],
  embedding: ["vocabulary"],
  layerNorm: ["epsilon", "activation"],
  reshape: [],
};
/** Keys that a kind cannot do without, and what they are. */
const NEEDS: Readonly<Partial<Record<LayerKind, readonly [Key, string]>>> = {
  conv2d: ["kernelSize", "kernelSize, one number or [height, width]"],
  conv1d: ["kernelSize", "kernelSize, one number"],
  embedding: ["vocabulary", "vocabulary, the number of different tokens"],
};
/** Kinds that ciphertexts cannot be put through: they compare, divide, or are no polynomial. */
const PLAIN_KINDS: readonly LayerKind[] = [
  ...(["maxPool2d", "maxPool1d", "gru", "lstm", "embedding", "layerNorm"] as const),
];
/** As Keras' LayerNormalization. */
const DEFAULT_EPSILON = 0.001;

/** The checked form of a file whose network has no complaint. */
export function toLayers(entries: readonly NetworkLayerEntry[]): LayerSpec[] {
  return entries.map(toLayer);
}

function toLayer(entry: NetworkLayerEntry): LayerSpec {
  const activation = toActivation(entry.activation);
  const sequences = entry.sequences === true ? { sequences: entry.sequences } : {};
  if (entry.dense !== undefined) return { dense: entry.dense, activation };
  if (entry.rnn !== undefined) return { rnn: entry.rnn, ...sequences, activation };
  if (entry.gru !== undefined) return { gru: entry.gru, ...sequences };
  if (entry.lstm !== undefined) return { lstm: entry.lstm, ...sequences };
  if (entry.embedding !== undefined) {
    return { embedding: entry.embedding, vocabulary: entry.vocabulary ?? 0 };
  }
  if (entry.layerNorm !== undefined) {
    return { layerNorm: entry.epsilon ?? DEFAULT_EPSILON, activation };
  }
  return toWindows(entry, activation);
}

function toWindows(entry: NetworkLayerEntry, activation: ActivationSpec): LayerSpec {
  const padding = entry.padding ?? "valid";
  const { conv2d, conv1d, averagePool1d, maxPool1d } = entry;
  if (conv2d !== undefined) {
    const kernelSize = toPair(entry.kernelSize ?? 1);
    return { conv2d, kernelSize, strides: toPair(entry.strides ?? 1), padding, activation };
  }
  if (conv1d !== undefined) {
    const kernelSize = toPair(entry.kernelSize ?? 1)[0];
    return { conv1d, kernelSize, strides: toPair(entry.strides ?? 1)[0], padding, activation };
  }
  if (entry.averagePool2d !== undefined) {
    const averagePool2d = toPair(entry.averagePool2d);
    return { averagePool2d, strides: toPair(entry.strides ?? [...averagePool2d]) };
  }
  if (entry.maxPool2d !== undefined) {
    const maxPool2d = toPair(entry.maxPool2d);
    return { maxPool2d, strides: toPair(entry.strides ?? [...maxPool2d]) };
  }
  if (averagePool1d !== undefined) {
    return { averagePool1d, strides: toPair(entry.strides ?? averagePool1d)[0] };
  }
  if (maxPool1d !== undefined) return { maxPool1d, strides: toPair(entry.strides ?? maxPool1d)[0] };
  if (entry.globalAveragePool !== undefined) return { globalAveragePool: true };
  return { reshape: entry.reshape ?? [] };
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
    checkActivation(entry, index, say);
  }
  if (complaints.length > 0) return complaints;
  checkPlaces(entries, say);
  checkShapes(file, say);
  const { encrypted, model } = file.predict;
  if (encrypted) checkPolynomials(entries, say);
  else if (model === "encrypted") {
    const message =
      "expected secret or shared where predict.encrypted is false: nothing is predicted";
    complaints.push(tree.complain(["predict", "model"], message));
  }
  return complaints;
}

function checkKeys(entry: NetworkLayerEntry, index: number, say: Say): void {
  const [kind, second] = LAYER_KINDS.filter((one) => entry[one] !== undefined);
  if (kind === undefined || second !== undefined) {
    const found = kind === undefined ? "none" : `${kind} and ${second}`;
    say([index], `a layer has one of ${LAYER_KINDS.join(", ")}; found ${found}`);
    return;
  }
  const isLine = kind.endsWith("1d");
  for (const key of Object.keys(entry)) {
    // Because the keys of a strict object are those of its type.
    const own = key as Key;
    if (entry[own] === undefined || key === kind) continue;
    if (!KEYS_OF[kind].includes(own)) say([index, key], `${kind} has no ${key}`);
    else if (isLine && Array.isArray(entry[own])) {
      say([index, key], `${kind} runs over one axis: expected one number`);
    }
  }
  const need = NEEDS[kind];
  if (need !== undefined && entry[need[0]] === undefined) say([index], `${kind} needs ${need[1]}`);
}

function checkActivation({ activation }: NetworkLayerEntry, index: number, say: Say): void {
  if (activation === undefined || typeof activation === "string") return;
  const path = [index, "activation"];
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

/** What ciphertexts cannot be put through. */
function checkPolynomials(entries: readonly NetworkLayerEntry[], say: Say): void {
  for (const [index, entry] of entries.entries()) {
    const kind = kindOf(entry);
    const { activation } = entry;
    if (PLAIN_KINDS.includes(kind)) {
      const message = `ciphertexts cannot be put through ${kind}: take it out, or set predict: { encrypted: false }, which predicts nothing`;
      say([index, kind], message);
    } else if (ACTIVATION_FUNCTIONS.some((name) => name === activation)) {
      const message = `ciphertexts cannot be put through ${activation}: expected a polynomial such as { minimax: ${activation}, degree: 3, range: 4 }, or predict: { encrypted: false }, which predicts nothing`;
      say([index, "activation"], message);
    }
  }
}

/** A layer as `check` prints it. */
export function layerText(layer: LayerSpec): string {
  if ("reshape" in layer) return `(${layer.reshape.join(" x ")})`;
  if ("globalAveragePool" in layer) return "mean of all";
  if ("embedding" in layer) return `embedding ${layer.vocabulary} to ${layer.embedding}`;
  if ("layerNorm" in layer) return withActivation("norm", layer.activation);
  if ("dense" in layer) return withActivation(`${layer.dense}`, layer.activation);
  if ("rnn" in layer || "gru" in layer || "lstm" in layer) return recurrentText(layer);
  return windowText(layer);
}

function recurrentText(
  layer: Extract<LayerSpec, { rnn: number } | { gru: number } | { lstm: number }>,
): string {
  const all = layer.sequences === true ? " all states" : "";
  if ("gru" in layer) return `gru ${layer.gru}${all}`;
  return "lstm" in layer
    ? `lstm ${layer.lstm}${all}`
    : withActivation(`rnn ${layer.rnn}${all}`, layer.activation);
}

function windowText(layer: LayerSpec): string {
  if ("averagePool2d" in layer) return `mean ${layer.averagePool2d.join(" x ")}`;
  if ("maxPool2d" in layer) return `max ${layer.maxPool2d.join(" x ")}`;
  if ("averagePool1d" in layer) return `mean ${layer.averagePool1d}`;
  if ("maxPool1d" in layer) return `max ${layer.maxPool1d}`;
  if ("conv1d" in layer) {
    return withActivation(`conv ${layer.kernelSize} x ${layer.conv1d}`, layer.activation);
  }
  return "conv2d" in layer
    ? withActivation(`conv ${layer.kernelSize.join(" x ")} x ${layer.conv2d}`, layer.activation)
    : "";
}

function withActivation(text: string, activation: ActivationSpec): string {
  if (activation === "none") return text;
  if (typeof activation === "string") return `${text} ${activation}`;
  return "polynomial" in activation
    ? `${text} polynomial of degree ${activation.polynomial.length - 1}`
    : `${text} ${activation.minimax} by degree ${activation.degree} on ${activation.range}`;
}
