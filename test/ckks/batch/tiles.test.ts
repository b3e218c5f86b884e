/** Wide layers group by group: the same results bit for bit, in less memory; what cannot be taken apart stays. */
import { expect, it } from "vitest";
import { createBatchEvaluator } from "../../../pipeline/ckks/batch/evaluator.ts";
import { planBatch } from "../../../pipeline/ckks/batch/plan.ts";
import type { AffineOp, BatchOp, BatchPlan } from "../../../pipeline/ckks/batch/program.ts";
import { MAX_ROW_WEIGHT } from "../../../pipeline/ckks/batch/rows.ts";
import { tileProgram } from "../../../pipeline/ckks/batch/tiles.ts";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { createRing } from "../../../pipeline/ckks/ring.ts";
import { lowerNetwork } from "../../../pipeline/network/lower.ts";
import { conv, networkOf, pool, seeded, weightsOf } from "../../network/random-networks.ts";
import { seeded as numbers } from "../fixtures.ts";
import { endsFor } from "./world.ts";

const PARAMETERS = createParameters(4096, [46, 46, 17], 21);
const random = numbers(9);
// Two layers of overlapping windows: rows that read some groups and not others.
const shape = networkOf(
  100,
  [
    { reshape: [10, 10, 1] },
    conv(3, [3, 3], { activation: "quadratic" }),
    pool([2, 2], [1, 1]),
    conv(2, [2, 2], { strides: [2, 2], activation: "none" }),
  ],
  18,
);
const circuit = lowerNetwork(shape, weightsOf(shape, seeded(3)));

const isAffine = (op: BatchPlan["ops"][number]): op is AffineOp => op.kind === "affine";

it("gives the same bytes in a fraction of the memory", async () => {
  const ends = await endsFor(PARAMETERS);
  const { primes } = ends.ckks;
  const request = { circuit, parameters: PARAMETERS, primes, mode: "shared" } as const;
  const whole = planBatch(request);
  const wires = ends.encrypt(
    Array.from({ length: circuit.features }, () => Float64Array.from({ length: 2048 }, random)),
  );
  const results = [2 ** 40, 2 ** 24, 0].map((mostPlaceBytes) => {
    const plan = planBatch({ ...request, mostPlaceBytes });
    const ring = createRing(ends.ckks, { maxBytes: 2 ** 28 });
    const outcome = createBatchEvaluator({ ring, parameters: PARAMETERS, plan }).evaluate(wires);
    if (outcome.status !== "ok") throw new Error(outcome.fault);
    return { plan, bytes: Buffer.concat(outcome.blobs).toString("hex") };
  });
  expect(results[0]!.plan.ops).toEqual(whole.ops);
  for (const { plan, bytes } of results.slice(1)) {
    expect(bytes).toBe(results[0]!.bytes);
    expect(plan.placeLimbs).toBeLessThan(whole.placeLimbs / 2);
    expect(plan.ops.filter(isAffine).length).toBeGreaterThan(3);
    // What the kernel adds up exactly: weights, and one more for a bias or for the sum so far.
    for (const { rowStarts, weights } of plan.ops.filter(isAffine)) {
      for (let row = 0; row + 1 < rowStarts.length; row += 1) {
        const own = weights.subarray(rowStarts[row], rowStarts[row + 1]);
        const sum = own.reduce((total, w) => total + Math.abs(w), 0);
        expect(sum).toBeLessThanOrEqual(MAX_ROW_WEIGHT + 1);
      }
    }
  }
  expect(results[1]!.plan.placeLimbs * 4096 * 8).toBeLessThanOrEqual(2 ** 24);
});

it("leaves a pair of layers alone when others read what lies between", () => {
  const affine = (inputs: number[], outputs: number[], fromWire = false): AffineOp => ({
    ...{ kind: "affine", fromWire, limbs: 1, polys: 2 },
    inputs: Uint32Array.from(inputs),
    outputs: Uint32Array.from(outputs),
    rowStarts: Uint32Array.from({ length: outputs.length + 1 }, (_, row) => row * inputs.length),
    columns: Uint32Array.from(
      { length: outputs.length * inputs.length },
      (_, at) => at % inputs.length,
    ),
    weights: new Float64Array(outputs.length * inputs.length).fill(1),
    biases: outputs.map(() => 1n),
  });
  // 0: a feature; 1..8: rows; 9..16: their squares; 17: their sum.
  const rows = Array.from({ length: 8 }, (_, row) => row + 1);
  const squares = rows.map(
    (row) => ({ kind: "product", left: row, right: row, output: row + 8 }) as const,
  );
  const ops = [
    affine([0], rows, true),
    ...squares,
    affine(
      rows.map((row) => row + 8),
      [17],
    ),
  ];
  const sizes = new Uint32Array(19).fill(1);
  const tile = (all: readonly BatchOp[], kept: number[]) =>
    tileProgram({ ops: all, sizes, kept: new Set(kept), mostLimbs: 0 });
  expect(tile(ops, [17])).toHaveLength(12);
  expect(tile(ops, [17, 9])).toBe(ops);
  const other = [...ops, { kind: "product", left: 3, right: 17, output: 18 } as const];
  expect(tile(other, [18])).toBe(other);
  const met = [
    ...ops.slice(0, 8),
    { kind: "product", left: 7, right: 8, output: 16 } as const,
    ops[9]!,
  ];
  expect(tile(met, [17])).toBe(met);
});
