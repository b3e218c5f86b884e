/**
 * The kernels of the feature maps: float32, four independent channels at a time in the lanes of a vector.
 *
 * Plain SIMD only: no fused and no relaxed operation, so that every machine gives the same bits. The memory is the
 * host's (`env.memory`), and so is every address: no kernel allocates, and none checks an address beyond what
 * WebAssembly does. A complex point is 32 bytes: four real parts, four imaginary parts. Host: pipeline/features/maps/.
 */
export { transform2d } from "./fourier";
export { filterFold, lowPass, modulus, spread } from "./scattering";
export { matrixVector } from "./matrix";

/** First address that the module does not use itself. */
export const heapBase: usize = __heap_base;
