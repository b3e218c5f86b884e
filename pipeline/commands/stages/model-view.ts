/** The newest model as a stage sees it: through its ledger entry, decoded once. */

import type { Network } from "../../network/definition.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import { decodeCheckpoint, iterateOf } from "../../network/safetensors.ts";
import type { Weights } from "../../network/weights.ts";
import type { ModelForm } from "../../privacy/model-blob.ts";
import { createModelReader, type ModelReader, type ReadModel } from "../../privacy/model-reader.ts";
import type { PredictModel } from "../../stages/predict/stage.ts";
import type { StageWorld } from "./world.ts";

/** The newest models as ciphertexts, by the consumer's key that they are under. */
export interface EncryptedModelView {
  /**
   * The newest model that is complete here, or null.
   * @param consumerKeyId the key it must be under; null: any
   */
  newest(consumerKeyId: string | null): PredictModel | null;
}

export interface DecodedModel extends ReadModel {
  readonly network: Network;
  readonly weights: Weights;
  /** What gradients are taken at. */
  readonly iterate: Weights;
}

export interface ModelView {
  readonly reader: ModelReader;
  /** Newest model that is complete here, or null before the first. */
  newest(): DecodedModel | null;
}

/** Follows `ledger` and `models` until both have caught up. */
export async function openModelView(world: StageWorld): Promise<ModelView> {
  const reader = await followModels(world, "plain");
  let decoded: DecodedModel | null = null;
  return {
    reader,
    newest() {
      const newest = reader.newest();
      if (newest === null) {
        return null;
      }
      if (decoded?.entryHash !== newest.entryHash) {
        const checkpoint = decodeCheckpoint(newest.checkpoint);
        const { network, weights } = checkpoint;
        decoded = { ...newest, network, weights, iterate: iterateOf(checkpoint) };
      }
      return decoded;
    },
  };
}

/** Consumer keys whose newest model is kept: the present one, and the one before while its last packs come in. */
const KEPT_KEYS = 2;

/** Follows `ledger` and `models` until both have caught up, for who gets models as ciphertexts. */
export async function openEncryptedModelView(world: StageWorld): Promise<EncryptedModelView> {
  const network = networkFromSpec(world.spec.features, world.spec.train);
  const reader = await followModels(world, "encrypted");
  /** By consumer key, the newest last. */
  const kept = new Map<string, PredictModel>();
  let seen: string | null = null;
  const look = (): void => {
    const newest = reader.newest();
    const stored = newest?.entry.encryptedModel;
    if (newest === null || stored === undefined || newest.entryHash === seen) return;
    seen = newest.entryHash;
    const { entry, entryHash, checkpoint } = newest;
    const { consumerKeyId } = stored;
    kept.delete(consumerKeyId);
    kept.set(consumerKeyId, {
      entry,
      entryHash,
      network,
      weights: { file: checkpoint, consumerKeyId },
    });
    const [oldest] = kept.keys();
    if (kept.size > KEPT_KEYS && oldest !== undefined) kept.delete(oldest);
  };
  return {
    newest(consumerKeyId) {
      look();
      return (consumerKeyId === null ? [...kept.values()].at(-1) : kept.get(consumerKeyId)) ?? null;
    },
  };
}

async function followModels(world: StageWorld, form: ModelForm): Promise<ModelReader> {
  const { spec, directory, counter } = world;
  const reader = createModelReader({ pipeline: spec.name, directory, form });
  // Told as it arrives: a stage without records does not ask for it.
  const note = (): void => {
    const newest = reader.newest();
    if (newest !== null) {
      counter.note("model", newest.entry.modelVersion);
    }
  };
  await Promise.all([
    world.follow("models", ({ key, value }) => {
      reader.applyModel(key, value);
      note();
    }),
    world.follow("ledger", ({ value, offset }) => {
      if (reader.applyLedger(value, offset) === "refused") {
        world.logger.warn({ offset }, "an entry of the ledger was refused");
      }
      note();
    }),
  ]);
  return reader;
}
