/** Which prediction bundles a consumer believes: signed, new, and under its own key; copies never twice. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { DEFAULT_PARAMETERS } from "../../pipeline/ckks/parameters.ts";
import {
  createPredictionLane,
  type PredictionLaneOptions,
} from "../../pipeline/client/prediction-lane.ts";
import { createBundle, type LaneRecord } from "../../pipeline/crypto/bundle.ts";
import { createKeyDirectory } from "../../pipeline/crypto/directory.ts";
import { blobEntries } from "../../pipeline/crypto/key-ceremony.ts";
import { createWorld, PIPELINE } from "../crypto/fixtures.ts";

const LANE = 1;
const CLASSES = 2;
const world = createWorld();
const directory = directoryOf(randomBytes(300));
const { id: consumerKeyId } = directory.blob("ckks-public")!;

function directoryOf(bytes: Uint8Array | null, parameters = DEFAULT_PARAMETERS.id) {
  const made = createKeyDirectory({
    pipeline: PIPELINE,
    zones: world.zones,
    blobPurposes: ["ckks-public"],
  });
  const identity = world.signers.consumer;
  const blob = { pipeline: PIPELINE, purpose: "ckks-public" as const, parameters, identity };
  const blobs = bytes === null ? [] : blobEntries({ ...blob, bytes });
  for (const { key, value } of [...world.entries, ...blobs]) made.apply(key, value);
  return made;
}

type Record = Omit<LaneRecord, "offset">;

function bundle(
  sequence: unknown,
  more: { fields?: object; lane?: number; bundleId?: Uint8Array; size?: number } = {},
): Record[] {
  const fields = {
    sequence,
    rows: 3,
    classes: CLASSES,
    parameters: DEFAULT_PARAMETERS.id,
    consumerKeyId,
    recordIds: new Uint8Array(5),
    runId: "ab",
    modelVersion: 4,
    ledgerEntryHash: "cd",
    ...more.fields,
  };
  return createBundle({
    context: `sealstream/predictions/v1|${PIPELINE}|${more.lane ?? LANE}`,
    bundleId: more.bundleId ?? new Uint8Array(randomBytes(16)),
    parts: [0, 1].map(() => new Uint8Array(randomBytes(more.size ?? 150))),
    // Because the bundle takes any CBOR, and wrong fields are what is tested.
    fields: fields as never,
    signer: world.signing("result-signing"),
    maxChunkBytes: 100,
  });
}

function laneOf(more: Partial<PredictionLaneOptions> = {}) {
  const lane = createPredictionLane({ pipeline: PIPELINE, lane: LANE, directory, ...more });
  let offset = 0;
  return (...records: Record[]) => {
    const step = lane.take(records.map((record) => ({ ...record, offset: offset++ })));
    return {
      sequences: step.bundles.map(({ sequence }) => sequence),
      reasons: step.refused.map(({ reason }) => reason),
      offsets: step.refused.map((refused) => refused.offset),
      gaps: step.gaps.map(({ from, to }) => [from, to]),
      bundles: step.bundles,
    };
  };
}

const none = { sequences: [], reasons: [], gaps: [] };

describe("a lane of predictions", () => {
  test("gives authentic bundles in order, however they are cut", () => {
    const take = laneOf();
    const records = [...bundle(0), ...bundle(1)];
    const seen = records.flatMap((record) => take(record).bundles);
    expect(seen.map(({ sequence }) => sequence)).toEqual([0, 1]);
    expect(seen[0]).toMatchObject({ rows: 3, runId: "ab", modelVersion: 4, fromOffset: 0 });
    expect(laneOf()(...records)).toMatchObject({ sequences: [0, 1], reasons: [], gaps: [] });
  });

  test("replay: a copy of an authentic bundle is refused, now and later, with one report a read", () => {
    const take = laneOf();
    const [first, second] = [bundle(0), bundle(1)];
    expect(take(...first, ...first)).toMatchObject({ sequences: [0], reasons: ["replayed"] });
    expect(take(...second)).toMatchObject({ sequences: [1], reasons: [] });
    const again = take(...first, ...second, ...first);
    expect(again).toMatchObject({ ...none, reasons: ["replayed", "replayed"] });
    expect(take(...bundle(2)).sequences).toEqual([2]);
  });

  test("replay: a copy within another bundle's records refuses only itself", () => {
    const take = laneOf();
    const old = bundle(0);
    take(...old);
    const fresh = bundle(1);
    const mixed = take(...fresh.slice(0, 2), ...old, ...fresh.slice(2));
    expect(mixed).toMatchObject({
      sequences: [1],
      reasons: ["replayed"],
      offsets: [old.length + 2],
    });
  });

  test("replay: a sequence that does not rise and a bundle id that was seen are refused", () => {
    const take = laneOf();
    const bundleId = new Uint8Array(16).fill(7);
    expect(take(...bundle(4, { bundleId })).sequences).toEqual([4]);
    expect(take(...bundle(4)).reasons).toEqual(["replayed"]);
    expect(take(...bundle(3)).reasons).toEqual(["replayed"]);
    expect(take(...bundle(5, { bundleId })).reasons).toEqual(["replayed"]);
    expect(take(...bundle(5)).sequences).toEqual([5]);
  });

  test("replay: what was counted before a restart is not counted again", () => {
    const take = laneOf({ lastSequence: 6 });
    expect(take(...bundle(6))).toMatchObject({ ...none, reasons: ["replayed"] });
    expect(take(...bundle(7))).toMatchObject({ sequences: [7], gaps: [] });
  });

  test("a gap is reported and refuses nothing", () => {
    const take = laneOf();
    expect(take(...bundle(2), ...bundle(3), ...bundle(9))).toMatchObject({
      sequences: [2, 3, 9],
      reasons: [],
      gaps: [
        [0, 2],
        [4, 9],
      ],
    });
  });

  test.each<[string, object]>([
    ["other-key", { consumerKeyId: "00".repeat(32) }],
    ["other-key", { parameters: "ckks-16384-60.30.30.40-s30" }],
    ["manifest", { parameters: DEFAULT_PARAMETERS.id, classes: 3 }],
    ["manifest", { rows: "3" }],
    ["manifest", { recordIds: "x" }],
    ["manifest", { modelVersion: -1 }],
  ])("%s: %o is refused and its sequence is spent", (reason, fields) => {
    const take = laneOf();
    expect(take(...bundle(0, { fields }))).toMatchObject({ ...none, reasons: [reason] });
    expect(take(...bundle(0)).reasons).toEqual(["replayed"]);
    expect(take(...bundle(1)).sequences).toEqual([1]);
  });

  test.each([["1"], [-1], [1.5], [null]])("a sequence that is none (%o) is refused", (sequence) => {
    const take = laneOf();
    expect(take(...bundle(0)).sequences).toEqual([0]);
    const { sequences, reasons } = take(...bundle(sequence));
    expect({ sequences, count: reasons.length }).toEqual({ sequences: [], count: 1 });
    expect(take(...bundle(1)).sequences).toEqual([1]);
  });

  test("nothing is believed without the consumer's published key, or under another of its keys", () => {
    const before = laneOf({ directory: directoryOf(null) });
    expect(before(...bundle(0))).toMatchObject({ ...none, reasons: ["key-unknown"] });
    const other = laneOf({ directory: directoryOf(randomBytes(300)) });
    expect(other(...bundle(0))).toMatchObject({ ...none, reasons: ["other-key"] });
  });

  test("another lane's bundle, another number of classes and a larger one are refused", () => {
    const moved = laneOf()(...bundle(0, { lane: 2 }), ...bundle(0));
    expect(moved).toMatchObject({ sequences: [0], reasons: ["pack-incomplete", "pack-refused"] });
    expect(laneOf({ classes: 3 })(...bundle(0)).reasons).toEqual(["manifest"]);
    const large = laneOf({ classes: 2 })(...bundle(0, { size: 600_000 }));
    expect(large).toMatchObject({ ...none, reasons: ["pack-refused"] });
  });

  test("bounds what it holds: endless chunks of strangers are let go, the next bundle counts", () => {
    const take = laneOf();
    const headers = { "sealstream-type": new Uint8Array(Buffer.from("chunk")) };
    const junk = () => ({
      key: new Uint8Array(randomBytes(20)),
      value: new Uint8Array(1),
      headers,
    });
    const flood = take(...Array.from({ length: 66_000 }, junk));
    expect(flood.offsets.length).toBe(66_000 - 65_536);
    const fresh = bundle(0);
    expect(take(fresh[0]!, junk(), ...fresh.slice(1)).sequences).toEqual([0]);
  });
});
