/**
 * Products of matrices on our own WebAssembly kernels (assembly/): what the tape-free pass gives away on backend `wasm`.
 *
 * Values lie in a memory of the module from `begin` to the next `begin`, results are copied out. The memory grows to
 * the largest block and stays so large. The module has no imports but its memory: it can do nothing but compute.
 */
import { readFileSync } from "node:fs";
import { SealstreamError } from "../../errors.ts";
import { addTo, type Matrices, type Matrix } from "./host-chain.ts";

/** What the module exports; addresses are in bytes. Contracts: assembly/product.ts. */
interface ProductKernels {
  readonly heapBase: { readonly value: number };
  packedLeftBytes(rows: number, depth: number): number;
  packedRightBytes(depth: number, columns: number): number;
  product(
    left: number,
    right: number,
    batch: number,
    rows: number,
    depth: number,
    columns: number,
    transposeLeft: boolean,
    packedLeft: number,
    packedRight: number,
    to: number,
  ): void;
}

interface WasmMatrix extends Matrix {
  readonly address: number;
}

export interface WasmMatrices {
  /** Products of a new block; matrices of the block before are gone. */
  begin(): Matrices<WasmMatrix>;
}

const PAGE_BYTES = 65_536;
const ALIGNMENT = 16;
const F32_BYTES = 4;
/** 2 GiB: addresses stay within 31 bits. */
const MOST_PAGES = 32_768;

/** @throws backend-unavailable when the module is not built or this engine has no relaxed SIMD */
export function createWasmMatrices(): WasmMatrices {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES });
  const kernels = instantiate(memory);
  const first = kernels.heapBase.value;
  let end = first;
  let floats = new Float32Array(memory.buffer);
  const take = (bytes: number): number => {
    const address = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    end = address + bytes;
    const missing = Math.ceil((end - memory.buffer.byteLength) / PAGE_BYTES);
    if (missing > 0) {
      grow(memory, missing);
      floats = new Float32Array(memory.buffer);
    }
    return address;
  };
  /** The product where it lies, until more is taken. */
  const multiply = (left: WasmMatrix, right: WasmMatrix, transposeLeft: boolean): Float32Array => {
    const { batch, rows, depth, columns } = sizes(left.shape, right.shape, transposeLeft);
    const mark = end;
    const packedLeft = take(transposeLeft ? kernels.packedLeftBytes(rows, depth) : 0);
    const packedRight = take(kernels.packedRightBytes(depth, columns));
    const length = batch * rows * columns;
    const to = take(length * F32_BYTES);
    kernels.product(
      ...([left.address, right.address, batch, rows, depth, columns] as const),
      ...([transposeLeft, packedLeft, packedRight, to] as const),
    );
    end = mark;
    return floats.subarray(to / F32_BYTES, to / F32_BYTES + length);
  };
  const matrices: Matrices<WasmMatrix> = {
    put(values, shape) {
      const address = take(values.byteLength);
      floats.set(values, address / F32_BYTES);
      return { address, shape };
    },
    reshape: ({ address }, shape) => ({ address, shape }),
    product: (left, right, transposeLeft = false) => multiply(left, right, transposeLeft).slice(),
    addTransposedProduct: (total, offset, left, right) => {
      addTo(total, offset, multiply(left, right, true));
    },
  };
  return {
    begin() {
      end = first;
      return matrices;
    },
  };
}

/** @throws internal when the shapes do not fit */
function sizes(left: readonly number[], right: readonly number[], transposeLeft: boolean) {
  const [batch = 0, above = 0, beside = 0] = left.length === 3 ? left : [1, ...left];
  const [others, inner, columns = 0] = right.length === 3 ? right : [1, ...right];
  const [rows, depth] = transposeLeft ? [beside, above] : [above, beside];
  if (batch !== others || depth !== inner) {
    throw new SealstreamError("internal", "The matrices of a product do not fit.");
  }
  return { batch, rows, depth, columns };
}

function readBuilt(): Uint8Array<ArrayBuffer> {
  try {
    // Both pipeline/stages/train/ and dist/pipeline/stages/train/ have build/wasm/ three folders up.
    return readFileSync(new URL("../../../build/wasm/train.wasm", import.meta.url));
  } catch (cause) {
    throw new SealstreamError(
      "backend-unavailable",
      "The WebAssembly module train.wasm is not built; run npm run build:wasm.",
      { cause },
    );
  }
}

function instantiate(memory: WebAssembly.Memory): ProductKernels {
  const code = readBuilt();
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code), { env: { memory } });
    // Because plugins/build.ts makes the module from assembly/index.ts, which exports these.
    return exports as unknown as ProductKernels;
  } catch (cause) {
    throw new SealstreamError(
      "backend-unavailable",
      "This engine has no relaxed WebAssembly SIMD; use Node 24 or newer on x86-64 or arm64.",
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
      "A block of the micro-batch takes more than 2 GiB: narrow the layers of train.network.",
      { cause },
    );
  }
}
