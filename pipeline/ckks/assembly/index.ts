/**
 * The CKKS kernels: arithmetic on residues of ciphertexts, two f64 lanes at a time.
 *
 * Compiled twice from the same source: `fused` uses relaxed SIMD's multiply-add, `exact` splits products and needs plain
 * SIMD only; both give the same bits (arithmetic.ts). The memory is the host's (`env.memory`), and so is every address:
 * no kernel allocates, and no kernel checks an address beyond what WebAssembly does. Must not make randomness or keys,
 * and must not decrypt. Host: pipeline/ckks/kernels.ts and ring.ts.
 */
export { fusesMultiplyAdd } from "./guard";
export { configure } from "./layout";
export { forward, inverse } from "./transform";
export { fillPowers } from "./powers";
export {
  addConstantLimb, addLimb, multiplyAddLimb, multiplyConstantAddLimb, multiplyConstantLimb, multiplyLimb, negateLimb,
  productLimb, reduceLimb, squareLimb, subtractLimb,
} from "./elementwise";
export { permuteLimb } from "./galois";
export { hoist, hoistedSums, modDown, relinearize, rotate, rotateHoisted, scaleByKeyPrime } from "./key-switch";
export { relinearizeRescale, rescale } from "./rescale";
export { extend, modDownExtended, sumRound } from "./rotate-sum";
export { importLimb, exportLimb } from "./transfer";
export { loadRingTile, loadBitsTile, accumulateBlocks } from "./multiply-accumulate";
export { unpackRing, unpackWords, packWords, packRing } from "./bits";

/** First address that the module does not use itself. */
export const heapBase: usize = __heap_base;
