/**
 * How good the predictions are: encrypted against the plain network of the same checkpoint, and against a network
 * trained on the same records in the same order without noise.
 *
 * Only the demo can do this: it plays every zone and knows the truth.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { readModels } from "../../../pipeline/client/models.ts";
import type { Prediction } from "../../../pipeline/client/predictions.ts";
import { createKeyDirectory } from "../../../pipeline/crypto/directory.ts";
import { openKeyStore } from "../../../pipeline/crypto/key-store.ts";
import { createFeatureExtractor } from "../../../pipeline/features/extract.ts";
import { planMaps } from "../../../pipeline/features/maps/plan-maps.ts";
import type { Network } from "../../../pipeline/network/definition.ts";
import { argmax, forward } from "../../../pipeline/network/forward.ts";
import { decodeCheckpoint } from "../../../pipeline/network/safetensors.ts";
import { unflatten, type Weights } from "../../../pipeline/network/weights.ts";
import type { LedgerEntry } from "../../../pipeline/privacy/ledger-entry.ts";
import type { PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import { createUpdateRule } from "../../../pipeline/stages/aggregate/update-rule.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import type { KafkaClient } from "../../../pipeline/stream/port.ts";
import type { DigitForm, DigitRecord } from "../records.ts";

export interface FinalModel {
  readonly entries: readonly LedgerEntry[];
  readonly network: Network;
  readonly weights: Weights;
}

/** Opens the newest model with the prediction zone's key, as `predict` does. */
export async function readFinalModel(
  client: KafkaClient,
  spec: PipelineSpec,
  keysRoot: string,
): Promise<FinalModel> {
  const keys = await openKeyStore({ folder: join(keysRoot, "predict"), holder: "predict" });
  if (spec.zones === null) {
    throw new Error("the demo's pipeline file pins no zones");
  }
  const directory = createKeyDirectory({
    pipeline: spec.name,
    zones: spec.zones,
    revoked: spec.revoked,
    unwrapKeys: () => [keys.unwrap("model-unwrap")],
  });
  const reader = await readModels({ client, pipeline: spec.name, directory });
  const newest = reader.newest();
  if (newest === null) {
    throw new Error("no model was published");
  }
  const { network, weights } = decodeCheckpoint(newest.checkpoint);
  return { entries: reader.entries().map(({ entry }) => entry), network, weights };
}

/** What the network reads of a form: the fields, scaled and mapped as `encrypt` does it. */
function featuresOf({
  features,
}: Pick<PipelineSpec, "features">): (form: DigitForm) => Float32Array {
  const extractor = createFeatureExtractor(features);
  const maps = planMaps(features.maps, extractor.length, features.outputs.range);
  return (form) => {
    const extracted = extractor.extract(Buffer.from(JSON.stringify(form)));
    if (extracted.status === "refused") throw new Error("a form of the demo has no features");
    return maps.apply(extracted.x);
  };
}

export interface Scores {
  readonly accuracyEncrypted: number;
  readonly accuracyPlain: number;
  readonly agreement: number;
  /** Ids predicted not exactly once, and ids that nobody asked about. */
  readonly wrongCount: number;
}

/** Compares every unlabelled record's prediction with its truth and with the plain network's answer. */
export function score(
  spec: PipelineSpec,
  records: readonly DigitRecord[],
  predictions: readonly Prediction[],
  model: FinalModel,
): Scores {
  const inputOf = featuresOf(spec);
  const byId = Map.groupBy(predictions, ({ recordId }) => recordId);
  let encrypted = 0;
  let plain = 0;
  let agree = 0;
  let once = 0;
  for (const record of records) {
    const own = byId.get(record.form.formId) ?? [];
    once += own.length === 1 ? 1 : 0;
    const answer = argmax(forward(model.network, model.weights, inputOf(record.form)));
    const label = own.at(0)?.label;
    plain += answer === record.truth ? 1 : 0;
    encrypted += label === record.truth ? 1 : 0;
    agree += label === answer ? 1 : 0;
  }
  const count = records.length;
  return {
    accuracyEncrypted: encrypted / count,
    accuracyPlain: plain / count,
    agreement: agree / count,
    wrongCount:
      count -
      once +
      [...byId.keys()].length -
      records.filter(({ form }) => byId.has(form.formId)).length,
  };
}

/**
 * Accuracy of the same network after one pass over the same training records, clipped and averaged alike but without any
 * noise.
 * @param records labelled ones that took part in training, in any order
 */
export async function accuracyWithoutNoise(options: {
  readonly spec: PipelineSpec;
  readonly network: Network;
  readonly train: readonly DigitRecord[];
  readonly test: readonly DigitRecord[];
}): Promise<number> {
  const { spec, network, train, test } = options;
  const { updateBatchRecords, l2ClipNorm, clipping } = spec.train;
  const inputOf = featuresOf(spec);
  // Not the file's: what `auto` tries beside it prints to this terminal.
  const backend = createTrainBackend("wasm");
  await backend.load();
  const rule = createUpdateRule(spec, network, null);
  let state = rule.initial(randomBytes);
  for (let step = 1; step * updateBatchRecords <= train.length; step += 1) {
    const batch = train.slice((step - 1) * updateBatchRecords, step * updateBatchRecords);
    const { sum } = await backend.clippedGradientSum({
      network,
      weights: unflatten(network, state.iterate),
      inputs: Float32Array.from(batch.flatMap(({ form }) => [...inputOf(form)])),
      labels: Int32Array.from(batch.map(({ truth }) => truth)),
      rows: batch.length,
      l2ClipNorm,
      clipping,
    });
    state = rule.step(state, { sum: Float64Array.from(sum), divisor: updateBatchRecords }, step);
  }
  const weights = unflatten(network, state.published);
  const correct = test.filter(
    ({ form, truth }) => argmax(forward(network, weights, inputOf(form))) === truth,
  );
  return correct.length / test.length;
}
