/**
 * The train stage: unseals examples, and turns each micro-batch into one sealed, clipped, fixed-point gradient sum.
 *
 * What follows from the committed log alone: where a micro-batch begins and ends, which places it has, and (for the same
 * model) its sum; so a retry covers the same records, and the noise that aggregate keys to them stays the same. The cut
 * of a tail and a refusal for want of a key depend on time: the cut is committed before its contribution is written; the
 * refusal changes what is in a place, never the places. Consumes nothing while there is no model of its own
 * configuration, or too much waits.
 * Must not add noise, write in the clear, or say anything about a record but its offset and a reason.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { SealstreamError } from "../../errors.ts";
import type { Network } from "../../network/definition.ts";
import { networkFromSpec } from "../../network/from-spec.ts";
import { contributionLength } from "../../network/linear-statistics.ts";
import { contributionBytes, contributionFractionBits } from "../../privacy/contribution.ts";
import { runConfigHash } from "../../privacy/run-config.ts";
import type { PipelineSpec } from "../../spec/pipeline-spec.ts";
import type { LaneBounds, Stage } from "../../stream/contract.ts";
import { clipTarget } from "./clip-margin.ts";
import { createContributionSealer } from "./contribution-sealer.ts";
import { createExampleWindow } from "./example-window.ts";
import { createLaneProcessor } from "./lane-processor.ts";
import type { TrainStageOptions } from "./options.ts";
import { createStalenessGate } from "./staleness.ts";
import type { TrainState } from "./state.ts";
import { statisticsTarget } from "./statistics-backend.ts";

/** A key of 2^32 uses could stay for ever; a new one now and then keeps what one leaked key opens small. */
const ROTATE_AFTER_CONTRIBUTIONS = 10_000;
/** Room for COSE and AES-GCM around a contribution: under 200 bytes, see crypto/envelope.ts. */
export const ENVELOPE_OVERHEAD_BYTES = 1024;
/** Envelope, headers and id around the features of one example. */
const EXAMPLE_OVERHEAD_BYTES = 1024;
const MIN_WINDOW_RECORDS = 4096;
/** Micro-batches that fit in the window at once, so that validation records between places do not fill it. */
const WINDOW_BATCHES = 4;

/**
 * The train stage on topic `examples`.
 * @throws limit-exceeded when a contribution of this network does not fit one message or the clip margin does not
 * cover the settings; spec-invalid when network and features do not fit
 */
export function createTrainStage(options: TrainStageOptions): Stage<TrainState> {
  const { spec, backend } = options;
  const { train } = spec;
  const network = networkFromSpec(spec.features, train);
  checkLimits(network, train);
  const configHash = runConfigHash({ spec, network, noiseMultiplier: options.noiseMultiplier });
  const gate = createStalenessGate(
    ((train.maxStalenessUpdates + 1) * train.updateBatchRecords) / train.microBatchRecords,
  );
  const bounds = windowBounds(network, train.microBatchRecords);
  return {
    name: "train",
    bounds,
    warmUp: () =>
      backend.load({
        ...{ network, rows: train.microBatchRecords },
        ...{ l2ClipNorm: train.l2ClipNorm, clipping: train.clipping },
      }),
    openLane: (lane) =>
      createLaneProcessor({
        ...options,
        lane,
        network,
        configHash,
        bounds,
        gate,
        window: createExampleWindow(
          {
            pipeline: spec.name,
            lane,
            directory: options.directory,
            inputs: network.inputs,
            classes: spec.features.label.classes,
            recordsPerSubject: spec.privacy.recordsPerSubject,
          },
          options.keysFreshAsOf,
        ),
        sealer: createContributionSealer({
          pipeline: spec.name,
          lane,
          directory: options.directory,
          signer: options.signer,
          kms: options.kms,
          rotateAfterUses: options.rotateAfterContributions ?? ROTATE_AFTER_CONTRIBUTIONS,
        }),
      }),
  };
}

function checkLimits(network: Network, train: PipelineSpec["train"]): void {
  const { microBatchRecords: places, l2ClipNorm } = train;
  if (train.method === "statistics") statisticsTarget(network.inputs, places, l2ClipNorm);
  else clipTarget(network, places, l2ClipNorm);
  contributionFractionBits({ places, l2ClipNorm });
  const bytes =
    contributionBytes(contributionLength(network, train.method)) + ENVELOPE_OVERHEAD_BYTES;
  if (bytes > MAX_VALUE_BYTES) {
    throw new SealstreamError(
      "limit-exceeded",
      `A contribution of this network takes ${bytes} bytes, a message ${MAX_VALUE_BYTES}: make train.network smaller.`,
    );
  }
}

function windowBounds(network: Network, microBatchRecords: number): LaneBounds {
  const maxRecords = Math.max(MIN_WINDOW_RECORDS, WINDOW_BATCHES * microBatchRecords);
  const exampleBytes = network.inputs * Float32Array.BYTES_PER_ELEMENT + EXAMPLE_OVERHEAD_BYTES;
  return { maxRecords, maxBytes: maxRecords * exampleBytes };
}
