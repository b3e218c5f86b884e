/**
 * The sums that a linear model is solved from: their order, shared by who makes them and who solves.
 *
 * x are d numbers of a record: its features and then a 1 (the bias). One record gives the vector
 *   v = [x_i x_j of i <= j, row by row, times sqrt 2 off the diagonal; x_i of the label's class, else 0, row by row]
 * of d (d + 1) / 2 + d classes numbers. The sqrt 2 makes the norm of the first part that of the whole matrix x x^T, so
 *   |v|^2 = |x|^4 + |x|^2
 * and noise on v falls on every direction of the matrix alike. Must not clip, sum or solve.
 */
import { classCount, type Network, parameterCount } from "./definition.ts";

/** Numbers of a contribution: of a gradient, or of v. */
export function contributionLength(network: Network, method: "gradient" | "statistics"): number {
  return method === "gradient"
    ? parameterCount(network)
    : statisticsCoordinates(network.inputs, classCount(network));
}

/** Numbers of v. @param inputs features, without the bias */
export function statisticsCoordinates(inputs: number, classes: number): number {
  const d = inputs + 1;
  return (d * (d + 1)) / 2 + d * classes;
}

/** Where row i of the upper triangle begins, so that x_i x_j lies at `triangleRow(d, i) + j - i`. */
export function triangleRow(d: number, i: number): number {
  return i * d - (i * (i - 1)) / 2;
}
