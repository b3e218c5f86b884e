/**
 * A stack of memory inside the kernels' WebAssembly memory, with a maximum.
 *
 * Addresses are byte offsets. What was taken is not cleared. Growing the memory detaches every view of it: take a view
 * after the last `take`, and never keep one. Must not know what is stored.
 */
import { SealstreamError } from "../errors.ts";
import { PAGE_BYTES } from "./kernels.ts";

/** Alignment of everything taken: one cache line. */
const ALIGN_BYTES = 64;

export interface Arena {
  /** Address of `bytes` bytes of which nothing is known. @throws limit-exceeded past the maximum */
  take(bytes: number): number;
  /** The top of the stack, to release to later. */
  mark(): number;
  /** Gives back all that was taken since `mark` answered this. */
  release(mark: number): void;
  /** f64 at an address of a multiple of 8. Not to be kept over a `take`. */
  floats(at: number, count: number): Float64Array<ArrayBuffer>;
  /** u32 at an address of a multiple of 4. Not to be kept over a `take`. */
  words(at: number, count: number): Uint32Array<ArrayBuffer>;
  /** Not to be kept over a `take`. */
  bytes(at: number, count: number): Uint8Array<ArrayBuffer>;
}

/** @param base the first address that is free; @param maxBytes as the memory was made with */
export function createArena(memory: WebAssembly.Memory, base: number, maxBytes: number): Arena {
  let top = Math.ceil(base / ALIGN_BYTES) * ALIGN_BYTES;
  const limit = Math.min(Math.floor(maxBytes / PAGE_BYTES), PAGE_BYTES) * PAGE_BYTES;
  const bottom = top;
  return {
    take(bytes) {
      if (!(bytes >= 0)) throw new SealstreamError("internal", "Memory of no size was asked for.");
      const at = top;
      const end = at + Math.ceil(bytes / ALIGN_BYTES) * ALIGN_BYTES;
      if (end > limit) throw exhausted(limit);
      const missing = end - memory.buffer.byteLength;
      if (missing > 0) {
        try {
          memory.grow(Math.ceil(missing / PAGE_BYTES));
        } catch {
          // Because the only cause of a RangeError here is that the machine has no more memory.
          throw exhausted(limit);
        }
      }
      top = end;
      return at;
    },
    mark: () => top,
    release(mark) {
      if (!(mark >= bottom && mark <= top)) {
        throw new SealstreamError("internal", "Memory was released in the wrong order.");
      }
      top = mark;
    },
    floats: (at, count) => new Float64Array(memory.buffer, at, count),
    words: (at, count) => new Uint32Array(memory.buffer, at, count),
    bytes: (at, count) => new Uint8Array(memory.buffer, at, count),
  };
}

function exhausted(limit: number): SealstreamError {
  return new SealstreamError(
    "limit-exceeded",
    `CKKS evaluation needs more than its ${Math.floor(limit / 2 ** 20)} MiB of memory; raise the limit or use a smaller network.`,
  );
}
