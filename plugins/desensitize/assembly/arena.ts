/**
 * The guest's memory: one bump arena above the static data, in place of a garbage collector.
 *
 * Below the floor lies what configure() built and what stays; above it lies one batch, dropped as a whole by
 * reset(). Nothing is ever freed singly. Must not be mixed with AssemblyScript's own allocator (`new`, arrays,
 * strings that are built): both would start at `__heap_base`.
 */

/** Bytes of a WebAssembly page. */
const PAGE_BYTES: u64 = 65536;
/** Pages asked for at a time while a batch grows: 1 MiB, so that a batch costs few calls of memory.grow. */
const GROW_PAGES: i32 = 16;

let floor: usize = (__heap_base + 15) & ~15;
let top: usize = (__heap_base + 15) & ~15;

/** Makes every byte before `end` addressable. False when the host's memory maximum does not allow it. */
function reach(end: u64): bool {
  const have = (<u64>memory.size()) * PAGE_BYTES;
  if (end <= have) return true;
  const need = <i32>((end - have + PAGE_BYTES - 1) / PAGE_BYTES);
  if (need < GROW_PAGES && memory.grow(GROW_PAGES) >= 0) return true;
  return memory.grow(need) >= 0;
}

/**
 * Takes `size` bytes aligned to `align` (a power of two) off the arena; their content is undefined.
 * @returns 0 when the memory maximum is reached
 */
export function allocate(size: usize, align: usize): usize {
  const start = (<u64>top + <u64>align - 1) & ~(<u64>align - 1);
  const end = start + <u64>size;
  if (end > 0xffff0000 || !reach(end)) return 0;
  top = <usize>end;
  return <usize>start;
}

/** True when `bytes` bytes from `from` on, which must be the arena's last buffer, can be written. */
export function reserve(from: usize, bytes: u64): bool {
  const end = <u64>from + bytes;
  return end <= 0xffff0000 && reach(end);
}

/** Ends the arena's last, reserved buffer at `end`. */
export function commit(end: usize): void {
  top = end;
}

/** Keeps everything allocated until now for the life of the instance. */
export function keepForEver(): void {
  floor = top;
}

/** Drops the batch. */
export function dropBatch(): void {
  top = floor;
}
