/** Linear models from noisy sums of squares: against scikit-learn and numpy, under noise, and through checkpoints. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Network } from "../../../pipeline/network/definition.ts";
import { argmax, forward } from "../../../pipeline/network/forward.ts";
import { unflatten } from "../../../pipeline/network/weights.ts";
import { quantizeSum } from "../../../pipeline/privacy/contribution.ts";
import { leastEigenvalue, solveRidge } from "../../../pipeline/stages/aggregate/ridge.ts";
import {
  createUpdateRule,
  type UpdateRule,
} from "../../../pipeline/stages/aggregate/update-rule.ts";
import { statisticsSum } from "../../../pipeline/stages/train/statistics-backend.ts";
import { SPEC } from "./world.ts";

const VECTORS = JSON.parse(
  readFileSync(new URL("../../vectors/ridge.json", import.meta.url), "utf8"),
);
const NETWORK: Network = { inputs: 4, layers: [{ outputs: 3, activation: "none" }] };
const FEATURES: number[][] = VECTORS.features;
const LABELS: number[] = VECTORS.labels;
const ROWS = LABELS.length;
const FRACTION_BITS = 24;
const unused = () => new Uint8Array();

function ruleOf(ridge: number, network = NETWORK): UpdateRule {
  const train = { ...SPEC.train, method: "statistics" as const, ridge };
  return createUpdateRule({ ...SPEC, train }, network, null);
}

/** Quantized sums of the vectors' records from `begin` to `end`. */
function sumOf(l2ClipNorm: number, begin = 0, end = ROWS): Float64Array {
  const { sum } = statisticsSum({
    network: NETWORK,
    weights: unflatten(NETWORK, new Float32Array(15)),
    inputs: Float32Array.from(FEATURES.slice(begin, end).flat()),
    labels: Int32Array.from(LABELS.slice(begin, end)),
    rows: end - begin,
    l2ClipNorm,
  });
  return Float64Array.from(quantizeSum(sum, FRACTION_BITS));
}

const DIVISOR = ROWS * 2 ** FRACTION_BITS;

describe("without noise it is scikit-learn's ridge", () => {
  test.each(["unclipped", "clipped"])("%s", (name) => {
    const { l2ClipNorm, ridge, weights } = VECTORS[name];
    const rule = ruleOf(ridge);
    const { published } = rule.step(
      rule.initial(unused),
      { sum: sumOf(l2ClipNorm), divisor: DIVISOR },
      1,
    );
    for (const [index, value] of weights.flat().entries()) {
      expect(published[index]).toBeCloseTo(value, 4);
    }
  });

  test("however the records lie in updates", () => {
    const { l2ClipNorm, ridge, weights } = VECTORS.clipped;
    const rule = ruleOf(ridge);
    const divisor = DIVISOR / 4;
    let state = rule.initial(unused);
    for (const step of [4, 3, 2, 1].map((_, index) => index + 1)) {
      const sum = sumOf(l2ClipNorm, (step - 1) * 10, step * 10);
      state = rule.step(state, { sum, divisor }, step);
      state = rule.restore(state.published, rule.stored(state));
    }
    for (const [index, value] of weights.flat().entries()) {
      expect(state.published[index]).toBeCloseTo(value, 4);
    }
    expect(state.iterate).toBe(state.published);
  });
});

test("a run begins at zero, and only its own sums are taken", () => {
  const rule = ruleOf(0);
  expect(rule.coordinates).toBe(15 + 15);
  const state = rule.initial(unused);
  expect(state.published).toEqual(new Float32Array(15));
  expect(rule.restore(state.published, rule.stored(state))).toEqual(state);
  for (const trainer of [
    undefined,
    { sums: new Float64Array(29) },
    { sums: new Float32Array(30) },
  ]) {
    expect(() => rule.restore(state.published, trainer)).toThrow(
      expect.objectContaining({ code: "checkpoint-invalid" }),
    );
  }
});

