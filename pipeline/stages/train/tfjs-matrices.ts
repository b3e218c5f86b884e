/** Products of matrices on a TensorFlow.js backend whose memory is the host's: what the tape-free pass gives away. */
import { addTo, type Matrices, type Matrix } from "./host-chain.ts";
import { tf } from "./tfjs.ts";

/** Inside a scope that ends with the block, on the current backend. */
export function tfjsMatrices(): Matrices {
  const product: Matrices["product"] = (left, right, transposeLeft = false) => {
    const result = tf.matMul(tensorOf(left), tensorOf(right), transposeLeft);
    // A float32 tensor's data is a Float32Array; of the plain JavaScript backend it is the tensor's own, which is
    // disposed here, so that the caller may write it.
    const values = result.dataSync<"float32">();
    result.dispose();
    return values;
  };
  return {
    put: (values, shape) => tf.tensor(values, [...shape], "float32"),
    reshape: (matrix, shape) => tf.reshape(tensorOf(matrix), [...shape]),
    product,
    addTransposedProduct: (total, offset, left, right) => {
      addTo(total, offset, product(left, right, true));
    },
  };
}

function tensorOf(matrix: Matrix): tf.Tensor {
  // Every matrix of this file is a tensor: `put` and `reshape` make no other.
  return matrix as tf.Tensor;
}
