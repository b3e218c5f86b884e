/**
 * A small deterministic trainer in double precision, without privacy: real weights for the benchmark of predictions.
 *
 * Every layer is an affine map whose entries share parameters: a dense layer has one entry per parameter, a convolution
 * many, and a dense layer behind an average pooling reads every pooled pixel through the same one. Kernels lie as
 * `pipeline/network` has them, pictures channels last. Mini-batch gradient descent with momentum on the softmax
 * cross-entropy; the order of the examples and the first weights come from a fixed seed.
 * Must not be used for anything but benchmarks: no noise, no clipping per example, a seed that is known.
 */
import type { Network, NetworkLayer } from "../../pipeline/network/definition.ts";
import type { LayerWeights, Weights } from "../../pipeline/network/weights.ts";
import { seeded } from "../lib/seeded.ts";

/** outputs = act(factor * (entries of theta) x inputs + biases of theta), entries in compressed rows. */
export interface SharedLayer {
  readonly inputs: number;
  readonly outputs: number;
  readonly rowStarts: Uint32Array;
  readonly columns: Uint32Array;
  /** Per entry its parameter in `theta`. */
  readonly parameters: Uint32Array;
  /** Per output its bias in `theta`. */
  readonly biases: Uint32Array;
  readonly factor: number;
  readonly square: boolean;
  /** The kernel, then the bias. */
  readonly theta: Float64Array;
  /** What it is in a network; only the last of them has weights. */
  readonly meaning: readonly NetworkLayer[];
}

export interface Example {
  readonly features: Float64Array;
  readonly label: number;
}

export interface Schedule {
  readonly epochs: number;
  readonly batch: number;
  /** At the beginning; it falls to zero along half a cosine. */
  readonly learningRate: number;
  /** Pull of every parameter towards zero: small weights leave room below the modulus. */
  readonly decay: number;
}

const MOMENTUM = 0.9;
/** Largest norm of a step's gradient: squares make it explode where an example is far off. */
const MOST_GRADIENT = 1;
/** Share of a label that all classes have in common: it keeps logits within a few units of each other. */
const SMOOTHING = 0.1;
/** Mean squares of a feature in [0, 1] and of a squared standard normal, as in pipeline/network/weights.ts. */
const MEAN_SQUARES = { feature: 1 / 4, squared: 3 } as const;

interface Entries {
  readonly inputs: number;
  readonly outputs: number;
  /** Parameters of entries; the biases' follow. */
  readonly kernel: number;
  readonly biasOf: (output: number) => number;
  readonly row: (output: number) => readonly (readonly [column: number, parameter: number])[];
  readonly factor: number;
  readonly square: boolean;
  readonly meaning: readonly NetworkLayer[];
}

function layerOf({ kernel, biasOf, row, ...rest }: Entries): SharedLayer {
  const { outputs } = rest;
  const rowStarts = new Uint32Array(outputs + 1);
  const columns: number[] = [];
  const parameters: number[] = [];
  const biases = Uint32Array.from({ length: outputs }, (_, output) => kernel + biasOf(output));
  for (let output = 0; output < outputs; output += 1) {
    for (const [column, parameter] of row(output)) {
      columns.push(column);
      parameters.push(parameter);
    }
    rowStarts[output + 1] = columns.length;
  }
  return {
    ...rest,
    rowStarts,
    columns: Uint32Array.from(columns),
    parameters: Uint32Array.from(parameters),
    biases,
    theta: new Float64Array(Math.max(...biases) + 1),
  };
}

export function dense(inputs: number, outputs: number, square: boolean): SharedLayer {
  return layerOf({
    inputs,
    outputs,
    kernel: inputs * outputs,
    biasOf: (output) => output,
    row: (output) => Array.from({ length: inputs }, (_, i) => [i, i * outputs + output]),
    factor: 1,
    square,
    meaning: [{ outputs, activation: square ? "square" : "none" }],
  });
}

/** Pixels are [y][x][channel] everywhere. */
export interface Image {
  readonly channels: number;
  readonly width: number;
}

