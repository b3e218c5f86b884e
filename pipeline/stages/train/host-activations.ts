/**
 * Activations and their slopes over flat arrays, in plain JavaScript: what the tape-free pass needs of them.
 *
 * Computed in double precision, stored as float32. Every number depends on one number, so a NaN stays in its example.
 * Each loop does all that it can with a number once it has it, because memory is what these loops wait for. Must not
 * know layers.
 */
import { activationPolynomial, polynomialSlope } from "../../network/activation.ts";
import type { Activation } from "../../network/definition.ts";

/** Adds the bias to every row of z, in place. @returns activation(z): z itself for `none`, else a new array */
export function biasedActivation(
  activation: Activation,
  z: Float32Array,
  bias: Float32Array,
): Float32Array {
  const width = bias.length;
  const polynomial = activationPolynomial(activation);
  const out = polynomial === null ? z : new Float32Array(z.length);
  for (let index = 0; index < z.length; ) {
    for (let column = 0; column < width; column += 1, index += 1) {
      z[index] = (z[index] ?? 0) + (bias[column] ?? 0);
    }
  }
  if (activation === "square") {
    for (let index = 0; index < z.length; index += 1) {
      const value = z[index] ?? 0;
      out[index] = value * value;
    }
  } else if (polynomial !== null) {
    for (let index = 0; index < z.length; index += 1) {
      out[index] = horner(polynomial, z[index] ?? 0);
    }
  }
  return out;
}

/** Multiplies slopes of the loss by a = activation(z) with the activation's slope at z, in place. */
export function timesSlope(activation: Activation, z: Float32Array, deltas: Float32Array): void {
  const polynomial = activationPolynomial(activation);
  if (polynomial === null) return;
  if (activation === "square") {
    for (let index = 0; index < z.length; index += 1) {
      deltas[index] = (deltas[index] ?? 0) * 2 * (z[index] ?? 0);
    }
    return;
  }
  const slope = polynomialSlope(polynomial);
  for (let index = 0; index < z.length; index += 1) {
    deltas[index] = (deltas[index] ?? 0) * horner(slope, z[index] ?? 0);
  }
}

function horner(polynomial: readonly number[], z: number): number {
  let sum = 0;
  for (let power = polynomial.length - 1; power >= 0; power -= 1) {
    sum = sum * z + (polynomial[power] ?? 0);
  }
  return sum;
}
