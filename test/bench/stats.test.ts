/** The figures that benchmarks report: percentiles by nearest rank, medians, slopes, ratios. */
import { describe, expect, it } from "vitest";
import { rowOf } from "../../bench/lib/report.ts";
import { median } from "../../bench/lib/rounds.ts";
import { percentile, slope } from "../../bench/lib/stats.ts";

describe("figures", () => {
  it("are nearest-rank percentiles", () => {
    const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect([0, 0.005, 0.5, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([
      1, 1, 50, 99, 100,
    ]);
    expect(percentile([3], 0.99)).toBe(3);
    expect(percentile([], 0.5)).toBeNaN();
  });

  it("are medians", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it("are slopes of least squares", () => {
    expect(slope([0, 1, 2].map((x) => [x, 5 + 3 * x] as const))).toBeCloseTo(3);
    expect(
      slope([
        [0, 0],
        [1, 1],
        [2, 0],
      ]),
    ).toBeCloseTo(0);
    expect(slope([[1, 7]])).toBe(0);
  });

  it("are ratios above 1 where we are better, whatever the unit", () => {
    const about = { case: "x", unit: "y", rounds: 1 };
    expect(rowOf(about, 200, { peer: 100 }).ratios).toEqual({ peer: 2 });
    expect(rowOf({ ...about, better: "less" }, 50, { peer: 100 }).ratios).toEqual({ peer: 2 });
    expect(rowOf({ ...about, better: "less" }, 50, {})).not.toHaveProperty("better");
  });
});
