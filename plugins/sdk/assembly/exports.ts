/**
 * The six functions that the host calls (plugins/ABI.md), for plugins with one column in and one out.
 *
 * A plugin's entry file hands them on: `export { abi_version, alloc, configure, reset, transform, last_error } from
 * "../../sdk/assembly/exports"`, and says with onRow() and onConfigure() what it does. Must not keep anything of a batch.
 */
import {
  ABI_VERSION, BATCH_HEADER_BYTES, BATCH_MAGIC, COLUMN_BINARY, COLUMN_UTF8, RESULT_HEADER_BYTES, RESULT_MAGIC,
} from "./abi";
import { allocate, dropBatch } from "./arena";
import {
  beginColumn, columnBytes, columnFailed, columnStart, rewindColumn,
} from "./output";
import { OK, PLUGIN_FAILED, TOMBSTONE } from "./status";

/** Does one row: writes its value with put(), putBytes() and putText(), and answers its status. */
export type RowFunction = (at: usize, bytes: usize) => i32;
/** Reads the configuration: 0, or a number that says what is wrong. What it keeps of it, it copies with remember(). */
export type ConfigureFunction = (at: usize, bytes: usize) => i32;

function noRow(_at: usize, _bytes: usize): i32 {
  return PLUGIN_FAILED;
}

function noConfigure(_at: usize, _bytes: usize): i32 {
  return 0;
}

let row: RowFunction = noRow;
let readConfig: ConfigureFunction = noConfigure;

/** Says what becomes of a row. To be called at the top level of the entry file. */
export function onRow(does: RowFunction): void {
  row = does;
}

/** Says what reads the configuration; without it any configuration is taken, and ignored. */
export function onConfigure(does: ConfigureFunction): void {
  readConfig = does;
}

/** The result: its header and one column. */
const RESULT: usize = memory.data(64, 16);
/** {ptr, len} of the last error. */
const ERROR: usize = memory.data(8, 16);
const BAD_BATCH: usize = memory.data<u8>([0x62, 0x61, 0x64, 0x20, 0x62, 0x61, 0x74, 0x63, 0x68], 16);
const NO_MEMORY: usize = memory.data<u8>([0x6e, 0x6f, 0x20, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79], 16);
const ERROR_BYTES: u32 = 9;

function fail(text: usize): usize {
  store<u32>(ERROR, <u32>text);
  store<u32>(ERROR, ERROR_BYTES, 4);
  return 0;
}

export function abi_version(): i32 {
  return ABI_VERSION;
}

export function alloc(size: usize, align: usize): usize {
  if (!align || align & (align - 1)) return 0;
  return allocate(size, align);
}

export function configure(config: usize, bytes: usize): i32 {
  return readConfig(config, bytes);
}

export function reset(): void {
  dropBatch();
}

export function last_error(): usize {
  return ERROR;
}

export function transform(batch: usize): usize {
  const rows = <usize>load<u32>(batch, 4);
  const input = batch + BATCH_HEADER_BYTES;
  if (
    load<u32>(batch) != BATCH_MAGIC || load<u32>(batch, 12) || load<u32>(batch, 8) != 1 ||
    load<u32>(input) > COLUMN_UTF8
  ) return fail(BAD_BATCH);
  const validity = <usize>load<u32>(input, 4);
  const offsets = <usize>load<u32>(input, 8);
  const data = <usize>load<u32>(input, 12);
  const statuses = allocate(rows + 1, 16);
  const rowIndex = allocate((rows + 1) << 2, 16);
  const ends = allocate((rows + 1) << 2, 16);
  if (!statuses || !rowIndex || !ends) return fail(NO_MEMORY);
  beginColumn();
  store<u32>(ends, 0);
  let count: usize = 0;
  for (let i: usize = 0; i < rows; i++) {
    const from = load<u32>(offsets + (i << 2));
    const to = load<u32>(offsets + (i << 2), 4);
    const isNull = validity && !((<u32>load<u8>(validity + (i >> 3)) >> (<u32>i & 7)) & 1);
    const before = columnBytes();
    const status = isNull ? TOMBSTONE : row(data + from, to - from);
    if (columnFailed()) return fail(NO_MEMORY);
    store<u8>(statuses + i, status);
    if (status != OK) {
      rewindColumn(before);
      continue;
    }
    store<u32>(rowIndex + (count << 2), <u32>i);
    count++;
    store<u32>(ends + (count << 2), <u32>columnBytes());
  }
  const column = RESULT + RESULT_HEADER_BYTES;
  memory.fill(RESULT, 0, 64);
  store<u32>(RESULT, RESULT_MAGIC);
  store<u32>(RESULT, <u32>count, 4);
  store<u32>(RESULT, 1, 8);
  store<u32>(RESULT, <u32>rows, 16);
  store<u32>(RESULT, <u32>statuses, 20);
  store<u32>(RESULT, <u32>rowIndex, 24);
  store<u32>(column, COLUMN_BINARY);
  store<u32>(column, <u32>ends, 8);
  store<u32>(column, <u32>columnStart(), 12);
  store<u32>(column, <u32>columnBytes(), 16);
  return RESULT;
}
