/** The layers of a pipeline file: what each form becomes, and where a mistake is shown. */
import { describe, expect, it } from "vitest";
import { networkFromSpec } from "../../pipeline/network/from-spec.ts";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import type { LayerSpec } from "../../pipeline/spec/layer-spec.ts";
import { layerText } from "../../pipeline/spec/network-layers.ts";
import { complaintsOf, edited, lineOf, loadGood } from "./fixtures.ts";

const PACKING = "predict: { packing: auto }";
const NOT_ENCRYPTED = "predict: { encrypted: false }";
const FIRST = "{ dense: 32, activation: square }";
const withLayers = (...layers: string[]): string => edited(FIRST, layers.join("\n    - "));
const network = (...layers: string[]) => loadGood(withLayers(...layers)).train.network;

describe("forms", () => {
  it("reads a convolution, a pool and their defaults", () => {
    const layers = network(
      "{ reshape: [8, 8, 1] }",
      "{ conv2d: 4, kernelSize: 3, activation: quadratic }",
      "{ averagePool2d: 2 }",
    );
    expect(layers).toEqual([
      { reshape: [8, 8, 1] },
      {
        ...{ conv2d: 4, kernelSize: [3, 3], strides: [1, 1], padding: "valid" },
        activation: "quadratic",
      },
      { averagePool2d: [2, 2], strides: [2, 2] },
      { dense: 10, activation: "none" },
    ]);
    expect(layers.map(layerText)).toEqual([
      "(8 x 8 x 1)",
      "conv 3 x 3 x 4 quadratic",
      "mean 2 x 2",
      "10",
    ]);
  });

  it("reads what is said instead of a default", () => {
    expect(
      network(
        "{ reshape: [16, 4, 1] }",
        "{ conv2d: 2, kernelSize: [4, 2], strides: [2, 1], padding: same, activation: square }",
        "{ averagePool2d: [2, 1], strides: 2 }",
      ).slice(1, 3),
    ).toEqual([
      {
        ...{ conv2d: 2, kernelSize: [4, 2], strides: [2, 1], padding: "same" },
        activation: "square",
      },
      { averagePool2d: [2, 1], strides: [2, 2] },
    ]);
  });

  it.each([
    ["{ minimax: relu, degree: 4, range: 8 }", { minimax: "relu", degree: 4, range: 8 }],
    ["{ polynomial: [0.25, 0.5, 0.125] }", { polynomial: [0.25, 0.5, 0.125] }],
  ])("reads the activation %s", (text, activation) => {
    const [layer] = network(`{ dense: 8, activation: ${text} }`);
    expect(layer).toEqual({ dense: 8, activation });
    expect(layerText(layer!)).toMatch(/^8 (relu by degree 4 on 8|polynomial of degree 2)$/);
  });

  it("fills numbers from the environment", () => {
    expect(network('{ dense: "$' + '{WIDTH:16}", activation: square }')[0]).toMatchObject({
      dense: 16,
    });
    // Inside unions, and unions inside those.
    const degree = "$" + "{DEGREE:4}";
    expect(
      network(
        "{ reshape: [8, 8, 1] }",
        `{ conv2d: 4, kernelSize: ["$` +
          `{ROWS:3}", 3], activation: { minimax: relu, degree: "${degree}", range: 8 } }`,
      )[1],
    ).toMatchObject({
      kernelSize: [3, 3],
      activation: { minimax: "relu", degree: 4, range: 8 },
    });
  });
});

