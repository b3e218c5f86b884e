/** Sums of squares: their numbers, and that no example, whatever it holds, moves them by more than the clip. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Network } from "../../../pipeline/network/definition.ts";
import { contributionLength } from "../../../pipeline/network/linear-statistics.ts";
import { unflatten } from "../../../pipeline/network/weights.ts";
import {
  contributionFractionBits,
  contributionSensitivity,
  quantizeSum,
} from "../../../pipeline/privacy/contribution.ts";
import { contributionCoordinates } from "../../../pipeline/privacy/ledger-rules.ts";
import { EMPTY_PLACE } from "../../../pipeline/stages/train/backend.ts";
import {
  createStatisticsBackend,
  statisticsSum,
  statisticsTarget,
} from "../../../pipeline/stages/train/statistics-backend.ts";

const linear = (inputs: number, outputs: number): Network => ({
  inputs,
  layers: [{ outputs, activation: "none" }],
});

function sumOf(
  network: Network,
  xs: readonly (readonly number[])[],
  ys: readonly number[],
  clip: number,
) {
  const parameters = contributionLength(network, "gradient");
  return statisticsSum({
    network,
    weights: unflatten(network, new Float32Array(parameters)),
    inputs: Float32Array.from(xs.flat()),
    labels: Int32Array.from(ys),
    rows: ys.length,
    l2ClipNorm: clip,
  });
}

test("one example's numbers, by hand", () => {
  // x = (2, -1, 1): |x|^2 = 6, |v|^2 = 42.
  const { sum, clippedRows } = sumOf(linear(2, 2), [[2, -1]], [1], 64);
  const r = Math.SQRT2;
  const expected = [4, -2 * r, 2 * r, 1, -1 * r, 1, 0, 2, 0, -1, 0, 1];
  expect(sum.length).toBe(expected.length);
  for (const [index, value] of expected.entries()) expect(sum[index]).toBeCloseTo(value, 14);
  expect(Math.hypot(...sum)).toBeCloseTo(Math.sqrt(42), 12);
  expect(clippedRows).toBe(0);
});

test("the length is the ledger's", () => {
  for (const [inputs, classes] of [
    [1, 2],
    [64, 10],
    [324, 10],
  ] as const) {
    const network = linear(inputs, classes);
    const length = contributionLength(network, "statistics");
    expect(length).toBe(contributionCoordinates(network, "statistics"));
    expect(length).toBe(((inputs + 1) * (inputs + 2)) / 2 + (inputs + 1) * classes);
  }
  expect(contributionLength(linear(64, 10), "gradient")).toBe(650);
});

test("a sum is that of its examples, empty places and all", () => {
  const network = linear(3, 2);
  const xs = [
    [1, 2, 3],
    [0.5, 0, 1],
    [9, 9, 9],
    [0, 0, 0],
    [1, 1, 0],
    [2, 0.25, 4],
    [1, 0, 1],
  ];
  const ys = [0, 1, EMPTY_PLACE, 1, 0, 1, 0];
  const whole = sumOf(network, xs, ys, 2);
  const single = new Float64Array(whole.sum.length);
  for (const [row, y] of ys.entries()) {
    const { sum } = sumOf(network, [xs[row]!], [y], 2);
    for (const [index, value] of sum.entries()) single[index] = single[index]! + value;
  }
  for (const [index, value] of single.entries()) expect(whole.sum[index]).toBeCloseTo(value, 12);
  // Of the six examples only x = 0 has a norm, sqrt(1 (1 + 1)), below the clip.
  expect(whole).toMatchObject({ clippedRows: 5, unusableRows: 0, lossSum: 0 });
});

describe("no example moves a sum by more than the clip", () => {
  const network = linear(5, 3);
  const ROWS = 32;
  const hostile: [string, number[]][] = [
    ["the largest floats", Array(5).fill(3.4e38)],
    ["one large number", [1e30, 0, 0, 0, 0]],
    ["the least floats", Array(5).fill(1e-45)],
    ["signs", [1e10, -1e10, 1, -1, 0]],
    ["ones", Array(5).fill(1)],
    ["nothing", Array(5).fill(0)],
    ["just above the clip", Array(5).fill(0.5)],
    ["NaN", [Number.NaN, 1, 1, 1, 1]],
    ["infinity", [1, Number.POSITIVE_INFINITY, 0, 0, Number.NEGATIVE_INFINITY]],
  ];
  const others = () =>
    Array.from({ length: ROWS - 1 }, () => [...randomBytes(5)].map((byte) => byte * 1e6));

  test.each([2 ** -6, 1, 3, 2 ** 20])("of %d", (clip) => {
    const fractionBits = contributionFractionBits({ places: ROWS, l2ClipNorm: clip });
    const parameters = contributionLength(network, "statistics");
    const sensitivity = contributionSensitivity({ l2ClipNorm: clip, parameters, fractionBits });
    let largest = 0;
    for (const [, x] of hostile) {
      for (const place of [0, 13, ROWS - 1]) {
        const xs = others().toSpliced(place, 0, x);
        const ys = Array.from({ length: ROWS }, (_, row) => row % 3);
        const withIt = sumOf(network, xs, ys, clip).sum;
        const without = sumOf(network, xs, ys.with(place, EMPTY_PLACE), clip).sum;
        const moved = Math.hypot(...withIt.map((value, index) => value - without[index]!));
        expect(moved).toBeLessThanOrEqual(clip);
        largest = Math.max(largest, moved);
        const [a, b] = [quantizeSum(withIt, fractionBits), quantizeSum(without, fractionBits)];
        const steps = Math.hypot(...a.map((value, index) => value - b[index]!));
        expect(steps * 2 ** -fractionBits).toBeLessThanOrEqual(sensitivity);
      }
    }
    // The bound is one that is reached.
    expect(largest).toBeGreaterThan(clip * (1 - 1e-9));
  });

  test.each(["NaN", "infinity"])("%s contributes nothing and is counted", (name) => {
    const x = hostile.find(([called]) => called === name)?.[1] ?? [];
    const { sum, unusableRows } = sumOf(network, [x], [0], 1);
    expect(unusableRows).toBe(1);
    expect(sum.every((value) => value === 0)).toBe(true);
  });
});

test("what is outside the derivation is refused", () => {
  const refused = expect.objectContaining({ code: "limit-exceeded" });
  for (const [rows, clip] of [
    [0, 1],
    [65_537, 1],
    [1, 0.01],
    [1, 2 ** 21],
    [1, Number.NaN],
  ]) {
    expect(() => statisticsTarget(4, rows!, clip!)).toThrow(refused);
  }
  expect(statisticsTarget(300, 65_536, 1)).toBeGreaterThan(0.999_998);
  expect(() => sumOf(linear(1, 2), [[1]], [2], 1)).toThrow(
    expect.objectContaining({ code: "internal" }),
  );
});

test("is asked like a backend of gradients", async () => {
  const backend = createStatisticsBackend();
  await backend.load();
  expect(backend.liveTensors()).toBe(0);
  const network = linear(2, 2);
  const request = {
    network,
    weights: unflatten(network, new Float32Array(6)),
    inputs: Float32Array.of(2, -1),
    labels: Int32Array.of(1),
    rows: 1,
    l2ClipNorm: 64,
  };
  expect(await backend.clippedGradientSum(request)).toEqual(statisticsSum(request));
});
