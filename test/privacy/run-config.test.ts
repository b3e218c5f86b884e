/** The hash that names a run's configuration: exact bytes, what is part of it, and what is not. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { type RunConfig, runConfigHash } from "../../pipeline/privacy/run-config.ts";
import { PRIVACY_DEFAULTS, TRAIN_DEFAULTS } from "../../pipeline/spec/training.ts";

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

const LATER_USUAL = {
  features: { ...SPEC.features, maps: [] },
  privacy: {
    ...SPEC.privacy,
    ...{ noise: { kind: "independent" }, participations: 1, recordsPerSubject: null },
  },
  train: { ...TRAIN, ...TRAIN_DEFAULTS },
};

const { accountant: _claim, ...PRIVACY_WITHOUT_CLAIM } = PRIVACY_DEFAULTS;

test("keeps its name when settings come that it does not use", () => {
  const own = runConfigHash({ spec: SPEC, network: NETWORK });
  expect(runConfigHash({ spec: LATER_USUAL, network: NETWORK })).toBe(own);
  expect(LATER_USUAL.privacy).toMatchObject(PRIVACY_WITHOUT_CLAIM);
});

test("names what it uses of them", () => {
  const spec = {
    ...LATER_USUAL,
    privacy: { ...LATER_USUAL.privacy, recordsPerSubject: 3 },
    train: { ...LATER_USUAL.train, warmStart: { file: "here", sha256: "ab" }, ridge: 0.5 },
  };
  const json =
    '{"features":{"inputs":[{"field":"a","length":3,"range":[0,1]}],"label":{"classes":2,"field":"b"}},' +
    '"noiseMultiplier":null,"privacy":{"delta":0.00001,"epsilon":3,"recordsPerSubject":3},"train":{"l2ClipNorm":1,' +
    '"learningRate":0.5,"microBatchRecords":4,"network":{"inputs":3,"layers":[{"activation":"none","outputs":2}]},' +
    '"protect":"sealed","ridge":0.5,"updateBatchRecords":8,"warmStart":"ab"}}';
  const expected = createHash("sha256").update(json).digest("hex");
  expect(runConfigHash({ spec, network: NETWORK })).toBe(expected);
});

const train = (change: object) => ({ spec: { ...SPEC, train: { ...TRAIN, ...change } } });
const privacy = (change: object) => ({
  spec: { ...SPEC, privacy: { ...SPEC.privacy, ...change } },
});
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
  ["map", { spec: { ...SPEC, features: { ...SPEC.features, maps: [{ normalize: "l2" }] } } }],
  ["correlation", privacy({ noise: { kind: "toeplitz", updates: 8 } })],
  ["participation", privacy({ participations: 2 })],
  ["bound of subjects", privacy({ recordsPerSubject: 1 })],
  ["method", train({ method: "statistics" })],
  ["clipping", train({ clipping: "automatic" })],
  ["optimizer", train({ optimizer: { kind: "sgd", momentum: 0.9 } })],
  ["schedule", train({ schedule: { ...TRAIN_DEFAULTS.schedule, warmupUpdates: 1 } })],
  ["averaging", train({ averaging: { kind: "decay", decay: 0.9 } })],
  ["initialization", train({ initialization: "zeros" })],
  ["warm start", train({ warmStart: { file: "a", sha256: "ab" } })],
  ["ridge", train({ ridge: 1 })],
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
  const claim = privacy({ accountant: "one-pass" });
  expect(runConfigHash({ ...claim, network: NETWORK })).toBe(own);
  expect(runConfigHash({ ...other, network: NETWORK })).toBe(own);
});

test("a setting that is no number is refused", () => {
  const spec = train({ l2ClipNorm: Number.NaN }).spec;
  expect(() => runConfigHash({ spec, network: NETWORK })).toThrow();
});
