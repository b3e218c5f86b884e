/** Weights: the flat order, the initial distribution, and what does not fit. */
import { createHash, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Network } from "../../pipeline/network/definition.ts";
import { forward } from "../../pipeline/network/forward.ts";
import { initialWeights } from "../../pipeline/network/initial-weights.ts";
import { flatten, unflatten, weightsFault } from "../../pipeline/network/weights.ts";

const network: Network = {
  inputs: 3,
  layers: [
    { outputs: 2, activation: "square" },
    { outputs: 2, activation: "none" },
  ],
};

describe("flat order", () => {
  const flat = Float32Array.from({ length: 14 }, (_, index) => index);

  test("is kernel row-major, then bias, layer by layer", () => {
    const { layers } = unflatten(network, flat);
    expect(layers.map(({ kernel, bias }) => [[...kernel], [...bias]])).toEqual([
      [
        [0, 1, 2, 3, 4, 5],
        [6, 7],
      ],
      [
        [8, 9, 10, 11],
        [12, 13],
      ],
    ]);
  });

  test("round trips, without sharing memory", () => {
    const weights = unflatten(network, flat);
    expect(flatten(weights)).toEqual(flat);
    weights.layers[0]!.kernel[0] = 99;
    expect(flat[0]).toBe(0);
  });

  test.each([13, 15])("refuses %d numbers", (length) => {
    expect(() => unflatten(network, new Float32Array(length))).toThrow(
      expect.objectContaining({ code: "checkpoint-invalid" }),
    );
  });
});

describe("initialWeights", () => {
  const wide: Network = {
    inputs: 64,
    layers: [
      { outputs: 512, activation: "square" },
      { outputs: 10, activation: "none" },
    ],
  };

  test("is the same for the same random bytes", () => {
    const stream = () => {
      let block = 0;
      return (bytes: number) => {
        const parts: Buffer[] = [];
        while (parts.length * 32 < bytes) {
          block += 1;
          parts.push(createHash("sha256").update(String(block)).digest());
        }
        return Buffer.concat(parts).subarray(0, bytes);
      };
    };
    expect(initialWeights(wide, stream())).toEqual(initialWeights(wide, stream()));
  });

  test("stays within its bound, touches both ends, and has zero biases", () => {
    const { layers } = initialWeights(wide, randomBytes);
    const limits = [Math.sqrt(12 / 64), Math.sqrt(1 / 512)];
    for (const [index, { kernel, bias }] of layers.entries()) {
      const limit = limits[index]!;
      const largest = kernel.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largest).toBeLessThanOrEqual(Math.fround(limit));
      // 5,120 and more draws: all below 0.99 of the limit with probability 0.99^5120 < 1e-22.
      expect(largest).toBeGreaterThan(0.99 * limit);
      expect(bias.every((value) => value === 0)).toBe(true);
    }
  });

  test("gives pre-activations of variance about 1 for features of mean square 1/4", () => {
    const { layers } = initialWeights(wide, randomBytes);
    const input = Float64Array.from({ length: 64 }, () => 0.5);
    const squares = forward(
      { inputs: 64, layers: [{ outputs: 512, activation: "square" }] },
      { layers: layers.slice(0, 1) },
      input,
    );
    const mean = squares.reduce((sum, value) => sum + value, 0) / 512;
    // Standard error of a mean of 512 chi-squares: sqrt(2 / 512) = 0.0625; 8 of them: false reject below 1e-12.
    expect(mean).toBeGreaterThan(0.5);
    expect(mean).toBeLessThan(1.5);
  });

  test("refuses a source that gives too few bytes", () => {
    expect(() => initialWeights(wide, () => new Uint8Array(3))).toThrow(
      expect.objectContaining({ code: "internal" }),
    );
  });
});

test.each([
  ["NaN", Number.NaN],
  ["infinity", Number.POSITIVE_INFINITY],
])("weightsFault finds %s", (_, value) => {
  const weights = unflatten(network, new Float32Array(14));
  expect(weightsFault(network, weights)).toBeNull();
  weights.layers[1]!.bias[1] = value;
  expect(weightsFault(network, weights)).not.toBeNull();
});

test("weightsFault finds a missing layer and another shape", () => {
  const weights = unflatten(network, new Float32Array(14));
  expect(weightsFault(network, { layers: weights.layers.slice(1) })).not.toBeNull();
  expect(weightsFault({ ...network, inputs: 4 }, weights)).not.toBeNull();
});
