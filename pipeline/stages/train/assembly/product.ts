/**
 * The product of two matrices of float32, in tiles of 6 x 8 that stay in registers (Goto and van de Geijn 2008).
 *
 * The right factor is copied first, eight columns at a time, so that a tile reads it in order; a left factor that is to be
 * transposed too, six rows at a time; zeros stand behind the edges. Each number of the result is one sum over the depth in its order, and
 * depends on one row and one column alone. Relaxed multiplication and addition are one rounding where the machine has
 * such an instruction and two elsewhere: clipping allows for both (clip-margin.ts).
 */

/** Rows and columns of a tile: 12 sums, 2 vectors and 1 number are 15 of 16 registers. */
const ROWS: usize = 6;
const COLUMNS: usize = 8;
/** Shift from a count of float32 to bytes. */
const F32: usize = 2;

/** A row of a tile at the right edge, before its columns that exist are copied. */
const edge: usize = memory.data(32, 16);

/** Bytes that `product` needs to copy a left factor of such a size. */
export function packedLeftBytes(rows: usize, depth: usize): usize {
  return ((rows + ROWS - 1) / ROWS) * ROWS * depth << F32;
}

/** Bytes that `product` needs to copy a right factor of such a size. */
export function packedRightBytes(depth: usize, columns: usize): usize {
  return ((columns + COLUMNS - 1) / COLUMNS) * COLUMNS * depth << F32;
}

/**
 * to = left x right for each of a batch, one after the other in memory.
 * @param left [batch][rows][depth], or [batch][depth][rows] when it is to be transposed; f32, row-major like all
 * @param right [batch][depth][columns]
 * @param packedLeft room of packedLeftBytes, used where the left factor is transposed
 * @param packedRight room of packedRightBytes
 * @param to [batch][rows][columns], apart from everything else
 */
export function product(
  left: usize,
  right: usize,
  batch: usize,
  rows: usize,
  depth: usize,
  columns: usize,
  transposeLeft: bool,
  packedLeft: usize,
  packedRight: usize,
  to: usize,
): void {
  for (let item: usize = 0; item < batch; item++) {
    packRight(right, depth, columns, packedRight);
    if (transposeLeft) {
      packColumns(left, rows, depth, packedLeft);
      multiply(packedLeft, packedRight, rows, depth, columns, to, true);
    } else {
      multiply(left, packedRight, rows, depth, columns, to, false);
    }
    left += (rows * depth) << F32;
    right += (depth * columns) << F32;
    to += (rows * columns) << F32;
  }
}

/** [depth][rows] to [rows / 6][depth][6]. */
function packColumns(from: usize, rows: usize, depth: usize, to: usize): void {
  let target = to;
  for (let first: usize = 0; first < rows; first += ROWS) {
    const own = min(ROWS, rows - first);
    let source = from + (first << F32);
    for (let k: usize = 0; k < depth; k++) {
      if (own == ROWS) {
        v128.store(target, v128.load(source));
        store<u64>(target, load<u64>(source, 16), 16);
      } else {
        memory.fill(target, 0, ROWS << F32);
        memory.copy(target, source, own << F32);
      }
      source += rows << F32;
      target += ROWS << F32;
    }
  }
}

/** [depth][columns] to [columns / 8][depth][8]. */
function packRight(from: usize, depth: usize, columns: usize, to: usize): void {
  let target = to;
  for (let first: usize = 0; first < columns; first += COLUMNS) {
    const own = min(COLUMNS, columns - first);
    let source = from + (first << F32);
    for (let k: usize = 0; k < depth; k++) {
      if (own == COLUMNS) {
        v128.store(target, v128.load(source));
        v128.store(target, v128.load(source, 16), 16);
      } else {
        memory.fill(target, 0, COLUMNS << F32);
        memory.copy(target, source, own << F32);
      }
      source += columns << F32;
      target += COLUMNS << F32;
    }
  }
}

/** Tile by tile: eight columns stay in the nearest cache while the rows go by. */
function multiply(
  left: usize,
  right: usize,
  rows: usize,
  depth: usize,
  columns: usize,
  to: usize,
  isPacked: bool,
): void {
  const stride = columns << F32;
  for (let column: usize = 0; column < columns; column += COLUMNS) {
    const panel = right + ((column * depth) << F32);
    const width = min(COLUMNS, columns - column);
    for (let row: usize = 0; row < rows; row += ROWS) {
      const block = left + ((row * depth) << F32);
      const corner = to + row * stride + (column << F32);
      const own = min(ROWS, rows - row);
      if (isPacked) packedTile(block, panel, depth, corner, stride, own, width);
      else rowsTile(block, panel, depth, corner, stride, own, width);
    }
  }
}

