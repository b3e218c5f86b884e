/** Entries of version 3: exact bytes, correlated noise, subjects and statistics, and how they compose with older ones. */
import { describe, expect, test } from "vitest";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { sign1 } from "../../pipeline/crypto/cose-sign1.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import {
  contributionFractionBits,
  contributionSensitivity,
} from "../../pipeline/privacy/contribution.ts";
import { columnNorm } from "../../pipeline/privacy/correlation/coefficients.ts";
import {
  analyticGaussianEpsilon,
  composedNoiseMultiplier,
} from "../../pipeline/privacy/gaussian.ts";
import { verifyLedger } from "../../pipeline/privacy/ledger.ts";
import {
  composedEpsilon,
  emptyLedger,
  withEntry,
} from "../../pipeline/privacy/ledger-accounting.ts";
import {
  decodeLedgerEntry,
  entryHash,
  entryPayload,
  entryVersion,
  type LedgerEntry,
  type LedgerMethod,
  methodOf,
} from "../../pipeline/privacy/ledger-entry.ts";
import type { LedgerNoise } from "../../pipeline/privacy/ledger-noise.ts";
import { contributionCoordinates, entryFault } from "../../pipeline/privacy/ledger-rules.ts";
import {
  chainOf,
  genesisEntry,
  options,
  PIPELINE,
  SIGNER,
  sign,
  updateEntry,
} from "./ledger-world.ts";

const PLAIN: LedgerMethod = {
  noise: { kind: "independent" },
  recordsPerSubject: null,
  method: "gradient",
  clipping: "flat",
};
const FRACTION_BITS = contributionFractionBits({ places: 4, l2ClipNorm: 1 });
const sensitivityOf = (parameters: number, norm: number) =>
  contributionSensitivity({ l2ClipNorm: 1, parameters, fractionBits: FRACTION_BITS }) * norm;
const TOEPLITZ: LedgerNoise = { kind: "toeplitz", updates: 3 };
/** 1, 1/2, 3/8. */
const TOEPLITZ_NORM = Math.sqrt(1 + 1 / 4 + 9 / 64);
const BANDED: LedgerNoise = { kind: "banded", updates: 5, coefficients: [1, 0.5, 0.25] };
const BLT: LedgerNoise = { kind: "blt", updates: 4, decay: [0.5, 0.25], weight: [0.5, -0.125] };

/** Version 3 with what differs from plain. */
function version3(changes: Partial<LedgerMethod>): Partial<LedgerEntry> {
  const method = { ...PLAIN, ...changes };
  return { version: 3, ...method, sensitivity: sensitivityOf(8, columnNorm(method.noise)) };
}

const genesis = (changes: Partial<LedgerEntry>) => genesisEntry(emptyLedger(PIPELINE), 0, changes);
const faultOf = (entry: LedgerEntry) => entryFault(emptyLedger(PIPELINE), entry);
const decode = (text: string) =>
  decodeLedgerEntry(
    sign1({
      payload: Buffer.from(text),
      ...{ signer: SIGNER, context: "sealstream/ledger/v1|digits" },
    }),
    options,
  ).status;

