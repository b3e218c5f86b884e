/**
 * The optimisers against jax_privacy 2.0.0 (noise-matrices.json): no loss above theirs by more than 1e-8 of itself, which is
 * their own distance from the optimum; gradients against differences; and the ranking of the kinds.
 */
import { describe, expect, test } from "vitest";
import {
  prefixError,
  strategyCoefficients,
} from "../../../pipeline/privacy/correlation/coefficients.ts";
import type { Objective } from "../../../pipeline/privacy/correlation/lbfgs.ts";
import {
  bandedLoss,
  bufferedLoss,
  type ErrorObjective,
  type NoisePlan,
  optimizeBanded,
  optimizeBuffered,
  planNoise,
} from "../../../pipeline/privacy/correlation/plan.ts";
import golden from "../../vectors/noise-matrices.json" with { type: "json" };

const objectiveOf = (name: string): ErrorObjective => (name === "max" ? "max" : "mean");
const lossOf = (noise: Parameters<typeof prefixError>[0], objective: ErrorObjective) =>
  (objective === "max" ? prefixError(noise).max : prefixError(noise).rms) ** 2;

describe("against jax_privacy", () => {
  test.each(golden.banded)("$bands bands of $n, $objective error", (expected) => {
    const { n: updates, bands } = expected;
    const objective = objectiveOf(expected.objective);
    const coefficients = optimizeBanded(updates, bands, objective);
    const gradient = new Float64Array(bands - 1);
    const loss = Math.exp(bandedLoss(updates, objective)(coefficients.subarray(1), gradient));
    expect(loss / expected.loss).toBeLessThan(1 + 1e-8);
    expect(loss / expected.loss).toBeGreaterThan(1 - 1e-6);
    for (const [k, value] of expected.coefficients.entries()) {
      expect(coefficients[k]).toBeCloseTo(value, 4);
    }
    const onGrid = [...coefficients].map((c) => Math.round(c * 65_536) / 65_536);
    const rounded = lossOf({ kind: "banded", updates, coefficients: onGrid }, objective);
    expect(rounded / expected.loss).toBeLessThan(1 + 1e-7);
  });

  test.each(golden.blt)("$buffers buffers of $n, $objective error", (expected) => {
    const { n: updates, buffers } = expected;
    const objective = objectiveOf(expected.objective);
    const found = optimizeBuffered(updates, buffers, objective);
    const ours = lossOf({ kind: "blt", updates, ...found }, objective);
    const theirs = lossOf(
      { kind: "blt", updates, decay: expected.decay, weight: expected.weight },
      objective,
    );
    expect(theirs / (1 + 2 ** -16) ** 2 / expected.loss).toBeCloseTo(1, 8);
    expect(ours / theirs).toBeLessThan(1 + 1e-8);
    expect(ours / theirs).toBeGreaterThan(1 - 1e-6);
  });

  test("there are as many as the file says", () => {
    expect([golden.banded.length, golden.blt.length]).toEqual([10, 9]);
  });
});

describe("gradients", () => {
  const cases: [string, Objective, number[]][] = [
    ["banded mean", bandedLoss(20, "mean"), [0.5, 0.3, 0.1]],
    ["banded max", bandedLoss(20, "max"), [0.4, -0.2]],
    ["buffered mean", bufferedLoss(20, "mean"), [2, 0, -1.5, -1]],
    ["buffered max", bufferedLoss(20, "max"), [3, 1, -1, -2]],
  ];
  test.each(cases)("%s agrees with differences", (_, loss, at) => {
    const gradient = new Float64Array(at.length);
    const scratch = new Float64Array(at.length);
    loss(Float64Array.from(at), gradient);
    for (const [i, value] of gradient.entries()) {
      const moved = (by: number) =>
        loss(
          Float64Array.from(at, (v, j) => (i === j ? v + by : v)),
          scratch,
        );
      expect((moved(1e-5) - moved(-1e-5)) / 2e-5).toBeCloseTo(value, 7);
    }
  });
});

describe("planNoise", () => {
  const plans: NoisePlan[] = [
    { kind: "independent" },
    { kind: "toeplitz", updates: 468 },
    { kind: "banded", updates: 468, bands: 32 },
    { kind: "blt", updates: 468, buffers: 3 },
  ];

  test("gives the same every time, of the kind that was asked for, and no increasing or negative coefficient", () => {
    for (const plan of plans) {
      const noise = planNoise(plan);
      expect(planNoise(plan)).toEqual(noise);
      expect(noise.kind).toBe(plan.kind);
      expect(JSON.parse(JSON.stringify(noise))).toEqual(noise);
      if (noise.kind === "independent") continue;
      const c = strategyCoefficients(noise);
      for (let k = 1; k < c.length; k += 1) {
        expect(c[k]).toBeLessThanOrEqual(c[k - 1] ?? 0);
        expect(c[k]).toBeGreaterThanOrEqual(0);
      }
    }
  });

  test("ranks as published: three buffers beat the square root on average, it beats 32 bands, they beat none", () => {
    const [independent = 0, toeplitz = 0, banded = 0, blt = 0] = plans.map((plan) => {
      const noise = planNoise(plan);
      return prefixError(noise, 468).rms;
    });
    expect(independent).toBeCloseTo(Math.sqrt(469 / 2), 10);
    expect(blt).toBeLessThan(toeplitz);
    expect(toeplitz).toBeLessThan(banded);
    expect(banded).toBeLessThan(independent / 3);
    expect(blt / toeplitz).toBeCloseTo(0.982, 3);
  });

  test("bands of one are independent rows; a whole block of bands beats everything on average", () => {
    const one = planNoise({ kind: "banded", updates: 50, bands: 1 });
    expect(prefixError(one).rms).toBeCloseTo(prefixError({ kind: "independent" }, 50).rms, 12);
    const all = prefixError(planNoise({ kind: "banded", updates: 50, bands: 99 })).rms;
    expect(all).toBeLessThan(prefixError(planNoise({ kind: "blt", updates: 50, buffers: 4 })).rms);
  });

  test.each([
    { kind: "toeplitz", updates: 0 },
    { kind: "toeplitz", updates: 2 ** 20 + 1 },
    { kind: "banded", updates: 9, bands: 0 },
    { kind: "banded", updates: 9, bands: 1_025 },
    { kind: "blt", updates: 9, buffers: 11 },
    { kind: "blt", updates: 1.5, buffers: 1 },
  ] as const)("%j is refused", (plan) => {
    expect(() => planNoise(plan)).toThrow(expect.objectContaining({ code: "limit-exceeded" }));
  });
});