/** Up to 6 rows of up to 8 columns; the left factor is packed. */
function packedTile(
  left: usize,
  right: usize,
  depth: usize,
  to: usize,
  stride: usize,
  rows: usize,
  columns: usize,
): void {
  let low0 = f32x4.splat(0);
  let low1 = low0, low2 = low0, low3 = low0, low4 = low0, low5 = low0;
  let high0 = low0, high1 = low0, high2 = low0, high3 = low0, high4 = low0, high5 = low0;
  const end = left + ((depth * ROWS) << F32);
  while (left < end) {
    const low = v128.load(right);
    const high = v128.load(right, 16);
    let value = v128.load_splat<f32>(left);
    low0 = f32x4.relaxed_madd(value, low, low0);
    high0 = f32x4.relaxed_madd(value, high, high0);
    value = v128.load_splat<f32>(left, 4);
    low1 = f32x4.relaxed_madd(value, low, low1);
    high1 = f32x4.relaxed_madd(value, high, high1);
    value = v128.load_splat<f32>(left, 8);
    low2 = f32x4.relaxed_madd(value, low, low2);
    high2 = f32x4.relaxed_madd(value, high, high2);
    value = v128.load_splat<f32>(left, 12);
    low3 = f32x4.relaxed_madd(value, low, low3);
    high3 = f32x4.relaxed_madd(value, high, high3);
    value = v128.load_splat<f32>(left, 16);
    low4 = f32x4.relaxed_madd(value, low, low4);
    high4 = f32x4.relaxed_madd(value, high, high4);
    value = v128.load_splat<f32>(left, 20);
    low5 = f32x4.relaxed_madd(value, low, low5);
    high5 = f32x4.relaxed_madd(value, high, high5);
    left += ROWS << F32;
    right += COLUMNS << F32;
  }
  keep(to, low0, high0, columns);
  if (rows > 1) keep(to + stride, low1, high1, columns);
  if (rows > 2) keep(to + 2 * stride, low2, high2, columns);
  if (rows > 3) keep(to + 3 * stride, low3, high3, columns);
  if (rows > 4) keep(to + 4 * stride, low4, high4, columns);
  if (rows > 5) keep(to + 5 * stride, low5, high5, columns);
}

/** The same over rows where they lie; behind the last row it is read again, and not kept. */
function rowsTile(
  left: usize,
  right: usize,
  depth: usize,
  to: usize,
  stride: usize,
  rows: usize,
  columns: usize,
): void {
  const step = depth << F32;
  const row1 = min<usize>(1, rows - 1) * step;
  const row2 = min<usize>(2, rows - 1) * step;
  const row3 = min<usize>(3, rows - 1) * step;
  const row4 = min<usize>(4, rows - 1) * step;
  const row5 = min<usize>(5, rows - 1) * step;
  let low0 = f32x4.splat(0);
  let low1 = low0, low2 = low0, low3 = low0, low4 = low0, low5 = low0;
  let high0 = low0, high1 = low0, high2 = low0, high3 = low0, high4 = low0, high5 = low0;
  const end = left + step;
  while (left < end) {
    const low = v128.load(right);
    const high = v128.load(right, 16);
    let value = v128.load_splat<f32>(left);
    low0 = f32x4.relaxed_madd(value, low, low0);
    high0 = f32x4.relaxed_madd(value, high, high0);
    value = v128.load_splat<f32>(left + row1);
    low1 = f32x4.relaxed_madd(value, low, low1);
    high1 = f32x4.relaxed_madd(value, high, high1);
    value = v128.load_splat<f32>(left + row2);
    low2 = f32x4.relaxed_madd(value, low, low2);
    high2 = f32x4.relaxed_madd(value, high, high2);
    value = v128.load_splat<f32>(left + row3);
    low3 = f32x4.relaxed_madd(value, low, low3);
    high3 = f32x4.relaxed_madd(value, high, high3);
    value = v128.load_splat<f32>(left + row4);
    low4 = f32x4.relaxed_madd(value, low, low4);
    high4 = f32x4.relaxed_madd(value, high, high4);
    value = v128.load_splat<f32>(left + row5);
    low5 = f32x4.relaxed_madd(value, low, low5);
    high5 = f32x4.relaxed_madd(value, high, high5);
    left += 1 << F32;
    right += COLUMNS << F32;
  }
  keep(to, low0, high0, columns);
  if (rows > 1) keep(to + stride, low1, high1, columns);
  if (rows > 2) keep(to + 2 * stride, low2, high2, columns);
  if (rows > 3) keep(to + 3 * stride, low3, high3, columns);
  if (rows > 4) keep(to + 4 * stride, low4, high4, columns);
  if (rows > 5) keep(to + 5 * stride, low5, high5, columns);
}

// @ts-ignore: decorator
@inline
function keep(to: usize, low: v128, high: v128, columns: usize): void {
  if (columns == COLUMNS) {
    v128.store(to, low);
    v128.store(to, high, 16);
  } else {
    v128.store(edge, low);
    v128.store(edge, high, 16);
    memory.copy(to, edge, columns << F32);
  }
}
