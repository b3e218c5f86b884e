/** Wires `aggregate`: what it restores from is read anew from the topics after its lane was fenced. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { featureBounds } from "../../ckks/feature-bounds.ts";
import { parseParameters } from "../../ckks/parameters.ts";
import { requirePlan } from "../../ckks/predict-plan.ts";
import { encryptModelFile } from "../../ckks/slots/encrypted-model-file.ts";
import { readModels } from "../../client/models.ts";
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import { createNoiseThread } from "../../stages/aggregate/noise-thread.ts";
import type { ModelEncryption } from "../../stages/aggregate/options.ts";
import { createAggregateStage } from "../../stages/aggregate/stage.ts";
import { loadWarmStart } from "../warm-start.ts";
import { openDirectory, type StageWorld, type WireStage } from "./world.ts";

/** Between looks at a data key that a service unwraps. */
const KEY_WAIT_MS = 20;

/** Reads keys, models and ledger to what is committed now. */
async function restore({ spec, client, keys }: StageWorld) {
  const directory = openDirectory(spec, keys, "aggregate");
  const reader = await readModels({ client, pipeline: spec.name, directory });
  let newest = reader.newest();
  // A data key in a service takes its time.
  while (directory.isBusy()) {
    await sleep(KEY_WAIT_MS);
    newest = reader.newest();
  }
  return { entries: reader.entries(), newest };
}

/** At which scale the owner encrypts under published keys, and how precise results must be. */
function slotGoal(spec: PipelineSpec, parameters: string) {
  const { precisionBits } = spec.predict;
  const { packings } = requirePlan({ ...spec, predict: { ...spec.predict, parameters } });
  if (packings.slots === null) {
    throw new SealstreamError(
      "limit-exceeded",
      `The published CKKS parameters ${parameters} hold no encrypted model of this network.`,
    );
  }
  return { precisionBits, inputScaleBits: packings.slots.inputScaleBits };
}

/** Encrypts models under the consumer's published key, where the prediction zone must not see them. */
function modelEncryption({ spec, directory, logger, counter }: StageWorld): ModelEncryption {
  const published = () => {
    const blob = directory.blob("ckks-public");
    const parameters = blob === null ? null : parseParameters(blob.parameters);
    return blob === null || parameters === null ? null : { blob, parameters };
  };
  // A plan takes some tenths of a second, and depends on the file and the set alone.
  let planned: { readonly id: string; readonly goal: ReturnType<typeof slotGoal> } | null = null;
  const goalOf = (id: string) => {
    if (planned?.id !== id) planned = { id, goal: slotGoal(spec, id) };
    return planned.goal;
  };
  return {
    ready() {
      const isReady = published() !== null;
      counter.note("waits for keys", isReady ? null : "ckks-public");
      return isReady;
    },
    async encrypt(network, weights) {
      const consumer = published();
      if (consumer === null) return null;
      const { blob, parameters } = consumer;
      try {
        const file = await encryptModelFile({
          network,
          weights,
          parameters,
          publicKey: blob.bytes,
          ...goalOf(parameters.id),
          bounds: featureBounds(spec.features.outputs.range),
        });
        return { file, parameters: parameters.id, consumerKeyId: blob.id };
      } catch (error) {
        if (!isSealstreamError(error, "limit-exceeded")) throw error;
        counter.note("model not encrypted", error.message);
        logger.warn(
          { reason: error.message },
          "a model is too large to be encrypted: predictions go on with the one before",
        );
        return null;
      }
    },
  };
}

export const wire: WireStage = async (world) => {
  const { spec, directory, keys, counter } = world;
  return createAggregateStage({
    spec,
    directory,
    keysFreshAsOf: world.keysFreshAsOf,
    keys,
    kms: world.kms,
    restore: () => restore(world),
    random: randomBytes,
    warmStart: loadWarmStart(spec)?.weights ?? null,
    ...(spec.predict.model === "encrypted" ? { modelEncryption: modelEncryption(world) } : {}),
    noiseMaker: createNoiseThread(),
    onEnded: world.halt,
    onUpdate: ({ modelVersion, epsilon }) => {
      counter.note("model", modelVersion);
      counter.note("epsilon", epsilon.toFixed(3));
    },
  });
};
