/** What `sealstream ledger` shows: a table of every entry, runs as they are accounted, and a curve that hides nothing. */
import { describe, expect, test } from "vitest";
import { epsilonCurve } from "../../pipeline/commands/ledger/curve.ts";
import { ledgerReport } from "../../pipeline/commands/ledger.ts";
import { columnNorm } from "../../pipeline/privacy/correlation/coefficients.ts";
import { verifyLedger } from "../../pipeline/privacy/ledger.ts";
import { chainOf, options, sign } from "../privacy/ledger-world.ts";

describe("the report", () => {
  const noise = { kind: "toeplitz", updates: 4 } as const;
  const method = { noise, recordsPerSubject: 2, method: "gradient", clipping: "flat" } as const;
  const chain = chainOf(2, 2, [
    { ...method, version: 3 },
    { ...method, version: 3 },
  ]).map((entry) => ({
    ...entry,
    sensitivity: entry.sensitivity * columnNorm(noise),
  }));
  const verified = verifyLedger(sign(chain), options);
  const lines = ledgerReport(verified, { budget: 3, columns: 80 });

  test("has a line for every entry under one head, in columns", () => {
    expect(lines[0]).toMatch(
      /^entry +run +model +kind +places +noise +multiplier +clip +B +epsilon +delta +time$/,
    );
    expect(lines[2]).toBe(
      "    1  00000000      1  update        8  toeplitz/4       2.000     1  8   4.3772   1e-5  2026-01-02T03:04:05.678Z",
    );
    expect(lines.slice(1, 7).map((line) => Number(line.slice(0, 5)))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("says what each run counts as, and for whom", () => {
    expect(lines.slice(-2)).toEqual([
      "run 00000000: 2 updates; toeplitz/4 noise, counts as multiplier 1.000 for subjects of at most 2 records",
      "run 01010101: 2 updates; toeplitz/4 noise, counts as multiplier 1.500 for subjects of at most 2 records",
    ]);
  });

  test("is nothing for an empty ledger", () => {
    expect(ledgerReport(verifyLedger([], options), { budget: 3 })).toEqual([]);
  });
});

describe("the curve", () => {
  const bars = (lines: readonly string[]) => lines.slice(0, 8).map((line) => line.slice(11));

  test("rises where epsilon rises, under the budget's line", () => {
    expect(epsilonCurve([0, 1, 1, 2], { budget: 4, columns: 80 })).toEqual([
      "    4.000 ┤···· budget 4",
      "          ┤",
      "          ┤",
      "          ┤",
      "          ┤   █",
      "          ┤   █",
      "          ┤ ███",
      "          ┤ ███",
      "        0 └────",
      "           epsilon, entry 0  3",
    ]);
  });

  test("shows what is above the budget, and what is very little", () => {
    const above = bars(epsilonCurve([0.0001, 8], { budget: 2 }));
    expect(above[0]).toBe(" █");
    expect(above[7]).toBe("▁█");
    expect(above.findIndex((line) => line.includes("budget 2"))).toBe(6);
  });

  test("fits the terminal, and no step falls between two columns", () => {
    const points = Array.from({ length: 1_000 }, (_, index) => (index === 517 ? 5 : 1));
    const lines = epsilonCurve(points, { budget: 5, columns: 60 });
    expect(lines.every((line) => line.length <= 60 + " budget 5".length)).toBe(true);
    expect(lines[0]).toContain("█");
  });

  test("of one entry or none is no curve", () => {
    expect(epsilonCurve([], { budget: 1 })).toEqual([]);
    expect(epsilonCurve([1], { budget: 1 })).toEqual([]);
  });
});
