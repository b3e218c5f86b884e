/**
 * The layers of `train.network` as a chain: which may stand where, and the shapes from layer to layer.
 *
 * Shapes are followed so that a mistake is shown at the layer that cannot read what comes before it. It reads entries
 * whose keys fit each other (network-layers.ts).
 */
import {
  LAYER_KINDS,
  type LayerKind,
  type NetworkLayerEntry,
} from "../../schemas/network-layers.ts";
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { KeyPath } from "./complaint.ts";
import { mapOutputs } from "./feature-maps.ts";

export type Say = (path: KeyPath, message: string) => void;
type Pair = readonly [number, number];
type Shape = readonly number[];

/** Kinds behind which a dense layer must come, because they give no logits. */
const NEVER_LAST: readonly LayerKind[] = ["rnn", "gru", "lstm", "embedding", "reshape"];
/** Kinds with an activation that they cannot do without where they are not the last. */
const ACTIVE: readonly LayerKind[] = ["dense", "conv2d", "conv1d", "rnn"];

/** The one kind of an entry; `reshape` for none, which has been refused before. */
export function kindOf(entry: NetworkLayerEntry): LayerKind {
  return LAYER_KINDS.find((kind) => entry[kind] !== undefined) ?? "reshape";
}

export function toPair(sides: number | readonly [number, number]): Pair {
  return typeof sides === "number" ? [sides, sides] : sides;
}

/** Which layer may stand where, and with which activation. */
export function checkPlaces(entries: readonly NetworkLayerEntry[], say: Say): void {
  for (const [index, entry] of entries.entries()) {
    const kind = kindOf(entry);
    const next = entries[index + 1];
    const isLinear = (entry.activation ?? "none") === "none";
    if (kind === "embedding" && index > 0) {
      say([index, kind], "an embedding reads the features: expected it as the first layer");
    }
    if (next === undefined) {
      if (NEVER_LAST.includes(kind)) {
        say([index], `${kind} cannot be the last layer: expected a dense layer behind it`);
      } else if (!isLinear) say([index, "activation"], "the last layer has no activation");
    } else if (ACTIVE.includes(kind) && isLinear && next.layerNorm === undefined) {
      const message =
        "a hidden layer needs an activation, such as square or quadratic, or a layerNorm behind it";
      say([index, "activation"], message);
    }
  }
}

/** Shapes from the features to the classes; stops at the first that does not fit. */
export function checkShapes(file: PipelineFile, say: Say): void {
  const entries = file.train.network;
  const { classes } = file.features.label;
  let shape: Shape = [mapOutputs(file.features).length];
  for (const [index, entry] of entries.entries()) {
    const kind = kindOf(entry);
    const next = kind === "embedding" ? embedded(file, entry) : shapeBehind(entry, shape);
    if (typeof next === "string") {
      say([index, kind], next);
      return;
    }
    shape = next;
  }
  const outputs = sizeOf(shape);
  const last = kindOf(entries.at(-1) ?? {});
  if (outputs !== classes && !NEVER_LAST.includes(last)) {
    const message = `the last layer has one output a class: expected ${classes}, found ${outputs}`;
    say([entries.length - 1, last], message);
  }
}

function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** An embedding takes back the scaling of its tokens, so it must know the range. */
function embedded(file: PipelineFile, entry: NetworkLayerEntry): Shape | string {
  const { embedding = 0, vocabulary = 0 } = entry;
  const { inputs, maps } = file.features;
  if (maps.length > 0) {
    return "an embedding reads whole numbers: expected no features.maps before it";
  }
  const wrong = inputs.find(({ range }) => range[0] !== 0 || range[1] !== vocabulary - 1);
  if (wrong !== undefined) {
    return `the input '${wrong.field}' must have the range [0, vocabulary - 1]: expected [0, ${vocabulary - 1}], found [${wrong.range.join(", ")}]`;
  }
  return [inputs.reduce((sum, { length }) => sum + length, 0), embedding];
}

/** The shape that a layer makes of another, or what is wrong. */
function shapeBehind(entry: NetworkLayerEntry, shape: Shape): Shape | string {
  const { dense, reshape } = entry;
  if (dense !== undefined) return [dense];
  if (entry.layerNorm !== undefined) return shape;
  if (reshape !== undefined) {
    const [held, wanted] = [sizeOf(shape), sizeOf(reshape)];
    return held === wanted ? reshape : `${reshape.join(" x ")} are ${wanted} values, found ${held}`;
  }
  const units = entry.rnn ?? entry.gru ?? entry.lstm;
  if (units !== undefined) {
    const [steps, ...rest] = shape;
    if (steps === undefined || rest.length !== 1) {
      return `expected reshape: [steps, features] before it`;
    }
    return entry.sequences === true ? [steps, units] : [units];
  }
  if (entry.globalAveragePool !== undefined) {
    return shape.length > 1
      ? shape.slice(-1)
      : "expected reshape: [height, width, channels] or [steps, channels] before it";
  }
  return isLine(entry) ? shapeBehindLine(entry, shape) : shapeBehindImage(entry, shape);
}

function isLine({ conv1d, averagePool1d, maxPool1d }: NetworkLayerEntry): boolean {
  return (conv1d ?? averagePool1d ?? maxPool1d) !== undefined;
}

function shapeBehindLine(entry: NetworkLayerEntry, shape: Shape): Shape | string {
  const [steps, channels, more] = shape;
  if (steps === undefined || channels === undefined || more !== undefined) {
    return "expected reshape: [steps, channels] before it";
  }
  const [size] = toPair(entry.kernelSize ?? entry.averagePool1d ?? entry.maxPool1d ?? 1);
  const count = windows(entry, steps, 0, size);
  return count < 1
    ? `a window of ${size} is larger than ${steps}`
    : [count, entry.conv1d ?? channels];
}

function shapeBehindImage(entry: NetworkLayerEntry, shape: Shape): Shape | string {
  const [height, width, channels] = shape;
  if (height === undefined || width === undefined || channels === undefined) {
    return "expected reshape: [height, width, channels] before it";
  }
  const size = toPair(entry.kernelSize ?? entry.averagePool2d ?? entry.maxPool2d ?? 1);
  const rows = windows(entry, height, 0, size[0]);
  const columns = windows(entry, width, 1, size[1]);
  return rows < 1 || columns < 1
    ? `a window of ${size.join(" x ")} is larger than ${height} x ${width}`
    : [rows, columns, entry.conv2d ?? channels];
}

/** Windows along an axis. */
function windows(entry: NetworkLayerEntry, length: number, axis: 0 | 1, size: number): number {
  const isConvolution = (entry.conv1d ?? entry.conv2d) !== undefined;
  const stride =
    entry.strides === undefined ? (isConvolution ? 1 : size) : toPair(entry.strides)[axis];
  return entry.padding === "same"
    ? Math.ceil(length / stride)
    : Math.floor((length - size) / stride) + 1;
}
