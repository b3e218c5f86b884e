/**
 * Stage encrypt with real keys: what it puts out opens for whom it is meant, and only in its place.
 */
import { createHmac, randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { readBundles } from "../../../pipeline/crypto/bundle.ts";
import { decodeCbor } from "../../../pipeline/crypto/cbor.ts";
import { openEnvelope } from "../../../pipeline/crypto/envelope.ts";
import { openRecordIds } from "../../../pipeline/crypto/record-ids.ts";
import { packContext } from "../../../pipeline/stages/encrypt/pack-sealer.ts";
import { createEncryptStage, type EncryptOptions } from "../../../pipeline/stages/encrypt/stage.ts";
import type { EncryptState } from "../../../pipeline/stages/encrypt/state.ts";
import type {
  LaneProcessor,
  OutputRecord,
  StreamRecord,
} from "../../../pipeline/stream/contract.ts";
import { edited } from "../../spec/fixtures.ts";
import { asRecords, makeZones, packingOf, record, smallSpec } from "./fixtures.ts";

const LANE = 2;
const SLOTS = 4;
const zones = await makeZones("digits");
const START: EncryptState = {
  ...{ exampleSequence: 0, packSequence: 0, recordSequence: 0 },
  ...{ key: null, recordKeys: new Map(), subjects: null, counted: new Map() },
};

async function openLane(
  change: Partial<EncryptOptions> = {},
): Promise<LaneProcessor<EncryptState>> {
  const stage = createEncryptStage({
    spec: smallSpec(),
    directory: zones.directory(),
    signer: zones.owner.signing("owner-signing"),
    splitSecret: zones.owner.secret("split"),
    // Stands for the CKKS room: the columns as they are, so that a test can read them.
    packing: packingOf(
      async (rows, features, matrix) =>
        Array.from({ length: features }, (_, feature) => {
          const column = Array.from({ length: rows }, (_, row) => matrix[row * features + feature]);
          return Uint8Array.from(Buffer.from(JSON.stringify(column)));
        }),
      { slots: SLOTS },
    ),
    mostPackRecords: SLOTS,
    random: randomBytes,
    ...change,
  });
  return stage.openLane(LANE);
}

const predict = (offset: number): StreamRecord => record(offset, { digit: null });

/** Opens what is in `outputs` as the training zone does. */
function openExamples(outputs: readonly OutputRecord[], lane = LANE) {
  const directory = zones.directory([zones.training.unwrap("training-unwrap")]);
  for (const { key, value } of asRecords(outputs, "keys")) directory.apply(key, value);
  return asRecords(outputs, "examples").map(({ key, value, headers }) => {
    const split = Buffer.from(headers["sealstream-split"]!).toString();
    const opened = openEnvelope({
      envelope: value!,
      context: {
        pipeline: "digits",
        topic: "examples",
        lane,
        recordId: key!,
        schemaVersion: 1,
        attributes: { split },
      },
      findKey: (kid) => directory.findDataKey(kid, "examples"),
    });
    if (opened.status !== "ok") return { status: opened.status };
    const { x, y, v } = decodeCbor(opened.plaintext) as { x: Uint8Array; y: number; v: number };
    const floats = Array.from({ length: x.length / 4 }, (_, index) =>
      new DataView(x.buffer, x.byteOffset).getFloat32(index * 4, true),
    );
    return {
      status: "ok",
      id: Buffer.from(key!).toString(),
      sequence: opened.sequence,
      floats,
      y,
      v,
      split,
    };
  });
}

function openPacks(outputs: readonly OutputRecord[], context = packContext("digits", LANE)) {
  const directory = zones.directory();
  const { bundles } = readBundles(asRecords(outputs, "packs") as never, {
    context,
    findSigner: (kid) => directory.findSigner(kid, ["owner-signing"]),
    maxBundleBytes: 1_000_000,
  });
  return bundles.map(({ bundleId, fields, parts }) => ({
    fields,
    columns: parts.map((part) => JSON.parse(Buffer.from(part).toString())),
    ids: openRecordIds({
      pipeline: "digits",
      bundleId,
      message: fields["recordIds"] as Uint8Array,
      unwrapKeys: [zones.consumerUnwrap],
    }),
  }));
}

describe("labelled records", () => {
  it("are sealed for the training zone, in order, with their key before them", async () => {
    const lane = await openLane();
    const result = await lane.process([record(5), record(6), record(8)], START, 0);
    expect(result).toMatchObject({ consumedTo: 9, outcomes: [], wakeAtMs: null });
    expect(result.outputs.map(({ role }) => role)).toEqual([
      "keys",
      "examples",
      "examples",
      "examples",
    ]);
    const opened = openExamples(result.outputs);
    expect(opened).toMatchObject([
      { id: "form-5", sequence: 0, y: 5, v: 1 },
      { id: "form-6", sequence: 1, y: 6 },
      { id: "form-8", sequence: 2, y: 8 },
    ]);
    expect(opened[0]?.floats).toEqual([5 / 16, 1]);
    expect(result.state.exampleSequence).toBe(3);
  });

  it("open in their own lane and with their own split only", async () => {
    const lane = await openLane();
    const { outputs } = await lane.process([record(1)], START, 0);
    expect(openExamples(outputs, LANE + 1)[0]).toMatchObject({ status: "refused" });
    const moved = outputs.map((output) =>
      output.role === "examples"
        ? { ...output, headers: { "sealstream-split": Buffer.from("test") } }
        : output,
    );
    expect(openExamples(moved)[0]).toMatchObject({ status: "refused" });
    const renamed = outputs.map((output) =>
      output.role === "examples" ? { ...output, key: Buffer.from("form-2") } : output,
    );
    expect(openExamples(renamed)[0]).toMatchObject({ status: "refused" });
  });

  it("show nothing of the person: no pseudonym, no field but the id", async () => {
    const lane = await openLane();
    const { outputs } = await lane.process([record(1)], START, 0);
    const all = Buffer.concat(outputs.flatMap(({ key, value }) => [key!, value!])).toString(
      "latin1",
    );
    expect(all).not.toContain("mail-1");
    expect(all).toContain("form-1");
  });

  it("follow their subject into one split, and split by the key", async () => {
    const spec = smallSpec((text) =>
      edited(
        "{ train: 0.9, validate: 0.1, test: 0 }",
        "{ train: 0.5, validate: 0.25, test: 0.25 }",
        text,
      ),
    );
    const splits = async (secret: string) => {
      const hmac = (message: Uint8Array) => createHmac("sha256", secret).update(message).digest();
      const lane = await openLane({ spec, splitSecret: { hmac } });
      const records = Array.from({ length: 300 }, (_, offset) =>
        record(offset, { email: `mail-${offset % 60}` }),
      );
      return openExamples((await lane.process(records, START, 0)).outputs).map(
        ({ split }) => split,
      );
    };
    const one = await splits("one");
    for (const [index, split] of one.entries()) expect(split).toBe(one[index % 60]);
    expect(new Set(one).size).toBe(3);
    expect(await splits("one")).toEqual(one);
    expect(await splits("two")).not.toEqual(one);
  });

  it("get a new data key after rotateAfterRecords, and when the training zone's key changes", async () => {
    const spec = smallSpec((text) =>
      edited("rotateAfterRecords: 100000", "rotateAfterRecords: 2", text),
    );
    let directory = zones.directory();
    const lane = await openLane({
      spec,
      directory: {
        recipient: (purpose) => directory.recipient(purpose),
        recipientsFor: (topic) => directory.recipientsFor(topic),
        grants: (topic) => directory.grants(topic),
        list: () => directory.list(),
      },
    });
    const first = await lane.process(
      [0, 1, 2, 3, 4].map((offset) => record(offset)),
      START,
      0,
    );
    const roles = first.outputs.map(({ role }) => role[0]).join("");
    expect(roles).toBe("keekeeke");
    expect(openExamples(first.outputs).every(({ status }) => status === "ok")).toBe(true);
    const second = await lane.process([record(5)], first.state, 0);
    expect(second.outputs.map(({ role }) => role)).toEqual(["examples"]);
    expect(openExamples([...first.outputs, ...second.outputs]).at(-1)).toMatchObject({
      status: "ok",
      sequence: 5,
    });
    directory = (await makeZones("digits")).directory();
    const third = await lane.process([record(6)], first.state, 0);
    expect(third.outputs.map(({ role }) => role)).toEqual(["keys", "examples"]);
  });

  it("take their key along when a result is thrown away", async () => {
    const lane = await openLane();
    const thrown = await lane.process([record(0)], START, 0);
    const again = await lane.process([record(0)], START, 0);
    for (const { outputs } of [thrown, again]) {
      expect(outputs.map(({ role }) => role)).toEqual(["keys", "examples"]);
      expect(openExamples(outputs)).toMatchObject([{ status: "ok", sequence: 0 }]);
    }
    expect(again.outputs[1]?.value).not.toEqual(thrown.outputs[1]?.value);
  });

  it("go on with the sequence after a restart, under a new key", async () => {
    const lane = await openLane();
    const before = await lane.process([record(0), record(1)], START, 0);
    const restarted = await openLane();
    const state = await restarted.restore(restarted.encode!(before.state), 2);
    const after = await restarted.process([record(2)], state, 0);
    expect(after.outputs.map(({ role }) => role)).toEqual(["keys", "examples"]);
    expect(openExamples(after.outputs)).toMatchObject([{ sequence: 2 }]);
  });
});

describe("unlabelled records", () => {
  it("share a pack, one part per feature, ids sealed to the consumer", async () => {
    const packs: unknown[] = [];
    const lane = await openLane({ onPack: (pack) => packs.push(pack) });
    const result = await lane.process([0, 1, 2, 3].map(predict), START, 0);
    expect(result).toMatchObject({ consumedTo: 4, wakeAtMs: null, state: { packSequence: 1 } });
    const [pack] = openPacks(result.outputs);
    expect(pack).toMatchObject({
      fields: {
        sequence: 0,
        rows: 4,
        features: 2,
        parameters: "test",
        consumerKeyId: "ab".repeat(32),
      },
      columns: [
        [0, 1 / 16, 2 / 16, 3 / 16],
        [1, 1, 1, 1],
      ],
      ids: ["form-0", "form-1", "form-2", "form-3"],
    });
    expect(packs).toEqual([{ lane: LANE, rows: 4, bytes: expect.any(Number) }]);
    expect(Buffer.concat(result.outputs.map(({ value }) => value!)).toString("latin1")).not.toMatch(
      /form-|mail-/,
    );
    expect(openPacks(result.outputs, packContext("digits", LANE + 1))).toEqual([]);
  });

  it("wait for others until the linger is over, with what is behind them; what is before goes", async () => {
    const lane = await openLane();
    const records = [record(0), predict(1), record(2), predict(3)];
    const first = await lane.process(records, START, 1000);
    expect(first).toMatchObject({ consumedTo: 1, wakeAtMs: 1100 });
    const rest = records.slice(1);
    const early = await lane.process(rest, first.state, 1099);
    expect(early).toMatchObject({ consumedTo: null, outputs: [], wakeAtMs: 1100 });
    const due = await lane.process(rest, early.state, 1100);
    expect(due).toMatchObject({ consumedTo: 4, wakeAtMs: null });
    expect(openPacks(due.outputs)).toMatchObject([
      { ids: ["form-1", "form-3"], fields: { rows: 2, sequence: 0 } },
    ]);
    expect(openExamples([...first.outputs, ...due.outputs])).toMatchObject([
      { id: "form-0" },
      { id: "form-2" },
    ]);
  });

  it("keep nothing of the caller's buffers between calls, nor do the examples behind them", async () => {
    const lane = await openLane();
    const records = [predict(0), record(1)];
    await lane.process(records, START, 0);
    // What the broker's buffer holds later, once it was used again.
    for (const { key, value } of records) {
      key?.fill(0);
      value?.fill(0);
    }
    const { outputs } = await lane.process(records, START, 100);
    expect(openPacks(outputs)).toMatchObject([{ ids: ["form-0"], columns: [[0], [1]] }]);
    expect(openExamples(outputs)).toMatchObject([{ id: "form-1", floats: [1 / 16, 1], y: 1 }]);
  });

  it("go in packs of their own, one at a time, with sequences that rise", async () => {
    const lane = await openLane();
    let state = START;
    let records = Array.from({ length: 10 }, (_, offset) => predict(offset));
    const outputs: OutputRecord[] = [];
    for (let step = 0; step < 3; step++) {
      const result = await lane.process(records, state, step < 2 ? 0 : 100);
      outputs.push(...result.outputs);
      records = records.filter(({ offset }) => offset >= result.consumedTo!);
      ({ state } = result);
    }
    expect(records).toEqual([]);
    expect(openPacks(outputs)).toMatchObject([
      { fields: { sequence: 0, rows: 4 } },
      { fields: { sequence: 1, rows: 4 } },
      { fields: { sequence: 2, rows: 2 }, ids: ["form-8", "form-9"] },
    ]);
  });

  it("go when the lane can hold no more", async () => {
    const stage = createEncryptStage({
      spec: smallSpec(),
      directory: zones.directory(),
      signer: zones.owner.signing("owner-signing"),
      splitSecret: zones.owner.secret("split"),
      packing: packingOf(
        async (_rows, features) => Array.from({ length: features }, () => new Uint8Array(1)),
        { slots: SLOTS },
      ),
      mostPackRecords: SLOTS,
      random: randomBytes,
    });
    const { maxRecords } = stage.bounds;
    const lane = await stage.openLane(0);
    const records = [
      predict(0),
      ...Array.from({ length: maxRecords - 1 }, (_, index) => record(index + 1)),
    ];
    expect((await lane.process(records.slice(0, -1), START, 0)).consumedTo).toBeNull();
    expect((await lane.process(records, START, 0)).consumedTo).toBe(maxRecords);
  });

  it("stop the stage when a full pack costs more than the file allows", async () => {
    const lane = await openLane({
      packing: packingOf(
        async (_rows, features) => Array.from({ length: features }, () => new Uint8Array(400_004)),
        { slots: SLOTS },
      ),
    });
    const made = Promise.resolve(lane.process([0, 1, 2, 3].map(predict), START, 0));
    await expect(made).rejects.toMatchObject({ code: "limit-exceeded" });
  });
});

describe("keys that are not published yet", () => {
  it.each([
    ["training-unwrap", [record(0)]],
    ["consumer-unwrap", [predict(0)]],
  ])("without %s nothing is consumed, and it looks again soon", async (purpose, records) => {
    const lane = await openLane({ directory: zones.directory([], new RegExp(purpose)) });
    const result = await lane.process(records, START, 5000);
    expect(result).toMatchObject({ consumedTo: null, outputs: [], outcomes: [], wakeAtMs: 5200 });
  });

  it("without the consumer's CKKS key labelled records before it still go", async () => {
    const lane = await openLane({ packing: () => null });
    const result = await lane.process([record(0), predict(1), record(2)], START, 5000);
    expect(result).toMatchObject({ consumedTo: 1, wakeAtMs: 5200 });
  });
});

describe("records that cannot be used", () => {
  const bad: [string, StreamRecord][] = [
    ["tombstone", { ...record(0), value: null }],
    ["not-json", { ...record(0), value: Buffer.from("{") }],
    ["not-utf8", { ...record(0), value: Uint8Array.of(255) }],
    ["too-large", { ...record(0), value: new Uint8Array(900 * 1024 + 1) }],
    ["record-id", { ...record(0), key: null }],
    ["record-id", { ...record(0), key: new Uint8Array(0) }],
    ["record-id", { ...record(0), key: Uint8Array.of(255) }],
    ["record-id", { ...record(0), key: new Uint8Array(193).fill(65) }],
    ["feature-invalid", record(0, { pixels: [17, 0] })],
    ["feature-invalid", record(0, { pixels: undefined })],
    ["label-invalid", record(0, { digit: 10 })],
    ["missing-field", record(0, { email: undefined })],
    ["missing-field", record(0, { email: 5 })],
  ];
  it.each(bad)("become dead letters: %s", async (reason, wrong) => {
    const lane = await openLane();
    const result = await lane.process([wrong, record(1)], START, 0);
    expect(result.outcomes).toEqual([{ offset: 0, kind: "dead-letter", reason }]);
    expect(result.consumedTo).toBe(2);
    expect(openExamples(result.outputs)).toHaveLength(1);
  });

  it("are their own subject when the file names none", async () => {
    const lane = await openLane({
      spec: smallSpec((text) => edited("  subject: email\n", "", text)),
    });
    const result = await lane.process([record(0, { email: undefined })], START, 0);
    expect(openExamples(result.outputs)).toMatchObject([{ status: "ok" }]);
  });
});
