/**
 * The keys of `train` that say how a model learns from its sums: method, optimizer, schedule, averaging, start.
 *
 * What a single key may be, and the words an editor shows beside it. Which of them go together is checked in
 * `pipeline/spec/trainer-keys.ts`. Must not import any room.
 */
import { z } from "zod";

const MAX_UPDATES = 1_000_000_000;
const share = z.number().gt(0).lt(1);

export const trainerKeys = {
  method: z
    .enum(["gradient", "statistics"])
    .default("gradient")
    .describe(
      "gradient: clipped gradients, update by update; statistics: a linear model from private sums of squares, without a learning rate.",
    ),
  learningRate: z
    .number()
    .positive()
    .max(1e6)
    .optional()
    .describe("Step size on the mean clipped gradient; needed by method gradient."),
  optimizer: z
    .enum(["sgd", "adam"])
    .optional()
    .describe("What becomes of the noisy mean gradient (default: sgd)."),
  momentum: z
    .number()
    .min(0)
    .lt(1)
    .optional()
    .describe("Of sgd: share of the old direction kept; the new one counts 1 - momentum."),
  adam: z
    .strictObject({
      beta1: z.number().min(0).lt(1).default(0.9).describe("Decay of the mean gradient."),
      beta2: z.number().min(0).lt(1).default(0.999).describe("Decay of its square."),
      epsilon: z.number().positive().max(1).default(1e-8).describe("Added to the root."),
    })
    .optional()
    .describe("Of adam: its constants."),
  schedule: z
    .strictObject({
      warmupUpdates: z
        .int()
        .min(0)
        .max(MAX_UPDATES)
        .default(0)
        .describe("The rate rises over this many updates."),
      decay: z
        .enum(["none", "linear", "cosine", "inverse-sqrt"])
        .default("none")
        .describe("How it falls afterwards."),
      updates: z
        .int()
        .min(1)
        .max(MAX_UPDATES)
        .optional()
        .describe("Of linear and cosine: updates after which it is 0."),
    })
    .optional()
    .describe("How the learning rate changes with the updates of a run (default: not at all)."),
  averaging: z
    .union([
      z.literal("none"),
      // One object of which check wants one key, so that a wrong one is told in words of ours.
      z.strictObject({
        decay: share.optional().describe("Exponential average, corrected for its start."),
        polynomial: z
          .number()
          .min(0)
          .max(1_000)
          .optional()
          .describe("The newest counts (p + 1) / (t + p); 0 is the plain mean."),
      }),
    ])
    .optional()
    .describe("What is published of the updated weights: the newest (none), or an average."),
  initialization: z
    .enum(["he", "glorot", "zeros"])
    .optional()
    .describe("Weights a run begins with (default: he)."),
  warmStart: z
    .strictObject({
      file: z.string().min(1).describe("Safetensors file, relative to this one."),
      sha256: z
        .string()
        .regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits, lowercase")
        .describe("Of its bytes, lowercase hexadecimal."),
    })
    .optional()
    .describe("Weights a run begins with, made from PUBLIC data: layers 0, 1, ... of the network."),
  ridge: z
    .number()
    .min(0)
    .max(1e6)
    .optional()
    .describe("Of method statistics: added to the mean squares, above what the noise asks for."),
};
