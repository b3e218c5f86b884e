/**
 * A network and its weights as an ONNX file: `features` [batch, inputs] to `logits` [batch, classes], float32.
 *
 * The network alone: what comes before it (ranges, feature maps) and after it (the largest logit is the label) stays with
 * who runs it. Values between layers are flat and channels last, as everywhere here; what ONNX wants otherwise is turned
 * around the operator. Operators of opset 17. Must not read a file.
 */
import type { Activation } from "./activation.ts";
import { activationPolynomial, isFunction } from "./activation.ts";
import { classCount, type Network } from "./definition.ts";
import {
  type Conv2dLayer,
  type EmbeddingLayer,
  isPool,
  type LayerNormLayer,
  type NetworkLayer,
  type PoolLayer,
  windowSize,
  windowsOf,
} from "./layers.ts";
import { unrollRecurrent } from "./onnx-recurrent.ts";
import { encodeOnnx, type OnnxAttribute, type OnnxNode, type OnnxTensor } from "./onnx-wire.ts";
import type { LayerWeights, Weights } from "./weights.ts";

const INPUT = "features";
const OUTPUT = "logits";
/** Dimension that is left to the others: the batch. */
const ANY = -1;
const INT64 = 7;
const OPERATORS = { relu: "Relu", tanh: "Tanh", sigmoid: "Sigmoid", softplus: "Softplus" } as const;

/** A graph in the making; each call adds a node or a tensor and gives its name. */
export interface GraphBuilder {
  node(
    operator: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, OnnxAttribute>>,
  ): string;
  floats(shape: readonly number[], values: ArrayLike<number>): string;
  integers(values: readonly number[]): string;
  reshape(value: string, shape: readonly number[]): string;
  activate(activation: Activation, value: string): string;
}

/**
 * Bytes of an ONNX file.
 * @param metadata public facts about the weights
 */
export function encodeNetworkOnnx(
  network: Network,
  weights: Weights,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const nodes: OnnxNode[] = [];
  const tensors: OnnxTensor[] = [];
  const builder = createBuilder(nodes, tensors);
  let value: string = INPUT;
  for (const [index, layer] of network.layers.entries()) {
    value = addLayer(builder, layer, weights.layers[index] ?? NO_WEIGHTS, value);
  }
  nodes.push({ operator: "Identity", inputs: [value], output: OUTPUT, attributes: {} });
  return encodeOnnx({
    nodes,
    tensors,
    input: { name: INPUT, width: network.inputs },
    output: { name: OUTPUT, width: classCount(network) },
    metadata,
  });
}

const NO_WEIGHTS: LayerWeights = { kernel: new Float32Array(), bias: new Float32Array() };

function createBuilder(nodes: OnnxNode[], tensors: OnnxTensor[]): GraphBuilder {
  const builder: GraphBuilder = {
    node(operator, inputs, attributes = {}) {
      const output = `v${nodes.length}`;
      nodes.push({ operator, inputs, output, attributes });
      return output;
    },
    floats(shape, values) {
      const name = `c${tensors.length}`;
      tensors.push({ name, shape, values: Float32Array.from(values) });
      return name;
    },
    integers(values) {
      const name = `c${tensors.length}`;
      tensors.push({ name, shape: [values.length], values });
      return name;
    },
    reshape: (value, shape) => builder.node("Reshape", [value, builder.integers(shape)]),
    activate(activation, value) {
      if (isFunction(activation)) return builder.node(OPERATORS[activation], [value]);
      if (activation === "square") return builder.node("Mul", [value, value]);
      const [highest, ...lower] = (activationPolynomial(activation) ?? []).toReversed();
      if (highest === undefined) return value;
      // Horner: the degree is above 0, so the constant never stands alone.
      return lower.reduce(
        (sum, coefficient) => {
          const raised = builder.node("Mul", [sum, value]);
          return builder.node("Add", [raised, builder.floats([], [coefficient])]);
        },
        builder.floats([], [highest]),
      );
    },
  };
  return builder;
}

