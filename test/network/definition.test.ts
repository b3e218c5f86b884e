/** The network definition: shapes, limits, and what a pipeline file may ask for. */
import { describe, expect, test } from "vitest";
import {
  classCount,
  MAX_LAYERS,
  MAX_TOKENS,
  MAX_WIDTH,
  type Network,
  networkFault,
  parameterCount,
  sameNetwork,
} from "../../pipeline/network/definition.ts";
import { networkFromSpec } from "../../pipeline/network/from-spec.ts";

const digits: Network = {
  inputs: 64,
  layers: [
    { outputs: 32, activation: "square" },
    { outputs: 10, activation: "none" },
  ],
};
const features = { outputs: { length: 64 }, label: { classes: 10 } };

describe("networkFromSpec", () => {
  test("joins what the maps give with the layers", () => {
    const network = networkFromSpec(features, {
      network: [
        { dense: 32, activation: "square" },
        { dense: 10, activation: "none" },
      ],
    });
    expect(network).toEqual(digits);
    expect(parameterCount(network)).toBe(65 * 32 + 33 * 10);
    expect(classCount(network)).toBe(10);
  });

  test.each([
    ["no layer", []],
    ["another number of classes", [{ dense: 9, activation: "none" }]],
    ["a square at the end", [{ dense: 10, activation: "square" }]],
    [
      "a linear hidden layer",
      [
        { dense: 32, activation: "none" },
        { dense: 10, activation: "none" },
      ],
    ],
    ["no output", [{ dense: 0, activation: "none" }]],
  ] as const)("refuses %s", (_, network) => {
    expect(() => networkFromSpec(features, { network })).toThrow(
      expect.objectContaining({ code: "spec-invalid" }),
    );
  });
});

test.each([
  ["no inputs", { ...digits, inputs: 0 }],
  ["a fraction of an input", { ...digits, inputs: 1.5 }],
  ["too many inputs", { ...digits, inputs: MAX_WIDTH + 1 }],
  ["NaN outputs", { inputs: 1, layers: [{ outputs: Number.NaN, activation: "none" }] }],
  [
    "too many layers",
    {
      inputs: 1,
      layers: Array.from({ length: MAX_LAYERS + 1 }, (_, index) => ({
        outputs: 1,
        activation: index === MAX_LAYERS ? "none" : "square",
      })),
    },
  ],
  [
    "too many parameters",
    {
      inputs: 4096,
      layers: [
        { outputs: 1024, activation: "square" },
        { outputs: 1, activation: "none" },
      ],
    },
  ],
] as [string, Network][])("networkFault finds %s", (_, network) => {
  expect(networkFault(network)).not.toBeNull();
});

test("networkFault accepts the limits themselves", () => {
  expect(networkFault(digits)).toBeNull();
  expect(
    networkFault({ inputs: MAX_WIDTH, layers: [{ outputs: 63, activation: "none" }] }),
  ).toBeNull();
});

test("networkFault limits the tokens of a record", () => {
  const ofTokens = (tokens: number): Network => ({
    inputs: tokens,
    layers: [
      {
        kind: "embedding",
        input: [tokens],
        vocabulary: 4,
        outputs: 2 * tokens,
        activation: "none",
      },
      {
        kind: "layerNorm",
        input: [tokens, 2],
        epsilon: 1e-3,
        outputs: 2 * tokens,
        activation: "none",
      },
      { outputs: 2, activation: "none" },
    ],
  });
  expect(networkFault(ofTokens(MAX_TOKENS))).toBeNull();
  expect(networkFault(ofTokens(MAX_TOKENS + 1))).toMatch(/reads 4097 tokens, at most 4096/);
});

test("sameNetwork compares inputs, widths and activations", () => {
  expect(sameNetwork(digits, structuredClone(digits))).toBe(true);
  expect(sameNetwork(digits, { ...digits, inputs: 63 })).toBe(false);
  expect(sameNetwork(digits, { ...digits, layers: digits.layers.slice(1) })).toBe(false);
  expect(
    sameNetwork(digits, {
      ...digits,
      layers: digits.layers.map(({ outputs }) => ({ outputs, activation: "none" })),
    }),
  ).toBe(false);
});
