/** Wide layers group by group: the same results bit for bit, in less memory; what cannot be taken apart stays. */
import { expect, it } from "vitest";
import { createBatchEvaluator } from "../../../pipeline/ckks/batch/evaluator.ts";
import { planBatch } from "../../../pipeline/ckks/batch/plan.ts";
import type { AffineOp, BatchPlan } from "../../../pipeline/ckks/batch/program.ts";
import { MAX_ROW_WEIGHT } from "../../../pipeline/ckks/batch/rows.ts";
import { createParameters } from "../../../pipeline/ckks/parameters.ts";
import { createRing } from "../../../pipeline/ckks/ring.ts";
import { lowerNetwork } from "../../../pipeline/network/lower.ts";
import { conv, dense, networkOf, pool, seeded, weightsOf } from "../../network/random-networks.ts";
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

it("leaves rows alone that others read too: a recurrent layer", () => {
  const recurrent = networkOf(9, [
    { reshape: [3, 3] },
    { rnn: 4, activation: "quadratic" },
    dense(3),
  ]);
  const parameters = createParameters(8192, [43, 43, 43, 43, 46], 30);
  const primes = [43n, 43n, 43n, 43n, 46n].map((bits) => 2n ** bits - 1n);
  const made = planBatch({
    circuit: lowerNetwork(recurrent, weightsOf(recurrent, seeded(2))),
    ...{ parameters, primes, mode: "shared", precisionBits: -9, mostPlaceBytes: 0 },
  });
  for (const { inputs, outputs } of made.ops.filter(isAffine)) {
    // Nothing is lost: every row is there once it is read.
    expect(new Set(outputs).size).toBe(outputs.length);
    expect(inputs.length).toBeGreaterThan(0);
  }
});