function addLayer(
  builder: GraphBuilder,
  layer: NetworkLayer,
  weights: LayerWeights,
  value: string,
): string {
  if (layer.kind === "conv2d") return convolve(builder, layer, weights, value);
  if (isPool(layer)) return pool(builder, layer, value);
  if (layer.kind === "embedding") return embed(builder, layer, weights, value);
  if (layer.kind === "layerNorm") return normalize(builder, layer, weights, value);
  if (layer.kind !== undefined) return unrollRecurrent(builder, layer, weights, value);
  const { kernel, bias } = weights;
  const sums = builder.node("Gemm", [
    value,
    builder.floats([kernel.length / layer.outputs, layer.outputs], kernel),
    builder.floats([layer.outputs], bias),
  ]);
  return builder.activate(layer.activation, sums);
}

/** Channels first, through an operator on images, and back to flat. */
function onImage(
  builder: GraphBuilder,
  layer: Conv2dLayer | PoolLayer,
  value: string,
  make: (image: string) => string,
): string {
  const image = builder.reshape(value, [ANY, ...layer.input]);
  const made = make(builder.node("Transpose", [image], { perm: [0, 3, 1, 2] }));
  const back = builder.node("Transpose", [made], { perm: [0, 2, 3, 1] });
  return builder.reshape(back, [ANY, layer.outputs]);
}

function convolve(
  builder: GraphBuilder,
  layer: Conv2dLayer,
  { kernel, bias }: LayerWeights,
  value: string,
): string {
  const [height, width, channels] = layer.input;
  const [high, wide] = layer.kernelSize;
  const { filters, strides } = layer;
  const { rows, columns, top, left } = windowsOf(layer);
  const below = Math.max(0, (rows - 1) * strides[0] + high - height - top);
  const right = Math.max(0, (columns - 1) * strides[1] + wide - width - left);
  // [height][width][channels][filters] to [filters][channels][height][width].
  const turned = Float32Array.from({ length: kernel.length }, (_, at) => {
    const x = at % wide;
    const y = Math.floor(at / wide) % high;
    const channel = Math.floor(at / (wide * high)) % channels;
    const filter = Math.floor(at / (wide * high * channels));
    return kernel[((y * wide + x) * channels + channel) * filters + filter] ?? 0;
  });
  return onImage(builder, layer, value, (image) =>
    builder.activate(
      layer.activation,
      builder.node(
        "Conv",
        [
          image,
          builder.floats([filters, channels, high, wide], turned),
          builder.floats([filters], bias),
        ],
        { kernel_shape: layer.kernelSize, strides, pads: [top, left, below, right] },
      ),
    ),
  );
}

function pool(builder: GraphBuilder, layer: PoolLayer, value: string): string {
  const operator = layer.kind === "maxPool2d" ? "MaxPool" : "AveragePool";
  const attributes = { kernel_shape: windowSize(layer), strides: layer.strides };
  return onImage(builder, layer, value, (image) => builder.node(operator, [image], attributes));
}

function embed(
  builder: GraphBuilder,
  { vocabulary, outputs, input: [steps] }: EmbeddingLayer,
  { kernel }: LayerWeights,
  value: string,
): string {
  // Features are tokens scaled to 0..1.
  const scaled = builder.node("Mul", [value, builder.floats([], [vocabulary - 1])]);
  const token = builder.node("Cast", [builder.node("Round", [scaled])], { to: { i: INT64 } });
  const table = builder.floats([vocabulary, outputs / steps], kernel);
  return builder.reshape(builder.node("Gather", [table, token], { axis: { i: 0 } }), [
    ANY,
    outputs,
  ]);
}

function normalize(
  builder: GraphBuilder,
  layer: LayerNormLayer,
  { kernel, bias }: LayerWeights,
  value: string,
): string {
  const [positions, features] = layer.input;
  const cut = builder.reshape(value, [ANY, positions, features]);
  const scaled = builder.node(
    "LayerNormalization",
    [cut, builder.floats([features], kernel), builder.floats([features], bias)],
    { axis: { i: -1 }, epsilon: { f: layer.epsilon } },
  );
  return builder.reshape(builder.activate(layer.activation, scaled), [ANY, layer.outputs]);
}
