/**
 * The filters of a scattering transform, in Fourier: Morlet wavelets of J scales and L angles, and a Gaussian low-pass.
 *
 * The same design as Kymatio 0.3 (scattering2d/filter_bank.py), to which test vectors hold it: widths 0.8 * 2^j, centre
 * frequencies 3 pi / 4 / 2^j, slant 4 / L, periodised over five copies, real part of the transform. Computed in doubles
 * by elementary.ts; what is kept is rounded to float32 by who uses it.
 * Sources: Bruna & Mallat, Invariant Scattering Convolution Networks (2013); Andreux et al., Kymatio (2020).
 */
import { exp, sinCos, turn } from "./elementary.ts";

/** Kymatio's pi in the norm of an envelope, kept so that values agree. */
// biome-ignore lint/suspicious/noApproximativeNumericConstant: Kymatio's own value
const NORM_PI = 3.1415;
const SIGMA = 0.8;
const CENTRE = (3 / 4) * Math.PI;
/** Copies of an envelope on each side that are summed: the grid is a torus. */
const COPIES = 2;

type Size = readonly [rows: number, columns: number];

interface Complex {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

interface Envelope {
  readonly sigma: number;
  /** Radians. */
  readonly theta: number;
  readonly slant: number;
}

/** An envelope times a wave, at each place of the torus, and the envelope alone. */
function gabor(
  [rows, columns]: Size,
  { sigma, theta, slant }: Envelope,
  xi: number,
): { readonly wave: Complex; readonly envelope: Float64Array } {
  const [sine, cosine] = sinCos(theta);
  // Because Kymatio rotates by float32 matrices.
  const [s, c] = [Math.fround(sine), Math.fround(cosine)];
  const d = slant * slant;
  const width = 2 * sigma * sigma;
  const [xx, xy, yy] = [
    (c * c + d * s * s) / width,
    (c * s * (1 - d)) / width,
    (s * s + d * c * c) / width,
  ];
  const norm = (2 * NORM_PI * sigma * sigma) / slant;
  const count = rows * columns;
  const wave = { re: new Float64Array(count), im: new Float64Array(count) };
  const envelope = new Float64Array(count);
  for (let place = 0; place < count; place += 1) {
    for (let ex = -COPIES; ex <= COPIES; ex += 1) {
      for (let ey = -COPIES; ey <= COPIES; ey += 1) {
        const x = Math.floor(place / columns) + ex * rows;
        const y = (place % columns) + ey * columns;
        const height = exp(-(xx * x * x + 2 * xy * x * y + yy * y * y)) / norm;
        if (height === 0) continue;
        const [waveSine, waveCosine] = sinCos(xi * (x * cosine + y * sine));
        wave.re[place] = (wave.re[place] ?? 0) + height * waveCosine;
        wave.im[place] = (wave.im[place] ?? 0) + height * waveSine;
        envelope[place] = (envelope[place] ?? 0) + height;
      }
    }
  }
  return { wave, envelope };
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Real part of the two-dimensional transform: rows, then columns, by definition. */
function realSpectrum([rows, columns]: Size, { re, im }: Complex): Float64Array {
  const across = transformLines(
    { re, im },
    { lines: rows, length: columns, step: 1, next: columns },
  );
  return transformLines(across, { lines: columns, length: rows, step: columns, next: 1 }).re;
}

function transformLines(
  { re, im }: Complex,
  { lines, length, step, next }: { lines: number; length: number; step: number; next: number },
): Complex {
  const roots = Array.from({ length }, (_, k) => turn(k, length));
  const out = { re: new Float64Array(re.length), im: new Float64Array(re.length) };
  for (let line = 0; line < lines; line += 1) {
    for (let k = 0; k < length; k += 1) {
      let [sumRe, sumIm] = [0, 0];
      for (let n = 0; n < length; n += 1) {
        const at = line * next + n * step;
        const [sine, cosine] = roots[(k * n) % length] ?? [0, 0];
        const [x, y] = [re[at] ?? 0, im[at] ?? 0];
        sumRe += x * cosine + y * sine;
        sumIm += y * cosine - x * sine;
      }
      out.re[line * next + k * step] = sumRe;
      out.im[line * next + k * step] = sumIm;
    }
  }
  return out;
}

/** One wavelet's spectrum at full resolution, [rows][columns]; its mean over the torus is 0. */
export function morletSpectrum(
  size: Size,
  scale: number,
  angle: number,
  angles: number,
): Float64Array {
  const theta = ((Math.trunc(angles - angles / 2 - 1) - angle) * Math.PI) / angles;
  const envelope = { sigma: SIGMA * 2 ** scale, theta, slant: 4 / angles };
  const { wave, envelope: bell } = gabor(size, envelope, CENTRE / 2 ** scale);
  const total = sum(bell);
  const [meanRe, meanIm] = [sum(wave.re) / total, sum(wave.im) / total];
  return realSpectrum(size, {
    re: wave.re.map((value, place) => value - meanRe * (bell[place] ?? 0)),
    im: wave.im.map((value, place) => value - meanIm * (bell[place] ?? 0)),
  });
}

/** A spectrum on a grid that is 2^level times coarser: what lies beyond its frequencies is cut off, the rest folds. */
export function coarserSpectrum(
  spectrum: Float64Array,
  [rows, columns]: Size,
  level: number,
): Float64Array {
  if (level === 0) return spectrum;
  const [height, width] = [rows / 2 ** level, columns / 2 ** level];
  const out = new Float64Array(height * width);
  for (let row = 0; row < rows; row += 1) {
    if (isBeyond(row, rows, level)) continue;
    for (let column = 0; column < columns; column += 1) {
      if (isBeyond(column, columns, level)) continue;
      const to = (row % height) * width + (column % width);
      out[to] = (out[to] ?? 0) + (spectrum[row * columns + column] ?? 0);
    }
  }
  return out;
}

function isBeyond(frequency: number, length: number, level: number): boolean {
  const first = Math.trunc(length / 2 ** (level + 1));
  return frequency >= first && frequency < first + Math.trunc(length * (1 - 2 ** -level));
}

/**
 * The low-pass of a side, as a matrix [outputs][length / 2^level]: filters what has been subsampled `level` times, takes
 * every 2^(scales - level)-th value and leaves out the first and the last, as Kymatio's unpad does. The two-dimensional
 * filter is the product of both sides': its Gaussian is round, and its cuts are along the axes.
 */
export function lowPassMatrix(length: number, scales: number, level: number): Float64Array {
  const sigma = SIGMA * 2 ** (scales - 1);
  const bell = new Float64Array(length);
  // The square root of the plane's norm for each side.
  const norm = Math.sqrt(2 * NORM_PI) * sigma;
  for (let place = 0; place < length; place += 1) {
    for (let copy = -COPIES; copy <= COPIES; copy += 1) {
      const x = place + copy * length;
      bell[place] = (bell[place] ?? 0) + exp(-(x * x) / (2 * sigma * sigma)) / norm;
    }
  }
  const spectrum = realSpectrum([1, length], { re: bell, im: new Float64Array(length) });
  const size = length / 2 ** level;
  const kept = new Float64Array(size);
  for (let frequency = 0; frequency < length; frequency += 1) {
    if (level > 0 && isBeyond(frequency, length, level)) continue;
    kept[frequency % size] = (kept[frequency % size] ?? 0) + (spectrum[frequency] ?? 0);
  }
  const taps = realSpectrum([1, size], { re: kept, im: new Float64Array(size) });
  const outputs = length / 2 ** scales - 2;
  const step = 2 ** (scales - level);
  const matrix = new Float64Array(outputs * size);
  for (let output = 0; output < outputs; output += 1) {
    for (let place = 0; place < size; place += 1) {
      const distance = (((output + 1) * step - place) % size) + size;
      matrix[output * size + place] = (taps[distance % size] ?? 0) / size;
    }
  }
  return matrix;
}
