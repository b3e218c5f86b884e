/**
 * The steps of a scattering path between its Fourier transforms: filter and fold, modulus, low-pass and subsample.
 */

const POINT: usize = 32;
const IMAGINARY: usize = 16;

/**
 * A spectrum times four real filters, subsampled by `fold` along both sides (in Fourier: the sum over what folds onto a
 * frequency). Real and imaginary parts are written in each other's place, with which a forward transform is an inverse
 * one; its factors are the filters' business.
 * @param spectrum one channel's: an address within a point says which lane is read
 * @param filters in the order in which they are read: [row][column][fold row][fold column] vectors
 */
export function filterFold(
  spectrum: usize, rows: i32, columns: i32, fold: i32, filters: usize, to: usize,
): void {
  const height = rows / fold, width = columns / fold;
  if (fold == 2) return filterFoldTwo(spectrum, height, width, filters, to);
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      let re = f32x4.splat(0), im = f32x4.splat(0);
      for (let a = 0; a < fold; a++) {
        const row = spectrum + <usize>((r + a * height) * columns + c) * POINT;
        for (let b = 0; b < fold; b++) {
          const x = row + <usize>(b * width) * POINT, filter = v128.load(filters);
          re = f32x4.add(re, f32x4.mul(filter, v128.load32_splat(x)));
          im = f32x4.add(im, f32x4.mul(filter, v128.load32_splat(x + IMAGINARY)));
          filters += 16;
        }
      }
      v128.store(to, im);
      v128.store(to + IMAGINARY, re);
      to += POINT;
    }
  }
}

function filterFoldTwo(spectrum: usize, height: i32, width: i32, filters: usize, to: usize): void {
  const right = <usize>width * POINT, below = <usize>2 * right * <usize>height;
  for (let r = 0; r < height; r++) {
    let x = spectrum + <usize>2 * right * <usize>r;
    for (let c = 0; c < width; c++) {
      const f0 = v128.load(filters), f1 = v128.load(filters + 16);
      const f2 = v128.load(filters + 32), f3 = v128.load(filters + 48);
      const top = f32x4.add(
        f32x4.mul(f0, v128.load32_splat(x)), f32x4.mul(f1, v128.load32_splat(x + right)));
      const bottom = f32x4.add(
        f32x4.mul(f2, v128.load32_splat(x + below)), f32x4.mul(f3, v128.load32_splat(x + below + right)));
      const topI = f32x4.add(
        f32x4.mul(f0, v128.load32_splat(x + IMAGINARY)), f32x4.mul(f1, v128.load32_splat(x + right + IMAGINARY)));
      const bottomI = f32x4.add(
        f32x4.mul(f2, v128.load32_splat(x + below + IMAGINARY)),
        f32x4.mul(f3, v128.load32_splat(x + below + right + IMAGINARY)));
      v128.store(to, f32x4.add(topI, bottomI));
      v128.store(to + IMAGINARY, f32x4.add(top, bottom));
      filters += 64;
      to += POINT;
      x += POINT;
    }
  }
}

/** |z| in place of the real part, 0 in place of the imaginary one. */
export function modulus(points: usize, count: i32): void {
  const end = points + <usize>count * POINT, zero = f32x4.splat(0);
  for (; points < end; points += POINT) {
    const re = v128.load(points), im = v128.load(points + IMAGINARY);
    v128.store(points, f32x4.sqrt(f32x4.add(f32x4.mul(re, re), f32x4.mul(im, im))));
    v128.store(points + IMAGINARY, zero);
  }
}

/**
 * Real parts of [rows][columns] points, filtered and subsampled: A x B^T.
 * @param down A, [height][rows] f32  @param across B, [width][columns] f32
 * @param scratch [width] vectors for each row
 * @param to [height][width] vectors
 */
export function lowPass(
  points: usize, rows: i32, columns: i32,
  down: usize, height: i32, across: usize, width: i32,
  scratch: usize, to: usize,
): void {
  for (let r = 0; r < rows; r++) {
    const line = points + <usize>(r * columns) * POINT;
    for (let w = 0; w < width; w++) {
      let factors = across + (<usize>(w * columns) << 2), sum = f32x4.splat(0), x = line;
      for (let c = 0; c < columns; c++) {
        sum = f32x4.add(sum, f32x4.mul(v128.load(x), v128.load32_splat(factors)));
        factors += 4;
        x += POINT;
      }
      v128.store(scratch + (<usize>(r * width + w) << 4), sum);
    }
  }
  for (let h = 0; h < height; h++) {
    for (let w = 0; w < width; w++) {
      let factors = down + (<usize>(h * rows) << 2), sum = f32x4.splat(0), x = scratch + (<usize>w << 4);
      for (let r = 0; r < rows; r++) {
        sum = f32x4.add(sum, f32x4.mul(v128.load(x), v128.load32_splat(factors)));
        factors += 4;
        x += <usize>width << 4;
      }
      v128.store(to, sum);
      to += 16;
    }
  }
}

/** From [count] vectors to `lanes` channels of [count] f32, one behind the other. */
export function spread(vectors: usize, count: i32, lanes: i32, to: usize): void {
  for (let lane = 0; lane < lanes; lane++) {
    for (let index = 0; index < count; index++) {
      store<f32>(to, load<f32>(vectors + (<usize>index << 4) + (<usize>lane << 2)));
      to += 4;
    }
  }
}
