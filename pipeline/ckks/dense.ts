/**
 * A dense layer on batch-axis ciphertexts: out[j] = sum_i w[j][i] * in[i] + b[j], modulo every prime, exactly.
 *
 * With one ciphertext per feature and the same weight for every slot, a dense layer multiplies residues by small
 * integers: no encoding, no transform, no plaintext of the library (2,368 encoded weights of a 64-32-10 network would
 * take 465 MB or 1.4 s a pack). Equal, bit for bit, to the library's multiplyPlain and add with the same integers.
 * Must not see unchecked residues: the bounds below need every residue below its prime.
 *
 * Derivation. A residue x < q < 2^60 is split as x = h 2^30 + l with 0 <= h, l < 2^30. With the sum of |w| over the
 * terms of one accumulation at most WEIGHT_LIMIT < 2^22, the accumulators H = sum w h and L = sum w l stay within
 * +-2^52: every f64 operation on them is exact. Reduction: c = floor((H 2^30 + L) / q) in floating point is off by at
 * most 1, because |v / q| < 2^23 is known to a relative 2^-50. Then H - c h(q) and L - c l(q) are exact (below 2^53),
 * a carry brings L into [0, 2^30), and at most two additions or subtractions of q end it in [0, q). Longer rows are
 * cut into groups and reduced in between; a reduced residue enters the next group as a term of weight 1, and so does
 * the bias. Primes below 2^30 have h = 0 and skip half of it; there |v| < 2^52 and c q is exact.
 */
import { SealstreamError } from "../errors.ts";

const HALF = 2 ** 30;
const HALF_MASK = HALF - 1;
/** Most sum of |w| in one accumulation: 2^22, less one term each for a carried residue, the bias, and rounding. */
const WEIGHT_LIMIT = 2 ** 22 - 4;
/** Largest single weight. */
export const MAX_WEIGHT: number = WEIGHT_LIMIT;
/** Largest prime the split covers. */
const MAX_PRIME = 1n << 60n;
/** Coefficients worked on at a time: with 64 inputs one half takes 512 KiB, so that it stays in a core's cache. */
const TILE = 1024;

export interface DenseRequest {
  /** Ciphertexts' residues as u32 pairs, [2][inputLimbs][degree]. Not kept, not written. */
  readonly inputs: readonly Uint32Array[];
  /** Limbs of the inputs; those beyond `limbs` are dropped (a modulus switch). */
  readonly inputLimbs: number;
  /** Limbs of the result. */
  readonly limbs: number;
  readonly degree: number;
  readonly primes: readonly bigint[];
  /** [rows][inputs], |w| <= MAX_WEIGHT */
  readonly weights: Int32Array;
  readonly rows: number;
  /** [rows], any integers. */
  readonly biases: readonly bigint[];
}

/** The prime q = high 2^30 + low, and 1 / q. */
interface SplitPrime {
  readonly high: number;
  readonly low: number;
  readonly inverse: number;
}

/** @returns new buffers, one per row: u32 pairs, [2][limbs][degree] */
export function denseLayer(request: DenseRequest): Uint32Array[] {
  const { inputs, inputLimbs, limbs, degree, primes, rows, biases } = request;
  checkRequest(request);
  const groups = weightGroups(request.weights, rows, inputs.length);
  const tile = Math.min(TILE, degree);
  const scratch = {
    tile,
    inputs: new Float64Array(inputs.length * tile),
    low: new Float64Array(rows * tile),
    high: new Float64Array(rows * tile),
  };
  const outputs = Array.from({ length: rows }, () => new Uint32Array(2 * 2 * limbs * degree));
  for (let poly = 0; poly < 2; poly += 1) {
    for (let limb = 0; limb < limbs; limb += 1) {
      const prime = primes[limb] ?? 0n;
      const job = { groups, prime: splitPrime(prime) };
      // The constant polynomial has the same value at every point of the transform; it touches the first poly only.
      const offsets = biases.map((bias) =>
        poly === 0 ? splitResidue(bias, prime) : ([0, 0] as const),
      );
      for (let at = 0; at < degree; at += tile) {
        const from = (poly * inputLimbs + limb) * degree + at;
        const to = (poly * limbs + limb) * degree + at;
        denseTile(request, scratch, { ...job, offsets, from });
        for (const [row, output] of outputs.entries()) storeTile(scratch, row, output, to);
      }
    }
  }
  return outputs;
}

function checkRequest({
  inputs,
  inputLimbs,
  limbs,
  degree,
  primes,
  weights,
  rows,
  biases,
}: DenseRequest): void {
  const fits =
    limbs >= 1 &&
    limbs <= inputLimbs &&
    primes.length >= limbs &&
    primes.every((prime) => prime < MAX_PRIME) &&
    weights.length === rows * inputs.length &&
    biases.length === rows &&
    weights.every((weight) => Math.abs(weight) <= MAX_WEIGHT) &&
    inputs.every((input) => input.length === 2 * 2 * inputLimbs * degree);
  if (!fits)
    throw new SealstreamError("internal", "A dense layer was asked for with other shapes.");
}

/** Ranges of inputs over which no row's sum of |w| passes the limit. */
function weightGroups(weights: Int32Array, rows: number, inputs: number): [number, number][] {
  const groups: [number, number][] = [];
  let from = 0;
  let sums = new Float64Array(rows);
  for (let input = 0; input < inputs; input += 1) {
    const next = sums.map((sum, row) => sum + Math.abs(weights[row * inputs + input] ?? 0));
    if (next.some((sum) => sum > WEIGHT_LIMIT)) {
      groups.push([from, input]);
      from = input;
      sums = sums.map((_, row) => Math.abs(weights[row * inputs + input] ?? 0));
    } else {
      sums = next;
    }
  }
  groups.push([from, inputs]);
  return groups;
}

