/** Products on our WebAssembly kernels: beside sums in double precision, at every edge of a tile. */
import { describe, expect, test } from "vitest";
import { seeded } from "../../../bench/lib/seeded.ts";
import { keepsFloat32 } from "../../../pipeline/stages/train/float32-probe.ts";
import { createWasmMatrices } from "../../../pipeline/stages/train/wasm-matrices.ts";

const random = seeded(11);
const numbers = (count: number): Float32Array =>
  Float32Array.from({ length: count }, () => random() - 0.5);

interface Sizes {
  readonly batch: number;
  readonly rows: number;
  readonly depth: number;
  readonly columns: number;
}

/** Sums in double precision, and the sum of the terms' sizes beside each. */
function exact(
  left: Float32Array,
  right: Float32Array,
  { batch, rows, depth, columns }: Sizes,
  transposeLeft: boolean,
): { readonly value: number; readonly size: number }[] {
  const results = [];
  for (let item = 0; item < batch; item += 1) {
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        let [value, size] = [0, 0];
        for (let k = 0; k < depth; k += 1) {
          const at = transposeLeft ? k * rows + row : row * depth + k;
          const term =
            left[item * rows * depth + at]! * right[(item * depth + k) * columns + column]!;
          value += term;
          size += Math.abs(term);
        }
        results.push({ value, size });
      }
    }
  }
  return results;
}

const SIZES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 1],
  [1, 6, 3, 8],
  [1, 5, 7, 9],
  [1, 7, 40, 7],
  [1, 8, 5, 4],
  [1, 9, 2, 12],
  [1, 10, 3, 5],
  [1, 12, 1, 16],
  [1, 13, 31, 17],
  [1, 256, 64, 10],
  [4, 25, 36, 8],
  [3, 11, 5, 3],
];

describe.each([false, true])("left transposed: %s", (transposeLeft) => {
  test.each(SIZES)("%i x [%i][%i] by %i", (batch, rows, depth, columns) => {
    const sizes = { batch, rows, depth, columns };
    const left = numbers(batch * rows * depth);
    const right = numbers(batch * depth * columns);
    const on = createWasmMatrices().begin();
    const inner = transposeLeft ? [depth, rows] : [rows, depth];
    const shape = (own: readonly number[]) => (batch === 1 ? own : [batch, ...own]);
    const product = on.product(
      on.put(left, shape(inner)),
      on.put(right, shape([depth, columns])),
      transposeLeft,
    );
    // One rounding for each term and each sum at most: what the clip's margin allows for.
    const unit = (depth + 1) * 2 ** -24;
    const expected = exact(left, right, sizes, transposeLeft);
    expect(product.length).toBe(expected.length);
    for (const [index, { value, size }] of expected.entries()) {
      expect(Math.abs(product[index]! - value)).toBeLessThanOrEqual(unit * size);
    }
  });
});

test("adds a transposed product to part of a total, and leaves the rest of it", () => {
  const on = createWasmMatrices().begin();
  const [left, right] = [numbers(5 * 7), numbers(5 * 9)];
  const matrices = [on.put(left, [5, 7]), on.put(right, [5, 9])] as const;
  const total = new Float64Array(7 * 9 + 4).fill(2);
  on.addTransposedProduct(total, 3, ...matrices);
  const product = on.product(...matrices, true);
  expect([...total]).toEqual([2, 2, 2, ...[...product].map((value) => 2 + value), 2]);
});

test("keeps a row that is no number to itself, also in a tile", () => {
  const on = createWasmMatrices().begin();
  const left = numbers(8 * 5);
  left[3 * 5 + 2] = Number.NaN;
  const product = on.product(on.put(left, [8, 5]), on.put(numbers(5 * 9), [5, 9]));
  const spoiled = [...product.entries()].flatMap(([at, value]) =>
    Number.isNaN(value) ? [at] : [],
  );
  expect(spoiled).toEqual(Array.from({ length: 9 }, (_, column) => 3 * 9 + column));
});

test("keeps every digit of float32, as the margin of clipping asks", async () => {
  const on = createWasmMatrices().begin();
  const multiply = async (left: Float32Array, right: Float32Array, size: number) =>
    on.product(on.put(left, [size, size]), on.put(right, [size, size]));
  expect(await keepsFloat32(multiply)).toBe(true);
});

test("uses the same memory for every block, and grows for a larger one without losing what was put", () => {
  const matrices = createWasmMatrices();
  const first = matrices.begin().put(numbers(100), [10, 10]);
  const again = matrices.begin().put(numbers(100), [10, 10]);
  expect(again.address).toBe(first.address);
  const on = matrices.begin();
  const [small, identity] = [numbers(16), new Float32Array(16)];
  for (let index = 0; index < 4; index += 1) identity[index * 5] = 1;
  const kept = on.put(small, [4, 4]);
  on.put(new Float32Array(2_000_000), [1000, 2000]);
  expect(on.product(kept, on.put(identity, [4, 4]))).toEqual(small);
});

test("refuses shapes that do not fit, and what takes more than 2 GiB", () => {
  const on = createWasmMatrices().begin();
  const matrix = on.put(numbers(6), [2, 3]);
  expect(() => on.product(matrix, matrix)).toThrow(/do not fit/);
  const wide = on.put(numbers(1 << 16), [1, 1 << 16]);
  expect(() => on.product(wide, wide, true)).toThrow(/more than 2 GiB/);
});
