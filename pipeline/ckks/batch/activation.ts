/**
 * A polynomial activation as powers of its argument: what is multiplied on ciphertexts and what folds into weights.
 *
 * Degree 2 is one square whatever its coefficients are: c2 z^2 + c1 z + c0 = c2 (z + s)^2 + rest with s = c1 / (2 c2), where
 * s goes into the bias before and c2 and the rest into the weights and biases behind. A higher degree d needs the powers
 * whose coefficients are not zero, each a product of two lower ones: ceil(log2 d) products deep.
 */

export interface PowerForm {
  /** Added to the argument. */
  readonly shift: number;
  readonly constant: number;
  /** Powers k >= 1 with their coefficients, rising; none: a constant. */
  readonly powers: readonly { readonly power: number; readonly coefficient: number }[];
}

/** @param coefficients ascending; null: the identity */
export function powerForm(coefficients: readonly number[] | null): PowerForm {
  if (coefficients === null) {
    return { shift: 0, constant: 0, powers: [{ power: 1, coefficient: 1 }] };
  }
  const powers = coefficients
    .map((coefficient, power) => ({ power, coefficient }))
    .filter(({ power, coefficient }) => power >= 1 && coefficient !== 0);
  const [constant = 0, linear = 0, square = 0] = coefficients;
  if (powers.at(-1)?.power !== 2) return { shift: 0, constant, powers };
  const shift = linear / (2 * square);
  return {
    shift,
    constant: constant - square * shift ** 2,
    powers: [{ power: 2, coefficient: square }],
  };
}

/** The value of a polynomial; null: the identity. */
export function polynomialAt(coefficients: readonly number[] | null, z: number): number {
  return coefficients === null ? z : coefficients.reduceRight((sum, c) => sum * z + c, 0);
}

/** The two powers whose product is `power` (at least 2): the largest power of two below it, and what is left. */
export function powerSplit(power: number): readonly [number, number] {
  const left = 2 ** (Math.ceil(Math.log2(power)) - 1);
  return [left, power - left];
}

/** Rescales between an argument and the last of its powers: the last product is rescaled by whoever reads it. */
export function powerDepth({ powers }: PowerForm): number {
  const degree = powers.at(-1)?.power ?? 1;
  return degree < 2 ? 0 : Math.ceil(Math.log2(degree)) - 1;
}