describe("bytes", () => {
  const TEXT =
    '{"adjacency":"zero-out","at":"2026-01-02T03:04:05.678Z","clipping":"per-layer",' +
    `"configHash":"${"64".repeat(32)}","contributionsHash":null,"contributionsNext":0,"delta":0.00001,"epsilon":0,` +
    '"kind":"genesis","l2ClipNorm":1,"laneNext":{},"learningRate":0.5,"mechanism":"gaussian","method":"gradient",' +
    `"microBatchRecords":4,"model":{"bytes":500,"chunks":["${"3c".repeat(32)}"],"sha256":"${"32".repeat(32)}"},"modelVersion":0,` +
    '"network":{"inputs":3,"layers":[{"activation":"none","outputs":2}]},' +
    '"noise":{"coefficients":[1,0.5,0.25],"kind":"banded","updates":5},"noiseMultiplier":2,"participations":1,' +
    `"pipeline":"digits","previous":null,"ranges":[],"recordsPerSubject":7,"runId":"${"00".repeat(16)}",` +
    '"sensitivity":1.1456439358102801,"sequence":0,"sourceTopic":"digits.examples","step":0,' +
    '"updateBatchRecords":8,"version":3}';
  const ENTRY = genesis(version3({ noise: BANDED, recordsPerSubject: 7, clipping: "per-layer" }));

  test("canonical JSON, and the hash that the next entry names", () => {
    expect(Buffer.from(entryPayload(ENTRY)).toString("utf8")).toBe(TEXT);
    expect(entryHash(ENTRY)).toBe(hex(sha256(Buffer.from(TEXT))));
    expect(decode(TEXT)).toBe("ok");
    expect(faultOf(ENTRY)).toBeNull();
  });

  test.each([
    ["a field of version 3 less", (text: string) => text.replace('"clipping":"per-layer",', "")],
    ["version 2 with its fields", (text: string) => text.replace('"version":3', '"version":2')],
    ["version 1 with its fields", (text: string) => text.replace('"version":3', '"version":1')],
    ["version 4", (text: string) => text.replace('"version":3', '"version":4')],
    ["a band that does not begin with 1", (text: string) => text.replace("[1,0.5", "[2,0.5")],
    ["a band longer than its block", (text: string) => text.replace('"updates":5', '"updates":2')],
    [
      "a word too many of the noise",
      (text: string) => text.replace('"updates":5', '"updates":5,"z":1'),
    ],
    ["noise of no kind", (text: string) => text.replace('"banded"', '"woven"')],
    ["no record of a subject", (text: string) => text.replace('Subject":7', 'Subject":0')],
    ["another clipping", (text: string) => text.replace("per-layer", "by-hand")],
  ])("%s is malformed, though signed", (_name, change) => {
    expect(change(TEXT)).not.toBe(TEXT);
    expect(decode(change(TEXT))).toBe("refused");
  });

  test("what an older version can say is not said by version 3", () => {
    const text = Buffer.from(entryPayload(genesis({}))).toString();
    const spelled = text
      .replace('"configHash"', '"clipping":"flat","configHash"')
      .replace('"microBatchRecords"', '"method":"gradient","microBatchRecords"')
      .replace('"noiseMultiplier"', '"noise":{"kind":"independent"},"noiseMultiplier"')
      .replace('"runId"', '"recordsPerSubject":null,"runId"')
      .replace('"version":1', '"version":3');
    expect(decode(text)).toBe("ok");
    expect(decode(spelled)).toBe("refused");
    // The same with one word that only version 3 has.
    expect(decode(spelled.replace('"flat"', '"automatic"'))).toBe("ok");
  });

  test("the version is the lowest that has the words", () => {
    const { network } = ENTRY;
    expect(entryVersion({ network })).toBe(1);
    expect(entryVersion({ network, ...PLAIN })).toBe(1);
    expect(entryVersion({ network, ...PLAIN, recordsPerSubject: 1 })).toBe(3);
    expect(entryVersion({ network, noise: TOEPLITZ })).toBe(3);
    expect(entryVersion({ network, method: "statistics" })).toBe(3);
    expect(entryVersion({ network, clipping: "automatic" })).toBe(3);
    expect(methodOf({})).toEqual(PLAIN);
  });
});

describe("sensitivity", () => {
  test.each([
    ["square-root Toeplitz", TOEPLITZ, TOEPLITZ_NORM],
    ["a band", BANDED, Math.sqrt(1 + 0.25 + 0.0625)],
    // 1, .375, .5*.5 - .125*.25 = .21875, .5*.25 - .125*.0625 = .1171875
    // and 2^-16 for the float error of the buffers.
    ["buffers", BLT, Math.sqrt(1 + 0.375 ** 2 + 0.21875 ** 2 + 0.1171875 ** 2) * (1 + 2 ** -16)],
    ["one update a block", { kind: "toeplitz", updates: 1 } as const, 1],
  ])("of %s is the clip's times the norm of a column", (_name, noise, norm) => {
    expect(columnNorm(noise)).toBeCloseTo(norm, 14);
    const entry = genesis({ ...version3({ noise }), sensitivity: sensitivityOf(8, norm) });
    expect(faultOf(entry)).toBeNull();
    const smaller = { ...entry, sensitivity: entry.sensitivity * (1 - 1e-9) };
    expect(faultOf(smaller)?.message).toContain("sensitivity");
    expect(faultOf({ ...entry, sensitivity: sensitivityOf(8, norm * 1.1) })).not.toBeNull();
  });

  test("of statistics counts the triangle of X^T X and X^T Y", () => {
    // 4 rows with the column of ones: 10 in the triangle, 8 with two classes.
    expect(contributionCoordinates(genesis({}).network, "statistics")).toBe(18);
    const entry = genesis({
      ...version3({ method: "statistics" }),
      sensitivity: sensitivityOf(18, 1),
    });
    expect(faultOf(entry)).toBeNull();
    expect(faultOf({ ...entry, sensitivity: sensitivityOf(8, 1) })).not.toBeNull();
    const deep = [
      { outputs: 4, activation: "square" as const },
      { outputs: 2, activation: "none" as const },
    ];
    expect(faultOf({ ...entry, network: { inputs: 3, layers: deep } })?.message).toContain(
      "linear",
    );
  });
});

