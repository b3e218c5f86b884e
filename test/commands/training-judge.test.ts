/** What `check` says of training: sums that fit no message are refused with the number. */
import { expect, test } from "vitest";
import { trainingComplaints } from "../../pipeline/commands/training-judge.ts";
import type { TrainSpec } from "../../pipeline/spec/training-spec.ts";
import { exampleText, loadGood } from "../spec/fixtures.ts";

const said = (train: Partial<TrainSpec>) => {
  const spec = loadGood(exampleText);
  return trainingComplaints({ ...spec, train: { ...spec.train, ...train } }, (path, message) => ({
    ...{ file: "f", line: 1, column: 1, path: path.join("."), message },
  })).map(({ path, message }) => `${path}: ${message}`);
};

test("a network of any size that fits", () => {
  expect(said({})).toEqual([]);
  expect(said({ method: "statistics", network: [{ dense: 10, activation: "none" }] })).toEqual([]);
});

test("more parameters than a message holds", () => {
  const network: TrainSpec["network"] = [
    { dense: 1024, activation: "square" },
    { dense: 256, activation: "square" },
    { dense: 10, activation: "none" },
  ];
  // 65 * 1024 + 1025 * 256 + 257 * 10
  expect(said({ network })).toEqual([
    expect.stringMatching(/^train\.network: a contribution of 331530 parameters does not fit/),
  ]);
});
