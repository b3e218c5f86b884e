/** The hash that names a run's configuration: exact bytes, what is part of it, and what is not. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { type RunConfig, runConfigHash } from "../../pipeline/privacy/run-config.ts";

const TRAIN = {
  microBatchRecords: 4,
  updateBatchRecords: 8,
  l2ClipNorm: 1,
  learningRate: 0.5,
  protect: "sealed",
};
const SPEC: RunConfig["spec"] = {
  features: {
    inputs: [{ field: "a", length: 3, range: [0, 1] }],
    label: { field: "b", classes: 2 },
  },
  privacy: { epsilon: 3, delta: 1e-5 },
  train: TRAIN,
};
const NETWORK: RunConfig["network"] = { inputs: 3, layers: [{ outputs: 2, activation: "none" }] };

test("is the SHA-256 of this canonical JSON", () => {
  const json =
    '{"features":{"inputs":[{"field":"a","length":3,"range":[0,1]}],"label":{"classes":2,"field":"b"}},' +
    '"noiseMultiplier":null,"privacy":{"delta":0.00001,"epsilon":3},"train":{"l2ClipNorm":1,"learningRate":0.5,' +
    '"microBatchRecords":4,"network":{"inputs":3,"layers":[{"activation":"none","outputs":2}]},' +
    '"protect":"sealed","updateBatchRecords":8}}';
  const expected = createHash("sha256").update(json).digest("hex");
  expect(runConfigHash({ spec: SPEC, network: NETWORK })).toBe(expected);
});

const train = (change: object) => ({ spec: { ...SPEC, train: { ...TRAIN, ...change } } });
test.each<[string, Partial<RunConfig>]>([
  ["clip norm", train({ l2ClipNorm: 1.9 })],
  ["micro-batch", train({ microBatchRecords: 2 })],
  ["update batch", train({ updateBatchRecords: 4 })],
  ["learning rate", train({ learningRate: 0.25 })],
  ["protection", train({ protect: "other" })],
  ["budget", { spec: { ...SPEC, privacy: { epsilon: 2, delta: 1e-5 } } }],
  ["delta", { spec: { ...SPEC, privacy: { epsilon: 3, delta: 1e-6 } } }],
  [
    "label",
    { spec: { ...SPEC, features: { ...SPEC.features, label: { field: "c", classes: 2 } } } },
  ],
  ["inputs", { spec: { ...SPEC, features: { ...SPEC.features, inputs: [] } } }],
  ["network", { network: { ...NETWORK, inputs: 4 } }],
  [
    "coefficient",
    {
      network: {
        inputs: 3,
        layers: [
          { outputs: 2, activation: { polynomial: [0.25, 0.5, 0.125] } },
          { outputs: 2, activation: "none" },
        ],
      },
    },
  ],
  ["noise", { noiseMultiplier: 1 }],
])("another %s is another configuration", (_name, change) => {
  const own = runConfigHash({ spec: SPEC, network: NETWORK });
  expect(runConfigHash({ spec: SPEC, network: NETWORK, ...change })).not.toBe(own);
});

test("how the work is done is no part of it", () => {
  const own = runConfigHash({ spec: SPEC, network: NETWORK });
  const other = train({ backend: "wasm", maxStalenessUpdates: 9, tailAfterMs: 5 });
  expect(runConfigHash({ ...other, network: NETWORK })).toBe(own);
});

test("a setting that is no number is refused", () => {
  const spec = train({ l2ClipNorm: Number.NaN }).spec;
  expect(() => runConfigHash({ spec, network: NETWORK })).toThrow();
});
