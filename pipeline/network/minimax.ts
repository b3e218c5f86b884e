/**
 * The polynomial nearest to an activation on [-range, range]: least largest error, by the Remez exchange.
 *
 * Derivation. Every function here is a line plus an even or an odd part: relu = z/2 + |z|/2, softplus = z/2 +
 * (softplus - z/2), sigmoid = 1/2 + an odd part, tanh is odd. The best polynomial of an even (odd) function on a
 * symmetric interval is even (odd), because otherwise its mirror image were a second best one. So only the part is
 * approximated, on [0, 1] in u = z / range, by the span of 1, u^2, u^4, ... or u, u^3, ...: m functions of which no
 * combination has m zeros in (0, 1] but 0 (a Haar system), so the best one is the only one whose error takes its largest
 * size with alternating signs at m + 1 points (Chebyshev's theorem), and exchanging points for larger extremes of the
 * error converges to it (Remez 1934; Cheney, Introduction to Approximation Theory, chapter 3).
 *
 * Coefficients are rounded to 10 decimal digits: hashes of a run cover them, and the last bits of Math.exp are not
 * promised to be the same everywhere. That moves the polynomial by less than 1e-9 of its size. A degree of the wrong
 * parity gives the polynomial one degree lower, which is as near. Must not know networks.
 */
import { SealstreamError } from "../errors.ts";

export const MINIMAX_FUNCTIONS = ["relu", "sigmoid", "tanh", "softplus"] as const;
export type MinimaxFunction = (typeof MINIMAX_FUNCTIONS)[number];

export const MIN_MINIMAX_DEGREE = 2;
export const MAX_MINIMAX_DEGREE = 7;
/** Ranges for which the exchange is tested; beyond, relu and tanh are a corner and a step at any degree. */
export const MIN_MINIMAX_RANGE = 0.5;
export const MAX_MINIMAX_RANGE = 64;

interface Part {
  readonly parity: 0 | 1;
  /** Coefficients 0 and 1 of the line. */
  readonly line: readonly [number, number];
  /** The even or odd part, for z >= 0. */
  readonly value: (z: number) => number;
}

const PARTS: Readonly<Record<MinimaxFunction, Part>> = {
  relu: { parity: 0, line: [0, 0.5], value: (z) => z / 2 },
  softplus: { parity: 0, line: [0, 0.5], value: (z) => z / 2 + Math.log1p(Math.exp(-z)) },
  sigmoid: { parity: 1, line: [0.5, 0], value: (z) => Math.tanh(z / 2) / 2 },
  tanh: { parity: 1, line: [0, 0], value: Math.tanh },
};

/** The function itself, for comparison. */
export function minimaxTarget(name: MinimaxFunction, z: number): number {
  const { parity, line, value } = PARTS[name];
  const part = parity === 1 && z < 0 ? -value(-z) : value(Math.abs(z));
  return line[0] + line[1] * z + part;
}

/** Points on which extremes are looked for: dense near both ends. */
const GRID = 4096;
/** Steps of golden section: down to 1e-8 of a grid cell, where the error is flat to the last bit. */
const REFINEMENTS = 40;
const MAX_EXCHANGES = 60;
/** Relative difference between the largest error and the levelled one at which it is the best. */
const TOLERANCE = 1e-12;
/** What an error of a function of size 1 is off by when it is computed. */
const ERROR_ROUNDING = 8 * Number.EPSILON;
/** Digits that are kept: see the header. */
const DIGITS = 10;

/**
 * Coefficients, ascending; the last is not 0.
 * @throws spec-invalid when degree or range is outside the limits, or the best polynomial of that degree is a line
 */
export function minimaxPolynomial(name: MinimaxFunction, degree: number, range: number): number[] {
  const { parity, line, value } = PARTS[name];
  const terms = Math.floor((degree - parity) / 2) + 1;
  const fault = minimaxFault(name, degree, range);
  if (fault !== null) throw new SealstreamError("spec-invalid", `A minimax activation: ${fault}.`);
  const powers = Array.from({ length: terms }, (_, index) => 2 * index + parity);
  const found = exchange((u) => value(u * range), powers);
  const coefficients = Array.from({ length: (powers.at(-1) ?? 0) + 1 }, () => 0);
  for (const [index, power] of powers.entries()) {
    coefficients[power] = (found[index] ?? 0) / range ** power;
  }
  return coefficients.map((value, power) =>
    Number((value + (line[power] ?? 0)).toPrecision(DIGITS)),
  );
}

/** Why there is no such polynomial, as the end of a sentence, or null. */
export function minimaxFault(name: MinimaxFunction, degree: number, range: number): string | null {
  if (!(Number.isInteger(degree) && degree >= MIN_MINIMAX_DEGREE && degree <= MAX_MINIMAX_DEGREE)) {
    return `the degree is ${MIN_MINIMAX_DEGREE} to ${MAX_MINIMAX_DEGREE}`;
  }
  if (!(range >= MIN_MINIMAX_RANGE && range <= MAX_MINIMAX_RANGE)) {
    return `the range is ${MIN_MINIMAX_RANGE} to ${MAX_MINIMAX_RANGE}`;
  }
  return PARTS[name].parity === 1 && degree === 2
    ? `the best polynomial of degree 2 for ${name} is a line: take 3`
    : null;
}

