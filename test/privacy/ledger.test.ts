/** The ledger: exact bytes, composition, and that no edit, gap or fork goes unnoticed. */
import { describe, expect, test } from "vitest";
import { sha256 } from "../../pipeline/crypto/chunks.ts";
import { sign1 } from "../../pipeline/crypto/cose-sign1.ts";
import { hex } from "../../pipeline/crypto/key-handles.ts";
import {
  analyticGaussianEpsilon,
  composedNoiseMultiplier,
} from "../../pipeline/privacy/gaussian.ts";
import { createLedger, verifyLedger } from "../../pipeline/privacy/ledger.ts";
import {
  composedEpsilon,
  emptyLedger,
  withEntry,
} from "../../pipeline/privacy/ledger-accounting.ts";
import {
  decodeLedgerEntry,
  encodeLedgerEntry,
  entryHash,
  entryPayload,
  type LedgerEntry,
} from "../../pipeline/privacy/ledger-entry.ts";
import { entryFault } from "../../pipeline/privacy/ledger-rules.ts";
import { edits, forge, rechain, resign, strange } from "./ledger-edits.ts";
import {
  chainOf,
  genesisEntry,
  options,
  PIPELINE,
  SIGNER,
  sign,
  updateEntry,
} from "./ledger-world.ts";

const CHAIN = chainOf();
const VALUES = sign(CHAIN);
const summaryAfter = (count: number) =>
  CHAIN.slice(0, count).reduce(
    (summary, entry) => withEntry(summary, { entry, entryHash: entryHash(entry) }),
    emptyLedger(PIPELINE),
  );

describe("bytes", () => {
  const GENESIS =
    '{"adjacency":"zero-out","at":"2026-01-02T03:04:05.678Z",' +
    `"configHash":"${"64".repeat(32)}","contributionsHash":null,"contributionsNext":0,"delta":0.00001,"epsilon":0,` +
    '"kind":"genesis","l2ClipNorm":1,"laneNext":{},"learningRate":0.5,"mechanism":"gaussian","microBatchRecords":4,' +
    `"model":{"bytes":500,"chunks":["${"3c".repeat(32)}"],"sha256":"${"32".repeat(32)}"},"modelVersion":0,` +
    '"network":{"inputs":3,"layers":[{"activation":"none","outputs":2}]},"noiseMultiplier":2,"participations":1,' +
    `"pipeline":"digits","previous":null,"ranges":[],"runId":"${"00".repeat(16)}",` +
    '"sensitivity":1.0000000105367122,"sequence":0,"sourceTopic":"digits.examples","step":0,' +
    '"updateBatchRecords":8,"version":1}';

  test("canonical JSON, signed and hashed", () => {
    const [genesis] = CHAIN;
    if (genesis === undefined) throw new Error("no chain");
    expect(Buffer.from(entryPayload(genesis)).toString("utf8")).toBe(GENESIS);
    expect(entryHash(genesis)).toBe(hex(sha256(Buffer.from(GENESIS))));
    // Ed25519 is deterministic, so the whole value is fixed by the key, the context and the payload.
    const context = "sealstream/ledger/v1|digits";
    const value = sign1({ payload: Buffer.from(GENESIS), signer: SIGNER, context });
    expect(Buffer.from(encodeLedgerEntry(genesis, SIGNER))).toEqual(Buffer.from(value));
    const decoded = decodeLedgerEntry(value, options);
    expect(decoded).toEqual({ status: "ok", entry: genesis, entryHash: entryHash(genesis) });
  });

  test.each([
    ["another order of fields", (text: string) => `{"version":1,${text.slice(1, -13)}}`],
    ["a space", (text: string) => text.replace(":0,", ": 0,")],
    ["another spelling of a number", (text: string) => text.replace("0.00001", "1e-5")],
    ["a field more", (text: string) => text.replace(/}$/, ',"zone":1}')],
    ["a field less", (text: string) => text.replace('"step":0,', "")],
    ["a doubled field", (text: string) => text.replace('"step":0,', '"step":0,"step":0,')],
    ["version 2", (text: string) => text.replace('"version":1', '"version":2')],
    ["another pipeline", (text: string) => text.replace('"digits"', '"digitz"')],
    ["no JSON", () => "{"],
    ["null", () => "null"],
    ["no UTF-8", () => "\ud800"],
  ])("%s is malformed, though signed", (_name, change) => {
    const payload = Buffer.from(change(GENESIS));
    expect(payload.toString()).not.toBe(GENESIS);
    const value = sign1({ payload, signer: SIGNER, context: "sealstream/ledger/v1|digits" });
    expect(decodeLedgerEntry(value, options)).toEqual({ status: "refused", reason: "malformed" });
  });

  test("every byte is under the signature", () => {
    const [value = new Uint8Array()] = VALUES;
    for (let at = 0; at < value.length; at += 1) {
      const changed = Uint8Array.from(value);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(decodeLedgerEntry(changed, options).status).toBe("refused");
    }
  });

  test("an entry of another ledger is refused", () => {
    const other = { ...options, pipeline: "other" };
    expect(decodeLedgerEntry(VALUES[0] ?? new Uint8Array(), other).status).toBe("refused");
  });

  test("what is no entry is not written", () => {
    const [genesis] = CHAIN;
    if (genesis === undefined) throw new Error("no chain");
    for (const change of [
      { epsilon: Number.NaN },
      { epsilon: Number.POSITIVE_INFINITY },
      { noiseMultiplier: 0 },
      { runId: "x" },
      { extra: 1 },
    ]) {
      expect(() => encodeLedgerEntry({ ...genesis, ...change }, SIGNER)).toThrow(
        expect.objectContaining({ code: "internal" }),
      );
    }
  });
});

