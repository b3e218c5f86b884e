/** Products of a matrix and a vector. */

/** to[r] = the sum over c of matrix[r][c] x[c]; `columns` is a multiple of 8, what is beyond the matrix's own is 0. */
export function matrixVector(matrix: usize, rows: i32, columns: i32, x: usize, to: usize): void {
  const bytes = <usize>columns << 2;
  for (let r = 0; r < rows; r++) {
    let even = f32x4.splat(0), odd = f32x4.splat(0);
    for (let c: usize = 0; c < bytes; c += 32) {
      even = f32x4.add(even, f32x4.mul(v128.load(matrix + c), v128.load(x + c)));
      odd = f32x4.add(odd, f32x4.mul(v128.load(matrix + c + 16), v128.load(x + c + 16)));
    }
    const sum = f32x4.add(even, odd);
    store<f32>(
      to,
      f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) +
        (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3)),
    );
    matrix += bytes;
    to += 4;
  }
}
