/** Scattering: Kymatio's own values, and what holds of any transform. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createScattering } from "../../../pipeline/features/maps/scattering.ts";

interface Case {
  readonly shape: readonly [number, number];
  readonly scales: number;
  readonly angles: number;
  readonly order: 1 | 2;
  /** [channels, rows, columns] */
  readonly outputs: readonly number[];
  /** Every so many values of the flat result are in `values`. */
  readonly every: number;
  readonly values: readonly number[];
}

const vectors: { readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(new URL("../../vectors/kymatio.json", import.meta.url), "utf8"),
);

/** The vectors' image. */
const image = ([height, width]: readonly [number, number]) =>
  Float32Array.from({ length: height * width }, (_, i) => ((7 * i * i + 13 * i) % 256) / 255);

describe("scattering", () => {
  it.each(vectors.cases)(
    "is Kymatio's for $shape, J = $scales, L = $angles, order $order",
    (vector) => {
      const map = createScattering(vector);
      const out = map.apply(image(vector.shape));
      expect(out).toHaveLength(vector.outputs.reduce((product, side) => product * side, 1));
      expect(map.outputs).toBe(out.length);
      // Float32 in both: 1e-7 of values near 0.6 is what their own rounding leaves.
      for (const [index, value] of vector.values.entries()) {
        expect(Math.abs((out[index * vector.every] ?? Number.NaN) - value)).toBeLessThan(5e-7);
      }
    },
  );

  const map = createScattering({ shape: [28, 28], scales: 2, angles: 8, order: 2 });

  it("gives the same bits again, whatever came between, and keeps nothing of its input", () => {
    const x = image([28, 28]);
    const first = map.apply(x);
    map.apply(new Float32Array(784).fill(1));
    expect(map.apply(x)).toEqual(first);
    expect(map.apply(x)).not.toBe(first);
  });

  it("sees no constant: wavelets have mean 0, the low-pass has sum 1", () => {
    const out = map.apply(new Float32Array(784).fill(1));
    expect(Math.max(...out.subarray(49))).toBeLessThan(2e-5);
    for (const value of out.subarray(0, 49)) expect(Math.abs(value - 1)).toBeLessThan(1e-4);
  });

  it("scales with its input", () => {
    const x = image([28, 28]);
    const twice = map.apply(x.map((value) => 2 * value));
    expect(twice).toEqual(map.apply(x).map((value) => 2 * value));
  });

  it("turns a turned image's channels by as many angles, in the middle", () => {
    const half = createScattering({ shape: [33, 33], scales: 1, angles: 4, order: 1 });
    const wave = Float32Array.from(
      { length: 33 * 33 },
      (_, i) => 0.5 + 0.5 * Math.cos((i % 33) * 2.2),
    );
    const turned = wave.map((_, i) => wave[(i % 33) * 33 + Math.floor(i / 33)] ?? 0);
    const strongest = (x: Float32Array): number => {
      const out = half.apply(x);
      const side = Math.sqrt(half.outputs / 5);
      const middle = Math.floor(side / 2) * (side + 1);
      const angles = [1, 2, 3, 4].map((channel) => out[channel * side * side + middle] ?? 0);
      return angles.indexOf(Math.max(...angles));
    };
    expect(Math.abs(strongest(wave) - strongest(turned))).toBe(2);
  });
});
