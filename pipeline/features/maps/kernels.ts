/**
 * Loads the kernels of the feature maps (assembly/, built into build/wasm) on a memory of their own.
 *
 * The module has no imports but its memory, which has a maximum: it can do nothing but compute.
 */
import { readFileSync } from "node:fs";
import { SealstreamError } from "../../errors.ts";

/** What the module exports; addresses are in bytes. Contracts: assembly/. */
export interface FeatureKernels {
  readonly heapBase: { readonly value: number };
  transform2d(
    points: number,
    rows: number,
    columns: number,
    across: number,
    down: number,
    scratch: number,
  ): void;
  filterFold(
    spectrum: number,
    rows: number,
    columns: number,
    fold: number,
    filters: number,
    to: number,
  ): void;
  modulus(points: number, count: number): void;
  lowPass(
    points: number,
    rows: number,
    columns: number,
    down: number,
    height: number,
    across: number,
    width: number,
    scratch: number,
    to: number,
  ): void;
  spread(vectors: number, count: number, lanes: number, to: number): void;
  matrixVector(matrix: number, rows: number, columns: number, x: number, to: number): void;
}

export interface FeatureArena {
  readonly kernels: FeatureKernels;
  /** Room for so many bytes, aligned to 16, all zero. Everything is taken before the first {@link floats}. */
  take(bytes: number): number;
  /** A view of f32; none may be kept while more is taken. */
  floats(address: number, count: number): Float32Array;
  words(address: number, count: number): Int32Array;
}

const PAGE_BYTES = 65_536;
const ALIGNMENT = 16;
/** Tables and filters of the largest maps that a file may name take less than half of this. */
const MOST_PAGES = 4096;

function readBuilt(): Uint8Array<ArrayBuffer> {
  try {
    // Both pipeline/features/maps/ and dist/pipeline/features/maps/ have build/wasm/ three folders up.
    return readFileSync(new URL("../../../build/wasm/features.wasm", import.meta.url));
  } catch (cause) {
    throw new SealstreamError(
      "backend-unavailable",
      "The WebAssembly module features.wasm is not built; run npm run build:wasm.",
      { cause },
    );
  }
}

/**
 * Kernels on an empty memory.
 * @throws backend-unavailable when the module is not built or this engine has no SIMD
 */
export function createArena(): FeatureArena {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES });
  const kernels = instantiate(memory);
  let end = kernels.heapBase.value;
  return {
    kernels,
    take(bytes) {
      const address = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
      end = address + bytes;
      const missing = Math.ceil((end - memory.buffer.byteLength) / PAGE_BYTES);
      if (missing > 0) grow(memory, missing);
      return address;
    },
    floats: (address, count) => new Float32Array(memory.buffer, address, count),
    words: (address, count) => new Int32Array(memory.buffer, address, count),
  };
}

function instantiate(memory: WebAssembly.Memory): FeatureKernels {
  const code = readBuilt();
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code), { env: { memory } });
    // Because plugins/build.ts makes the module from assembly/index.ts, which exports these.
    return exports as unknown as FeatureKernels;
  } catch (cause) {
    throw new SealstreamError(
      "backend-unavailable",
      "This engine has no WebAssembly SIMD; use Node 24 or newer on x86-64 or arm64.",
      { cause },
    );
  }
}

function grow(memory: WebAssembly.Memory, pages: number): void {
  try {
    memory.grow(pages);
  } catch (cause) {
    throw new SealstreamError(
      "limit-exceeded",
      "The feature maps need more memory than they may have: use fewer outputs, angles or scales in features.maps.",
      { cause },
    );
  }
}
