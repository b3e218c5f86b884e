/**
 * The column that a plugin writes: one buffer that grows, into which row after row goes.
 *
 * When there is no memory left, writing does nothing any more and the batch fails as a whole; the host then tries it in
 * parts. So the functions here need no checks around them.
 */
import { MAX_COLUMN_BYTES } from "./abi";
import { allocate, resizeLast } from "./arena";

const FIRST_BYTES: usize = 4096;

let start: usize = 0;
let end: usize = 0;
let limit: usize = 0;
let failed: bool = false;

/** Begins a column. */
export function beginColumn(): void {
  start = allocate(FIRST_BYTES, 16);
  end = start;
  limit = start + FIRST_BYTES;
  failed = !start;
}

export function columnStart(): usize {
  return start;
}

/** Bytes written to the column. */
export function columnBytes(): usize {
  return end - start;
}

export function columnFailed(): bool {
  return failed;
}

/** Takes back what was written since the column had this many bytes. */
export function rewindColumn(bytes: usize): void {
  end = start + bytes;
}

/** Makes room for `bytes` more: where the buffer lies, or in another of twice its size. */
function ensure(bytes: usize): bool {
  if (failed) return false;
  if (<u64>end + <u64>bytes <= <u64>limit) return true;
  const used = end - start;
  const wanted = <u64>used + <u64>bytes + <u64>max<usize>(used, FIRST_BYTES);
  if (<u64>used + <u64>bytes > MAX_COLUMN_BYTES) {
    failed = true;
    return false;
  }
  const least = <u64>used + <u64>bytes;
  if (resizeLast(<u64>start + wanted)) limit = start + <usize>wanted;
  else if (resizeLast(<u64>start + least)) limit = start + <usize>least;
  else {
    const moved = allocate(<usize>wanted, 16);
    if (!moved) {
      failed = true;
      return false;
    }
    memory.copy(moved, start, used);
    start = moved;
    end = moved + used;
    limit = moved + <usize>wanted;
  }
  return true;
}

/** Appends one byte to the row. */
export function put(byte: u32): void {
  if (!ensure(1)) return;
  store<u8>(end++, byte);
}

/** Appends bytes to the row. */
export function putBytes(at: usize, bytes: usize): void {
  if (!ensure(bytes)) return;
  memory.copy(end, at, bytes);
  end += bytes;
}

/** Appends text to the row, as UTF-8. */
export function putText(text: string): void {
  const most = <usize>text.length * 3;
  if (!ensure(most)) return;
  end += String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, end);
}
