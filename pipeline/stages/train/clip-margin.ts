/**
 * How far below `l2ClipNorm` an example is clipped, so that float32 arithmetic can never lift it above.
 *
 * Guarantee. Let S and S' be the float32 sums a backend returns for two micro-batches that differ in one place, where
 * the other has nothing (zero-out adjacency). When every example is clipped to `clipTarget(...)`, |S - S'| <= l2ClipNorm
 * as real numbers. The accountant's sensitivity may therefore be l2ClipNorm plus the rounding to fixed point, and no more.
 *
 * Derivation (u = 2^-24, the unit roundoff of float32; g(n) = n u / (1 - n u); Higham, Accuracy and Stability of
 * Numerical Algorithms, section 3.1 and equation 4.4; it holds for every order of summation, with or without FMA):
 * 1. The norm. For a layer whose gradient is an outer product, norm^2 gets (|a|^2 + 1) |d|^2; for one that is applied
 *    many times (convolution, recurrent, norm, embedding), the gradient is made as float32 numbers G first, and norm^2 gets the sum of
 *    their squares, over one axis and then the other. What is summed in step 2 is c times these very numbers: that G is
 *    itself a rounded sum over positions or steps moves the gradient, not the bound. So norm^2 has only positive terms,
 *    and its float32 value is within a factor 1 +- g(rows + columns + layers + 3) of the true one, the widest kernel's
 *    rows and columns taken. The root halves that; the root, the quotient, the factor's product with d or G, and the
 *    product with a add at most 16 u (correctly rounded on a CPU, some u each on a GPU, whose division may be off by 2.5).
 * 2. The sum. Only the block that holds the example changes, because blocks are computed alike and added in double
 *    precision. Each coordinate's sum of R terms (one an example: a d c or c G) is off by at most g(R - 1) times the sum
 *    of magnitudes, so the vector is off by at most g(R - 1) R C for S and as much again for S'.
 * 3. The result is rounded to float32 once: off by at most u * rows * C, for S and for S'.
 * The places keep their rows (an empty place is a row of zeros), so all other rows go through the same instructions.
 *
 * Edge cases. Squares below 2^-126 may vanish; with activations' norms below 2^20 (`MAX_SQUARED_ACTIVATION`) that hides
 * less than 2^-30 of a norm, which is below 1 u of a clip of 2^-6 or more (`MIN_CLIP`). NaN and infinity: the example
 * is a row of zeros. Squares of G below 2^-126 hide less than 2^-50 of a norm, because G has at most 2^22 numbers.
 * Must not know TensorFlow.js.
 */
import { SealstreamError } from "../../errors.ts";
import type { Network } from "../../network/definition.ts";
import { chainProducts, type LayerProduct } from "../../network/products.ts";

/** Unit roundoff of IEEE 754 binary32. */
const UNIT_ROUNDOFF = 2 ** -24;
/** Rounding of root, quotient and two products, in units of roundoff, with room for a GPU's division. */
const ELEMENTARY_ROUNDINGS = 16;

/** Rows summed in float32 at a time: 2 g(127) 128 = 0.2 % of margin; 256 would cost 0.8 %, 64 would double the calls. */
export const BLOCK_ROWS = 128;
/** Numbers of one tensor of a block: 2^22 float32 are 16 MiB. */
const MAX_BLOCK_NUMBERS = 4_194_304;
/** An example with a larger |a|^2 at any layer is a row of zeros: 2^40, see "Edge cases". */
export const MAX_SQUARED_ACTIVATION = 2 ** 40;
/** Clips for which the derivation holds. */
export const MIN_CLIP = 2 ** -6;
export const MAX_CLIP = 2 ** 20;
/** Rows for which step 3 stays under 1 %: 2 u 2^16 = 0.8 %. */
export const MAX_ROWS = 65_536;

/** Rows summed at a time: fewer than BLOCK_ROWS where the windows, or an example's own gradient, take much memory. */
export function rowsOfBlock(network: Network): number {
  const largest = productsOf(network).map(({ form, rows, columns, applications }) => {
    if (form === "outer") return 0;
    if (form === "scatter") return applications * Math.max(applications, rows, columns);
    return form === "elementwise"
      ? applications * columns
      : Math.max(rows * columns, applications * rows);
  });
  const fitting = Math.floor(MAX_BLOCK_NUMBERS / Math.max(1, ...largest));
  return Math.max(1, Math.min(BLOCK_ROWS, fitting));
}

function productsOf({ inputs, layers }: Network): LayerProduct[] {
  return chainProducts(inputs, layers).flat();
}

/**
 * The norm to clip each example to.
 * @param l2ClipNorm the bound that is promised
 * @param rows places of the micro-batch
 * @throws limit-exceeded when clip or rows are outside what the derivation covers
 */
export function clipTarget(network: Network, rows: number, l2ClipNorm: number): number {
  if (!(l2ClipNorm >= MIN_CLIP && l2ClipNorm <= MAX_CLIP)) {
    throw new SealstreamError(
      "limit-exceeded",
      `train.l2ClipNorm must be ${MIN_CLIP} to ${MAX_CLIP}.`,
    );
  }
  if (!(Number.isSafeInteger(rows) && rows >= 1 && rows <= MAX_ROWS)) {
    throw new SealstreamError(
      "limit-exceeded",
      `train.microBatchRecords must be 1 to ${MAX_ROWS}.`,
    );
  }
  const products = productsOf(network);
  const columns = Math.max(0, ...products.map((product) => product.columns));
  // Of a table, the places where tokens stand take the part of its rows.
  const widest = Math.max(
    columns,
    ...products.map(({ form, rows, applications }) => (form === "scatter" ? applications : rows)),
  );
  const normTerms = widest + columns + Math.max(network.layers.length, products.length) + 3;
  const norm = gamma(normTerms) / 2 + ELEMENTARY_ROUNDINGS * UNIT_ROUNDOFF;
  const block = Math.min(rows, rowsOfBlock(network));
  const sum = 2 * gamma(block - 1) * block;
  const result = 2 * UNIT_ROUNDOFF * rows;
  return l2ClipNorm / (1 + norm + sum + result);
}

function gamma(terms: number): number {
  return (terms * UNIT_ROUNDOFF) / (1 - terms * UNIT_ROUNDOFF);
}
