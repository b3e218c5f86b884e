/** Chains of maps: each map against its definition, and the chain as one function. */
import { describe, expect, it } from "vitest";
import { planMaps } from "../../../pipeline/features/maps/plan-maps.ts";
import { createPublicRandom } from "../../../pipeline/features/maps/public-random.ts";
import type { FeatureMapSpec } from "../../../pipeline/spec/training-spec.ts";

const ramp = (length: number) =>
  Float32Array.from({ length }, (_, index) => ((37 * index) % 101) / 100);

const norm = (x: Float32Array) => Math.hypot(...x);

function apply(map: FeatureMapSpec, x: Float32Array): Float32Array {
  const plan = planMaps([map], x.length);
  const out = plan.apply(x);
  expect(out).toHaveLength(plan.outputs);
  return out;
}

describe("maps of one record", () => {
  it("normalise groups by their own mean and variance, 1e-5 beside the variance", () => {
    // By hand: means 7/3 and 1/6, variances 14/9 and 1/18.
    const out = apply({ groupNorm: { groups: 2 } }, Float32Array.of(1, 2, 4, 0, 0, 0.5));
    const expected = [-1.0690416, -0.2672604, 1.3363019, -0.7070432, -0.7070432, 1.4140864];
    for (const [at, value] of expected.entries()) expect(out[at]).toBeCloseTo(value, 5);
  });

  it("normalise to length 1, and leave zeros", () => {
    expect([...apply({ normalize: "l2" }, Float32Array.of(3, 0, -4))]).toEqual([
      ...Float32Array.of(0.6, 0, -0.8),
    ]);
    expect([...apply({ normalize: "l2" }, new Float32Array(3))]).toEqual([0, 0, 0]);
    for (let length = 1; length < 60; length += 1) {
      const out = apply({ normalize: "l2" }, ramp(length + 1).subarray(1));
      expect(Math.max(...out)).toBeLessThanOrEqual(1);
      expect(norm(out)).toBeCloseTo(1, 6);
    }
  });

  it("standardize by one constant or one each", () => {
    const x = Float32Array.of(0, 0.5, 1);
    expect([...apply({ standardize: { mean: 0.5, deviation: 0.25 } }, x)]).toEqual([-2, 0, 2]);
    const each = { mean: [0, 0.5, 0], deviation: [1, 0.5, 4] };
    expect([...apply({ standardize: each }, x)]).toEqual([0, 0, 0.25]);
  });
});

