/** Elementary functions and public numbers: near the engine's and mpmath's, exact where they say so. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { exp, log, sinCos, turn } from "../../../pipeline/features/maps/elementary.ts";
import { createPublicRandom } from "../../../pipeline/features/maps/public-random.ts";

const ULP = 2 ** -52;
/** Arguments over the range that maps use, none of them round. */
const grid = (low: number, high: number): number[] =>
  Array.from({ length: 4001 }, (_, index) => low + ((high - low) * (index + 0.123)) / 4001);

describe("elementary functions", () => {
  it("agree with the engine's within a few units of the last place", () => {
    for (const x of grid(-700, 20))
      expect(Math.abs(exp(x) / Math.exp(x) - 1)).toBeLessThan(4 * ULP);
    for (const x of [...grid(0, 1), ...grid(1, 1e6), 2 ** -54, 1 - 2 ** -53]) {
      expect(Math.abs(log(x) - Math.log(x))).toBeLessThan(
        4 * ULP * Math.max(1, -Math.log(x)) + 2e-15,
      );
    }
    for (const x of [...grid(-10, 10), ...grid(-3000, 3000)]) {
      const [sine, cosine] = sinCos(x);
      expect(Math.abs(sine - Math.sin(x))).toBeLessThan(4 * ULP);
      expect(Math.abs(cosine - Math.cos(x))).toBeLessThan(4 * ULP);
    }
  });

  it("give exact values at the ends", () => {
    expect([exp(0), exp(-709), log(1)]).toEqual([1, 0, 0]);
    expect(turn(3, 4)).toEqual([-1, 0]);
    expect(turn(-2, 8)).toEqual([-1, 0]);
    expect(turn(18, 36).map((value) => value + 0)).toEqual([0, -1]);
    expect(turn(5, 5)).toEqual([0, 1]);
  });

  it("turn by any fraction", () => {
    for (let k = 0; k < 72; k += 1) {
      const [sine, cosine] = turn(k, 36);
      expect(sine).toBeCloseTo(Math.sin((2 * Math.PI * k) / 36), 14);
      expect(cosine).toBeCloseTo(Math.cos((2 * Math.PI * k) / 36), 14);
    }
  });
});

interface Case {
  readonly purpose: string;
  readonly seed: number;
  readonly units: readonly number[];
  /** Of the generator's second block. */
  readonly unit65536: number;
  readonly normals: readonly number[];
}

const vectors: { readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(new URL("../../vectors/public-random.json", import.meta.url), "utf8"),
);

describe("public random numbers", () => {
  it.each(vectors.cases)("are those of $purpose, $seed", (vector) => {
    const units = createPublicRandom(vector.purpose, vector.seed);
    expect(vector.units.map(() => units.unit())).toEqual(vector.units);
    for (let skipped = vector.units.length; skipped < 65_536; skipped += 1) units.unit();
    expect(units.unit()).toBe(vector.unit65536);
    const normals = createPublicRandom(vector.purpose, vector.seed);
    for (const normal of vector.normals) expect(normals.normal()).toBeCloseTo(normal, 13);
  });

  it("are normal: four moments of 200,000, each within 5 deviations (false rejects: none, the seed is fixed)", () => {
    const random = createPublicRandom("moments", 7);
    const count = 200_000;
    const sums = [0, 0, 0, 0];
    for (let at = 0; at < count; at += 1) {
      const z = random.normal();
      for (let power = 0; power < 4; power += 1)
        sums[power] = (sums[power] ?? 0) + z ** (power + 1);
    }
    // Variances of z, z^2, z^3, z^4 are 1, 2, 15, 96.
    for (const [power, [mean, variance]] of [
      [0, 1],
      [1, 2],
      [0, 15],
      [3, 96],
    ].entries()) {
      const off = Math.abs((sums[power] ?? 0) / count - (mean ?? 0));
      expect(off).toBeLessThan(5 * Math.sqrt((variance ?? 0) / count));
    }
  });
});
