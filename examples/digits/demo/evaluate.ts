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
import type { Network } from "../../../pipeline/network/definition.ts";
import { argmax, forward } from "../../../pipeline/network/forward.ts";
import { initialWeights } from "../../../pipeline/network/initial-weights.ts";
import { decodeCheckpoint } from "../../../pipeline/network/safetensors.ts";
import { flatten, unflatten, type Weights } from "../../../pipeline/network/weights.ts";
import type { LedgerEntry } from "../../../pipeline/privacy/ledger-entry.ts";
import type { PipelineSpec } from "../../../pipeline/spec/pipeline-spec.ts";
import { createTrainBackend } from "../../../pipeline/stages/train/tfjs-backend.ts";
import type { KafkaClient } from "../../../pipeline/stream/port.ts";
import type { DigitRecord } from "../records.ts";

const LARGEST_PIXEL = 16;

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

function inputOf(record: DigitRecord): number[] {
  return record.form.pixels.map((pixel) => pixel / LARGEST_PIXEL);
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
  records: readonly DigitRecord[],
  predictions: readonly Prediction[],
  model: FinalModel,
): Scores {
  const byId = Map.groupBy(predictions, ({ recordId }) => recordId);
  let encrypted = 0;
  let plain = 0;
  let agree = 0;
  let once = 0;
  for (const record of records) {
    const own = byId.get(record.form.formId) ?? [];
    once += own.length === 1 ? 1 : 0;
    const answer = argmax(forward(model.network, model.weights, inputOf(record)));
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
 * Accuracy of the same network after one pass over the same training records, clipped alike but without any noise.
 * @param records labelled ones that took part in training, in any order
 */
export async function accuracyWithoutNoise(options: {
  readonly spec: PipelineSpec;
  readonly network: Network;
  readonly train: readonly DigitRecord[];
  readonly test: readonly DigitRecord[];
}): Promise<number> {
  const { spec, network, train, test } = options;
  const { updateBatchRecords, l2ClipNorm, learningRate } = spec.train;
  const backend = createTrainBackend(spec.train.backend);
  await backend.load();
  let flat = flatten(initialWeights(network, randomBytes));
  for (let from = 0; from + updateBatchRecords <= train.length; from += updateBatchRecords) {
    const batch = train.slice(from, from + updateBatchRecords);
    const { sum } = await backend.clippedGradientSum({
      network,
      weights: unflatten(network, flat),
      inputs: Float32Array.from(batch.flatMap(inputOf)),
      labels: Int32Array.from(batch.map(({ truth }) => truth)),
      rows: batch.length,
      l2ClipNorm,
    });
    flat = flat.map(
      (weight, index) => weight - (learningRate / updateBatchRecords) * (sum[index] ?? 0),
    );
  }
  const weights = unflatten(network, flat);
  const correct = test.filter(
    (record) => argmax(forward(network, weights, inputOf(record))) === record.truth,
  );
  return correct.length / test.length;
}
