/** Products of matrices on a TensorFlow.js backend whose memory is the host's: what the tape-free pass gives away. */
import type { BackendName } from "./backend.ts";
import type { Matrices, Matrix } from "./host-chain.ts";
import { tf } from "./tfjs.ts";

/** Inside a tidy that ends with the block, on the current backend. */
export function tfjsMatrices(name: BackendName): Matrices {
  return {
    put: (values, shape) => tf.tensor(values, [...shape], "float32"),
    reshape: (matrix, shape) => tf.reshape(tensorOf(matrix), [...shape]),
    product: (left, right, transposeLeft = false) => {
      const [first, second] = [tensorOf(left), tensorOf(right)];
      // On wasm `transposeA` is 3.5 to 10 times slower than an explicit transpose.
      const explicit = transposeLeft && name === "wasm";
      const turned = explicit ? tf.transpose(first, first.rank === 3 ? [0, 2, 1] : [1, 0]) : first;
      const result = tf.matMul(turned, second, transposeLeft && !explicit);
      // A float32 tensor's data is a Float32Array; of the plain JavaScript backend it is the tensor's own, which is
      // disposed here, so that the caller may write it.
      const values = result.dataSync<"float32">();
      result.dispose();
      if (explicit) turned.dispose();
      return values;
    },
  };
}

function tensorOf(matrix: Matrix): tf.Tensor {
  // Every matrix of this file is a tensor: `put` and `reshape` make no other.
  return matrix as tf.Tensor;
}
