/**
 * The exports of the desensitize plugin: the ABI of plugins/ABI.md, and kernels on their own.
 *
 * In: one column, the raw record values. Out: two columns, the record id after its rule and the desensitized record.
 * Rules and configuration: plugins/desensitize/README.md. Must not import anything but what the ABI grants.
 */
import {
  ABI_VERSION, BATCH_HEADER_BYTES, BATCH_MAGIC, COLUMN_BINARY, COLUMN_BYTES, COLUMN_UTF8, READABLE_AFTER,
  RESULT_HEADER_BYTES, RESULT_MAGIC, STATUS_OK, STATUS_TOMBSTONE,
} from "./abi";
import { keyBytes, keyStart, writeRecord } from "./actions";
import { allocate, commit, dropBatch, keepForEver, reserve } from "./arena";
import { AES_STATE_BYTES, encryptBlock, expandKey } from "./aes";
import { copyWide } from "./bytes";
import { CONFIG_OK, CONFIG_TWICE, readConfig } from "./configure";
import { FF1_MOST, FF1_MOST_TWEAK, encryptNumerals } from "./ff1";
import { fieldCount, firstField } from "./fields";
import { HEX_BYTES, discard, flush, prepareLanes, push } from "./hmac-lanes";
import { prepareMade } from "./make";
import { POSITION_BYTES, startNoise } from "./noise";
import { gatherNotes, notesBytes, notesOffsets, notesStart, prepareNotes, slotCount, startNotes } from "./observe";
import { hasPositions, makes, nests } from "./policy";
import { readQuickly } from "./quick";
import { VALUE_BYTES, prepareRecords, readRecord, recordRoom } from "./record";
import { KEY_STATE_BYTES, digest, prepareKey } from "./sha256";
import { isAscii, noteText } from "./utf8";

export { configure_detectors, detect_column, redact_column, redact_growth } from "./detect/kernel";

/** Record ids and records; a third of notes when fields are observed. */
const OUT_COLUMNS: u32 = 2;
/** The result: its header and up to three columns. */
const RESULT: usize = memory.data(128, 16);
/** {ptr, len} of the last error. */
const ERROR: usize = memory.data(8, 16);
const ERROR_TEXT: usize = memory.data(64, 16);

// Where the batch's result lies; all in the batch's part of the arena.
let statuses: usize = 0;
let rowIndex: usize = 0;
let keyRefs: usize = 0;
let valueOffsets: usize = 0;

export function abi_version(): i32 {
  return ABI_VERSION;
}

export function alloc(size: usize, align: usize): usize {
  if (!align || align & (align - 1)) return 0;
  return allocate(size, align);
}

/** Sets the text that last_error() hands out: a constant of this file, never anything of a record or a key. */
function fail(text: string): usize {
  const bytes = min<usize>(64, <usize>text.length);
  for (let i: usize = 0; i < bytes; i++) store<u8>(ERROR_TEXT + i, load<u16>(changetype<usize>(text) + (i << 1)));
  store<u32>(ERROR, <u32>ERROR_TEXT);
  store<u32>(ERROR, <u32>bytes, 4);
  return 0;
}

export function last_error(): usize {
  return ERROR;
}

export function configure(config: usize, bytes: usize): i32 {
  if (fieldCount) {
    fail("configured twice");
    return CONFIG_TWICE;
  }
  const code = readConfig(config, bytes);
  if (code != CONFIG_OK) fail("configuration refused");
  keepForEver();
  return code;
}

export function reset(): void {
  discard();
  dropBatch();
}

/** Bytes of the longest row; the offsets are judged where the rows are run. */
function longestRow(rows: usize, offsets: usize, dataBytes: u32): u32 {
  let longest: u32 = 0;
  for (let row: usize = 0; row < rows; row++) {
    const at = offsets + (row << 2);
    longest = max<u32>(longest, load<u32>(at, 4) - load<u32>(at));
  }
  return min<u32>(longest, dataBytes);
}

