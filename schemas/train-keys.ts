/**
 * The parts of the pipeline file about training: `train` and `privacy`.
 *
 * What a single key may be, and the words an editor shows beside it. What keys must mean together is checked in
 * `pipeline/spec/`. Must not import any room.
 */
import { z } from "zod";
import { networkLayer } from "./network-layers.ts";
import { privacyKeys } from "./privacy-keys.ts";
import { trainerKeys } from "./trainer-keys.ts";

const integer = (minimum: number, maximum: number) => z.int().min(minimum).max(maximum);

/** `train`. */
export const train = z
  .strictObject({
    network: z
      .array(networkLayer)
      .min(1)
      .max(16)
      .describe("Layers from input to output; the last has one output per class."),
    microBatchRecords: integer(1, 65_536).describe(
      "Records in one contribution; a divisor of updateBatchRecords.",
    ),
    updateBatchRecords: integer(1, 1_048_576).describe(
      "Records in one model update: the public constant B.",
    ),
    // The range for which the clip's float32 margin is derived (pipeline/stages/train/clip-margin.ts).
    l2ClipNorm: z
      .number()
      .min(2 ** -6)
      .max(2 ** 20)
      .default(1)
      .describe("Largest L2 norm of one record's gradient."),
    clipping: z
      .enum(["flat", "per-layer", "automatic"])
      .default("flat")
      .describe(
        "flat: by the norm of a record's whole gradient; per-layer: each layer to its even share; automatic: always scaled to the norm.",
      ),
    ...trainerKeys,
    backend: z
      .enum(["auto", "wasm", "cpu", "tfjs-node", "tfjs-node-gpu", "webgpu"])
      .default("auto")
      .describe(
        "Compute backend of TensorFlow.js; auto measures those that are installed and takes the fastest.",
      ),
    protect: z
      .enum(["sealed"])
      .default("sealed")
      .describe("How contributions travel: sealed to the aggregator."),
    maxStalenessUpdates: integer(0, 1_000_000)
      .default(1)
      .describe("Train waits when it is this far ahead of the newest model."),
    tailAfterMs: integer(1, 86_400_000)
      .nullable()
      .default(null)
      .describe(
        "Fill a micro-batch with zeros after this long without enough records; null: wait for ever.",
      ),
  })
  .describe("The model and how it learns.");

/** `privacy`. */
export const privacy = z
  .strictObject({
    epsilon: z.number().positive().max(1000).describe("The privacy budget of one run."),
    delta: z
      .number()
      .positive()
      .max(0.1)
      .describe("Chance outside the bound; well below one over the records."),
    ...privacyKeys,
    recordsPerSubject: integer(1, 65_535)
      .nullable()
      .default(null)
      .describe(
        "Records of one subject that may train, in all runs together: epsilon then speaks of people. Needs record.subject and record.partitioner: subject; null: epsilon speaks of records.",
      ),
  })
  .describe("Differential privacy of the model.");
