/** Lowering: the circuit computes what the network computes, in the form that is promised. */
import { describe, expect, test } from "vitest";
import type { Circuit } from "../../pipeline/network/circuit.ts";
import { forward } from "../../pipeline/network/forward.ts";
import { evaluateCircuit, lowerNetwork } from "../../pipeline/network/lower.ts";
import { unflatten } from "../../pipeline/network/weights.ts";
import {
  conv,
  dense,
  NETWORKS,
  networkOf,
  pool,
  seeded,
  uniformOf,
  weightsOf,
} from "./random-networks.ts";

describe.each(Object.entries(NETWORKS))("%s", (_, network) => {
  test("gives the logits of forward", () => {
    const draw = seeded(3);
    for (let round = 0; round < 20; round += 1) {
      const weights = weightsOf(network, draw);
      const input = uniformOf(draw, network.inputs);
      const expected = forward(network, weights, input);
      const actual = evaluateCircuit(lowerNetwork(network, weights), input);
      expect(actual.length).toBe(expected.length);
      for (const [index, logit] of expected.entries()) {
        // Only the order of sums differs; polynomials of small z lose nothing.
        expect(Math.abs((actual[index] ?? 0) - logit)).toBeLessThanOrEqual(
          1e-11 * Math.max(1, Math.abs(logit)),
        );
      }
    }
  });

  test("is in compressed rows, rising, and reads no wire before it is there", () => {
    const circuit = lowerNetwork(network, weightsOf(network, seeded(4)));
    expect(circuit.features).toBe(network.inputs);
    let wires = circuit.features;
    for (const step of circuit.steps) {
      expect(isRising(step.inputs)).toBe(true);
      expect(step.inputs.at(-1)).toBeLessThan(wires);
      expect(step.rowStarts.length).toBe(step.outputs + 1);
      expect(step.rowStarts.at(-1)).toBe(step.values.length);
      expect(step.columns.length).toBe(step.values.length);
      expect(step.bias.length).toBe(step.outputs);
      for (let row = 0; row < step.outputs; row += 1) {
        const columns = step.columns.subarray(step.rowStarts[row], step.rowStarts[row + 1]);
        expect(isRising(columns)).toBe(true);
        expect(columns.at(-1)).toBeLessThan(step.inputs.length);
      }
      wires += step.outputs;
    }
    const read = new Set(circuit.steps.flatMap(({ inputs }) => [...inputs]));
    const logits = circuit.steps.at(-1)?.outputs ?? 0;
    for (let wire = circuit.features; wire < wires - logits; wire += 1) {
      expect(read.has(wire)).toBe(true);
    }
  });
});

function isRising(values: Uint32Array): boolean {
  return values.every((value, index) => index === 0 || value > (values[index - 1] ?? 0));
}

const shapes = ({ steps }: Circuit) =>
  steps.map(({ inputs, outputs, values, activation }) => [
    ...[inputs.length, outputs, values.length],
    activation?.length ?? null,
  ]);

test("a pool is folded away, and the edge that it leaves out is not computed", () => {
  const network = networkOf(49, [{ reshape: [7, 7, 1] }, conv(2, [3, 3]), pool([2, 2]), dense(3)]);
  const circuit = lowerNetwork(network, weightsOf(network, seeded(5)));
  // 5 x 5 positions, of which the pool reads 4 x 4; those read 6 x 6 features.
  expect(shapes(circuit)).toEqual([
    [36, 32, 32 * 9, 3],
    [32, 3, 96, null],
  ]);
});

test("what only an edge reads that nothing reads is not computed either", () => {
  const network = networkOf(81, [
    { reshape: [9, 9, 1] },
    conv(1, [2, 2], { strides: [2, 2] }),
    conv(1, [1, 1], { strides: [1, 1] }),
    pool([3, 3]),
    dense(3),
  ]);
  const circuit = lowerNetwork(network, weightsOf(network, seeded(5)));
  // Of 4 x 4 positions the pool reads 3 x 3, and those 3 x 3 of the convolution before.
  expect(shapes(circuit)).toEqual([
    [36, 9, 36, 3],
    [9, 9, 9, 3],
    [9, 3, 27, null],
  ]);
});

test("a pool at the end is a step of its own without activation", () => {
  const circuit = lowerNetwork(
    NETWORKS["pools in a row and at both ends"]!,
    weightsOf(NETWORKS["pools in a row and at both ends"]!, seeded(6)),
  );
  expect(circuit.steps.at(-1)?.activation).toBeNull();
  expect(circuit.steps.length).toBe(2);
});

test("an rnn is a step a time step; the first has no state to read", () => {
  const circuit = lowerNetwork(NETWORKS["rnn"]!, weightsOf(NETWORKS["rnn"]!, seeded(7)));
  expect(shapes(circuit)).toEqual([
    [3, 5, 15, 3],
    [8, 5, 40, 3],
    [8, 5, 40, 3],
    [8, 5, 40, 3],
    [5, 3, 15, null],
  ]);
  expect([...(circuit.steps[2]?.inputs ?? [])]).toEqual([6, 7, 8, 17, 18, 19, 20, 21]);
});

test("refuses what is no network, weights that do not fit, and another number of features", () => {
  const network = NETWORKS["linear"]!;
  const weights = weightsOf(network, seeded(8));
  const refusal = expect.objectContaining({ code: "checkpoint-invalid" });
  expect(() => lowerNetwork({ ...network, inputs: 0 }, weights)).toThrow(refusal);
  expect(() => lowerNetwork(NETWORKS["rnn"]!, weights)).toThrow(refusal);
  expect(() =>
    lowerNetwork(network, unflatten(network, new Float32Array(18).fill(Number.NaN))),
  ).toThrow(refusal);
  expect(() => evaluateCircuit(lowerNetwork(network, weights), [1])).toThrow(
    expect.objectContaining({ code: "internal" }),
  );
});