describe("noise", () => {
  /** Gaussian enough: the sum of twelve uniform numbers. */
  const normal = () => [...randomBytes(12)].reduce((sum, byte) => sum + (byte + 0.5) / 256, -6);

  test("makes the ridge that it asks for: weights stay small, the model is still right", () => {
    // Two classes that a plane separates, 64 features, noise far above the least eigenvalues of the squares.
    const network: Network = { inputs: 64, layers: [{ outputs: 2, activation: "none" }] };
    const rows = 2_000;
    const inputs = Float32Array.from(randomBytes(rows * 64), (byte) => byte / 2_048);
    const labels = Int32Array.from({ length: rows }, (_, row) => row % 2);
    for (let row = 0; row < rows; row += 1) inputs[row * 64 + (labels[row] ?? 0)] = 0.8;
    const weights = unflatten(network, new Float32Array(130));
    const { sum } = statisticsSum({ network, weights, inputs, labels, rows, l2ClipNorm: 2 });
    const noisy = Float64Array.from(sum, (value) => value + 10 * normal());
    const rule = ruleOf(0, network);
    const { published } = rule.step(rule.initial(unused), { sum: noisy, divisor: rows }, 1);
    expect(Math.max(...published.map(Math.abs))).toBeLessThan(10);
    let correct = 0;
    for (let row = 0; row < 200; row += 1) {
      const x = inputs.subarray(row * 64, (row + 1) * 64);
      const logits = forward(network, unflatten(network, published), x);
      if (argmax(logits) === labels[row]) correct += 1;
    }
    expect(correct).toBeGreaterThan(180);
  });

  test("adds twice what it moves the least eigenvalue below 0", () => {
    const network: Network = { inputs: 1, layers: [{ outputs: 2, activation: "none" }] };
    const rule = ruleOf(0.5, network);
    // M = diag(1, -0.25), so the ridge is 0.5 + 0.5; b = ((3, 0), (0, 6)).
    const sum = Float64Array.of(1, 0, -0.25, 3, 0, 0, 6);
    const { published } = rule.step(rule.initial(unused), { sum, divisor: 1 }, 1);
    for (const [index, value] of [1.5, 0, 0, 8].entries()) {
      expect(published[index]).toBeCloseTo(value, 5);
    }
  });

  test("of nothing but noise still has a solution", () => {
    const rule = ruleOf(0);
    const sum = Float64Array.from({ length: 30 }, () => 1e6 * normal());
    const { published } = rule.step(rule.initial(unused), { sum, divisor: 1 }, 1);
    expect(published.every(Number.isFinite)).toBe(true);
    // Nor do zeros, whose matrix has no inverse, end the run.
    const nothing = { sum: new Float64Array(30), divisor: 1 };
    expect(rule.step(rule.initial(unused), nothing, 1).published).toEqual(new Float32Array(15));
  });

  test("that leaves float32 ends the run with the setting to change", () => {
    const rule = ruleOf(0);
    const sum = new Float64Array(30).fill(1e300, 15);
    expect(() => rule.step(rule.initial(unused), { sum, divisor: 1 }, 1)).toThrow(
      expect.objectContaining({
        code: "limit-exceeded",
        message: expect.stringMatching(/raise train\.ridge/),
      }),
    );
  });
});

describe("linear algebra", () => {
  const { matrix, least, ridge, right, solution } = VECTORS.symmetric;
  const flat = Float64Array.from(matrix.flat() as number[]);
  test("least eigenvalue", () => {
    expect(leastEigenvalue(flat, 7)).toBeCloseTo(least, 10);
    expect(leastEigenvalue(Float64Array.of(-3), 1)).toBeCloseTo(-3, 12);
    const zeros = new Float64Array(9);
    expect(leastEigenvalue(zeros, 3)).toBeCloseTo(0, 12);
  });

  test("of a matrix with more rows than steps, from above, within 2 %", () => {
    const n = 200;
    // Eigenvalues of the second difference: -4 sin^2(k pi / (2 n + 2)).
    const difference = new Float64Array(n * n);
    for (let i = 0; i < n; i += 1) {
      difference[i * n + i] = -2;
      if (i > 0) difference[i * n + i - 1] = 1;
      if (i < n - 1) difference[i * n + i + 1] = 1;
    }
    const exact = -4 * Math.sin((n * Math.PI) / (2 * n + 2)) ** 2;
    const found = leastEigenvalue(difference, n);
    expect(found).toBeGreaterThanOrEqual(exact - 1e-9);
    expect(found).toBeLessThan(exact * 0.98);
  });

  test("solution, and none where there is none", () => {
    const given = Float64Array.from(right.flat() as number[]);
    const found = solveRidge(flat, given, { n: 7, columns: 2, ridge });
    for (const [index, value] of solution.flat().entries()) {
      expect(found?.[index]).toBeCloseTo(value, 9);
    }
    expect(solveRidge(flat, given, { n: 7, columns: 2, ridge: -least - 1e-6 })).toBeNull();
    expect(solveRidge(flat, given, { n: 7, columns: 2, ridge: -least + 1e-6 })).not.toBeNull();
  });
});
