/**
 * Packing rows into columns and reading them back: values, nulls, parts and the most that fits.
 */
import { describe, expect, test } from "vitest";
import { MAX_COLUMNS, MAX_ROWS } from "../../pipeline/wasm/abi.ts";
import { buffersOf, type InputColumn, packBatch, valueAt } from "../../pipeline/wasm/columns.ts";

/** Every third row null, every fourth empty, the others of rising length. */
function makeColumn(rows: number): InputColumn {
  return Array.from({ length: rows }, (_, i) =>
    i % 3 === 2 ? null : Buffer.alloc(i % 4 === 0 ? 0 : i, i),
  );
}

describe("packBatch", () => {
  test.each([0, 1, 7, 8, 9, 100])(
    "%i rows come back, nulls as nulls and empty as empty",
    (rows) => {
      const column = makeColumn(rows);
      const [packed] = packBatch([column], 0, rows).columns;
      expect(Array.from({ length: rows }, (_, i) => valueAt(packed!, i))).toEqual(
        column.map((value) => (value === null ? null : Uint8Array.from(value))),
      );
      expect(packed!.nullCount).toBe(column.filter((value) => value === null).length);
      expect(packed!.offsets.length).toBe(rows + 1);
      expect(packed!.offsets.at(-1)).toBe(packed!.data.length);
    },
  );

  test("a part is packed as if it were alone", () => {
    const column = makeColumn(50);
    expect(packBatch([column], 13, 41)).toEqual(packBatch([column.slice(13, 41)], 0, 28));
  });

  test("the validity bitmap has the least significant bit first, and is left out without nulls", () => {
    const value = Buffer.from("x");
    const [withNulls, without] = packBatch(
      [[null, value, null, value, value, null, null, value, value], Array<Buffer>(9).fill(value)],
      0,
      9,
    ).columns;
    expect([...withNulls!.validity!]).toEqual([0b10011010, 0b1]);
    expect(without!.validity).toBe(null);
  });

  test("the caller's bytes are copied, and every buffer is one of its own", () => {
    const column = [Buffer.from("secret")];
    const { columns } = packBatch([column, [null]], 0, 1);
    const buffers = buffersOf(columns);
    expect(new Set(buffers).size).toBe(buffers.length);
    expect(buffers.length).toBe(5);
    expect(buffers).not.toContain(column[0]!.buffer);
  });

  test("more rows or columns than the ABI can say are refused", () => {
    const tooMany = { length: MAX_ROWS + 1 } as unknown as InputColumn;
    expect(() => packBatch([tooMany], 0, MAX_ROWS + 1)).toThrow(
      expect.objectContaining({ code: "limit-exceeded" }),
    );
    const columns = Array<InputColumn>(MAX_COLUMNS + 1).fill([]);
    expect(() => packBatch(columns, 0, 0)).toThrow(
      expect.objectContaining({ code: "limit-exceeded" }),
    );
  });
});
