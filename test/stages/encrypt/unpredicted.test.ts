/** Stage encrypt where the file predicts nothing: unlabelled records are dropped, labelled ones go as ever. */
import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { createEncryptStage, type EncryptOptions } from "../../../pipeline/stages/encrypt/stage.ts";
import { restoreState } from "../../../pipeline/stages/encrypt/state.ts";
import type { StreamRecord } from "../../../pipeline/stream/contract.ts";
import { edited } from "../../spec/fixtures.ts";
import { asRecords, makeZones, record, smallSpec } from "./fixtures.ts";

const zones = await makeZones("digits");
const START = restoreState(null);
const predict = (offset: number): StreamRecord => record(offset, { digit: null });

const openLane = (change: Partial<EncryptOptions>) =>
  createEncryptStage({
    spec: smallSpec((text) => edited("packing: auto", "encrypted: false", text)),
    directory: zones.directory(),
    signer: zones.owner.signing("owner-signing"),
    splitSecret: zones.owner.secret("split"),
    packing: () => null,
    mostPackRecords: 0,
    random: randomBytes,
    ...change,
  }).openLane(2);

describe("a file that predicts nothing", () => {
  it("drops unlabelled records without any key of the consumer, and waits for none", async () => {
    const told: (readonly string[])[] = [];
    const lane = await openLane({
      directory: zones.directory([], /consumer/),
      onMissingKeys: (purposes) => told.push(purposes),
    });
    const records = [predict(0), record(1), predict(2), { ...record(3), value: null }];
    const result = await lane.process(records, START, 5000);
    expect(result).toMatchObject({ consumedTo: 4, wakeAtMs: null });
    expect(result.outcomes).toEqual([
      { offset: 0, kind: "drop", reason: "dropped" },
      { offset: 2, kind: "drop", reason: "dropped" },
      { offset: 3, kind: "dead-letter", reason: "tombstone" },
    ]);
    expect(asRecords(result.outputs, "packs")).toEqual([]);
    expect(asRecords(result.outputs, "examples")).toHaveLength(1);
    expect(result.state).toMatchObject({ packSequence: 0, exampleSequence: 1 });
    expect(told).toEqual([[]]);
  });

  it("still waits for the training zone's key, behind which unlabelled ones wait too", async () => {
    const directory = zones.directory([], /training-unwrap/);
    const lane = await openLane({ directory });
    const result = await lane.process([predict(0), record(1), predict(2)], START, 5000);
    expect(result).toMatchObject({ consumedTo: 1, wakeAtMs: 5200 });
  });
});
