/**
 * Activations and their slopes over flat arrays, in plain JavaScript: what the tape-free pass needs of them.
 *
 * Computed in double precision, stored as float32. Every number depends on one number, so a NaN stays in its example.
 * Each loop does all that it can with a number once it has it, because memory is what these loops wait for. Must not
 * know layers.
 */
import {
  activationPolynomial,
  activationValue,
  polynomialSlope,
} from "../../network/activation.ts";
import type { Activation } from "../../network/definition.ts";

/** Adds the bias to every row of z, in place. @returns activation(z): z itself for `none`, else a new array */
export function biasedActivation(
  activation: Activation,
  z: Float32Array,
  bias: Float32Array,
): Float32Array {
  addBias(z, bias);
  const out = activation === "none" ? z : new Float32Array(z.length);
  if (activation === "square") {
    for (let index = 0; index < z.length; index += 1) {
      const value = z[index] ?? 0;
      out[index] = value * value;
    }
  } else if (activation === "relu") {
    for (let index = 0; index < z.length; index += 1) {
      const value = z[index] ?? 0;
      // Exact, NaN passes, and no branch is guessed wrong for every second number.
      out[index] = (value + Math.abs(value)) / 2;
    }
  } else if (activation !== "none") {
    for (let index = 0; index < z.length; index += 1) {
      out[index] = activationValue(activation, z[index] ?? 0);
    }
  }
  return out;
}

function addBias(z: Float32Array, bias: Float32Array): void {
  for (let index = 0; index < z.length; ) {
    for (let column = 0; column < bias.length; column += 1, index += 1) {
      z[index] = (z[index] ?? 0) + (bias[column] ?? 0);
    }
  }
}

/** Multiplies slopes of the loss by a = activation(z) with the activation's slope at z, in place. */
export function timesSlope(activation: Activation, z: Float32Array, deltas: Float32Array): void {
  if (activation === "none") return;
  if (activation === "square") {
    for (let index = 0; index < z.length; index += 1) {
      deltas[index] = (deltas[index] ?? 0) * 2 * (z[index] ?? 0);
    }
  } else if (activation === "relu") {
    for (let index = 0; index < z.length; index += 1) {
      deltas[index] = (deltas[index] ?? 0) * Number(!((z[index] ?? 0) <= 0));
    }
  } else {
    const slope = slopeOf(activation);
    for (let index = 0; index < z.length; index += 1) {
      deltas[index] = (deltas[index] ?? 0) * slope(z[index] ?? 0);
    }
  }
}

/** The slope at z of what is neither `square` nor `relu`. */
function slopeOf(activation: Exclude<Activation, "none">): (z: number) => number {
  if (activation === "tanh") return (z) => 1 - Math.tanh(z) ** 2;
  if (activation === "softplus") return (z) => activationValue("sigmoid", z);
  if (activation === "sigmoid") {
    return (z) => {
      const value = activationValue("sigmoid", z);
      return value * (1 - value);
    };
  }
  const slope = polynomialSlope(activationPolynomial(activation) ?? []);
  return (z) => {
    let sum = 0;
    for (let power = slope.length - 1; power >= 0; power -= 1) {
      sum = sum * z + (slope[power] ?? 0);
    }
    return sum;
  };
}
