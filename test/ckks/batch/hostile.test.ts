/** Models that a hostile review brought: things that add up, ways around a third polynomial, numbers near the ends of f64. */
import { expect, it } from "vitest";
import { planBatch } from "../../../pipeline/ckks/batch/plan.ts";
import type { BatchPlan } from "../../../pipeline/ckks/batch/program.ts";
import { chooseFactors, roundRows } from "../../../pipeline/ckks/batch/rows.ts";
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

/** A plan on one record, in floats, as the integers that its ciphertexts hold; the largest share of half a modulus. */
function largestShare(
  plan: BatchPlan,
  primes: readonly bigint[],
  record: readonly number[],
): number {
  const held = new Map<number, number>();
  for (const [feature, value] of record.entries())
    held.set(feature, value * 2 ** plan.inputScaleBits);
  let most = 0;
  const put = (id: number, value: number, limbs: number) => {
    held.set(id, value);
    const bits = primes.slice(0, limbs).reduce((sum, prime) => sum + Math.log2(Number(prime)), 0);
    most = Math.max(most, Math.abs(value) / 2 ** (bits - 1));
  };
  const get = (id: number) => held.get(id) ?? Number.NaN;
  for (const op of plan.ops) {
    if (op.kind === "affine") {
      for (const [row, output] of op.outputs.entries()) {
        let sum = Number(op.biases[row]);
        for (let at = op.rowStarts[row]!; at < op.rowStarts[row + 1]!; at += 1) {
          sum += op.weights[at]! * get(op.inputs[op.columns[at]!]!);
        }
        put(output, sum, op.limbs);
      }
      continue;
    }
    const { limbs } = plan.ciphertexts[op.output]!;
    if (op.kind === "unpack") put(op.output, get(op.feature) * 2 ** op.boostBits, limbs);
    else if (op.kind === "product") put(op.output, get(op.left) * get(op.right), limbs);
    else {
      const boosted = get(op.input) * 2 ** op.boostBits;
      put(op.output, boosted, plan.ciphertexts[op.input]!.limbs);
      const dropped = op.rescale ? Number(primes[limbs]) : 1;
      put(op.output, boosted / dropped, limbs);
    }
  }
  for (const output of plan.outputs) {
    if ("ciphertext" in output) put(output.ciphertext, get(output.ciphertext), plan.outputLimbs);
  }
  return most;
}

it("no record of features in [0, 1] wraps around anywhere, however large the weights", () => {
  const shares: number[] = [];
  for (let round = 0; round < 120; round += 1) {
    const factor = 2 ** ((round % 40) / 2 - 4);
    const weight = () => factor * (2 * random() - 1);
    const circuit = {
      features: 4,
      steps: [dense([4, 2], 0, weight, [0.3, 0.5, 1]), dense([2, 2], 4, weight, null)],
    };
    const parameters = round % 2 === 0 ? SHALLOW : DEEP;
    const primes = primesOf(parameters);
    let plan: BatchPlan;
    try {
      plan = planBatch({ circuit, parameters, primes, mode: "shared" });
    } catch (error) {
      expect(error).toMatchObject({ code: "limit-exceeded" });
      continue;
    }
    const corners = Array.from({ length: 16 }, (_, set) =>
      [0, 1, 2, 3].map((bit) => (set >> bit) & 1),
    );
    shares.push(Math.max(...corners.map((record) => largestShare(plan, primes, record))));
  }
  expect(shares.length).toBeGreaterThan(20);
  // Half of half a modulus is kept free.
  expect(Math.max(...shares)).toBeLessThanOrEqual(0.5);
  // The bound is not idle: some model comes near it.
  expect(Math.max(...shares)).toBeGreaterThan(0.1);
});

it("a wide row of large weights is within what the kernel adds up exactly", () => {
  const rows = {
    inputs: Uint32Array.from({ length: 784 }, (_, input) => input),
    rowStarts: Uint32Array.of(0, 784),
    columns: Uint32Array.from({ length: 784 }, (_, at) => at),
    values: Float64Array.from({ length: 784 }, () => (random() < 0.5 ? 1 : -1)),
    constants: Float64Array.of(0),
    constantErrors: Float64Array.of(0),
  };
  const factors = chooseFactors(rows, new Float64Array(784).fill(2 ** 20), 2 ** 50);
  const { weights } = roundRows(rows, factors, 2 ** 40);
  const sum = weights.reduce((total, weight) => total + Math.abs(weight), 0);
  // The bound of assembly/multiply-accumulate.ts.
  expect(sum).toBeLessThanOrEqual(2 ** 27 - 1);
  expect(sum).toBeGreaterThan(2 ** 25);
  const none = { ...factors, weightScales: factors.weightScales.map((scale) => scale * 64) };
  expect(() => roundRows(rows, none, 2 ** 40)).toThrow("a sum of weights");
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
