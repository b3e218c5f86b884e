/** `features.maps` of a pipeline file: forms, where a mistake is shown, and that its formulas are what the maps do. */
import { describe, expect, it } from "vitest";
import { planMaps } from "../../pipeline/features/maps/plan-maps.ts";
import { formatComplaint } from "../../pipeline/spec/complaint.ts";
import { mapText } from "../../pipeline/spec/feature-maps.ts";
import { complaintsOf, edited, loadGood } from "./fixtures.ts";

/** The digits example (64 inputs) with maps in front of a linear head. */
function withMaps(maps: readonly string[]): string {
  const text = edited(
    "  label: {",
    `  maps:\n${maps.map((map) => `    - ${map}\n`).join("")}  label: {`,
  );
  return edited("    - { dense: 32, activation: square }\n", "", text);
}

const features = (...maps: string[]) => loadGood(withMaps(maps)).features;

const SCATTERING = "scattering: { shape: [8, 8], scales: 1 }";

describe("forms", () => {
  it("fills defaults and follows what the network reads", () => {
    const { maps, outputs } = features(SCATTERING, "groupNorm: { groups: 9 }", "normalize: l2");
    expect(maps).toEqual([
      { scattering: { shape: [8, 8], scales: 1, angles: 8, order: 2 } },
      { groupNorm: { groups: 9 } },
      { normalize: "l2" },
    ]);
    expect(outputs).toEqual({ length: 144, range: [-1, 1], norm: 1 });
    expect(maps.map(mapText)).toEqual([
      "scattering of 1 scales, 8 angles, order 2",
      "9 groups normalised",
      "L2-normalised",
    ]);
  });

  it("leaves a file without maps as it was", () => {
    expect(loadGood(edited("  label: {", "  label: {")).features).toMatchObject({
      maps: [],
      outputs: { length: 64, range: [0, 1], norm: 8 },
    });
  });

  it("sizes the network by what the maps give", () => {
    const text = edited(
      "  label: {",
      "  maps: [{ randomProjection: { outputs: 48 } }]\n  label: {",
    );
    const layers = (shape: string) =>
      edited(
        "{ dense: 32, activation: square }",
        `{ reshape: ${shape} }\n    - { rnn: 4, activation: square }`,
        text,
      );
    expect(loadGood(layers("[6, 8]")).train.network[0]).toEqual({ reshape: [6, 8] });
    expect(complaintsOf(layers("[8, 8]")).map(formatComplaint).join()).toMatch(
      /network\[0\].reshape: 8 x 8 are 64 values, found 48/,
    );
  });
});

describe("mistakes", () => {
  it.each<[string, string[], RegExp]>([
    ["no kind", ["{}"], /features.maps\[0\]: a map has one of scattering.*found none/],
    [
      "two kinds",
      ["{ normalize: l2, groupNorm: { groups: 2 } }"],
      /\[0\]: .*found groupNorm and normalize/,
    ],
    [
      "an unknown map",
      ["scatering: { shape: [8, 8] }"],
      /unknown key 'scatering'; did you mean 'scattering'/,
    ],
    [
      "another image",
      ["scattering: { shape: [8, 9] }"],
      /maps\[0\].scattering: 8 x 9 are 72 values, found 64/,
    ],
    [
      "too many scales",
      ["scattering: { shape: [8, 8], scales: 4 }"],
      /needs sides of at least 16, found 8 x 8/,
    ],
    ["order 3", ["scattering: { shape: [8, 8], order: 3 }"], /maps\[0\].scattering.order/],
    [
      "groups",
      ["normalize: l2", "groupNorm: { groups: 7 }"],
      /maps\[1\].groupNorm: 7 groups do not divide 64/,
    ],
    [
      "constants",
      ["standardize: { mean: [1, 2], deviation: 1 }"],
      /expected one mean, or 64; found 2/,
    ],
    ["a deviation of 0", ["standardize: { mean: 0, deviation: 0 }"], /standardize.deviation/],
    [
      "a window",
      ["randomConvolution: { shape: [8, 8], filters: 2, kernelSize: [3, 3], poolSize: [7, 1] }"],
      /do not fit 8 x 8/,
    ],
    [
      "a large matrix",
      ["randomProjection: { outputs: 65536 }", "fourier: { outputs: 4096, bandwidth: 1 }"],
      /maps\[1\].fourier: a matrix of 4096 x 65536/,
    ],
    [
      "many values",
      [
        "randomConvolution: { shape: [8, 8], filters: 1024, kernelSize: [1, 1], poolSize: [1, 1] }",
        "groupNorm: { groups: 3 }",
      ],
      /maps\[1\].groupNorm: 3 groups do not divide 65536/,
    ],
    [
      "too many",
      [
        "scattering: { shape: [8, 8], scales: 1, angles: 16, order: 1 }",
        "randomProjection: { outputs: 4097 }",
      ],
      /maps\[1\]: expected at most 4096 numbers behind the last map, found 4097/,
    ],
  ])("are shown where they stand: %s", (_name, maps, says) => {
    expect(complaintsOf(withMaps(maps)).map(formatComplaint).join("\n")).toMatch(says);
  });
});

describe("formulas", () => {
  const chains: readonly (readonly string[])[] = [
    [SCATTERING],
    ["scattering: { shape: [8, 8], scales: 2, angles: 5 }"],
    ["scattering: { shape: [4, 16], scales: 2, angles: 8, order: 1 }", "groupNorm: { groups: 17 }"],
    [SCATTERING, "groupNorm: { groups: 9 }", "normalize: l2"],
    ["normalize: l2"],
    ["standardize: { mean: 0.25, deviation: 0.5 }", "normalize: l2"],
    ["standardize: { mean: 2, deviation: 0.1 }"],
    ["normalize: l2", "standardize: { mean: 0, deviation: 0.25 }"],
    ["randomProjection: { outputs: 30, seed: 3 }"],
    ["normalize: l2", "randomProjection: { outputs: 200 }"],
    ["fourier: { outputs: 100, bandwidth: 3 }"],
    ["randomConvolution: { shape: [8, 8], filters: 5, kernelSize: [3, 2], poolSize: [2, 3] }"],
    ["groupNorm: { groups: 64 }"],
  ];
  const records: readonly Float32Array[] = [
    new Float32Array(64),
    new Float32Array(64).fill(1),
    Float32Array.from({ length: 64 }, (_, at) => at % 2),
    Float32Array.from({ length: 64 }, (_, at) => (at === 27 ? 1 : 0)),
    Float32Array.from({ length: 64 }, (_, at) => (Math.floor(at / 8) % 4 < 2 ? 1 : 0)),
    ...Array.from({ length: 20 }, (_, one) =>
      Float32Array.from({ length: 64 }, (__, at) => (((one + 3) * at * at + 13 * at) % 257) / 256),
    ),
  ];

  it.each(chains)("count and bound what the maps give: %s", (...maps) => {
    const { maps: specs, outputs } = features(...maps);
    const plan = planMaps(specs, 64);
    expect(plan.outputs).toBe(outputs.length);
    for (const record of records) {
      const out = plan.apply(record);
      const slack = 1e-5 * Math.max(...outputs.range.map(Math.abs));
      expect(Math.min(...out)).toBeGreaterThanOrEqual(outputs.range[0] - slack);
      expect(Math.max(...out)).toBeLessThanOrEqual(outputs.range[1] + slack);
      expect(Math.hypot(...out)).toBeLessThanOrEqual(outputs.norm * (1 + 1e-5));
    }
  });
});
