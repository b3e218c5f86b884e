/**
 * Loads the CKKS kernels (assembly/, built into build/wasm) and decides which of the two modules this engine may run.
 *
 * Relaxed SIMD may fuse a multiply-add or round twice; only a fused one makes our products exact. So: the fused module
 * runs only where it validates and passes a residue test of both operations, else the module that splits products, which
 * is as exact and three to four times slower. Both give the same bits. A module has no imports but its memory, which has
 * a maximum: it can do nothing but compute.
 */
import { readFileSync } from "node:fs";
import { SealstreamError } from "../errors.ts";

/** `fused`: multiply-add in one rounding; `exact`: products split in halves. */
export type KernelVariant = "fused" | "exact";

/** What the modules export; addresses and lengths are in bytes unless said. Contracts: assembly/. */
export interface CkksKernels {
  readonly heapBase: { readonly value: number };
  fusesMultiplyAdd(a: number, rounded: number): number;
  configure(
    degree: number,
    moduli: number,
    primes: number,
    dropTable: number,
    scratch: number,
  ): void;
  fillPowers(to: number, count: number, modulus: number, base: number): void;
  importLimb(from: number, to: number, modulus: number): number;
  exportLimb(from: number, to: number, modulus: number): void;
  forward(from: number, to: number, modulus: number): void;
  inverse(from: number, work: number, to: number, modulus: number, isPositive: number): void;
  loadRingTile(sources: number, inputs: number, from: number, pairs: number, tile: number): void;
  loadBitsTile(
    sources: number,
    inputs: number,
    flags: number,
    first: number,
    pairs: number,
    tile: number,
    half: number,
    bits: number,
    prime: number,
  ): void;
  accumulateBlocks(
    blocks: number,
    count: number,
    tile: number,
    inputs: number,
    from: number,
    pairs: number,
    prime: number,
  ): void;
  unpackRing(from: number, to: number, degree: number, bits: number, prime: number): number;
  unpackWords(from: number, to: number, degree: number, bits: number, prime: bigint): number;
  packWords(from: number, to: number, degree: number, bits: number, prime: bigint): number;
  packRing(from: number, to: number, degree: number, bits: number, prime: number): void;
  reduceLimb(a: number, to: number, modulus: number): void;
  addLimb(a: number, b: number, to: number, modulus: number): void;
  subtractLimb(a: number, b: number, to: number, modulus: number): void;
  negateLimb(a: number, to: number): void;
  multiplyLimb(a: number, b: number, to: number, modulus: number): void;
  multiplyAddLimb(a: number, b: number, to: number, modulus: number): void;
  multiplyConstantLimb(a: number, constant: number, to: number, modulus: number): void;
  multiplyConstantAddLimb(a: number, constant: number, to: number, modulus: number): void;
  addConstantLimb(a: number, constant: number, to: number, modulus: number): void;
  squareLimb(a: number, to: number, polyBytes: number, modulus: number): void;
  productLimb(a: number, b: number, to: number, polyBytes: number, modulus: number): void;
  permuteLimb(from: number, to: number, table: number): void;
  relinearize(from: number, limbs: number, key: number, to: number, isPositive: number): void;
  relinearizeRescale(
    from: number,
    limbs: number,
    key: number,
    to: number,
    isPositive: number,
  ): void;
  rescale(from: number, limbs: number, to: number): void;
  rotate(
    from: number,
    limbs: number,
    key: number,
    table: number,
    to: number,
    isPositive: number,
  ): void;
  hoist(poly: number, limbs: number, to: number): void;
  hoistedSums(
    digits: number,
    limbs: number,
    key: number,
    table: number,
    to: number,
    add: number,
  ): void;
  rotateHoisted(
    from: number,
    digits: number,
    limbs: number,
    key: number,
    table: number,
    to: number,
  ): void;
  scaleByKeyPrime(from: number, to: number, modulus: number, add: number): void;
  modDown(sums: number, limbs: number, to: number): void;
  extend(poly: number, limbs: number, to: number): void;
  modDownExtended(extended: number, limbs: number, to: number): void;
  sumRound(extended: number, second: number, limbs: number, rotations: number, count: number): void;
}

export interface LoadedKernels {
  readonly variant: KernelVariant;
  readonly kernels: CkksKernels;
  readonly memory: WebAssembly.Memory;
}

export interface KernelOptions {
  /** Most memory, rounded down to pages of 64 KiB; at most 4 GiB. */
  readonly maxBytes: number;
  /** Never try the fused module. */
  readonly exactOnly?: boolean;
  /** Where modules come from: built files, unless a test says otherwise. */
  readonly read?: (file: string) => Uint8Array<ArrayBuffer>;
}

const FILES: Readonly<Record<KernelVariant, string>> = {
  fused: "ckks.wasm",
  exact: "ckks-exact.wasm",
};

/** Bytes of a WebAssembly page. */
export const PAGE_BYTES = 65_536;
/** Most pages that 32-bit addresses reach. */
const MAX_PAGES = 65_536;
/** Pages that a module needs before anything is laid out. */
const FIRST_PAGES = 1;

/** The factor of the residue test and its rounded square: see assembly/guard.ts. */
const PROBE = 1 + 2 ** -30;
const PROBE_SQUARE = 1 + 2 ** -29;

function readBuilt(file: string): Uint8Array<ArrayBuffer> {
  try {
    // Both pipeline/ckks/ and dist/pipeline/ckks/ have build/wasm/ two folders up.
    return readFileSync(new URL(`../../build/wasm/${file}`, import.meta.url));
  } catch (cause) {
    throw new SealstreamError(
      "backend-unavailable",
      `The WebAssembly module ${file} is not built; run npm run build:wasm.`,
      { cause },
    );
  }
}

/** The compiled module, or null where this engine lacks what it uses. */
function compile(code: Uint8Array<ArrayBuffer>): WebAssembly.Module | null {
  try {
    return new WebAssembly.Module(code);
  } catch {
    // Because the only cause is a module that does not validate: relaxed SIMD, or SIMD, is unknown here.
    return null;
  }
}

function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): CkksKernels {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  // Because plugins/build.ts makes the module from assembly/index.ts, which exports these.
  return exports as unknown as CkksKernels;
}

/**
 * Instantiates the kernels on a memory of their own.
 * @throws backend-unavailable when the modules are not built or this engine has no SIMD
 * @throws limit-exceeded when not even one page may be used
 */
export function loadKernels(options: KernelOptions): LoadedKernels {
  const { maxBytes, exactOnly = false, read = readBuilt } = options;
  const maximum = Math.min(Math.floor(maxBytes / PAGE_BYTES), MAX_PAGES);
  if (!(maximum >= FIRST_PAGES)) {
    throw new SealstreamError(
      "limit-exceeded",
      "The CKKS kernels need at least one page of memory; raise their limit.",
    );
  }
  const memory = new WebAssembly.Memory({ initial: FIRST_PAGES, maximum });
  const fused = exactOnly ? null : compile(read(FILES.fused));
  if (fused !== null) {
    const kernels = instantiate(fused, memory);
    if (kernels.fusesMultiplyAdd(PROBE, PROBE_SQUARE) === 1) {
      return { variant: "fused", kernels, memory };
    }
  }
  const exact = compile(read(FILES.exact));
  if (exact === null) {
    throw new SealstreamError(
      "backend-unavailable",
      "This engine has no WebAssembly SIMD; use Node 24 or newer on x86-64 or arm64.",
    );
  }
  return { variant: "exact", kernels: instantiate(exact, memory), memory };
}
