/**
 * Whether products of matrices keep the digits of float32: what the margin of clipping rests on (clip-margin.ts).
 *
 * A GPU library may round its factors to 11 bits (TF32, which TensorFlow turns on by itself) or 8 (bfloat16): a micro-batch
 * of one place then moved a sum .04 % beyond its clip, and nothing would say so. The probe multiplies numbers of 24
 * digits by 1 and asks for them back. Large enough for the kernels that do such a thing. Must not know a backend.
 */

/** Rows and columns of the probe. */
const SIZE = 128;
/** Odd, so that its multiples have digits to the last. */
const STEP = 65_537;

/** @param multiply of two square matrices, row-major */
export async function keepsFloat32(
  multiply: (left: Float32Array, right: Float32Array, size: number) => Promise<Float32Array>,
): Promise<boolean> {
  const values = Float32Array.from(
    { length: SIZE * SIZE },
    (_, index) => 1 + ((index * STEP) % 2 ** 23) / 2 ** 23,
  );
  const one = new Float32Array(SIZE * SIZE);
  for (let index = 0; index < SIZE; index += 1) one[index * SIZE + index] = 1;
  const products = [await multiply(values, one, SIZE), await multiply(one, values, SIZE)];
  return products.every((product) => product.every((value, index) => value === values[index]));
}
