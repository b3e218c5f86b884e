/**
 * The kernels of training on the backend `wasm`: products of float32 matrices.
 *
 * The memory is the host's (`env.memory`), and so is every address: no kernel allocates, and none checks an address
 * beyond what WebAssembly does. Host: pipeline/stages/train/wasm-matrices.ts.
 */
export { packedLeftBytes, packedRightBytes, product } from "./product";

/** First address that the module does not use itself. */
export const heapBase: usize = __heap_base;
