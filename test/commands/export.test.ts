/** A model as a file: the published network alone, in a form that others read and that runs can begin with. */
import { beforeAll, expect, test } from "vitest";
import { exportBytes } from "../../pipeline/commands/export.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../pipeline/network/safetensors.ts";
import { readWarmStart } from "../../pipeline/network/warm-start.ts";
import type { ReadModel } from "../../pipeline/privacy/model-reader.ts";
import { createTopics, createZones, readerOf, startLane } from "../stages/aggregate/world.ts";

let model: ReadModel;
beforeAll(async () => {
  const zones = await createZones();
  const topics = createTopics(zones);
  await (await startLane(zones, topics)).run();
  const newest = readerOf(zones, topics, "train").newest();
  if (newest === null) throw new Error("the world has no model");
  model = newest;
});

test("safetensors: the weights and what the ledger says of them, without what training goes on from", () => {
  const own = decodeCheckpoint(model.checkpoint);
  const training = encodeCheckpoint({ ...own, trainer: { iterate: new Float32Array(8) } });
  const bytes = exportBytes({ ...model, checkpoint: training }, "safetensors");
  const { entry } = model;
  expect(decodeCheckpoint(bytes)).toEqual({
    network: own.network,
    weights: own.weights,
    metadata: {
      pipeline: "digits",
      runId: entry.runId,
      modelVersion: "0",
      epsilon: "0",
      delta: "0.00001",
    },
  });
  expect(readWarmStart(bytes, own.network).weights).toEqual(own.weights);
});

test("onnx", () => {
  const text = Buffer.from(exportBytes(model, "onnx")).toString("latin1");
  expect(text).toContain("Gemm");
  expect(text).toContain(model.entry.runId);
});