/** Takes the fixed part of the result off the arena; false when memory is at its maximum. */
function prepareResult(rows: usize, offsets: usize, dataBytes: usize): bool {
  statuses = allocate(rows + 16, 16);
  rowIndex = allocate((rows + 1) << 2, 16);
  keyRefs = allocate((rows + 1) << 3, 16);
  valueOffsets = allocate((rows + 1) << 2, 16);
  const longest: usize = nests || makes ? <usize>longestRow(rows, offsets, <u32>dataBytes) : 0;
  // Each value listed, and each end, takes a byte of the record at least; else each field comes once.
  const list = allocate((<usize>fieldCount + (nests ? longest : 0)) * VALUE_BYTES, 16);
  // An observed string is decoded twice: for its rule, and for the host.
  const scratch = allocate((slotCount ? dataBytes << 1 : dataBytes) + READABLE_AFTER, 16);
  if (!statuses || !rowIndex || !keyRefs || !valueOffsets || !list || !scratch) return false;
  prepareRecords(list, scratch);
  if (!prepareNotes(rows)) return false;
  return !makes || prepareMade(longest);
}

function writeColumn(index: usize, type: u32, offsets: usize, data: usize, bytes: usize): void {
  const column = RESULT + RESULT_HEADER_BYTES + index * COLUMN_BYTES;
  store<u32>(column, type);
  store<u32>(column, 0, 4);
  store<u32>(column, <u32>offsets, 8);
  store<u32>(column, <u32>data, 12);
  store<u32>(column, <u32>bytes, 16);
  store<u32>(column, 0, 20);
  store<u64>(column, 0, 24);
}

/** Copies the record ids, now that pseudonyms are written, into a column of their own. */
function gatherKeys(count: usize): bool {
  let total: u64 = 0;
  for (let i: usize = 0; i < count; i++) total += load<u32>(keyRefs + (i << 3), 4);
  const offsets = allocate((count + 1) << 2, 16);
  if (!offsets || total > 0x7fffffff) return false;
  const data = allocate(<usize>total + READABLE_AFTER, 16);
  if (!data) return false;
  let end = data;
  for (let i: usize = 0; i < count; i++) {
    store<u32>(offsets + (i << 2), <u32>(end - data));
    const bytes = load<u32>(keyRefs + (i << 3), 4);
    end = copyWide(end, load<u32>(keyRefs + (i << 3)), bytes);
  }
  store<u32>(offsets + (count << 2), <u32>(end - data));
  writeColumn(0, COLUMN_UTF8, offsets, data, end - data);
  return true;
}

/** Whether each row of a column has the bytes of a position. */
function arePositions(column: usize, rows: usize): bool {
  if (load<u32>(column, 4) || load<u32>(column, 16) != <u32>rows * POSITION_BYTES) return false;
  const offsets = <usize>load<u32>(column, 8);
  for (let row: usize = 0; row <= rows; row++) {
    if (load<u32>(offsets + (row << 2)) != <u32>row * POSITION_BYTES) return false;
  }
  return true;
}

/** Reads a record the short way or the long way; `position` is 0 where no rule needs it. */
// @ts-ignore: decorator
@inline
function readRow(from: usize, to: usize, position: usize): u32 {
  if (position) startNoise(position);
  if (readQuickly(from, to)) return STATUS_OK;
  // What a value's noise is depends on how many had noise before.
  if (position) startNoise(position);
  return readRecord(from, to);
}

/** Takes every row through reading and writing; returns the number of output rows, or -1. */
function runRows(rows: usize, column: usize, values: usize): i32 {
  const validity = <usize>load<u32>(column, 4);
  const offsets = <usize>load<u32>(column, 8);
  const data = <usize>load<u32>(column, 12);
  const dataBytes = load<u32>(column, 16);
  noteText(isAscii(data, data + dataBytes));
  let out = values;
  let count: usize = 0;
  const positions = hasPositions ? <usize>load<u32>(column, COLUMN_BYTES + 12) : 0;
  let from = load<u32>(offsets);
  for (let row: usize = 0; row < rows; row++) {
    const to = load<u32>(offsets + ((row + 1) << 2));
    if (to < from || to > dataBytes) return -1;
    if (slotCount) startNotes(count);
    const isNull = validity && !((<u32>load<u8>(validity + (row >> 3)) >> (<u32>row & 7)) & 1);
    const position = positions ? positions + row * POSITION_BYTES : 0;
    const status = isNull ? STATUS_TOMBSTONE : readRow(data + from, data + to, position);
    store<u8>(statuses + row, status);
    if (status == STATUS_OK) {
      if (!reserve(out, recordRoom + READABLE_AFTER)) return -1;
      store<u32>(valueOffsets + (count << 2), <u32>(out - values));
      store<u32>(rowIndex + (count << 2), <u32>row);
      out = writeRecord(out);
      store<u32>(keyRefs + (count << 3), <u32>keyStart);
      store<u32>(keyRefs + (count << 3), <u32>keyBytes, 4);
      count++;
    }
    from = to;
  }
  store<u32>(valueOffsets + (count << 2), <u32>(out - values));
  writeColumn(1, COLUMN_UTF8, valueOffsets, values, out - values);
  commit(out);
  return <i32>count;
}