describe("a whole chain", () => {
  test("is accepted, and verifies without findings", () => {
    const ledger = createLedger(options);
    for (const value of VALUES) expect(ledger.apply(value).status).toBe("ok");
    expect(ledger.entries().map(({ entry }) => entry)).toEqual(CHAIN);
    const { findings, entries, summary } = verifyLedger(VALUES, options);
    expect(findings).toEqual([]);
    expect(entries).toHaveLength(6);
    expect(summary).toEqual(ledger.summary());
  });

  test("epsilon composes over the runs of the source topic, from a run's first update on", () => {
    const one = analyticGaussianEpsilon(2, 1e-5);
    const both = analyticGaussianEpsilon(composedNoiseMultiplier([2, 3]), 1e-5);
    expect(CHAIN.map(({ epsilon }) => epsilon)).toEqual([0, one, one, one, both, both]);
    expect(both).toBeGreaterThan(one);
    const { summary } = verifyLedger(VALUES, options);
    const of = { sourceTopic: "digits.examples", delta: 1e-5, unit: "record" } as const;
    expect(composedEpsilon(summary, of)).toBe(both);
    expect(composedEpsilon(summary, { ...of, delta: 1e-6 })).toBeGreaterThan(both);
    expect(composedEpsilon(summary, { ...of, sourceTopic: "other.examples" })).toBe(0);
  });

  test("more participations are charged", () => {
    const genesis = { ...genesisEntry(emptyLedger(PIPELINE), 0), participations: 4 };
    const start = withEntry(emptyLedger(PIPELINE), {
      entry: genesis,
      entryHash: entryHash(genesis),
    });
    const update = updateEntry(start);
    expect(update.epsilon).toBe(analyticGaussianEpsilon(1, 1e-5));
    expect(entryFault(start, update)).toBeNull();
  });
});

describe("every field of every entry but the last", () => {
  const cases = CHAIN.slice(0, -1).flatMap((entry, index) =>
    edits(entry).map(({ path, edited }) => ({ index, path, edited })),
  );

  test("there are many", () => {
    expect(cases.length).toBeGreaterThan(250);
  });

  test("edited without the signing key, is found at that entry", () => {
    for (const { index, path, edited } of cases) {
      const value = VALUES[index] ?? new Uint8Array();
      const before = JSON.stringify(CHAIN[index]);
      expect(JSON.stringify(edited), path).not.toBe(before);
      // The payload in place, as somebody would who can write to the topic; and signed by a key of their own.
      for (const forged of [forge(value, edited), strange(edited)]) {
        if (forged === null) continue;
        const { findings } = verifyLedger(VALUES.with(index, forged), options);
        expect(findings[0]?.entry, path).toBe(index);
        expect(["signature", "malformed"], path).toContain(findings[0]?.kind);
        const ledger = createLedger(options);
        for (const before of VALUES.slice(0, index)) ledger.apply(before);
        expect(ledger.apply(forged).status, path).not.toBe("ok");
        expect(ledger.entries(), path).toHaveLength(index);
      }
    }
  });

  test("edited and signed again, is found there or at the next entry", () => {
    for (const { index, path, edited } of cases) {
      const resigned = resign(edited);
      const { findings } = verifyLedger(VALUES.with(index, resigned), options);
      expect(findings.length, path).toBeGreaterThan(0);
      expect([index, index + 1], path).toContain(findings[0]?.entry);
    }
  });

  test("edited, signed again, and all after it chained anew: what breaks a rule is found", () => {
    const found: Record<string, number[]> = {};
    for (const [at, entry] of CHAIN.entries()) {
      for (const { path, edited } of edits(entry)) {
        const { findings } = verifyLedger(rechain(CHAIN, at, edited), options);
        const field = path.split(/[ .]/)[0] ?? "";
        found[field] ??= [0, 0];
        found[field] = [
          (found[field][0] ?? 0) + (findings.length > 0 ? 1 : 0),
          (found[field][1] ?? 0) + 1,
        ];
      }
    }
    const missed = Object.entries(found).filter(([, [caught, all]]) => caught !== all);
    // What a holder of the signing key can make up from the start; all else follows from other fields.
    expect(missed.map(([field]) => field).sort()).toEqual([
      "at",
      "contributionsHash",
      "contributionsNext",
      "model",
      "ranges",
    ]);
  });
});

