/** The newest model as a stage sees it: through its ledger entry, decoded once. */

import type { Network } from "../../network/definition.ts";
import { decodeCheckpoint } from "../../network/safetensors.ts";
import type { Weights } from "../../network/weights.ts";
import { createModelReader, type ModelReader, type ReadModel } from "../../privacy/model-reader.ts";
import type { StageWorld } from "./world.ts";

export interface DecodedModel extends ReadModel {
  readonly network: Network;
  readonly weights: Weights;
}

export interface ModelView {
  readonly reader: ModelReader;
  /** Newest model that is complete here, or null before the first. */
  newest(): DecodedModel | null;
}

/** Follows `ledger` and `models` until both have caught up. */
export async function openModelView(world: StageWorld): Promise<ModelView> {
  const { spec, directory, counter } = world;
  const reader = createModelReader({ pipeline: spec.name, directory });
  let decoded: DecodedModel | null = null;
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
  return {
    reader,
    newest() {
      const newest = reader.newest();
      if (newest === null) {
        return null;
      }
      if (decoded?.entryHash !== newest.entryHash) {
        const { network, weights } = decodeCheckpoint(newest.checkpoint);
        decoded = { ...newest, network, weights };
      }
      return decoded;
    },
  };
}