/** A square window over a square picture without padding, then squares. @returns the layer and the shape it gives */
export function convolution(
  { channels, width }: Image,
  { filters, window, stride }: { filters: number; window: number; stride: number },
): { readonly layer: SharedLayer; readonly image: Image } {
  const side = Math.floor((width - window) / stride) + 1;
  const outputs = side * side * filters;
  const weights = window * window * channels;
  const layer = layerOf({
    inputs: width * width * channels,
    outputs,
    kernel: weights * filters,
    biasOf: (output) => output % filters,
    row(output) {
      const place = Math.floor(output / filters);
      const [top, left] = [Math.floor(place / side) * stride, (place % side) * stride];
      return Array.from({ length: weights }, (_, at) => {
        const [y, x] = [Math.floor(at / (window * channels)), Math.floor(at / channels) % window];
        const pixel = ((top + y) * width + left + x) * channels + (at % channels);
        return [pixel, at * filters + (output % filters)];
      });
    },
    factor: 1,
    square: true,
    meaning: [
      {
        kind: "conv2d",
        input: [width, width, channels],
        filters,
        kernelSize: [window, window],
        strides: [stride, stride],
        padding: "valid",
        outputs,
        activation: "square",
      },
    ],
  });
  return { layer, image: { channels: filters, width: side } };
}

/** A dense layer that reads the averages of pool x pool windows. `width` must be a multiple of `pool`. */
export function pooledDense(
  { channels, width }: Image,
  { pool, outputs, square }: { pool: number; outputs: number; square: boolean },
): SharedLayer {
  const side = width / pool;
  const pooled = side * side * channels;
  const inputs = width * width * channels;
  const places = Array.from({ length: inputs }, (_, at) => {
    const [pixel, channel] = [Math.floor(at / channels), at % channels];
    const [y, x] = [Math.floor(pixel / width / pool), Math.floor((pixel % width) / pool)];
    return (y * side + x) * channels + channel;
  });
  return layerOf({
    inputs,
    outputs,
    kernel: pooled * outputs,
    biasOf: (output) => output,
    row: (output) => places.map((place, at) => [at, place * outputs + output]),
    factor: 1 / (pool * pool),
    square,
    meaning: [
      {
        kind: "averagePool2d",
        input: [width, width, channels],
        poolSize: [pool, pool],
        strides: [pool, pool],
        outputs: pooled,
        activation: "none",
      },
      { outputs, activation: square ? "square" : "none" },
    ],
  });
}

function initialize(layer: SharedLayer, first: boolean, random: () => number): void {
  const { rowStarts, parameters, theta, square, factor } = layer;
  const meanSquare = first && square ? MEAN_SQUARES.feature : MEAN_SQUARES.squared;
  const fanIn = rowStarts[1]! * factor;
  const limit = Math.sqrt(3 / (meanSquare * fanIn));
  const kernel = parameters.reduce((most, at) => Math.max(most, at), 0) + 1;
  for (let at = 0; at < kernel; at += 1) theta[at] = (2 * random() - 1) * limit;
}

/** z of a layer: before its activation. */
function affine(layer: SharedLayer, input: Float64Array, into: Float64Array): void {
  const { outputs, rowStarts, columns, parameters, biases, factor, theta } = layer;
  for (let output = 0; output < outputs; output += 1) {
    let sum = 0;
    const end = rowStarts[output + 1]!;
    for (let at = rowStarts[output]!; at < end; at += 1)
      sum += theta[parameters[at]!]! * input[columns[at]!]!;
    into[output] = sum * factor + theta[biases[output]!]!;
  }
}

/** Adds what this example says about theta, and tells the layer before what its outputs should have been. */
function backward(
  layer: SharedLayer,
  input: Float64Array,
  delta: Float64Array,
  { gradient, before }: { gradient: Float64Array; before: Float64Array | null },
): void {
  const { outputs, rowStarts, columns, parameters, biases, factor, theta } = layer;
  before?.fill(0);
  for (let output = 0; output < outputs; output += 1) {
    const error = delta[output]!;
    gradient[biases[output]!]! += error;
    const scaled = error * factor;
    const end = rowStarts[output + 1]!;
    for (let at = rowStarts[output]!; at < end; at += 1) {
      const column = columns[at]!;
      const parameter = parameters[at]!;
      gradient[parameter]! += scaled * input[column]!;
      if (before !== null) before[column]! += scaled * theta[parameter]!;
    }
  }
}