describe("networks that are not predicted encrypted", () => {
  const plain = (...layers: string[]) => edited(PACKING, NOT_ENCRYPTED, withLayers(...layers));

  it.each<[string[], LayerSpec[], string[]]>([
    [
      ["{ embedding: 6, vocabulary: 17 }", "{ lstm: 5, sequences: true }", "{ gru: 4 }"],
      [{ embedding: 6, vocabulary: 17 }, { lstm: 5, sequences: true }, { gru: 4 }],
      ["embedding 17 to 6", "lstm 5 all states", "gru 4"],
    ],
    [
      [
        "{ reshape: [16, 4] }",
        "{ conv1d: 3, kernelSize: 2, padding: same, activation: relu }",
        "{ maxPool1d: 2 }",
        "{ averagePool1d: 2, strides: 1 }",
        "{ rnn: 3, sequences: true, activation: tanh }",
        "{ globalAveragePool: true }",
      ],
      [
        { reshape: [16, 4] },
        { conv1d: 3, kernelSize: 2, strides: 1, padding: "same", activation: "relu" },
        { maxPool1d: 2, strides: 2 },
        { averagePool1d: 2, strides: 1 },
        { rnn: 3, sequences: true, activation: "tanh" },
        { globalAveragePool: true },
      ],
      ["(16 x 4)", "conv 2 x 3 relu", "max 2", "mean 2", "rnn 3 all states tanh", "mean of all"],
    ],
    [
      [
        "{ reshape: [8, 8, 1] }",
        "{ conv2d: 2, kernelSize: 3, strides: 2 }",
        "{ layerNorm: true, epsilon: 0.01, activation: softplus }",
        "{ maxPool2d: [3, 1] }",
        "{ dense: 5, activation: sigmoid }",
      ],
      [
        { reshape: [8, 8, 1] },
        { conv2d: 2, kernelSize: [3, 3], strides: [2, 2], padding: "valid", activation: "none" },
        { layerNorm: 0.01, activation: "softplus" },
        { maxPool2d: [3, 1], strides: [3, 1] },
        { dense: 5, activation: "sigmoid" },
      ],
      ["(8 x 8 x 1)", "conv 3 x 3 x 2", "norm softplus", "max 3 x 1", "5 sigmoid"],
    ],
  ])("%j", (texts, layers, words) => {
    const spec = loadGood(plain(...texts));
    expect(spec.predict.encrypted).toBe(false);
    expect(spec.train.network.slice(0, -1)).toEqual(layers);
    expect(spec.train.network.slice(0, -1).map(layerText)).toEqual(words);
    // The network room follows the same shapes, or this throws.
    const { layers: built } = networkFromSpec(spec.features, spec.train);
    expect(built.at(-1)).toEqual({ outputs: 10, activation: "none" });
  });

  it("has the epsilon of Keras", () => {
    const [, norm] = loadGood(plain("{ dense: 4 }", "{ layerNorm: true, activation: relu }")).train
      .network;
    expect(norm).toEqual({ layerNorm: 0.001, activation: "relu" });
  });

  it("cannot ask for an encrypted model", () => {
    const text = edited(PACKING, "predict: { encrypted: false, model: encrypted }");
    expect(complaintsOf(text).map(formatComplaint).join("\n")).toMatch(
      /predict.model: expected secret or shared where predict.encrypted is false/,
    );
  });

  it("is told the line of the layer", () => {
    const text = withLayers("{ reshape: [8, 8] }", "{ gru: 3 }");
    const [complaint] = complaintsOf(text);
    expect(complaint?.line).toBe(lineOf("gru: 3", text));
  });
});