describe("gaps and forks", () => {
  test("a missing entry is found at the one after it, and only there", () => {
    for (let missing = 0; missing < CHAIN.length - 1; missing += 1) {
      const { findings } = verifyLedger(VALUES.toSpliced(missing, 1), options);
      expect(findings).toMatchObject([{ entry: missing, kind: "gap" }]);
    }
  });

  test("an entry twice is found, and only there", () => {
    for (let again = 0; again < CHAIN.length; again += 1) {
      const value = VALUES[again] ?? new Uint8Array();
      const { findings, summary } = verifyLedger(VALUES.toSpliced(again + 1, 0, value), options);
      expect(findings).toMatchObject([{ entry: again + 1, kind: "fork" }]);
      expect(summary).toEqual(verifyLedger(VALUES, options).summary);
    }
  });

  test("a second update after the same entry is a fork", () => {
    const second = { ...updateEntry(summaryAfter(1)), contributionsHash: "ff".repeat(32) };
    const values = [...VALUES.slice(0, 2), ...sign([second]), ...VALUES.slice(2)];
    expect(verifyLedger(values, options).findings).toMatchObject([{ entry: 2, kind: "fork" }]);
    // Readers keep the first.
    const ledger = createLedger(options);
    const applied = values.map((value) => ledger.apply(value).status);
    expect(applied).toEqual(["ok", "ok", "refused", "ok", "ok", "ok", "ok"]);
  });

  test("junk between entries is found and disturbs nothing", () => {
    const values = VALUES.toSpliced(2, 0, Buffer.from("junk"));
    const { findings, entries } = verifyLedger(values, options);
    expect(findings).toMatchObject([{ entry: 2, kind: "malformed" }]);
    expect(entries).toHaveLength(6);
  });

  test("a ledger cut off at its end cannot be told from a shorter one", () => {
    expect(verifyLedger(VALUES.slice(0, 3), options).findings).toEqual([]);
  });

  test("a signer who is not known yet is no refusal", () => {
    const ledger = createLedger({ ...options, findSigner: () => null });
    expect(ledger.apply(VALUES[0] ?? new Uint8Array())).toEqual({ status: "unknown-signer" });
  });
});

describe("rules", () => {
  const next = () => updateEntry(summaryAfter(2));
  const first = next().ranges[0];
  const range = (changes: object) => ({ ranges: [{ ...first, ...changes }, next().ranges[1]] });
  const broken: Record<string, object> = {
    "a gap in a lane": range({ from: 17 }),
    "an overlap in a lane": range({ from: 15 }),
    "an empty range": range({ to: 16 }),
    "a model that did not exist": range({ modelVersion: 2 }),
    "other places": range({ places: 3 }),
    "a range too few": { ranges: next().ranges.slice(1) },
    "positions of other lanes": { laneNext: { ...next().laneNext, "5": 1 } },
    "positions that go back": { laneNext: { "0": 1, "1": 32 } },
    "no contributions consumed": { contributionsNext: 3 },
    "no hash of contributions": { contributionsHash: null },
    "another noise": { noiseMultiplier: 3 },
    "another learning rate": { learningRate: 0.6 },
    "another source": { sourceTopic: "else.examples" },
    "another configuration": { configHash: "ab".repeat(32) },
    "another run": { runId: "ab".repeat(16) },
    "a smaller epsilon": { epsilon: next().epsilon * 0.999 },
    "a doubled chunk": {
      model: { ...next().model, chunks: ["aa", "aa"].map((x) => x.repeat(32)) },
    },
    "a skipped step": { step: 3 },
    "a huge clip": { l2ClipNorm: 1e300 },
    "a micro-batch that does not divide": { microBatchRecords: 3 },
  };
  test.each(Object.keys(broken))("%s", (name) => {
    expect(entryFault(summaryAfter(2), next())).toBeNull();
    const fault = entryFault(summaryAfter(2), { ...next(), ...broken[name] } as LedgerEntry);
    expect(fault?.kind).toBe("rule");
  });

  test("a genesis begins anew", () => {
    const good = genesisEntry(summaryAfter(3), 9);
    expect(entryFault(summaryAfter(3), good)).toBeNull();
    for (const change of [
      { runId: CHAIN[0]?.runId },
      { step: 1 },
      { modelVersion: 1 },
      { laneNext: { "0": 1 } },
      { contributionsHash: "00".repeat(32) },
      { contributionsNext: 1 },
      { ranges: CHAIN[1]?.ranges },
    ]) {
      expect(entryFault(summaryAfter(3), { ...good, ...change } as LedgerEntry)?.kind).toBe("rule");
    }
  });
});
