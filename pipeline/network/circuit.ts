/**
 * A network as what is computed on numbers: affine maps and polynomials, without layers, shapes or training.
 *
 * Every kind of layer lowers to this (`lower.ts`), and everything that evaluates on ciphertexts starts from it, so that
 * the encrypted evaluation knows nothing of convolutions or time steps. A *wire* is one number of one record: wires
 * 0..features-1 are the features, and every step appends its outputs in order. Average pooling has no step of its own: it
 * is folded into the affine map behind it. A recurrent layer is one step per time step.
 * Must hold no reference to how a layer was written down.
 */

/** outputs = activation(matrix x inputs + bias), on wires. */
export interface CircuitStep {
  /** Wires this step reads, in rising order. */
  readonly inputs: Uint32Array;
  readonly outputs: number;
  /** The matrix in compressed rows: the entries of row r lie in rowStarts[r] .. rowStarts[r + 1]. [outputs + 1] */
  readonly rowStarts: Uint32Array;
  /** Per entry its place in `inputs`; rising within a row. */
  readonly columns: Uint32Array;
  /** Per entry its value, finite. */
  readonly values: Float64Array;
  /** [outputs], finite. */
  readonly bias: Float64Array;
  /** Coefficients of the activation polynomial, ascending, at least of degree 2; null: none (linear). */
  readonly activation: readonly number[] | null;
}

/** The last step's outputs are the logits. */
export interface Circuit {
  /** Wires of a record's features. */
  readonly features: number;
  readonly steps: readonly CircuitStep[];
}
