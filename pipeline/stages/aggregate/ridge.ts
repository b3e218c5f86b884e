/**
 * A symmetric linear system with noise in it: the least eigenvalue, and the ridge solution.
 *
 * Dense, row-major, in double precision, O(n^3 / 6) for a solution and O(60 n^2) for the eigenvalue. Deterministic.
 * Sources: Golub & Van Loan, Matrix Computations, 4th edition: 4.2.5 (Cholesky), 10.1 (Lanczos with complete
 * reorthogonalisation), 8.4.1 (bisection by Sturm sequences). Must not know what the numbers mean.
 */

/** Steps of Lanczos: the end of a noisy spectrum is found to some percent, which is what it is used for. */
const LANCZOS_STEPS = 60;
/** Halvings of an interval: down to the last bit of a double. */
const BISECTIONS = 64;

/**
 * The least eigenvalue, or a number a little above it.
 * @param matrix [n][n], symmetric, finite; not written
 */
export function leastEigenvalue(matrix: Float64Array, n: number): number {
  const basis: Float64Array[] = [];
  const diagonal: number[] = [];
  const beside: number[] = [];
  let next = unit(pseudoRandom(n));
  while (basis.length < Math.min(n, LANCZOS_STEPS)) {
    const q = next;
    basis.push(q);
    const image = product(matrix, q, n);
    diagonal.push(dot(q, image));
    // Twice, because once leaves what rounding took from orthogonality.
    for (let pass = 0; pass < 2; pass += 1) {
      for (const other of basis) subtract(image, other, dot(other, image));
    }
    const norm = Math.sqrt(dot(image, image));
    // An invariant space: what it holds is all there is.
    if (norm <= Number.EPSILON * Math.abs(diagonal[0] ?? 0)) break;
    beside.push(norm);
    next = image.map((value) => value / norm);
  }
  return leastOfTridiagonal(diagonal, beside);
}

/** Numbers in [-1, 1) that look like nothing: no matrix from practice has them at a right angle to an eigenvector. */
function pseudoRandom(n: number): Float64Array {
  let state = 1;
  return Float64Array.from({ length: n }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function unit(vector: Float64Array): Float64Array {
  const norm = Math.sqrt(dot(vector, vector));
  return vector.map((value) => value / norm);
}

function dot(left: Float64Array, right: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < left.length; i += 1) sum += (left[i] ?? 0) * (right[i] ?? 0);
  return sum;
}

function product(matrix: Float64Array, vector: Float64Array, n: number): Float64Array {
  return vector.map((_, row) => dot(matrix.subarray(row * n, (row + 1) * n), vector));
}

function subtract(from: Float64Array, vector: Float64Array, times: number): void {
  for (let i = 0; i < from.length; i += 1) from[i] = (from[i] ?? 0) - times * (vector[i] ?? 0);
}

/** Least eigenvalue of a symmetric tridiagonal matrix, by counting how many lie below a number. */
function leastOfTridiagonal(diagonal: readonly number[], beside: readonly number[]): number {
  const reach = diagonal.map(
    (value, i) => Math.abs(value) + Math.abs(beside[i - 1] ?? 0) + Math.abs(beside[i] ?? 0),
  );
  let high = Math.max(...reach);
  let low = -high;
  const isAnyBelow = (limit: number): boolean => {
    let pivot = 1;
    for (const [i, value] of diagonal.entries()) {
      const off = i === 0 ? 0 : (beside[i - 1] ?? 0);
      pivot = value - limit - off ** 2 / pivot;
      if (pivot < 0) return true;
      if (pivot === 0) pivot = Number.MIN_VALUE;
    }
    return false;
  };
  for (let step = 0; step < BISECTIONS; step += 1) {
    const middle = (low + high) / 2;
    if (isAnyBelow(middle)) high = middle;
    else low = middle;
  }
  return high;
}

/**
 * Solves (matrix + ridge I) X = right.
 * @param matrix [n][n], symmetric; not written
 * @param right [n][columns]; not written
 * @returns [n][columns], or null when matrix + ridge I is not positive definite
 */
export function solveRidge(
  matrix: Float64Array,
  right: Float64Array,
  { n, columns, ridge }: { readonly n: number; readonly columns: number; readonly ridge: number },
): Float64Array | null {
  const lower = cholesky(matrix, n, ridge);
  if (lower === null) return null;
  const solution = Float64Array.from(right);
  const eliminate = (into: number, from: number, times: number): void => {
    for (let column = 0; column < columns; column += 1) {
      const at = into * columns + column;
      solution[at] = (solution[at] ?? 0) - times * (solution[from * columns + column] ?? 0);
    }
  };
  const divide = (row: number): void => {
    const pivot = lower[row * n + row] ?? 1;
    for (let at = row * columns; at < (row + 1) * columns; at += 1) {
      solution[at] = (solution[at] ?? 0) / pivot;
    }
  };
  for (let row = 0; row < n; row += 1) {
    for (let k = 0; k < row; k += 1) eliminate(row, k, lower[row * n + k] ?? 0);
    divide(row);
  }
  for (let row = n - 1; row >= 0; row -= 1) {
    for (let k = row + 1; k < n; k += 1) eliminate(row, k, lower[k * n + row] ?? 0);
    divide(row);
  }
  return solution;
}

/** L of matrix + ridge I = L L^T, row-major; null when a pivot is not above 0. */
function cholesky(matrix: Float64Array, n: number, ridge: number): Float64Array | null {
  const lower = new Float64Array(n * n);
  for (let row = 0; row < n; row += 1) {
    const own = lower.subarray(row * n, row * n + n);
    for (let column = 0; column <= row; column += 1) {
      const other = lower.subarray(column * n, column * n + n);
      let rest = (matrix[row * n + column] ?? 0) + (row === column ? ridge : 0);
      for (let k = 0; k < column; k += 1) rest -= (own[k] ?? 0) * (other[k] ?? 0);
      if (row !== column) own[column] = rest / (other[column] ?? 1);
      else if (rest > 0) own[column] = Math.sqrt(rest);
      else return null;
    }
  }
  return lower;
}
