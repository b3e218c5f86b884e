/** Activations on TensorFlow.js, each by operations that have a gradient on every backend. */
import { activationPolynomial } from "../../network/activation.ts";
import type { Activation } from "../../network/definition.ts";
import { tf } from "./tfjs.ts";

/** A polynomial by Horner's rule; the square as such, which costs one pass. */
export function activate<T extends tf.Tensor>(activation: Activation, values: T): T {
  switch (activation) {
    case "none":
      return values;
    case "square":
      return tf.square(values);
    case "relu":
      return tf.relu(values);
    case "tanh":
      return tf.tanh(values);
    case "sigmoid":
      return tf.sigmoid(values);
    case "softplus":
      return tf.softplus(values);
    default: {
      const [highest = 0, ...lower] = activationPolynomial(activation)?.toReversed() ?? [];
      // Because of the highest degree above 0 the first product is a tensor of the same shape.
      return lower.reduce<tf.Tensor | number>(
        (sum, coefficient) => tf.add(tf.mul(values, sum), coefficient),
        highest,
      ) as T;
    }
  }
}
