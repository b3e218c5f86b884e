/**
 * The layers of `train.network` in a pipeline file: what each may say, and the words an editor shows beside it.
 *
 * Names are those of Keras and TensorFlow.js. A layer is one object whose kind is the key that stands in it, so that a
 * mistyped key is answered with the known ones. What the keys must mean together is checked in `pipeline/spec/`. Must
 * not import any room.
 */
import { z } from "zod";

/** Keys of which a layer has exactly one. */
export const LAYER_KINDS = [
  "dense",
  "conv2d",
  "conv1d",
  "averagePool2d",
  "averagePool1d",
  "maxPool2d",
  "maxPool1d",
  "globalAveragePool",
  "rnn",
  "gru",
  "lstm",
  "embedding",
  "layerNorm",
  "reshape",
] as const;
export type LayerKind = (typeof LAYER_KINDS)[number];

/** Activations that are no polynomial: ciphertexts cannot be put through them. */
export const ACTIVATION_FUNCTIONS = ["relu", "tanh", "sigmoid", "softplus"] as const;

const count = z.int().min(1).max(1024);
/** Numbers of a shape: as many as a record may have inputs. */
const side = z.int().min(1).max(4096);
const sides = z.union([side, z.tuple([side, side])]);

const activation = z.union([
  z.enum(["none", "square", "quadratic", ...ACTIVATION_FUNCTIONS]),
  z.strictObject({
    minimax: z
      .enum(["relu", "sigmoid", "tanh", "softplus"])
      .optional()
      .describe("The polynomial of least largest error for this function."),
    // Of even degree for tanh and sigmoid it is the one below.
    degree: z.int().min(2).max(7).optional().describe("Degree of the minimax polynomial."),
    range: z
      .number()
      .min(0.5)
      .max(64)
      .optional()
      .describe("The minimax polynomial is near its function on [-range, range]."),
    polynomial: z
      .array(z.number().min(-1e6).max(1e6))
      .min(3)
      .max(8)
      .optional()
      .describe("Coefficients, ascending, of degree 2 to 7."),
  }),
]);

/** One entry of `train.network`. */
export const networkLayer = z
  .strictObject({
    dense: count.optional().describe("Outputs of a fully connected layer."),
    conv2d: count.optional().describe("Filters of a convolution over [height, width, channels]."),
    conv1d: count.optional().describe("Filters of a convolution over [steps, channels]."),
    kernelSize: sides
      .optional()
      .describe("Of a conv2d: one number, or [height, width]. Of a conv1d: one number."),
    strides: sides
      .optional()
      .describe("Of a convolution (default 1) or a pool (default its size)."),
    padding: z.enum(["valid", "same"]).optional().describe("Of a convolution; default valid."),
    averagePool2d: sides
      .optional()
      .describe("Means over windows of [height, width]; costs no level under encryption."),
    averagePool1d: side.optional().describe("Means over windows of so many steps."),
    maxPool2d: sides
      .optional()
      .describe("Maxima over windows of [height, width]; not under encryption."),
    maxPool1d: side
      .optional()
      .describe("Maxima over windows of so many steps; not under encryption."),
    globalAveragePool: z.literal(true).optional().describe("The mean of each channel."),
    rnn: count.optional().describe("Units of a simple recurrent layer over [steps, features]."),
    gru: count
      .optional()
      .describe(
        "Units of a gated recurrent layer over [steps, features], as Keras' GRU with reset_after; not under encryption.",
      ),
    lstm: count
      .optional()
      .describe(
        "Units of a long short-term memory layer over [steps, features], as Keras' LSTM; not under encryption.",
      ),
    sequences: z
      .literal(true)
      .optional()
      .describe("Of a recurrent layer: it gives every state, [steps, units], not only its last."),
    embedding: count
      .optional()
      .describe(
        "Numbers that stand for a token. The first layer, over features that are whole numbers of the range [0, vocabulary - 1]; gives [steps, numbers]; not under encryption.",
      ),
    vocabulary: z
      .int()
      .min(2)
      .max(65_536)
      .optional()
      .describe("Of an embedding: how many different tokens there are."),
    layerNorm: z
      .literal(true)
      .optional()
      .describe(
        "Normalisation over the last axis, with a gain and a bias each; not under encryption.",
      ),
    epsilon: z
      .number()
      .min(1e-12)
      .max(1)
      .optional()
      .describe("Of a layerNorm: added to the variance; default 0.001."),
    reshape: z
      .array(side)
      .min(2)
      .max(3)
      .optional()
      .describe(
        "How the next layer reads the values: [height, width, channels] or [steps, features].",
      ),
    activation: activation
      .optional()
      .describe(
        "square is z^2, quadratic 0.125z^2 + 0.5z + 0.25; or a minimax or explicit polynomial; relu, tanh, sigmoid and softplus as themselves, not under encryption. Default none, as the last layer must have.",
      ),
  })
  .meta({ oneOf: LAYER_KINDS.map((kind) => ({ required: [kind] })) });

export type NetworkLayerEntry = z.output<typeof networkLayer>;
