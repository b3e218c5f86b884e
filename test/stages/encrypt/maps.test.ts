/**
 * Stage encrypt with feature maps: what is sealed and packed is what the network reads, and nothing else changes.
 */
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { readBundles } from "../../../pipeline/crypto/bundle.ts";
import { decodeCbor } from "../../../pipeline/crypto/cbor.ts";
import { openEnvelope } from "../../../pipeline/crypto/envelope.ts";
import { planMaps } from "../../../pipeline/features/maps/plan-maps.ts";
import { packContext } from "../../../pipeline/stages/encrypt/pack-sealer.ts";
import { createEncryptStage } from "../../../pipeline/stages/encrypt/stage.ts";
import type { EncryptState } from "../../../pipeline/stages/encrypt/state.ts";
import type { OutputRecord } from "../../../pipeline/stream/contract.ts";
import { edited } from "../../spec/fixtures.ts";
import { asRecords, makeZones, packingOf, record, smallSpec } from "./fixtures.ts";

const LANE = 2;
const zones = await makeZones("digits");
const START: EncryptState = {
  ...{ exampleSequence: 0, packSequence: 0, recordSequence: 0 },
  ...{ key: null, recordKeys: new Map(), subjects: null, counted: new Map() },
};

// Two pixels become three numbers that may be negative.
const MAPS =
  "[{ standardize: { mean: 0.5, deviation: 0.5 } }, { randomProjection: { outputs: 3, seed: 1 } }, { normalize: l2 }]";
const spec = smallSpec((text) => edited("  label: {", `  maps: ${MAPS}\n  label: {`, text));
const mapped = planMaps(spec.features.maps, 2);

function stageOf(outputs = spec.features.outputs) {
  return createEncryptStage({
    spec: { ...spec, features: { ...spec.features, outputs } },
    directory: zones.directory(),
    signer: zones.owner.signing("owner-signing"),
    splitSecret: zones.owner.secret("split"),
    // Stands for the CKKS room: one part a record, its numbers as they are.
    packing: packingOf(
      async (rows, features, matrix) =>
        Array.from({ length: features }, (_, feature) =>
          Uint8Array.from(
            Buffer.from(
              JSON.stringify(
                Array.from({ length: rows }, (__, row) => matrix[row * features + feature]),
              ),
            ),
          ),
        ),
      { slots: 4 },
    ),
    mostPackRecords: 4,
    random: randomBytes,
  });
}

/** The numbers of each sealed example, as the training zone reads them. */
function openNumbers(outputs: readonly OutputRecord[]): Float32Array[] {
  const directory = zones.directory([zones.training.unwrap("training-unwrap")]);
  for (const { key, value } of asRecords(outputs, "keys")) directory.apply(key, value);
  return asRecords(outputs, "examples").map(({ key, value, headers }) => {
    const split = Buffer.from(headers["sealstream-split"]!).toString();
    const opened = openEnvelope({
      envelope: value!,
      context: {
        ...{ pipeline: "digits", topic: "examples", lane: LANE, recordId: key!, schemaVersion: 1 },
        attributes: { split },
      },
      findKey: (kid) => directory.findDataKey(kid, "examples"),
    });
    if (opened.status !== "ok") throw new Error(opened.status);
    const { x } = decodeCbor(opened.plaintext) as { x: Uint8Array };
    return new Float32Array(Uint8Array.from(x).buffer);
  });
}

function openColumns(outputs: readonly OutputRecord[]): number[][] {
  const directory = zones.directory();
  const { bundles } = readBundles(asRecords(outputs, "packs") as never, {
    context: packContext("digits", LANE),
    findSigner: (kid) => directory.findSigner(kid, ["owner-signing"]),
    maxBundleBytes: 1_000_000,
  });
  return bundles.flatMap(({ parts }) =>
    parts.map((part) => JSON.parse(Buffer.from(part).toString())),
  );
}

describe("feature maps", () => {
  it("are applied before a record is sealed or packed", async () => {
    const lane = stageOf().openLane(LANE);
    const unlabelled = [0, 1, 2, 3].map((offset) => record(offset, { digit: null }));
    const { outputs } = await (await lane).process([...unlabelled, record(5)], START, 0);
    expect(openNumbers(outputs)).toEqual([mapped.apply(Float32Array.of(5 / 16, 1))]);
    const rows = [0, 1, 2, 3].map((pixel) => mapped.apply(Float32Array.of(pixel / 16, 1)));
    expect(openColumns(outputs)).toEqual([0, 1, 2].map((column) => rows.map((row) => row[column])));
    expect(Math.min(...rows.flatMap((row) => [...row]))).toBeLessThan(0);
  });

  it("change nothing about what is refused", async () => {
    const lane = await stageOf().openLane(LANE);
    const { outcomes } = await lane.process([record(3, { pixels: [1, 17] })], START, 0);
    expect(outcomes).toMatchObject([{ offset: 3, kind: "dead-letter", reason: "feature-invalid" }]);
  });

  it("let a lane hold fewer records the wider they are", () => {
    const { outputs } = spec.features;
    expect(stageOf({ ...outputs, length: 4096 }).bounds.maxRecords).toBe(2048);
    expect(stageOf({ ...outputs, length: 1024 }).bounds.maxRecords).toBe(8192);
    expect(stageOf(outputs).bounds.maxRecords).toBe(8192);
  });

  it("read many records in turns, all of them and in order", async () => {
    const lane = await stageOf().openLane(LANE);
    const records = Array.from({ length: 200 }, (_, offset) => record(offset % 10, {})).map(
      (one, offset) => ({ ...one, offset }),
    );
    let turns = 0;
    let running = true;
    const count = (): void => {
      turns += 1;
      if (running) setImmediate(count);
    };
    setImmediate(count);
    const { outputs, consumedTo } = await lane.process(records, START, 0);
    running = false;
    expect(consumedTo).toBe(200);
    expect(turns).toBeGreaterThanOrEqual(3);
    const expected = records.map((_, offset) =>
      mapped.apply(Float32Array.of((offset % 10) / 16, 1)),
    );
    expect(openNumbers(outputs)).toEqual(expected);
  });
});
