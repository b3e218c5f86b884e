/**
 * Discrete Fourier transforms of any length with two or more factors, Stockham's order (no bit reversal), radix 4, 3, 2
 * and any prime. Source: Van Loan, Computational Frameworks for the FFT (1992), section 1.7.
 *
 * A length's table, made by the host (maps/fourier-tables.ts), is 32-bit words: the number of stages, then four for each:
 * radix r, m, s, and the address of its factors: m rows of r - 1 complex numbers w^(jp), w = exp(-2 pi i / (r m)), as
 * pairs of f32; behind them, for a radix above 4, r complex numbers exp(-2 pi i j / r).
 */

const POINT: usize = 32;
const IMAGINARY: usize = 16;
/** sin(pi / 3). */
const SIN_60: f32 = 0.8660254037844386;

// @ts-ignore: decorators of functions are AssemblyScript's
@inline function factor(table: usize, index: i32): v128 {
  return v128.load32_splat(table + (<usize>index << 2));
}

// @ts-ignore: decorators of functions are AssemblyScript's
@inline function put(to: usize, re: v128, im: v128, wr: v128, wi: v128): void {
  v128.store(to, f32x4.sub(f32x4.mul(re, wr), f32x4.mul(im, wi)));
  v128.store(to + IMAGINARY, f32x4.add(f32x4.mul(re, wi), f32x4.mul(im, wr)));
}

function stage2(from: usize, step: usize, to: usize, out: usize, m: i32, s: i32, table: usize): void {
  const far = <usize>(m * s) * step;
  for (let p = 0; p < m; p++) {
    const wr = factor(table, 2 * p), wi = factor(table, 2 * p + 1);
    for (let q = 0; q < s; q++) {
      const x = from + <usize>(q + s * p) * step, y = to + <usize>(q + 2 * s * p) * out;
      const ar = v128.load(x), ai = v128.load(x + IMAGINARY);
      const br = v128.load(x + far), bi = v128.load(x + far + IMAGINARY);
      v128.store(y, f32x4.add(ar, br));
      v128.store(y + IMAGINARY, f32x4.add(ai, bi));
      const z = y + <usize>s * out, dr = f32x4.sub(ar, br), di = f32x4.sub(ai, bi);
      if (p == 0) {
        v128.store(z, dr);
        v128.store(z + IMAGINARY, di);
      } else put(z, dr, di, wr, wi);
    }
  }
}

function stage3(from: usize, step: usize, to: usize, out: usize, m: i32, s: i32, table: usize): void {
  const far = <usize>(m * s) * step, next = <usize>s * out;
  const half = f32x4.splat(0.5), sine = f32x4.splat(SIN_60);
  for (let p = 0; p < m; p++) {
    const w1r = factor(table, 4 * p), w1i = factor(table, 4 * p + 1);
    const w2r = factor(table, 4 * p + 2), w2i = factor(table, 4 * p + 3);
    for (let q = 0; q < s; q++) {
      const x = from + <usize>(q + s * p) * step, y = to + <usize>(q + 3 * s * p) * out;
      const ar = v128.load(x), ai = v128.load(x + IMAGINARY);
      const br = v128.load(x + far), bi = v128.load(x + far + IMAGINARY);
      const cr = v128.load(x + 2 * far), ci = v128.load(x + 2 * far + IMAGINARY);
      const sr = f32x4.add(br, cr), si = f32x4.add(bi, ci);
      v128.store(y, f32x4.add(ar, sr));
      v128.store(y + IMAGINARY, f32x4.add(ai, si));
      const er = f32x4.sub(ar, f32x4.mul(half, sr)), ei = f32x4.sub(ai, f32x4.mul(half, si));
      const dr = f32x4.mul(sine, f32x4.sub(br, cr)), di = f32x4.mul(sine, f32x4.sub(bi, ci));
      // -i d = (di, -dr)
      const b1r = f32x4.add(er, di), b1i = f32x4.sub(ei, dr);
      const b2r = f32x4.sub(er, di), b2i = f32x4.add(ei, dr);
      if (p == 0) {
        v128.store(y + next, b1r);
        v128.store(y + next + IMAGINARY, b1i);
        v128.store(y + 2 * next, b2r);
        v128.store(y + 2 * next + IMAGINARY, b2i);
      } else {
        put(y + next, b1r, b1i, w1r, w1i);
        put(y + 2 * next, b2r, b2i, w2r, w2i);
      }
    }
  }
}

