/**
 * How far below `l2ClipNorm` an example is clipped, so that float32 arithmetic can never lift it above.
 *
 * Guarantee. Let S and S' be the float32 sums a backend returns for two micro-batches that differ in one place, where
 * the other has nothing (zero-out adjacency). When every example is clipped to `clipTarget(...)`, |S - S'| <= l2ClipNorm
 * as real numbers. The accountant's sensitivity may therefore be l2ClipNorm plus the rounding to fixed point, and no more.
 *
 * Derivation (u = 2^-24, the unit roundoff of float32, which every backend's products are held to: float32-probe.ts;
 * g(n) = n u / (1 - n u); Higham, Accuracy and Stability of Numerical Algorithms, section 3.1 and equation 4.4; it holds
 * for every order of summation, with or without FMA):
 * 1. The norm. Squares are summed in float32 or better, and put together in double precision on the host. A product that
 *    is applied once (outer) gives (|a|^2 + 1) |d|^2, with relative error g(rows + columns) of the kernel. For the others
 *    the gradient of one example is made as numbers G first, and the squares of G are summed over one axis, then over the
 *    other. What is summed in step 2 is c times these very numbers: that G is itself a rounded sum over positions or steps
 *    moves the gradient, not the bound. (A norm out of the T^2 products of positions, without G, has terms of both signs,
 *    whose cancellation this would not cover: it is not used.) So only positive terms are added, and the root halves
 *    the largest g of a product: g(rows + columns) of its kernel, a gain being one row, and g(T + columns) of a table. Of a
 *    table G is [T][columns]: the first step that picks a row holds the sum over all steps that do, the others are 0. That
 *    is the table's gradient, each row once, because tokens are whole numbers below 2^24, which are equal or not without
 *    rounding. A layer of two products (gru) has one vector of both: their squares are added in double, where a relative
 *    error of each is one of the sum, and one factor scales both. Root and quotient are double; that the factor c becomes
 *    float32, and its products with d or G and with a, add 3 u, on a GPU some more; what underflow hides (see below) adds
 *    8 u: 16 u in all.
 * 2. The sum. Only the block that holds the example changes, because blocks are computed alike. Each coordinate's sum of
 *    R terms in float32 (one an example: a d c or c G; terms that are 0 add no rounding) is off by at most g(R - 1) times
 *    the sum of magnitudes, so the vector is off by at most g(R - 1) R C for S and as much again for S'. Blocks, and on
 *    the host rows (of a table always: an example adds at most one c G to a row of it), are added in double precision: off
 *    by at most 2^-53 rows times rows C, twice.
 * 3. The result may be rounded to float32 once: off by at most u * rows * C, for S and for S'. (It is handed on as double.)
 * The places keep their rows (an empty place has factor 0), so all other rows go through the same instructions. With
 * clipping per layer each layer's part obeys this with C / sqrt(L), and squares of parts add up to C^2 (clip-factors.ts).
 *
 * Edge cases. Squares below 2^-126 may vanish; with activations' norms below 2^20 (`MAX_SQUARED_ACTIVATION`) that hides
 * less than 2^-30 of a norm, and squares of G less than 2^-50, because all G of an example have at most 2^22 numbers
 * (`MAX_PARAMETERS`) and 2^16 of a table's (`MAX_WIDTH`). That is below 4 u of the least clip of a layer,
 * 2^-6 / sqrt(16) (`MIN_CLIP`); and below 2 u where clipping is automatic, which enlarges a
 * small norm by C / 0.01 at most. NaN and infinity: the example is a row of zeros. Must not know TensorFlow.js.
 */
import { SealstreamError } from "../../errors.ts";
import type { Network } from "../../network/definition.ts";
import { chainProducts, type LayerProduct } from "../../network/products.ts";

/** Unit roundoff of IEEE 754 binary32. */
const UNIT_ROUNDOFF = 2 ** -24;
/** Rounding of the factor and its products, in units of roundoff, with room for a GPU; and what underflow hides. */
const ELEMENTARY_ROUNDINGS = 16;

/** Rows summed in float32 at a time: 2 g(255) 256 = 0.8 % of margin; 128 would cost 0.2 % and double the calls. */
export const BLOCK_ROWS = 256;
/** Numbers of one tensor of a block: 2^22 float32 are 16 MiB. */
const MAX_BLOCK_NUMBERS = 4_194_304;
/** Clips for which the derivation holds. */
export const MIN_CLIP = 2 ** -6;
export const MAX_CLIP = 2 ** 20;
/** Rows for which step 3 stays under 1 %: 2 u 2^16 = 0.8 %. */
export const MAX_ROWS = 65_536;

/** Rows summed at a time: fewer than BLOCK_ROWS where the windows, or an example's own gradient, take much memory. */
export function rowsOfBlock(network: Network): number {
  const largest = products(network).map(numbersAnExample);
  const fitting = Math.floor(MAX_BLOCK_NUMBERS / Math.max(1, ...largest));
  return Math.max(1, Math.min(BLOCK_ROWS, fitting));
}

/** The largest tensor that one example takes. */
function numbersAnExample({ form, rows, columns, applications }: LayerProduct): number {
  if (form === "outer") return 0;
  // A table's gradient is made for the picked rows alone; which steps pick the same row is a square of steps.
  if (form === "scatter") return applications * Math.max(columns, applications);
  return Math.max(rows * columns, applications * rows);
}

function products({ inputs, layers }: Network): LayerProduct[] {
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
  const kernels = products(network).map(normTerms);
  const norm = gamma(Math.max(...kernels)) / 2 + ELEMENTARY_ROUNDINGS * UNIT_ROUNDOFF;
  const block = Math.min(rows, rowsOfBlock(network));
  const sum = 2 * gamma(block - 1) * block + 2 * 2 ** -53 * rows * rows;
  const result = 2 * UNIT_ROUNDOFF * rows;
  return l2ClipNorm / (1 + norm + sum + result);
}

/** Roundings that follow one another in the norm of one kernel's gradient. */
function normTerms({ form, rows, columns, applications }: LayerProduct): number {
  return (form === "scatter" ? applications : rows) + columns;
}

function gamma(terms: number): number {
  return (terms * UNIT_ROUNDOFF) / (1 - terms * UNIT_ROUNDOFF);
}
