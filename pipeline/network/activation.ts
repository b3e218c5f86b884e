/**
 * Activations: polynomials, which a CKKS ciphertext can be put through, and functions, which it cannot.
 *
 * A network carries the coefficients themselves, so that train, the network in the clear and the encrypted evaluation
 * cannot disagree about them. `square` keeps a word of its own: it is what every model before had. The functions are
 * those of Keras. Must not know layers.
 */
import { SealstreamError } from "../errors.ts";

/** c[0] + c[1] z + c[2] z^2 + ... */
export interface PolynomialActivation {
  /** Ascending; the last is not 0. */
  readonly polynomial: readonly number[];
}

/** Activations that are no polynomial. */
export const FUNCTIONS = ["relu", "tanh", "sigmoid", "softplus"] as const;
export type ActivationFunction = (typeof FUNCTIONS)[number];

export type Activation = "none" | "square" | ActivationFunction | PolynomialActivation;

/** Degree 7 takes three levels, as many as degree 4: more is for networks that no parameter set carries. */
export const MAX_DEGREE = 7;
/** Largest coefficient: far above any use, far below what overflows a float32 with a sensible z. */
export const MAX_COEFFICIENT = 1e6;

/** 0.125 z^2 + 0.5 z + 0.25: the second-degree activation of the CryptoNets line of work, near relu on [-2, 2]. */
export const QUADRATIC: PolynomialActivation = { polynomial: [0.25, 0.5, 0.125] };

const SQUARE = [0, 0, 1] as const;

/** Whether it is one of the functions, by its name alone. */
export function isFunction(value: unknown): value is ActivationFunction {
  return FUNCTIONS.some((name) => name === value);
}

/**
 * Coefficients, ascending; null for `none`.
 * @throws internal for a function: ask `isFunction` first
 */
export function activationPolynomial(activation: Activation): readonly number[] | null {
  if (activation === "none") return null;
  if (activation === "square") return SQUARE;
  if (isFunction(activation)) {
    throw new SealstreamError("internal", `The activation ${activation} is no polynomial.`);
  }
  return activation.polynomial;
}

/** The value of an activation, in double precision. */
export function activationValue(activation: Activation, z: number): number {
  switch (activation) {
    case "none":
      return z;
    case "square":
      return z * z;
    case "relu":
      // As a comparison and not Math.max, so that NaN passes through like everywhere else.
      return z < 0 ? 0 : z;
    case "tanh":
      return Math.tanh(z);
    case "sigmoid":
      return 1 / (1 + Math.exp(-z));
    case "softplus":
      // log(1 + e^z) without overflow.
      return Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));
    default:
      return evaluatePolynomial(activation.polynomial, z);
  }
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
  if (typeof activation === "string") return null;
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