/** Logits of one example. */
export function logitsOf(layers: readonly SharedLayer[], features: Float64Array): Float64Array {
  let values = features;
  for (const layer of layers) {
    const next = new Float64Array(layer.outputs);
    affine(layer, values, next);
    values = layer.square ? next.map((value) => value * value) : next;
  }
  return values;
}

/** Softmax minus the smoothed label, in place. */
function lossGradient(logits: Float64Array, label: number): void {
  const rest = SMOOTHING / logits.length;
  const most = logits.reduce((a, b) => Math.max(a, b));
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - most);
  for (let at = 0; at < logits.length; at += 1)
    logits[at] = Math.exp(logits[at]! - most) / sum - (at === label ? 1 - SMOOTHING : 0) - rest;
}

function shuffle(order: Uint32Array, random: () => number): void {
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
}

/** Trains the layers in place; the same layers, examples and schedule give the same weights. */
export function train(
  layers: readonly SharedLayer[],
  examples: readonly Example[],
  { epochs, batch, learningRate, decay }: Schedule,
): void {
  const random = seeded(7);
  for (const [index, layer] of layers.entries()) initialize(layer, index === 0, random);
  const sums = layers.map(({ outputs }) => new Float64Array(outputs));
  const values: Float64Array[] = layers.map(({ inputs }) => new Float64Array(inputs));
  const deltas = layers.map(({ inputs }) => new Float64Array(inputs));
  const gradients = layers.map(({ theta }) => new Float64Array(theta.length));
  const speeds = layers.map(({ theta }) => new Float64Array(theta.length));
  const order = Uint32Array.from(examples.keys());
  const steps = epochs * Math.ceil(examples.length / batch);

  function addExample({ features, label }: Example): void {
    let input = features;
    for (const [index, layer] of layers.entries()) {
      values[index] = input;
      const sum = sums[index]!;
      affine(layer, input, sum);
      input = layer.square ? sum.map((z) => z * z) : sum;
    }
    let delta: Float64Array = sums.at(-1)!;
    lossGradient(delta, label);
    for (let index = layers.length - 1; index >= 0; index -= 1) {
      const before = index > 0 ? deltas[index]! : null;
      backward(layers[index]!, values[index]!, delta, { gradient: gradients[index]!, before });
      if (before === null) break;
      // The layer before squares: d z^2 = 2 z.
      const z = sums[index - 1]!;
      for (let at = 0; at < before.length; at += 1) before[at]! *= 2 * z[at]!;
      delta = before;
    }
  }

  function update(rate: number, count: number): void {
    let norm = 0;
    for (const gradient of gradients) for (const value of gradient) norm += (value / count) ** 2;
    const scale = Math.min(1, MOST_GRADIENT / Math.sqrt(norm)) / count;
    for (const [index, { theta }] of layers.entries()) {
      const speed = speeds[index]!;
      const gradient = gradients[index]!;
      for (let at = 0; at < theta.length; at += 1) {
        speed[at] = MOMENTUM * speed[at]! + scale * gradient[at]! + decay * theta[at]!;
        theta[at]! -= rate * speed[at]!;
      }
      gradient.fill(0);
    }
  }

  for (let epoch = 0, step = 0; epoch < epochs; epoch += 1) {
    shuffle(order, random);
    for (let from = 0; from < order.length; from += batch, step += 1) {
      const part = order.subarray(from, from + batch);
      for (const at of part) addExample(examples[at]!);
      update((learningRate / 2) * (1 + Math.cos((Math.PI * step) / steps)), part.length);
    }
  }
}

/** The trained layers as the pipeline has them: in single precision. */
export function networkOf(layers: readonly SharedLayer[]): {
  readonly network: Network;
  readonly weights: Weights;
} {
  const none: LayerWeights = { kernel: new Float32Array(), bias: new Float32Array() };
  const weights = layers.flatMap(({ theta, biases, meaning }): LayerWeights[] => {
    const kernel = Math.min(...biases);
    const own = {
      kernel: Float32Array.from(theta.subarray(0, kernel)),
      bias: Float32Array.from(theta.subarray(kernel)),
    };
    return [...meaning.slice(1).map(() => none), own];
  });
  const network = {
    inputs: layers[0]!.inputs,
    layers: layers.flatMap(({ meaning }) => meaning),
  };
  return { network, weights: { layers: weights } };
}