/** Coefficients of `powers` for the best approximation of `target` on [0, 1]. */
function exchange(target: (u: number) => number, powers: readonly number[]): number[] {
  const count = powers.length + 1;
  // Extremes of a Chebyshev polynomial of twice the size on its right half: near the answer for every function here.
  const shift = (powers[0] ?? 0) / 2;
  let points = Array.from({ length: count }, (_, index) =>
    Math.sin((Math.PI / 2) * ((index + shift) / (count - 1 + shift))),
  );
  for (let round = 0; round < MAX_EXCHANGES; round += 1) {
    const solution = level(target, powers, points);
    const error = (u: number): number =>
      target(u) -
      powers.reduce((sum, power, index) => sum + (solution[index] ?? 0) * u ** power, 0);
    const extremes = alternation(error, count);
    if (extremes.length < count) break;
    const largest = Math.max(...extremes.map((u) => Math.abs(error(u))));
    const levelled = Math.abs(solution[powers.length] ?? 0);
    if (largest <= levelled * (1 + TOLERANCE) + ERROR_ROUNDING) return solution.slice(0, -1);
    points = extremes;
  }
  throw new SealstreamError("internal", "The exchange of a minimax polynomial did not settle.");
}

/** Coefficients and error E with target - polynomial = E, -E, E, ... at the points. */
function level(
  target: (u: number) => number,
  powers: readonly number[],
  points: readonly number[],
): number[] {
  const rows = points.map((u, index) => [
    ...powers.map((power) => u ** power),
    index % 2 === 0 ? 1 : -1,
    target(u),
  ]);
  return solve(rows);
}

/** Solves a square system given as rows with the right side last; Gauss with partial pivoting. Spoils `rows`. */
function solve(rows: number[][]): number[] {
  const size = rows.length;
  const at = (row: number, column: number): number => rows[row]?.[column] ?? 0;
  for (let column = 0; column < size; column += 1) {
    let pivot = column;
    for (let row = column + 1; row < size; row += 1) {
      if (Math.abs(at(row, column)) > Math.abs(at(pivot, column))) pivot = row;
    }
    const chosen = rows[pivot] ?? [];
    rows[pivot] = rows[column] ?? [];
    rows[column] = chosen;
    for (let row = column + 1; row < size; row += 1) {
      const factor = at(row, column) / at(column, column);
      rows[row] = (rows[row] ?? []).map((value, index) => value - factor * (chosen[index] ?? 0));
    }
  }
  const solution = Array.from({ length: size }, () => 0);
  for (let row = size - 1; row >= 0; row -= 1) {
    let sum = at(row, size);
    for (let column = row + 1; column < size; column += 1) {
      sum -= at(row, column) * (solution[column] ?? 0);
    }
    solution[row] = sum / at(row, row);
  }
  return solution;
}

/** `count` points in rising order where the error is extreme, with alternating signs; fewer when there are not so many. */
function alternation(error: (u: number) => number, count: number): number[] {
  const runs: { index: number; value: number }[] = [];
  for (let index = 0; index <= GRID; index += 1) {
    const value = error(gridPoint(index));
    const last = runs.at(-1);
    if (last === undefined || value * last.value < 0) runs.push({ index, value });
    else if (Math.abs(value) > Math.abs(last.value)) runs[runs.length - 1] = { index, value };
  }
  const extremes = runs.map(({ index }) => refine(error, index));
  // More than are needed: the ends can go without breaking the alternation, the smaller first.
  while (extremes.length > count) {
    const isFirstSmaller =
      Math.abs(error(extremes[0] ?? 0)) < Math.abs(error(extremes.at(-1) ?? 0));
    if (isFirstSmaller) extremes.shift();
    else extremes.pop();
  }
  return extremes;
}

function gridPoint(index: number): number {
  return Math.sin((Math.PI / 2) * (index / GRID)) ** 2;
}

/** The extreme near a point of the grid, by golden section between its neighbours. */
function refine(error: (u: number) => number, index: number): number {
  const ratio = (Math.sqrt(5) - 1) / 2;
  let low = gridPoint(Math.max(0, index - 1));
  let high = gridPoint(Math.min(GRID, index + 1));
  for (let halving = 0; halving < REFINEMENTS; halving += 1) {
    const left = high - ratio * (high - low);
    const right = low + ratio * (high - low);
    if (Math.abs(error(left)) < Math.abs(error(right))) low = left;
    else high = right;
  }
  const here = gridPoint(index);
  const found = (low + high) / 2;
  return Math.abs(error(found)) > Math.abs(error(here)) ? found : here;
}
