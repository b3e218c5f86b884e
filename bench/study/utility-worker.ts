/**
 * A process that trains on one data set, over and over, through the product's own stages; argument: UtilityJob as JSON.
 *
 * Records are read as `encrypt` reads them, sealed, trained on and aggregated by the real stages (training-zone.ts), one
 * pass; what is scored is the published model. Epsilon is the one that the ledger says. Sends an UtilityResult for each
 * run and ends. The seed decides the split and the order of arrival; the noise is from fresh keys each time.
 */

import { createFeatureExtractor } from "../../pipeline/features/extract.ts";
import { planMaps } from "../../pipeline/features/maps/plan-maps.ts";
import { argmax, forward } from "../../pipeline/network/forward.ts";
import type { PipelineSpec } from "../../pipeline/spec/pipeline-spec.ts";
import { type Dataset, type DatasetName, type Item, openDataset } from "./datasets.ts";
import { SETTINGS, type Settings } from "./settings.ts";
import { type LabelledRow, openTrainingZone, type TrainingZone } from "./training-zone.ts";

export interface UtilityJob {
  readonly dataset: DatasetName;
  readonly mnistFolder: string | null;
  /** Which of the data set's settings. */
  readonly settings: number;
  readonly epsilons: readonly number[];
  readonly seeds: readonly number[];
}

export interface UtilityResult {
  readonly epsilon: number;
  readonly delta: number;
  readonly seed: number;
  /** As the ledger's last entry says. */
  readonly ledgerEpsilon: number;
  readonly updates: number;
  /** Records that the model has seen; the rest did not fill an update. */
  readonly records: number;
  readonly tests: number;
  /** 0..1 */
  readonly accuracy: number;
}

const DELTA = 1e-5;

function fileOf(
  dataset: Dataset,
  { maps, train, correlated }: Settings,
  { epsilon, records }: { readonly epsilon: number; readonly records: number },
): string {
  const updates = Math.floor(records / train.updateBatchRecords);
  return JSON.stringify({
    name: "study",
    kafka: { brokers: "", partitions: 1 },
    record: { schema: "record.schema.json", id: "id", subject: "id" },
    desensitize: [
      { fields: ["id", "y", ...dataset.inputs.map((_, at) => `x${at}`)], action: "keep" },
    ],
    features: {
      inputs: dataset.inputs.map(({ length, range }, at) => ({ field: `x${at}`, length, range })),
      maps,
      label: { field: "y", classes: dataset.classes },
      split: { train: 1, validate: 0, test: 0 },
    },
    train: {
      network: [{ dense: dataset.classes }],
      microBatchRecords: train.updateBatchRecords,
      backend: "wasm",
      ...train,
    },
    privacy: {
      epsilon,
      delta: DELTA,
      noise: correlated ? { toeplitz: { updates } } : "independent",
    },
    predict: { encrypted: false },
  });
}

function schemaOf({ inputs }: Dataset): string {
  const value = { type: "array", items: { type: "number" } };
  const fields = inputs.map(({ length }, at) => [
    `x${at}`,
    length === 1 ? { type: "number" } : value,
  ]);
  return JSON.stringify({
    type: "object",
    properties: { id: { type: "string" }, y: { type: "integer" }, ...Object.fromEntries(fields) },
    required: ["id", "y", ...inputs.map((_, at) => `x${at}`)],
    additionalProperties: false,
  });
}

/** A record as `encrypt` reads it; the same item is read once. */
function createReader({ features }: PipelineSpec, { inputs }: Dataset) {
  const extractor = createFeatureExtractor(features);
  const maps = planMaps(features.maps, extractor.length, features.outputs.range);
  const known = new Map<Item, LabelledRow>();
  return (item: Item): LabelledRow => {
    const before = known.get(item);
    if (before !== undefined) return before;
    let from = 0;
    const fields = inputs.map(({ length }, at) => {
      const values = Array.from({ length }, (_, i) => item.x[from + i]!);
      from += length;
      return [`x${at}`, length === 1 ? values[0] : values];
    });
    const json = JSON.stringify({ id: "x", y: item.label, ...Object.fromEntries(fields) });
    const extracted = extractor.extract(new TextEncoder().encode(json));
    if (extracted.status !== "example") throw new Error("a record has no features");
    const x = features.maps.length === 0 ? extracted.x : maps.apply(extracted.x);
    const row = { x, label: extracted.label };
    known.set(item, row);
    return row;
  };
}

/** One pass, in whole update batches. */
async function pass(zone: TrainingZone, rows: readonly LabelledRow[]): Promise<number> {
  const { updateBatchRecords } = zone.spec.train;
  let records = 0;
  for (; records + updateBatchRecords <= rows.length; records += updateBatchRecords) {
    await zone.update(rows.slice(records, records + updateBatchRecords));
  }
  return records;
}

async function work(job: UtilityJob, send: (result: UtilityResult) => void): Promise<void> {
  const dataset = await openDataset(job.dataset, job.mnistFolder, () => undefined);
  if (typeof dataset === "string") throw new Error(dataset);
  const settings = SETTINGS[job.dataset][job.settings]!;
  let read: ReturnType<typeof createReader> | null = null;
  for (const seed of job.seeds) {
    const { train, test } = dataset.split(seed);
    for (const epsilon of job.epsilons) {
      const zone = await openTrainingZone({
        file: fileOf(dataset, settings, { epsilon, records: train.length }),
        schema: schemaOf(dataset),
      });
      // The features are the same whatever the budget.
      read ??= createReader(zone.spec, dataset);
      const records = await pass(zone, train.map(read));
      const { network, weights, entry } = zone.model();
      const correct = test
        .map(read)
        .filter(({ x, label }) => argmax(forward(network, weights, x)) === label).length;
      await zone.close();
      send({
        ...{ epsilon, delta: DELTA, seed, ledgerEpsilon: entry.epsilon, updates: entry.step },
        ...{ records, tests: test.length, accuracy: correct / test.length },
      });
    }
  }
}

if (process.send !== undefined) {
  // Because the parent is ours and hands in exactly this.
  await work(JSON.parse(process.argv[2] ?? "") as UtilityJob, (result) => process.send?.(result));
  process.disconnect();
}
