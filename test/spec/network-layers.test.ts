/** The layers of a pipeline file: what each form becomes, and where a mistake is shown. */
import { describe, expect, it } from "vitest";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { layerText } from "../../pipeline/spec/network-layers.ts";
import { complaintsOf, edited, loadGood } from "./fixtures.ts";

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
    ["relu itself", ["{ dense: 3, activation: relu }"], /activation 'relu' is not in this version/],
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
  ])("%s at the end", (layer, says) => {
    const text = edited("- { dense: 10 }", `- { reshape: [4, 8] }\n    - ${layer}`);
    expect(complaintsOf(text).map(formatComplaint).join("\n")).toMatch(says);
  });
});
