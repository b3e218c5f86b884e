/** Models that a hostile review brought: things that add up, ways around a third polynomial, numbers near the ends of f64. */
import { expect, it } from "vitest";
import { planBatch } from "../../../pipeline/ckks/batch/plan.ts";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { primesOf } from "../../../pipeline/ckks/primes.ts";
import type { Circuit, CircuitStep } from "../../../pipeline/network/circuit.ts";
import { seeded } from "../fixtures.ts";
import { tryCircuit } from "./world.ts";

const SHALLOW = createParameters(4096, [46, 46, 17], 21);
const DEEP = createParameters(16384, [48, 48, 48, 48, 49], 30);
const random = seeded(7);

/** A dense step over the wires from `first` on. */
function dense(
  [inputs, outputs]: readonly [number, number],
  first: number,
  weight: () => number,
  activation: readonly number[] | null,
): CircuitStep {
  return {
    inputs: Uint32Array.from({ length: inputs }, (_, index) => first + index),
    outputs,
    rowStarts: Uint32Array.from({ length: outputs + 1 }, (_, row) => row * inputs),
    columns: Uint32Array.from({ length: inputs * outputs }, (_, at) => at % inputs),
    values: Float64Array.from({ length: inputs * outputs }, weight),
    bias: Float64Array.from({ length: outputs }, weight),
    activation,
  };
}

function twoLayers(weight: (fanIn: number) => number, activation: readonly number[]): Circuit {
  return {
    features: 64,
    steps: [
      dense([64, 4], 0, () => weight(64), activation),
      dense([4, 2], 64, () => weight(4), null),
    ],
  };
}

it.each([
  ["weights of one sign", (fanIn: number) => random() / Math.sqrt(fanIn), [0, 0, 1]],
  ["equal weights", (fanIn: number) => 0.9437 / Math.sqrt(fanIn), [0.25, 0.5, 0.125]],
] as const)(
  "features that are all alike, %s: not more is promised than is kept",
  async (...given) => {
    const circuit = twoLayers(given[1], given[2]);
    for (const draw of [() => 1, () => 0, random]) {
      const { plan, precisionBits } = await tryCircuit({
        ...{ circuit, parameters: SHALLOW, mode: "shared", random, draw },
      });
      expect(precisionBits).toBeGreaterThanOrEqual(plan.precisionBits);
    }
  },
);

it("a class that reads no product has two polynomials beside one that has three", async () => {
  const one = (
    input: number,
    weight: number,
    activation: readonly number[] | null,
  ): CircuitStep => ({
    ...dense([1, 1], input, () => weight, activation),
    bias: Float64Array.of(0.1),
  });
  const last: CircuitStep = {
    ...one(0, 0.7, null),
    ...{ inputs: Uint32Array.of(0, 1), outputs: 2 },
    ...{ rowStarts: Uint32Array.of(0, 1, 2), columns: Uint32Array.of(0, 1) },
    ...{ values: Float64Array.of(0.7, 0.6), bias: Float64Array.of(0.2, 0.1) },
  };
  const circuit: Circuit = { features: 1, steps: [one(0, 0.5, [0, 0, 1]), last] };
  for (const mode of ["shared", "secret"] as const) {
    // The consumer's reader refuses a polynomial of zeros.
    const trial = await tryCircuit({ circuit, parameters: DEEP, mode, random, maxBytes: 2 ** 29 });
    expect(trial.blobs.map((blob) => blob[6])).toEqual(mode === "shared" ? [2, 3] : [2, 2]);
    expect(trial.precisionBits).toBeGreaterThanOrEqual(trial.plan.precisionBits);
  }
});

it("numbers near the ends of f64 are refused or planned, whatever they meet", () => {
  const odd = [0, 5e-324, -5e-324, 1e-300, 1e300, -1e308, 1e308, 1, -1, 0.3, 2 ** 52, 1e15];
  const pick = () => odd[Math.floor(random() * odd.length)] ?? 0;
  let planned = 0;
  for (let round = 0; round < 400; round += 1) {
    const isWild = round % 2 === 0;
    const weight = isWild ? pick : () => 2 * random() - 1;
    const activation = [pick(), pick(), isWild ? pick() : 0.5];
    const circuit: Circuit = {
      features: 3,
      steps: [dense([3, 2], 0, weight, activation), dense([2, 2], 3, weight, null)],
    };
    try {
      const mode = round % 4 < 2 ? "shared" : "secret";
      const request = { circuit, parameters: DEEP, primes: primesOf(DEEP), mode } as const;
      const { precisionBits } = planBatch(request);
      planned += 1;
      expect(precisionBits).toBeGreaterThanOrEqual(0);
    } catch (error) {
      expect(error).toMatchObject({ code: "limit-exceeded" });
    }
  }
  expect(planned).toBeGreaterThan(20);
});
