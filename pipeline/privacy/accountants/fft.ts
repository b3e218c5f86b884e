/**
 * Fast Fourier transform of complex doubles, in place, lengths that are powers of two (Cooley & Tukey 1965, radix 2).
 *
 * For privacy loss distributions alone. Own code, because it is this small; accurate to about 1e-16 log2(n) of the largest value.
 * Angles come from a table of sines, not from a recurrence, which would lose digits.
 */

/** @param inverse with the factor 1 / n */
export function transform(real: Float64Array, imaginary: Float64Array, inverse = false): void {
  const n = real.length;
  reorder(real, imaginary);
  const cosines = new Float64Array(n / 2);
  const sines = new Float64Array(n / 2);
  for (let k = 0; k < n / 2; k += 1) {
    cosines[k] = Math.cos((2 * Math.PI * k) / n);
    sines[k] = Math.sin((2 * Math.PI * k) / n) * (inverse ? 1 : -1);
  }
  for (let half = 1; half < n; half *= 2) {
    const stride = n / (2 * half);
    for (let start = 0; start < n; start += 2 * half) {
      for (let k = 0; k < half; k += 1) {
        const cosine = cosines[k * stride] ?? 0;
        const sine = sines[k * stride] ?? 0;
        turn({ real, imaginary }, start + k, start + k + half, { cosine, sine });
      }
    }
  }
  if (!inverse) return;
  for (let k = 0; k < n; k += 1) {
    real[k] = (real[k] ?? 0) / n;
    imaginary[k] = (imaginary[k] ?? 0) / n;
  }
}

/** (a, b) becomes (a + w b, a - w b). */
function turn(
  { real, imaginary }: { readonly real: Float64Array; readonly imaginary: Float64Array },
  a: number,
  b: number,
  w: { readonly cosine: number; readonly sine: number },
): void {
  const re = (real[b] ?? 0) * w.cosine - (imaginary[b] ?? 0) * w.sine;
  const im = (real[b] ?? 0) * w.sine + (imaginary[b] ?? 0) * w.cosine;
  real[b] = (real[a] ?? 0) - re;
  imaginary[b] = (imaginary[a] ?? 0) - im;
  real[a] = (real[a] ?? 0) + re;
  imaginary[a] = (imaginary[a] ?? 0) + im;
}

/** Puts every value where its index read backwards says. */
function reorder(real: Float64Array, imaginary: Float64Array): void {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i += 1) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i >= j) continue;
    const re = real[i] ?? 0;
    const im = imaginary[i] ?? 0;
    real[i] = real[j] ?? 0;
    imaginary[i] = imaginary[j] ?? 0;
    real[j] = re;
    imaginary[j] = im;
  }
}