export function transform(batch: usize): usize {
  if (!fieldCount || !firstField) return fail("not configured");
  if (load<u32>(batch) != BATCH_MAGIC || load<u32>(batch, 12)) return fail("not a batch");
  const column = batch + BATCH_HEADER_BYTES;
  const rows = <usize>load<u32>(batch, 4);
  if (load<u32>(batch, 8) != (hasPositions ? 2 : 1) || load<u32>(column) > COLUMN_UTF8) {
    return fail("wants one binary column, or two with positions");
  }
  if (hasPositions && !arePositions(column + COLUMN_BYTES, rows)) return fail("positions have 12 bytes each");
  const dataBytes = <usize>load<u32>(column, 16);
  if (!prepareResult(rows, load<u32>(column, 8), dataBytes)) return fail("out of memory");
  const values = allocate(READABLE_AFTER, 16);
  if (!values) return fail("out of memory");
  const count = runRows(rows, column, values);
  if (count < 0) {
    discard();
    return fail("out of memory, or offsets that do not rise");
  }
  flush();
  if (!gatherKeys(count)) return fail("out of memory");
  if (slotCount) {
    if (!gatherNotes(count)) return fail("out of memory");
    writeColumn(2, COLUMN_BINARY, notesOffsets(), notesStart(), notesBytes());
  }
  store<u32>(RESULT, RESULT_MAGIC);
  store<u32>(RESULT, <u32>count, 4);
  store<u32>(RESULT, slotCount ? OUT_COLUMNS + 1 : OUT_COLUMNS, 8);
  store<u32>(RESULT, 0, 12);
  store<u32>(RESULT, <u32>rows, 16);
  store<u32>(RESULT, <u32>statuses, 20);
  store<u32>(RESULT, <u32>rowIndex, 24);
  store<u32>(RESULT, 0, 28);
  return RESULT;
}

/** SHA-256 of `bytes` bytes at `data` into 32 bytes at `out`. A kernel on its own: the host does not need it. */
export function sha256(data: usize, bytes: usize, out: usize): void {
  digest(data, bytes, out);
}

/** Bytes of an HMAC key that hmac_key() has prepared. */
export function hmac_key_bytes(): usize {
  return KEY_STATE_BYTES;
}

/** Prepares an HMAC key for hmac_column() in hmac_key_bytes() bytes, 16-aligned, at `out`. */
export function hmac_key(key: usize, bytes: usize, out: usize): void {
  prepareLanes();
  prepareKey(key, bytes, out);
}

/** HMAC-SHA-256 of every value of a column, as 64 lowercase hexadecimal digits each at `out`. A kernel on its own. */
export function hmac_column(key: usize, rows: usize, offsets: usize, data: usize, out: usize): void {
  let from = load<u32>(offsets);
  for (let row: usize = 0; row < rows; row++) {
    const to = load<u32>(offsets + ((row + 1) << 2));
    push(key, data + from, to - from, out + row * HEX_BYTES, 0);
    from = to;
  }
  flush();
}

/**
 * Encrypts numerals, one a byte, by FF1 in place; without numerals the first 16 bytes at `tweak` by AES. 0, or 1 when
 * key or lengths are none. A kernel on its own, for vectors.
 */
export function ff1(
  key: usize, keyBytes: usize, radix: u32, numerals: usize, count: u32, tweak: usize, tweakBytes: usize,
): i32 {
  const state = allocate(AES_STATE_BYTES, 16);
  if (!state || !expandKey(key, keyBytes, state)) return 1;
  if (!count) {
    encryptBlock(state, tweak);
    return 0;
  }
  if (count < 2 || count > FF1_MOST || radix < 2 || radix > 36 || tweakBytes > FF1_MOST_TWEAK) return 1;
  encryptNumerals(state, radix, numerals, count, tweak, tweakBytes);
  return 0;
}