describe("mistakes", () => {
  it.each<[string, string[], RegExp]>([
    ["no kind", ["{ activation: square }"], /network\[0\]: a layer has one of dense.*found none/],
    ["two kinds", ["{ dense: 3, rnn: 3, activation: square }"], /\[0\]: .*found dense and rnn/],
    ["an unknown key", ["{ dens: 3 }"], /unknown key 'dens'; did you mean 'dense'/],
    [
      "a key of another kind",
      ["{ dense: 3, padding: same, activation: square }"],
      /network\[0\].padding: dense has no padding/,
    ],
    [
      "a pool with an activation",
      ["{ reshape: [8, 8, 1] }", "{ averagePool2d: 2, activation: square }"],
      /averagePool2d has no activation/,
    ],
    [
      "a convolution without a size",
      ["{ reshape: [8, 8, 1] }", "{ conv2d: 2, activation: square }"],
      /network\[1\]: conv2d needs kernelSize/,
    ],
    [
      "half a minimax",
      ["{ dense: 3, activation: { minimax: relu, degree: 4 } }"],
      /activation: expected minimax, degree and range together/,
    ],
    [
      "both forms",
      ["{ dense: 3, activation: { minimax: relu, polynomial: [0, 0, 1] } }"],
      /activation: expected minimax, degree and range together, or polynomial/,
    ],
    [
      "a line for a sigmoid",
      ["{ dense: 3, activation: { minimax: sigmoid, degree: 2, range: 4 } }"],
      /activation.degree: the best polynomial of degree 2 for sigmoid is a line: expected 3/,
    ],
    [
      "a degree too high",
      ["{ dense: 3, activation: { minimax: relu, degree: 8, range: 4 } }"],
      /at most 7, found 8/,
    ],
    [
      "a last coefficient of 0",
      ["{ dense: 3, activation: { polynomial: [1, 2, 0] } }"],
      /expected a last coefficient other than 0/,
    ],
    [
      "relu itself under encryption",
      ["{ dense: 3, activation: relu }"],
      /network\[0\].activation: ciphertexts cannot be put through relu: expected a polynomial .* or predict: \{ encrypted: false \}/,
    ],
    [
      "a gru under encryption",
      ["{ reshape: [8, 8] }", "{ gru: 3 }"],
      /network\[1\].gru: ciphertexts cannot be put through gru: .*encrypted: false/,
    ],
    [
      "a maximum under encryption",
      ["{ reshape: [8, 8] }", "{ maxPool1d: 3 }"],
      /network\[1\].maxPool1d: ciphertexts cannot/,
    ],
    [
      "a norm under encryption",
      ["{ dense: 3 }", "{ layerNorm: true, activation: square }"],
      /network\[1\].layerNorm: ciphertexts cannot/,
    ],
    [
      "an activation of a gated layer",
      ["{ reshape: [8, 8] }", "{ gru: 3, activation: tanh }"],
      /network\[1\].activation: gru has no activation/,
    ],
    [
      "two sizes along a line",
      ["{ reshape: [8, 8] }", "{ conv1d: 3, kernelSize: [2, 2], activation: square }"],
      /network\[1\].kernelSize: conv1d runs over one axis: expected one number/,
    ],
    [
      "a convolution in a line over an image",
      ["{ reshape: [8, 8, 1] }", "{ conv1d: 3, kernelSize: 2, activation: square }"],
      /network\[1\].conv1d: expected reshape: \[steps, channels\]/,
    ],
    [
      "a window longer than its line",
      ["{ reshape: [8, 8] }", "{ averagePool1d: 9 }"],
      /network\[1\].averagePool1d: a window of 9 is larger than 8/,
    ],
    [
      "a mean of all of a row",
      ["{ globalAveragePool: true }"],
      /network\[0\].globalAveragePool: expected reshape/,
    ],
    [
      "an embedding without a vocabulary",
      ["{ embedding: 3 }", "{ gru: 3 }"],
      /network\[0\]: embedding needs vocabulary/,
    ],
    [
      "an embedding of another range",
      ["{ embedding: 3, vocabulary: 16 }", "{ gru: 3 }"],
      /network\[0\].embedding: the input 'pixels' must have the range \[0, vocabulary - 1\]: expected \[0, 15\], found \[0, 16\]/,
    ],
    [
      "an embedding further on",
      ["{ dense: 64, activation: square }", "{ embedding: 3, vocabulary: 17 }", "{ gru: 3 }"],
      /network\[1\].embedding: an embedding reads the features: expected it as the first/,
    ],
    [
      "a linear layer without a norm behind it",
      ["{ dense: 3 }", "{ dense: 3, activation: square }"],
      /network\[0\].activation: a hidden layer needs an activation/,
    ],
    [
      "a gru over an image",
      ["{ reshape: [8, 8, 1] }", "{ gru: 2 }"],
      /network\[1\].gru: expected reshape: \[steps, features\]/,
    ],
    [
      "a shape of another size",
      ["{ reshape: [8, 7, 1] }", "{ conv2d: 2, kernelSize: 3, activation: square }"],
      /network\[0\].reshape: 8 x 7 x 1 are 56 values, found 64/,
    ],
    [
      "a convolution over a row",
      ["{ conv2d: 2, kernelSize: 3, activation: square }"],
      /network\[0\].conv2d: expected reshape: \[height, width, channels\]/,
    ],
    [
      "an rnn over an image",
      ["{ reshape: [8, 8, 1] }", "{ rnn: 2, activation: square }"],
      /network\[1\].rnn: expected reshape: \[steps, features\]/,
    ],
    [
      "a window that does not fit",
      ["{ reshape: [4, 16, 1] }", "{ conv2d: 2, kernelSize: 5, activation: square }"],
      /conv2d: a window of 5 x 5 is larger than 4 x 16/,
    ],
  ])("%s", (_, layers, says) => {
    expect(
      complaintsOf(withLayers(...layers))
        .map(formatComplaint)
        .join("\n"),
    ).toMatch(says);
  });

  it.each<[string, RegExp]>([
    ["{ reshape: [5, 2] }", /reshape cannot be the last layer/],
    ["{ rnn: 10, activation: square }", /rnn cannot be the last layer/],
    ["{ lstm: 10 }", /lstm cannot be the last layer/],
  ])("%s at the end", (layer, says) => {
    const text = edited("- { dense: 10 }", `- { reshape: [4, 8] }\n    - ${layer}`);
    expect(complaintsOf(text).map(formatComplaint).join("\n")).toMatch(says);
  });
});
