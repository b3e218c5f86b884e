/**
 * What a planned batch evaluation is: a straight line of operations on numbered ciphertexts, each with a fixed place.
 *
 * Batch: one ciphertext per feature, slot r belongs to record r. `plan.ts` makes a program from a circuit, `evaluator.ts`
 * runs it; everything that could fail for reasons of size or precision has been decided in between. Types only.
 */

/** `shared`: the consumer may learn the model from its results. `secret`: results are fresh encryptions of their values. */
export type BatchMode = "shared" | "secret";

/** A ciphertext of the program. Features 0 .. features - 1 come first and have no place: they are read from the wire. */
export interface BatchCiphertext {
  readonly limbs: number;
  readonly polys: 2 | 3;
  readonly scale: number;
  /** Place in the working memory, in limbs; a place is used again once its ciphertext is not needed any more. */
  readonly place: number;
}

/** A feature from its wire form to ring form, times 2^boostBits. */
export interface UnpackOp {
  readonly kind: "unpack";
  readonly feature: number;
  readonly boostBits: number;
  readonly output: number;
}

/** outputs[r] = sum of weights x inputs + biases[r], in integers. */
export interface AffineOp {
  readonly kind: "affine";
  /** Ciphertexts; all of them features (`fromWire`) or none. */
  readonly inputs: Uint32Array;
  readonly fromWire: boolean;
  readonly limbs: number;
  readonly polys: 2 | 3;
  /** Compressed rows over places in `inputs`: entries of row r in rowStarts[r] .. rowStarts[r + 1]. [rows + 1] */
  readonly rowStarts: Uint32Array;
  readonly columns: Uint32Array;
  /** Integers; per row sum |w| <= MAX_ROW_WEIGHT. */
  readonly weights: Float64Array;
  /** [rows] at the scale of the outputs. */
  readonly biases: readonly bigint[];
  /** [rows] */
  readonly outputs: Uint32Array;
}

/** output = input x 2^boostBits, relinearised, rescaled: whatever of the three is asked for, in this order. */
export interface FinishOp {
  readonly kind: "finish";
  readonly input: number;
  readonly output: number;
  readonly boostBits: number;
  readonly relinearize: boolean;
  readonly rescale: boolean;
}

/** output = left x right; a square where both are the same. Operands with more limbs than the output are cut. */
export interface ProductOp {
  readonly kind: "product";
  readonly left: number;
  readonly right: number;
  readonly output: number;
}

export type BatchOp = UnpackOp | AffineOp | FinishOp | ProductOp;

/** Where a class's logit comes from: a ciphertext, or a plain number when no weight survived rounding. */
export type BatchOutput = { readonly ciphertext: number } | { readonly constant: number };

/** One step of the circuit, for people. */
export interface BatchLevel {
  /** Primes at which the step is computed. */
  readonly limbs: number;
  /** log2 of the scale of its values before the activation. */
  readonly scaleBits: number;
  /** log2 of the scale at which its weights were rounded; the least of its inputs. */
  readonly weightBits: number;
  readonly rows: number;
  /** log2 of the largest |value| before the activation. */
  readonly valueBits: number;
}

export interface BatchPlan {
  readonly mode: BatchMode;
  /** Id of the parameter set. */
  readonly parameters: string;
  readonly features: number;
  /** log2 of the scale of an input. */
  readonly inputScaleBits: number;
  /** Limbs of an input that are read. */
  readonly inputLimbs: number;
  /** Limbs that an input carries: no fewer than are read, no more than there are data primes. */
  readonly wireLimbs: number;
  readonly ciphertexts: readonly BatchCiphertext[];
  readonly ops: readonly BatchOp[];
  /** One per class. */
  readonly outputs: readonly BatchOutput[];
  readonly outputScale: number;
  readonly outputPolys: 2 | 3;
  /** Limbs of every result. */
  readonly outputLimbs: 1 | 2;
  /** Whether relinearisation keys are needed. */
  readonly needsRelinKeys: boolean;
  /** Whether the consumer's public key is needed. */
  readonly needsPublicKey: boolean;
  /** -log2 of the error that a logit should not pass (`noise.ts`). */
  readonly precisionBits: number;
  readonly levels: readonly BatchLevel[];
  /** Working memory of the program, in limbs of 8 N bytes. */
  readonly placeLimbs: number;
}