interface Scratch {
  readonly tile: number;
  /** [inputs][tile], one half of the residues. */
  readonly inputs: Float64Array;
  /** [rows][tile] accumulators. */
  readonly low: Float64Array;
  readonly high: Float64Array;
}

/** What changes from tile to tile. */
interface TileJob {
  readonly groups: readonly (readonly [number, number])[];
  readonly prime: SplitPrime;
  /** [rows] the bias modulo the prime, as [high, low]. */
  readonly offsets: readonly (readonly [number, number])[];
  /** First coefficient of the tile in the inputs. */
  readonly from: number;
}

function denseTile(request: DenseRequest, scratch: Scratch, job: TileJob): void {
  const { inputs, rows } = request;
  const { tile } = scratch;
  for (let row = 0; row < rows; row += 1) {
    const [high, low] = job.offsets[row] ?? [0, 0];
    scratch.high.fill(high, row * tile, (row + 1) * tile);
    scratch.low.fill(low, row * tile, (row + 1) * tile);
  }
  for (const group of job.groups) {
    loadTile(inputs, scratch, job.from, "low");
    accumulateRows(scratch.low, request, scratch, group);
    if (job.prime.high !== 0) {
      loadTile(inputs, scratch, job.from, "high");
      accumulateRows(scratch.high, request, scratch, group);
    }
    reduce(scratch, job.prime);
  }
}

function loadTile(
  inputs: readonly Uint32Array[],
  { tile, inputs: target }: Scratch,
  from: number,
  half: "low" | "high",
): void {
  for (const [index, words] of inputs.entries()) {
    const base = index * tile;
    for (let at = 0; at < tile; at += 1) {
      // Because noUncheckedIndexedAccess: checkRequest has compared every length.
      const low = words[2 * (from + at)] as number;
      target[base + at] =
        half === "low"
          ? low & HALF_MASK
          : (words[2 * (from + at) + 1] as number) * 4 + (low >>> 30);
    }
  }
}

/** For every row, acc[row][t] += sum over the group's inputs of w * x[t], four inputs at a time. */
function accumulateRows(
  acc: Float64Array,
  { weights, rows, inputs }: DenseRequest,
  { tile, inputs: x }: Scratch,
  [first, last]: readonly [number, number],
): void {
  // Because noUncheckedIndexedAccess: all indices are within what checkRequest has compared.
  for (let row = 0; row < rows; row += 1) {
    const base = row * tile;
    const at = row * inputs.length;
    let input = first;
    for (; input + 3 < last; input += 4) {
      const w0 = weights[at + input] as number;
      const w1 = weights[at + input + 1] as number;
      const w2 = weights[at + input + 2] as number;
      const w3 = weights[at + input + 3] as number;
      const p0 = input * tile;
      const p1 = p0 + tile;
      const p2 = p1 + tile;
      const p3 = p2 + tile;
      for (let t = 0; t < tile; t += 1) {
        acc[base + t] =
          (acc[base + t] as number) +
          (w0 * (x[p0 + t] as number) + w1 * (x[p1 + t] as number)) +
          (w2 * (x[p2 + t] as number) + w3 * (x[p3 + t] as number));
      }
    }
    for (; input < last; input += 1) {
      const w = weights[at + input] as number;
      const p = input * tile;
      for (let t = 0; t < tile; t += 1) {
        acc[base + t] = (acc[base + t] as number) + w * (x[p + t] as number);
      }
    }
  }
}

/** Brings every accumulator pair into [0, q), split. */
function reduce({ low, high }: Scratch, { high: qHigh, low: qLow, inverse }: SplitPrime): void {
  for (let at = 0; at < low.length; at += 1) {
    // Because noUncheckedIndexedAccess: both accumulators have this length.
    let h = high[at] as number;
    let l = low[at] as number;
    const c = Math.floor((h * HALF + l) * inverse);
    l -= c * qLow;
    h -= c * qHigh;
    const carry = Math.floor(l / HALF);
    l -= carry * HALF;
    h += carry;
    while (h < 0) {
      l += qLow;
      h += qHigh;
      if (l >= HALF) {
        l -= HALF;
        h += 1;
      }
    }
    while (h > qHigh || (h === qHigh && l >= qLow)) {
      l -= qLow;
      h -= qHigh;
      if (l < 0) {
        l += HALF;
        h -= 1;
      }
    }
    high[at] = h;
    low[at] = l;
  }
}

function storeTile(
  { tile, low, high }: Scratch,
  row: number,
  output: Uint32Array,
  to: number,
): void {
  const base = row * tile;
  for (let at = 0; at < tile; at += 1) {
    // Because noUncheckedIndexedAccess: `reduce` has filled both.
    const h = high[base + at] as number;
    output[2 * (to + at)] = ((low[base + at] as number) | (h << 30)) >>> 0;
    output[2 * (to + at) + 1] = h >>> 2;
  }
}

function splitPrime(prime: bigint): SplitPrime {
  return {
    high: Number(prime >> 30n),
    low: Number(prime & BigInt(HALF_MASK)),
    inverse: 1 / Number(prime),
  };
}

/** An integer modulo q as [high, low]. */
function splitResidue(value: bigint, prime: bigint): readonly [number, number] {
  const residue = ((value % prime) + prime) % prime;
  return [Number(residue >> 30n), Number(residue & BigInt(HALF_MASK))];
}
