/**
 * Reads what a guest handed back out of its memory, trusting none of it.
 *
 * Every pointer, length, offset, count, status and row number is checked against the memory and against the batch
 * before it is used; what passes is copied out, so later batches cannot change it. Layout: plugins/ABI.md.
 */
import {
  COLUMN_BYTES,
  COLUMN_UTF8,
  MAX_COLUMNS,
  MAX_ROWS,
  RESULT_HEADER_BYTES,
  RESULT_MAGIC,
  STATUS_NAMES,
  STATUS_OK,
} from "./abi.ts";
import type { PackedColumn, PluginResult } from "./columns.ts";
import { type FaultKind, PluginFault } from "./fault.ts";

export interface ResultLimits {
  /** Most bytes of data of all output columns together. */
  readonly maxOutputBytes: number;
}

function impossible(kind: FaultKind, what: string): PluginFault {
  return new PluginFault(kind, `the plugin handed back ${what}`);
}

/** A part of guest memory that is certain to lie inside it. */
function range(memory: ArrayBuffer, at: number, bytes: number, align: number): number {
  if (at <= 0 || at % align !== 0 || at + bytes > memory.byteLength) {
    throw impossible("pointers", "a pointer outside its memory, or not aligned");
  }
  return at;
}

function copyWords(memory: ArrayBuffer, at: number, count: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array(memory, range(memory, at, count * 4, 4), count).slice();
}

function copyBytes(memory: ArrayBuffer, at: number, count: number): Uint8Array<ArrayBuffer> {
  // An empty buffer may be anywhere, also at 0.
  if (count === 0) return new Uint8Array(0);
  return new Uint8Array(memory, range(memory, at, count, 1), count).slice();
}

/** Number of zero bits among the first `rows` bits. */
function countNulls(validity: Uint8Array, rows: number): number {
  let nulls = 0;
  for (let row = 0; row < rows; row++) {
    if ((((validity[row >> 3] ?? 0) >> (row & 7)) & 1) === 0) nulls++;
  }
  return nulls;
}

function checkOffsets(offsets: Uint32Array, dataBytes: number): void {
  let before = 0;
  if (offsets[0] !== 0) throw impossible("offsets", "offsets that do not begin at 0");
  for (const offset of offsets) {
    if (offset < before) throw impossible("offsets", "offsets that do not rise");
    before = offset;
  }
  if (before !== dataBytes)
    throw impossible("offsets", "offsets that do not end where the data ends");
}

function readColumn(memory: ArrayBuffer, at: number, rows: number): PackedColumn {
  const [type = 0, validityAt = 0, offsetsAt = 0, dataAt = 0, dataBytes = 0, nullCount = 0] =
    copyWords(memory, at, COLUMN_BYTES / 4);
  if (type > COLUMN_UTF8) throw impossible("result", "a column of an unknown type");
  const offsets = copyWords(memory, offsetsAt, rows + 1);
  checkOffsets(offsets, dataBytes);
  const validity = validityAt === 0 ? null : copyBytes(memory, validityAt, (rows + 7) >> 3);
  if (nullCount !== (validity === null ? 0 : countNulls(validity, rows))) {
    throw impossible("result", "a null count that its validity bits do not have");
  }
  return { data: copyBytes(memory, dataAt, dataBytes), offsets, validity, nullCount };
}

/** Statuses are known, row numbers never fall, and exactly the rows that are fine have output. */
function checkRows(status: Uint8Array, rowIndex: Uint32Array): void {
  const hasOutput = new Uint8Array(status.length);
  let before = 0;
  for (const row of rowIndex) {
    if (row < before || row >= status.length)
      throw impossible("rows", "a row number that it was not given");
    if (status[row] !== STATUS_OK) throw impossible("rows", "output of a row that it refused");
    hasOutput[row] = 1;
    before = row;
  }
  for (let row = 0; row < status.length; row++) {
    const code = status[row] ?? STATUS_NAMES.length;
    if (code >= STATUS_NAMES.length) throw impossible("rows", "an unknown status");
    if (code === STATUS_OK && hasOutput[row] !== 1)
      throw impossible("rows", "no output of a row that it took");
  }
}

/** Sum of the lengths that the columns claim; read before any of their data is copied. */
function claimedBytes(memory: ArrayBuffer, at: number, columns: number): number {
  const words = copyWords(memory, at, columns * (COLUMN_BYTES / 4));
  let sum = 0;
  for (let column = 0; column < columns; column++)
    sum += words[column * (COLUMN_BYTES / 4) + 4] ?? 0;
  return sum;
}

/**
 * Reads the result at `at` in a guest's memory.
 * @param inputRows rows of the batch that it answers
 * @throws plugin-failed when any of it is impossible, limit-exceeded when it is too much
 */
export function readResult(
  memory: ArrayBuffer,
  at: number,
  inputRows: number,
  limits: ResultLimits,
): PluginResult {
  const [magic, rows = 0, columns = 0, flags, answered, statusAt = 0, rowIndexAt = 0] = copyWords(
    memory,
    at,
    RESULT_HEADER_BYTES / 4,
  );
  if (magic !== RESULT_MAGIC || flags !== 0)
    throw impossible("result", "something that is not a result");
  if (answered !== inputRows) throw impossible("result", "a result for another number of rows");
  if (rows > MAX_ROWS || columns > MAX_COLUMNS)
    throw impossible("result", "too many rows or columns");
  const columnsAt = at + RESULT_HEADER_BYTES;
  if (claimedBytes(memory, columnsAt, columns) > limits.maxOutputBytes) {
    throw new PluginFault(
      "output-size",
      `the plugin's output is over its limit of ${limits.maxOutputBytes} bytes`,
    );
  }
  const status = copyBytes(memory, statusAt, inputRows);
  const rowIndex = rows === 0 ? new Uint32Array(0) : copyWords(memory, rowIndexAt, rows);
  checkRows(status, rowIndex);
  return {
    status,
    rowIndex,
    columns: Array.from({ length: columns }, (_, i) =>
      readColumn(memory, columnsAt + i * COLUMN_BYTES, rows),
    ),
  };
}
