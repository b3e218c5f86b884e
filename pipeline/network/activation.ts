/**
 * Activations: polynomials, because a CKKS ciphertext can be added and multiplied but not compared.
 *
 * A network carries the coefficients themselves, so that train, the network in the clear and the encrypted evaluation
 * cannot disagree about them. `square` keeps a word of its own: it is what every model before had. Must not know layers.
 */

/** c[0] + c[1] z + c[2] z^2 + ... */
export interface PolynomialActivation {
  /** Ascending; the last is not 0. */
  readonly polynomial: readonly number[];
}

export type Activation = "none" | "square" | PolynomialActivation;

/** Degree 7 takes three levels, as many as degree 4: more is for networks that no parameter set carries. */
export const MAX_DEGREE = 7;
/** Largest coefficient: far above any use, far below what overflows a float32 with a sensible z. */
export const MAX_COEFFICIENT = 1e6;

/** 0.125 z^2 + 0.5 z + 0.25: the second-degree activation of the CryptoNets line of work, near relu on [-2, 2]. */
export const QUADRATIC: PolynomialActivation = { polynomial: [0.25, 0.5, 0.125] };

const SQUARE = [0, 0, 1] as const;

/** Coefficients, ascending; null for `none`. */
export function activationPolynomial(activation: Activation): readonly number[] | null {
  if (activation === "none") return null;
  return activation === "square" ? SQUARE : activation.polynomial;
}

/** Value of a polynomial, ascending coefficients, by Horner's rule. */
export function evaluatePolynomial(polynomial: readonly number[], z: number): number {
  return polynomial.reduceRight((sum, coefficient) => sum * z + coefficient, 0);
}

/** Coefficients of the slope, ascending. */
export function polynomialSlope(polynomial: readonly number[]): number[] {
  return polynomial.slice(1).map((coefficient, index) => coefficient * (index + 1));
}

/** What is wrong with an activation, as the end of a sentence, or null. */
export function activationFault(activation: Activation): string | null {
  if (activation === "none" || activation === "square") return null;
  const { polynomial } = activation;
  const degree = polynomial.length - 1;
  if (!(degree >= 2 && degree <= MAX_DEGREE)) {
    return `a polynomial of degree 2 to ${MAX_DEGREE} is needed`;
  }
  if (!polynomial.every((value) => Math.abs(value) <= MAX_COEFFICIENT)) {
    return `coefficients are finite and at most ${MAX_COEFFICIENT}`;
  }
  return polynomial[degree] === 0 ? "the last coefficient is 0" : null;
}

/** Whether two activations are the same function by the same coefficients. */
export function sameActivation(left: Activation, right: Activation): boolean {
  if (typeof left === "string" || typeof right === "string") return left === right;
  return (
    left.polynomial.length === right.polynomial.length &&
    left.polynomial.every((value, index) => value === right.polynomial[index])
  );
}