describe("random maps", () => {
  it("project by the public matrix, row by row", () => {
    const [inputs, outputs, seed] = [13, 5, 3];
    const x = ramp(inputs);
    const random = createPublicRandom("randomProjection", seed);
    const rows = Array.from({ length: outputs }, () =>
      Array.from({ length: inputs }, () => random.normal() / Math.sqrt(outputs)),
    );
    const out = apply({ randomProjection: { outputs, seed } }, x);
    for (const [at, row] of rows.entries()) {
      const sum = row.reduce((total, weight, column) => total + weight * (x[column] ?? 0), 0);
      expect(out[at]).toBeCloseTo(sum, 5);
    }
  });

  it("make Fourier features of the public matrix and, behind it, the phases", () => {
    const [inputs, outputs, seed, bandwidth] = [7, 4, 11, 1.5];
    const x = ramp(inputs);
    const random = createPublicRandom("fourier", seed);
    const rows = Array.from({ length: outputs }, () =>
      Array.from({ length: inputs }, () => random.normal() / bandwidth),
    );
    const out = apply({ fourier: { outputs, bandwidth, seed } }, x);
    for (const [at, row] of rows.entries()) {
      const angle = row.reduce((total, weight, column) => total + weight * (x[column] ?? 0), 0);
      const expected = Math.sqrt(2 / outputs) * Math.cos(angle + 2 * Math.PI * random.unit());
      expect(out[at]).toBeCloseTo(expected, 5);
    }
  });

  it("keep lengths when projecting: 2,000 outputs, within 4.5 deviations (1 in 150,000 seeds)", () => {
    const x = ramp(784);
    const out = apply({ randomProjection: { outputs: 2000, seed: 9 } }, x);
    expect(Math.abs((norm(out) / norm(x)) ** 2 - 1)).toBeLessThan(4.5 * Math.sqrt(2 / 2000));
  });

  it("approximate the Gaussian kernel: 8,000 Fourier features, within 4.5 deviations", () => {
    const bandwidth = 2;
    const plan = planMaps([{ fourier: { outputs: 8000, bandwidth, seed: 5 } }], 20);
    const [x, y] = [ramp(20), ramp(40).subarray(20)];
    const [a, b] = [plan.apply(x), plan.apply(y)];
    const product = a.reduce((total, value, at) => total + value * (b[at] ?? 0), 0);
    const squares = x.reduce((total, value, at) => total + (value - (y[at] ?? 0)) ** 2, 0);
    // A term 2 cos cos is at most 2 in size: its variance is at most 4 / 4 + 1 / 2.
    expect(Math.abs(product - Math.exp(-squares / (2 * bandwidth ** 2)))).toBeLessThan(
      4.5 * Math.sqrt(1.5 / 8000),
    );
    expect(Math.abs(norm(a) ** 2 - 1)).toBeLessThan(0.05);
  });

  it("convolve, rectify and average: against the definition, with channels", () => {
    const seed = 4;
    const x = ramp(5 * 6 * 2);
    const random = createPublicRandom("randomConvolution", seed);
    const filters = Array.from({ length: 3 }, () =>
      Array.from({ length: 2 * 3 * 2 }, () => random.normal() / Math.sqrt(12)),
    );
    const at = (row: number, column: number, channel: number) =>
      x[(row * 6 + column) * 2 + channel] ?? 0;
    const response = (row: number, column: number, filter: number): number => {
      let sum = 0;
      for (let dy = 0; dy < 2; dy += 1)
        for (let dx = 0; dx < 3; dx += 1)
          for (let channel = 0; channel < 2; channel += 1)
            sum +=
              (filters[filter]?.[(dy * 3 + dx) * 2 + channel] ?? 0) *
              at(row + dy, column + dx, channel);
      return Math.max(0, sum);
    };
    const out = apply(
      {
        randomConvolution: {
          ...{ shape: [5, 6, 2], filters: 3, kernelSize: [2, 3], poolSize: [2, 2], seed },
        },
      },
      x,
    );
    // 4 x 4 places, 2 x 2 windows.
    expect(out).toHaveLength(12);
    for (const [index, value] of out.entries()) {
      const [place, filter] = [Math.floor(index / 3), index % 3];
      const [row, column] = [2 * Math.floor(place / 2), 2 * (place % 2)];
      const places = [
        [0, 0],
        [0, 1],
        [1, 0],
        [1, 1],
      ] as const;
      const sum = places.reduce(
        (total, [dy, dx]) => total + response(row + dy, column + dx, filter),
        0,
      );
      expect(value).toBeCloseTo(sum / 4, 6);
    }
  });

  it("differ by seed and by map, and are the same for the same", () => {
    const x = ramp(30);
    const projected = (seed: number) => apply({ randomProjection: { outputs: 8, seed } }, x);
    expect(projected(1)).toEqual(projected(1));
    expect(projected(1)).not.toEqual(projected(2));
  });
});

describe("a chain", () => {
  const maps: FeatureMapSpec[] = [
    { scattering: { shape: [8, 8], scales: 1, angles: 8, order: 1 } },
    { groupNorm: { groups: 9 } },
    { normalize: "l2" },
  ];

  it("is its maps, one behind the other", () => {
    const plan = planMaps(maps, 64);
    expect(plan.outputs).toBe(144);
    let x: Float32Array = ramp(64);
    for (const map of maps) x = planMaps([map], x.length).apply(x);
    expect(plan.apply(ramp(64))).toEqual(x);
    expect(norm(plan.apply(ramp(64)))).toBeCloseTo(1, 6);
  });

  it("of no maps gives the numbers as they are", () => {
    expect(planMaps([], 5).apply(ramp(5))).toEqual(ramp(5));
  });

  it("cuts off at a range", () => {
    const standardize = { standardize: { mean: 0.5, deviation: 0.1 } };
    const plan = planMaps([standardize], 3, [-1, 2]);
    expect([...plan.apply(Float32Array.of(0, 0.5, 1))]).toEqual([-1, 0, 2]);
  });
});