describe("composition", () => {
  const epsilon = (sigma: number) => analyticGaussianEpsilon(sigma, 1e-5);

  test("k records of a subject count as one record k times as large", () => {
    const chain = chainOf(1, 2, [version3({ recordsPerSubject: 4 })]);
    expect(verifyLedger(sign(chain), options).findings).toEqual([]);
    expect(chain.map((entry) => entry.epsilon)).toEqual([0, epsilon(0.5), epsilon(0.5)]);
  });

  test("correlated noise costs what its noise multiplier says", () => {
    const chain = chainOf(1, 2, [version3({ noise: TOEPLITZ })]);
    expect(verifyLedger(sign(chain), options).findings).toEqual([]);
    expect(chain.at(-1)?.epsilon).toBe(epsilon(2));
  });

  test("participations: squares add up under independent noise, norms under correlated", () => {
    for (const [noise, sigma] of [
      [PLAIN.noise, 1],
      [TOEPLITZ, 0.5],
    ] as const) {
      const changes = { ...version3({ noise, recordsPerSubject: 1 }), participations: 4 };
      expect(chainOf(1, 1, [changes]).at(-1)?.epsilon).toBe(epsilon(sigma));
    }
  });

  test("runs of subjects and runs of records", () => {
    const subjects = version3({ recordsPerSubject: 2 });
    const both = chainOf(2, 1, [subjects, subjects]);
    expect(both.at(-1)?.epsilon).toBe(epsilon(composedNoiseMultiplier([1, 1.5])));
    // A record is in no more releases than its subject.
    const records = chainOf(2, 1, [subjects, {}]);
    expect(records.at(-1)?.epsilon).toBe(epsilon(composedNoiseMultiplier([2, 3])));
    expect(verifyLedger(sign(records), options).findings).toEqual([]);
  });

  test("subjects get no epsilon from a run that did not bound them", () => {
    const [first, second] = chainOf(1, 1);
    if (first === undefined || second === undefined) throw new Error("no chain");
    let summary = emptyLedger(PIPELINE);
    for (const entry of [first, second]) {
      summary = withEntry(summary, { entry, entryHash: entryHash(entry) });
    }
    const of = { sourceTopic: "digits.examples", delta: 1e-5, unit: "subject" } as const;
    expect(composedEpsilon(summary, of)).toBe(Number.POSITIVE_INFINITY);
    const claim = { ...genesisEntry(summary, 1, version3({ recordsPerSubject: 3 })), epsilon: 3 };
    expect(entryFault(summary, claim)?.message).toContain("nothing bounds");
  });

  test("a noise that gives no bound is no entry, whatever epsilon it claims", () => {
    const first = genesis({ noiseMultiplier: 1e-200 });
    const summary = withEntry(emptyLedger(PIPELINE), { entry: first, entryHash: entryHash(first) });
    const update = { ...updateEntry(summary), epsilon: 3 };
    expect(entryFault(summary, update)?.message).toContain("nothing bounds");
  });
});

test("within a run none of it changes", () => {
  const [first] = chainOf(1, 1, [version3({ noise: TOEPLITZ, recordsPerSubject: 2 })]);
  if (first === undefined) throw new Error("no chain");
  const summary = withEntry(emptyLedger(PIPELINE), { entry: first, entryHash: entryHash(first) });
  const next = updateEntry(summary);
  expect(entryFault(summary, next)).toBeNull();
  const others: Partial<LedgerEntry>[] = [
    { noise: { kind: "toeplitz", updates: 4 } },
    { noise: { kind: "independent" } },
    { recordsPerSubject: 1 },
    { recordsPerSubject: null },
    { clipping: "automatic" },
    { participations: 2 },
  ];
  for (const other of others) {
    const { noise } = { ...next, ...other };
    const norm = columnNorm(noise ?? PLAIN.noise);
    const changed = { ...next, ...other, sensitivity: sensitivityOf(8, norm) };
    expect(entryFault(summary, changed)?.kind, JSON.stringify(other)).toBe("rule");
  }
});
