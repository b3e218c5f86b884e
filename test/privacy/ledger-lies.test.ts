/**
 * Entries of version 3 edited field by field: what is found, and the whole list of what a rightful signer can make up.
 * A lie is told in every entry of a run, signed and chained anew, with epsilon recomputed: it keeps every rule, or none
 * of it can.
 */
import { describe, expect, test } from "vitest";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import { columnNorm } from "../../pipeline/privacy/correlation/coefficients.ts";
import { verifyLedger } from "../../pipeline/privacy/ledger.ts";
import { emptyLedger, withEntry } from "../../pipeline/privacy/ledger-accounting.ts";
import type { LedgerEntry } from "../../pipeline/privacy/ledger-entry.ts";
import { canonical, edits, forge, rechain, resign, strange } from "./ledger-edits.ts";
import { chainOf, genesisEntry, options, PIPELINE, sign } from "./ledger-world.ts";

const NOISE = { kind: "banded", updates: 5, coefficients: [1, 0.5, 0.25] } as const;
const PLAIN = genesisEntry(emptyLedger(PIPELINE), 0);
const CHAIN = chainOf(1, 2, [
  {
    ...{
      version: 3,
      noise: NOISE,
      recordsPerSubject: 3,
      method: "gradient",
      clipping: "automatic",
    },
    sensitivity: PLAIN.sensitivity * columnNorm(NOISE),
  },
]);
const VALUES = sign(CHAIN);
const CASES = CHAIN.flatMap((entry, index) => edits(entry).map((edit) => ({ index, ...edit })));
const findings = (values: readonly Uint8Array[]) => verifyLedger(values, options).findings;

describe("one entry", () => {
  test("holds", () => {
    expect(findings(VALUES)).toEqual([]);
    expect(CASES.length).toBeGreaterThan(150);
    const fields = new Set(CASES.map(({ path }) => path.split(/[ .]/)[0]));
    expect([...fields].sort()).toEqual(Object.keys(CHAIN[1] ?? {}).sort());
  });

  test("edited without the signing key is found", () => {
    for (const { index, path, edited } of CASES) {
      for (const forged of [forge(VALUES[index] ?? new Uint8Array(), edited), strange(edited)]) {
        if (forged === null) continue;
        const [first] = findings(VALUES.with(index, forged));
        expect(first?.entry, path).toBe(index);
      }
    }
  });

  test("edited and signed again is found there or by the next entry, but in the newest", () => {
    for (const { index, path, edited } of CASES) {
      if (index === CHAIN.length - 1) continue;
      const found = findings(VALUES.with(index, resign(edited)));
      expect([index, index + 1], path).toContain(found[0]?.entry);
    }
  });

  test("edited with all after it chained anew: only what no rule can know passes", () => {
    const passed = CASES.filter(
      ({ index, edited }) => findings(rechain(CHAIN, index, edited)).length === 0,
    );
    const fields = new Set(passed.map(({ path }) => path.split(/[ .]/)[0]));
    expect([...fields].sort()).toEqual([
      ...["at", "contributionsHash", "contributionsNext", "model", "ranges"],
    ]);
  });
});

/** The chain with a change in every entry, epsilon as the rules recompute it, signed by the rightful signer. */
function lie(change: (entry: LedgerEntry) => Partial<LedgerEntry>): Uint8Array[] {
  let summary = emptyLedger(PIPELINE);
  return CHAIN.map((entry) => {
    const previous = summary.last?.entryHash ?? null;
    const claim = { ...entry, ...change(entry), previous };
    const { epsilon } = withEntry(summary, { entry: claim, entryHash: "" });
    const told = { ...claim, epsilon };
    const entryHash = hex(sha256(Buffer.from(canonical(told))));
    summary = withEntry(summary, { entry: told, entryHash });
    return resign(told);
  });
}

describe("a whole run made up by its signer", () => {
  const passes: [string, (entry: LedgerEntry) => Partial<LedgerEntry>][] = [
    ["the time", () => ({ at: "2020-01-01T00:00:00.000Z" })],
    ["the name of the settings", () => ({ configHash: "12".repeat(32) })],
    ["the learning rate", () => ({ learningRate: 9 })],
    ["the clipping", () => ({ clipping: "flat" })],
    ["how much noise there was", () => ({ noiseMultiplier: 40 })],
    ["how many records a subject has", () => ({ recordsPerSubject: 1 })],
    ["how often a record takes part", () => ({ participations: 2 })],
    ["the source", () => ({ sourceTopic: "else.examples" })],
    ["delta", () => ({ delta: 1e-9 })],
  ];
  test.each(passes)("%s: cannot be found from the ledger alone", (_name, change) => {
    expect(findings(lie(change))).toEqual([]);
  });

  const fails: [string, (entry: LedgerEntry) => Partial<LedgerEntry>][] = [
    ["a smaller norm of its noise", () => ({ noise: { ...NOISE, coefficients: [1, 0.25] } })],
    ["independent noise", () => ({ noise: { kind: "independent" } })],
    ["a smaller sensitivity", ({ sensitivity }) => ({ sensitivity: sensitivity / 2 })],
    ["a smaller clip", () => ({ l2ClipNorm: 0.5 })],
    [
      "a larger network",
      () => ({ network: { inputs: 4, layers: [{ outputs: 2, activation: "none" }] } }),
    ],
    ["statistics", () => ({ method: "statistics" })],
    ["a larger batch", () => ({ updateBatchRecords: 12 })],
    ["larger micro-batches", () => ({ microBatchRecords: 8 })],
    ["another version", () => ({ version: 2 })],
    ["no noise at all", () => ({ noiseMultiplier: 1e-200 })],
  ];
  test.each(fails)("%s: contradicts the rest", (_name, change) => {
    expect(findings(lie(change))).not.toEqual([]);
  });
});