function stage4(from: usize, step: usize, to: usize, out: usize, m: i32, s: i32, table: usize): void {
  const far = <usize>(m * s) * step, next = <usize>s * out;
  for (let p = 0; p < m; p++) {
    const w1r = factor(table, 6 * p), w1i = factor(table, 6 * p + 1);
    const w2r = factor(table, 6 * p + 2), w2i = factor(table, 6 * p + 3);
    const w3r = factor(table, 6 * p + 4), w3i = factor(table, 6 * p + 5);
    for (let q = 0; q < s; q++) {
      const x = from + <usize>(q + s * p) * step, y = to + <usize>(q + 4 * s * p) * out;
      const ar = v128.load(x), ai = v128.load(x + IMAGINARY);
      const br = v128.load(x + far), bi = v128.load(x + far + IMAGINARY);
      const cr = v128.load(x + 2 * far), ci = v128.load(x + 2 * far + IMAGINARY);
      const dr = v128.load(x + 3 * far), di = v128.load(x + 3 * far + IMAGINARY);
      const apcr = f32x4.add(ar, cr), apci = f32x4.add(ai, ci);
      const amcr = f32x4.sub(ar, cr), amci = f32x4.sub(ai, ci);
      const bpdr = f32x4.add(br, dr), bpdi = f32x4.add(bi, di);
      const bmdr = f32x4.sub(br, dr), bmdi = f32x4.sub(bi, di);
      v128.store(y, f32x4.add(apcr, bpdr));
      v128.store(y + IMAGINARY, f32x4.add(apci, bpdi));
      // -i (b - d) = (bmdi, -bmdr)
      const b1r = f32x4.add(amcr, bmdi), b1i = f32x4.sub(amci, bmdr);
      const b2r = f32x4.sub(apcr, bpdr), b2i = f32x4.sub(apci, bpdi);
      const b3r = f32x4.sub(amcr, bmdi), b3i = f32x4.add(amci, bmdr);
      if (p == 0) {
        v128.store(y + next, b1r);
        v128.store(y + next + IMAGINARY, b1i);
        v128.store(y + 2 * next, b2r);
        v128.store(y + 2 * next + IMAGINARY, b2i);
        v128.store(y + 3 * next, b3r);
        v128.store(y + 3 * next + IMAGINARY, b3i);
      } else {
        put(y + next, b1r, b1i, w1r, w1i);
        put(y + 2 * next, b2r, b2i, w2r, w2i);
        put(y + 3 * next, b3r, b3i, w3r, w3i);
      }
    }
  }
}

/** A radix that is a prime above 3, by its definition. */
function stageOf(r: i32, from: usize, step: usize, to: usize, out: usize, m: i32, s: i32, table: usize): void {
  const far = <usize>(m * s) * step;
  const roots = table + (<usize>(2 * m * (r - 1)) << 2);
  for (let p = 0; p < m; p++) {
    for (let q = 0; q < s; q++) {
      const x = from + <usize>(q + s * p) * step, y = to + <usize>(q + r * s * p) * out;
      for (let j = 0; j < r; j++) {
        let re = v128.load(x), im = v128.load(x + IMAGINARY);
        let at = 0;
        for (let k = 1; k < r; k++) {
          at += j;
          if (at >= r) at -= r;
          const cr = factor(roots, 2 * at), ci = factor(roots, 2 * at + 1);
          const zr = v128.load(x + <usize>k * far), zi = v128.load(x + <usize>k * far + IMAGINARY);
          re = f32x4.add(re, f32x4.sub(f32x4.mul(zr, cr), f32x4.mul(zi, ci)));
          im = f32x4.add(im, f32x4.add(f32x4.mul(zr, ci), f32x4.mul(zi, cr)));
        }
        const z = y + <usize>(j * s) * out;
        if (p == 0 || j == 0) {
          v128.store(z, re);
          v128.store(z + IMAGINARY, im);
        } else {
          const w = 2 * (p * (r - 1) + j - 1);
          put(z, re, im, factor(table, w), factor(table, w + 1));
        }
      }
    }
  }
}

/** One line; `scratch` holds two of them. Two stages or more, so that a line may be written over itself. */
function transformLine(from: usize, step: usize, to: usize, table: usize, scratch: usize): void {
  const stages = load<i32>(table);
  const length = <usize>(load<i32>(table + 4) * load<i32>(table + 8) * load<i32>(table + 12));
  let source = from, sourceStep = step;
  for (let stage = 0; stage < stages; stage++) {
    const words = table + 4 + (<usize>stage << 4);
    const radix = load<i32>(words), m = load<i32>(words + 4), s = load<i32>(words + 8);
    const factors = <usize>load<u32>(words + 12);
    const isLast = stage == stages - 1;
    const target = isLast ? to : scratch + <usize>(stage & 1) * length * POINT;
    const targetStep = isLast ? step : POINT;
    if (radix == 4) stage4(source, sourceStep, target, targetStep, m, s, factors);
    else if (radix == 3) stage3(source, sourceStep, target, targetStep, m, s, factors);
    else if (radix == 2) stage2(source, sourceStep, target, targetStep, m, s, factors);
    else stageOf(radix, source, sourceStep, target, targetStep, m, s, factors);
    source = target;
    sourceStep = targetStep;
  }
}

/**
 * The forward transform of [rows][columns] points, in place, without a factor.
 * @param across table of the length `columns`  @param down table of the length `rows`
 * @param scratch two lines of the longer side
 */
export function transform2d(
  points: usize, rows: i32, columns: i32, across: usize, down: usize, scratch: usize,
): void {
  const row = <usize>columns * POINT;
  for (let r = 0; r < rows; r++) {
    const line = points + <usize>r * row;
    transformLine(line, POINT, line, across, scratch);
  }
  for (let c = 0; c < columns; c++) {
    const line = points + <usize>c * POINT;
    transformLine(line, row, line, down, scratch);
  }
}
