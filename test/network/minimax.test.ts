/** Minimax polynomials: the error levels out, the degrees agree with published values, nothing else is as near. */
import { describe, expect, test } from "vitest";
import { evaluatePolynomial } from "../../pipeline/network/activation.ts";
import {
  MINIMAX_FUNCTIONS,
  type MinimaxFunction,
  minimaxPolynomial,
  minimaxTarget,
} from "../../pipeline/network/minimax.ts";

const POINTS = 2000;

/** Errors on a grid of [-range, range]. */
function errors(name: MinimaxFunction, polynomial: readonly number[], range: number): number[] {
  return Array.from({ length: 2 * POINTS + 1 }, (_, index) => {
    const z = (index / POINTS - 1) * range;
    return minimaxTarget(name, z) - evaluatePolynomial(polynomial, z);
  });
}

const largest = (values: readonly number[]) => Math.max(...values.map(Math.abs));

/** Extremes of alternating sign that come within a thousandth of the largest error. */
function alternations(values: readonly number[]): number {
  const level = 0.999 * largest(values);
  let count = 0;
  let sign = 0;
  for (const value of values) {
    if (Math.abs(value) < level || Math.sign(value) === sign) continue;
    sign = Math.sign(value);
    count += 1;
  }
  return count;
}

const CASES = MINIMAX_FUNCTIONS.flatMap((name) =>
  [2, 3, 4, 5, 6, 7]
    .filter((degree) => degree > 2 || name === "relu" || name === "softplus")
    .flatMap((degree) => [0.5, 3, 8, 64].map((range) => [name, degree, range] as const)),
);

test.each(CASES)(
  "%s of degree %d on [-%d, it]: the error equioscillates",
  (name, degree, range) => {
    const polynomial = minimaxPolynomial(name, degree, range);
    expect(polynomial.length).toBeLessThanOrEqual(degree + 1);
    expect(polynomial.at(-1)).not.toBe(0);
    const found = errors(name, polynomial, range);
    // Chebyshev's theorem: degree + 2 extremes make it the best one. Rounding to 10 digits shows where the error is tiny.
    if (largest(found) > 1e-6) expect(alternations(found)).toBeGreaterThanOrEqual(degree + 2);
    else expect(largest(found)).toBeLessThan(1e-6);
  },
);

describe("published values", () => {
  test("|x| on [-1, 1]: 2n E_2n of Varga and Carpenter 1985, and so relu", () => {
    for (const [degree, scaled] of [
      [2, 0.25],
      [4, 0.27048359711137],
      [6, 0.27557437240175],
    ] as const) {
      const found = errors("relu", minimaxPolynomial("relu", degree, 1), 1);
      expect(largest(found)).toBeCloseTo(scaled / degree / 2, 8);
    }
    expect(minimaxPolynomial("relu", 2, 1)).toEqual([0.0625, 0.5, 0.5]);
    expect(minimaxPolynomial("relu", 3, 2)).toEqual([0.125, 0.5, 0.25]);
  });

  test("sigmoid of degree 3 on [-5, 5]: 0.5 + 0.197 x - 0.004 x^3 (Chen et al. 2018)", () => {
    const [c0, c1, c2, c3] = minimaxPolynomial("sigmoid", 3, 5);
    expect([c0, c2]).toEqual([0.5, 0]);
    // Their digits are cut, not rounded.
    expect([c1, c3].map((value) => Math.trunc((value ?? 0) * 1000))).toEqual([197, -4]);
  });

  test("sigmoid of degree 3 on [-8, 8] beats the least squares of Kim et al. 2018", () => {
    const leastSquares = [0.5, 1.20096 / 8, 0, -0.81562 / 8 ** 3];
    const theirs = largest(errors("sigmoid", leastSquares, 8));
    const ours = largest(errors("sigmoid", minimaxPolynomial("sigmoid", 3, 8), 8));
    expect(theirs).toBeCloseTo(0.1144, 3);
    expect(ours).toBeCloseTo(0.08946, 5);
  });

  test("sigmoid is tanh at half the place, and scaling the range scales relu", () => {
    const sigmoid = minimaxPolynomial("sigmoid", 5, 6);
    const tanh = minimaxPolynomial("tanh", 5, 3);
    expect(sigmoid[3]).toBeCloseTo((tanh[3] ?? 0) / 16, 9);
    const [one, three] = [minimaxPolynomial("relu", 4, 1), minimaxPolynomial("relu", 4, 3)];
    expect(three[4]).toBeCloseTo((one[4] ?? 0) / 27, 9);
  });
});

test("coefficients are these to the last digit: a run's hash covers them", () => {
  expect(minimaxPolynomial("sigmoid", 3, 8)).toEqual([0.5, 0.1558308775, 0, -0.001633677238]);
  expect(minimaxPolynomial("relu", 4, 1)).toEqual([
    0.03381044964, 0.5, 0.9651496849, 0, -0.5327705842,
  ]);
});

test("a degree of the wrong parity is the one below", () => {
  expect(minimaxPolynomial("tanh", 6, 3)).toEqual(minimaxPolynomial("tanh", 5, 3));
  expect(minimaxPolynomial("softplus", 7, 3)).toEqual(minimaxPolynomial("softplus", 6, 3));
});

test.each([
  ["relu", 1, 3],
  ["relu", 8, 3],
  ["relu", 2.5, 3],
  ["relu", 2, 0.1],
  ["relu", 2, 65],
  ["relu", 2, Number.NaN],
  ["sigmoid", 2, 3],
  ["tanh", 2, 3],
] as const)("refuses %s of degree %d on %d", (name, degree, range) => {
  expect(() => minimaxPolynomial(name, degree, range)).toThrow(
    expect.objectContaining({ code: "spec-invalid" }),
  );
});
