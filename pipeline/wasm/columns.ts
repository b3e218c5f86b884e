/**
 * Columns in the Arrow binary layout: one data buffer, rows + 1 rising 32-bit offsets, a validity bitmap.
 *
 * Packing is the one copy between the records of a stage and what a plugin reads. Must not look into the values.
 */
import { SealstreamError } from "../errors.ts";
import { MAX_COLUMNS, MAX_ROWS } from "./abi.ts";

/** One column as a stage has it: a value per row, `null` where there is none. */
export type InputColumn = readonly (Uint8Array | null)[];

/** One column in one piece. */
export interface PackedColumn {
  readonly data: Uint8Array<ArrayBuffer>;
  /** rows + 1 rising positions in `data`; the first is 0, the last `data.length`. */
  readonly offsets: Uint32Array<ArrayBuffer>;
  /** A bit per row, least significant first, 1 = there is a value; `null`: there are no nulls. */
  readonly validity: Uint8Array<ArrayBuffer> | null;
  readonly nullCount: number;
}

export interface PackedBatch {
  readonly rows: number;
  readonly columns: readonly PackedColumn[];
}

/** What a plugin made of a batch. */
export interface PluginResult {
  /** A status code (see STATUS_NAMES in abi.ts) for each input row. */
  readonly status: Uint8Array;
  /** For each output row, the input row it came from; never falls. */
  readonly rowIndex: Uint32Array;
  readonly columns: readonly PackedColumn[];
}

/** Most bytes of a column: offsets are signed in Arrow. */
const MAX_COLUMN_BYTES = 0x7fffffff;

function packColumn(column: InputColumn, from: number, to: number): PackedColumn {
  const rows = to - from;
  const offsets = new Uint32Array(rows + 1);
  let bytes = 0;
  let nullCount = 0;
  for (let row = 0; row < rows; row++) {
    const value = column[from + row] ?? null;
    if (value === null) nullCount++;
    else bytes += value.length;
    offsets[row + 1] = bytes;
  }
  if (bytes > MAX_COLUMN_BYTES) {
    throw new SealstreamError("limit-exceeded", "a batch has over 2 GiB: lower the stage's bounds");
  }
  // Every byte of it is written below.
  const data = new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
  const validity = nullCount > 0 ? new Uint8Array((rows + 7) >> 3) : null;
  for (let row = 0; row < rows; row++) {
    const value = column[from + row] ?? null;
    if (value === null) continue;
    data.set(value, offsets[row]);
    if (validity !== null) validity[row >> 3] = (validity[row >> 3] ?? 0) | (1 << (row & 7));
  }
  return { data, offsets, validity, nullCount };
}

/**
 * Copies rows `from`..`to - 1` of every column into one piece each.
 * @throws limit-exceeded when there are more rows, columns or bytes than the ABI can say
 */
export function packBatch(columns: readonly InputColumn[], from: number, to: number): PackedBatch {
  const rows = to - from;
  if (rows > MAX_ROWS || columns.length > MAX_COLUMNS) {
    throw new SealstreamError(
      "limit-exceeded",
      `a batch has at most ${MAX_ROWS} rows and ${MAX_COLUMNS} columns: lower the stage's bounds`,
    );
  }
  return { rows, columns: columns.map((column) => packColumn(column, from, to)) };
}

/** The value in a row of a column, as a view, or `null`. */
export function valueAt(column: PackedColumn, row: number): Uint8Array | null {
  const { validity } = column;
  if (validity !== null && (((validity[row >> 3] ?? 0) >> (row & 7)) & 1) === 0) return null;
  return column.data.subarray(column.offsets[row], column.offsets[row + 1]);
}

/** The buffers of columns, to be moved to another thread. */
export function buffersOf(columns: readonly PackedColumn[]): ArrayBuffer[] {
  return columns.flatMap(({ data, offsets, validity }) =>
    validity === null
      ? [data.buffer, offsets.buffer]
      : [data.buffer, offsets.buffer, validity.buffer],
  );
}
