/** The clear network against arithmetic done by hand. */
import { describe, expect, test } from "vitest";
import type { Network } from "../../pipeline/network/definition.ts";
import { argmax, forward } from "../../pipeline/network/forward.ts";
import { unflatten } from "../../pipeline/network/weights.ts";

const network: Network = {
  inputs: 2,
  layers: [
    { outputs: 2, activation: "square" },
    { outputs: 3, activation: "none" },
  ],
};
// kernel1 [[1, 2], [3, 4]], bias1 [0.5, -1], kernel2 [[1, 0, -1], [0, 1, 2]], bias2 [0, 0.25, 1]
const weights = unflatten(network, [1, 2, 3, 4, 0.5, -1, 1, 0, -1, 0, 1, 2, 0, 0.25, 1]);

test("squares the hidden layer and leaves the last one linear", () => {
  // z = [1 - 3 + 0.5, 2 - 4 - 1] = [-1.5, -3]; h = [2.25, 9]
  expect([...forward(network, weights, [1, -1])]).toEqual([2.25, 9.25, 16.75]);
});

test("keeps double precision", () => {
  const one: Network = { inputs: 2, layers: [{ outputs: 1, activation: "none" }] };
  const sum = forward(one, unflatten(one, [1, 1, 0]), [1, 2 ** -40]);
  expect(sum[0]).toBe(1 + 2 ** -40);
});

test("lets NaN through to every logit it reaches", () => {
  expect([...forward(network, weights, [Number.NaN, 0])].every(Number.isNaN)).toBe(true);
});

test("refuses another number of features, and weights of another shape", () => {
  const code = expect.objectContaining({ code: "internal" });
  expect(() => forward(network, weights, [1])).toThrow(code);
  expect(() => forward(network, { layers: weights.layers.slice(1) }, [1, 2])).toThrow(code);
});

describe("argmax", () => {
  test.each([
    [[], -1],
    [[3], 0],
    [[1, 3, 2], 1],
    [[2, 5, 5], 1],
    [[Number.NaN, 1, 2], 2],
    [[-5, Number.NaN, -4], 2],
    [[Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY], 0],
  ])("of %j is %d", (values, index) => {
    expect(argmax(values)).toBe(index);
  });
});
