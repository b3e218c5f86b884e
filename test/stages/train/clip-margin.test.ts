/** The margin under the clip: small, positive, growing where its derivation says it does. */
import { expect, test } from "vitest";
import type { Network } from "../../../pipeline/network/definition.ts";
import type { SpecLayer } from "../../../pipeline/network/from-spec.ts";
import {
  BLOCK_ROWS,
  clipTarget,
  MAX_CLIP,
  MAX_ROWS,
  MIN_CLIP,
} from "../../../pipeline/stages/train/clip-margin.ts";
import { conv, dense, networkOf, pool } from "../../network/random-networks.ts";

const network: Network = { inputs: 64, layers: [{ outputs: 10, activation: "none" }] };

test("is what the derivation gives for one row", () => {
  const u = 2 ** -24;
  // 64 + 10 terms in the norm, halved by the root; 16 roundings; no other row; one rounding of the result, and double's
  const gamma = (74 * u) / (1 - 74 * u);
  const margin = gamma / 2 + 16 * u + 2 * u + 2 ** -52;
  expect(clipTarget(network, 1, 1)).toBeCloseTo(1 / (1 + margin), 14);
});

test("stays under 1.6 % at every size, and grows with rows", () => {
  let before = 1;
  for (const rows of [1, 2, 32, BLOCK_ROWS, 1024, MAX_ROWS]) {
    const target = clipTarget(network, rows, 1);
    expect(target).toBeLessThan(before);
    expect(target).toBeGreaterThan(0.984);
    before = target;
  }
});

test("takes the widest kernel of a convolution, and fewer rows where blocks are smaller", () => {
  const u = 2 ** -24;
  const image = networkOf(64 * 64, [
    { reshape: [64, 64, 1] },
    conv(4, [9, 9], { padding: "same" }),
    pool([32, 32]),
    dense(3),
  ]);
  // Kernels [81, 4], none, [16, 3]: 81 + 4 terms; blocks of 12 rows.
  const gamma = (terms: number) => (terms * u) / (1 - terms * u);
  const margin = gamma(85) / 2 + 16 * u + 2 * gamma(11) * 12 + 2 * u * 100 + 2 ** -52 * 1e4;
  expect(clipTarget(image, 100, 1)).toBeCloseTo(1 / (1 + margin), 14);
});

test.each<[string, SpecLayer[], number, number]>([
  // A table's squares are summed over columns and steps, however many rows it has.
  ["steps of a table", [{ embedding: 2, vocabulary: 3 }, { gru: 2 }], 40, 40 + 2],
  // Products [2, 27] and [9, 27].
  ["the wider of a gru's products", [{ reshape: [20, 2] }, { gru: 9 }], 40, 9 + 27],
])("takes %s", (_, layers, inputs, terms) => {
  const u = 2 ** -24;
  const gamma = (terms * u) / (1 - terms * u);
  const target = clipTarget(networkOf(inputs, [...layers, dense(3)]), 1, 1);
  expect(target).toBeCloseTo(1 / (1 + gamma / 2 + 16 * u + 2 * u + 2 ** -52), 14);
});

test("scales with the clip", () => {
  expect(clipTarget(network, 32, 4)).toBe(4 * clipTarget(network, 32, 1));
});

test.each([
  [32, 0],
  [32, MIN_CLIP / 2],
  [32, MAX_CLIP * 2],
  [32, Number.NaN],
  [0, 1],
  [1.5, 1],
  [MAX_ROWS + 1, 1],
])("refuses %d rows at clip %d", (rows, clip) => {
  expect(() => clipTarget(network, rows, clip)).toThrow(
    expect.objectContaining({ code: "limit-exceeded" }),
  );
});
