/**
 * Memory for one batch: chunks taken from the WebAssembly memory, handed out in order, all dropped at once.
 *
 * It lives beside AssemblyScript's own heap, which never sees these pages: a plugin may use `new`, strings and arrays. A
 * chunk at the end of the memory grows in place; one that the heap has grown behind is followed by another.
 */

/** Bytes of a WebAssembly page. */
const PAGE_BYTES: u64 = 65536;
/** Pages asked for at a time while there are some: a batch costs few calls of memory.grow. */
const GROW_PAGES: i32 = 16;
/** A chunk begins with the address of the next one and its own end; 16 bytes, so that what follows is aligned. */
const CHUNK_BYTES: usize = 16;
/** What 32-bit addresses can say, less a page. */
const HIGHEST: u64 = 0xffff0000;

// The heap takes all memory that is there when it is used first: that must not be after a chunk was made.
heap.free(heap.alloc(1));

let first: usize = 0;
let current: usize = 0;
let top: usize = 0;

// @ts-ignore: decorator
@inline
function endOf(chunk: usize): usize {
  return <usize>load<u32>(chunk, 4);
}

/** Pages for `bytes` bytes more, a few extra where there are some; -1 when the memory is at its maximum. */
function grow(bytes: u64): i32 {
  const need = <i32>((bytes + PAGE_BYTES - 1) / PAGE_BYTES);
  const before = need < GROW_PAGES ? memory.grow(GROW_PAGES) : -1;
  return before >= 0 ? before : memory.grow(need);
}

/** Makes the current chunk reach `end`; false when it cannot. */
function reach(end: u64): bool {
  if (end > HIGHEST || !current) return false;
  if (end <= <u64>endOf(current)) return true;
  if (load<u32>(current) || <u64>endOf(current) != <u64>memory.size() * PAGE_BYTES) return false;
  if (grow(end - <u64>endOf(current)) < 0) return false;
  store<u32>(current, <u32>(memory.size() << 16), 4);
  return true;
}

/** Goes on to the next chunk with room for `bytes`, or makes one; false when the memory is at its maximum. */
function nextChunk(bytes: u64): bool {
  let last = current;
  for (let chunk = current ? <usize>load<u32>(current) : first; chunk; chunk = <usize>load<u32>(chunk)) {
    last = chunk;
    current = chunk;
    top = chunk + CHUNK_BYTES;
    if (reach(<u64>top + bytes)) return true;
  }
  const need = bytes + CHUNK_BYTES;
  if (need > HIGHEST) return false;
  const page = grow(need);
  if (page < 0) return false;
  const chunk = <usize>page << 16;
  store<u32>(chunk, 0);
  store<u32>(chunk, <u32>(memory.size() << 16), 4);
  if (last) store<u32>(last, <u32>chunk);
  else first = chunk;
  current = chunk;
  top = chunk + CHUNK_BYTES;
  return true;
}

/** Takes `size` bytes aligned to `align`, a power of two; their content is undefined. 0 when there are none left. */
export function allocate(size: usize, align: usize): usize {
  const mask = <u64>align - 1;
  let start = (<u64>top + mask) & ~mask;
  if (!reach(start + <u64>size)) {
    const was = current;
    const wasTop = top;
    if (!nextChunk(<u64>size + mask)) {
      current = was;
      top = wasTop;
      return 0;
    }
    start = (<u64>top + mask) & ~mask;
  }
  top = <usize>start + size;
  return <usize>start;
}

/** Makes the buffer taken last end at `end`; false when it cannot grow where it is. */
export function resizeLast(end: u64): bool {
  if (!reach(end)) return false;
  top = <usize>end;
  return true;
}

/** Drops everything. */
export function dropBatch(): void {
  current = first;
  top = first ? first + CHUNK_BYTES : 0;
}
