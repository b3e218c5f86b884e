/**
 * The keys of `privacy` that say how noise is made and accounted for.
 *
 * What a single key may be, and the words an editor shows beside it. Which of them are true of a pipeline is checked in
 * `pipeline/spec/privacy-keys.ts`. Must not import any room.
 */
import { z } from "zod";

/** Length of a block of correlated noise. */
const updates = z
  .int()
  .min(2)
  .max(1_048_576)
  .describe("Updates whose noise hangs together; then it begins anew. Best as many as a run has.");

export const privacyKeys = {
  noise: z
    .union([
      z.literal("independent"),
      z.strictObject({
        toeplitz: z
          .strictObject({ updates })
          .optional()
          .describe("Square-root Toeplitz: the best of its kind; keeps a row for each update."),
        banded: z
          .strictObject({
            updates,
            bands: z.int().min(2).max(1_024).describe("Rows that are kept, and one."),
          })
          .optional()
          .describe("Optimised bands: keeps as many rows as bands."),
        blt: z
          .strictObject({
            updates,
            buffers: z.int().min(1).max(10).describe("Rows that are kept: 3 to 5 are enough."),
          })
          .optional()
          .describe("Buffered linear Toeplitz: a few rows, however long the run."),
      }),
    ])
    .optional()
    .describe(
      "How the noise of a run's updates hangs together (default: independent). Correlated noise cancels in later updates: better models for the same epsilon.",
    ),
  accountant: z
    .enum(["one-pass", "k-fold", "correlated", "statistics", "poisson"])
    .optional()
    .describe(
      "A claim, checked against what follows from the file: which accounting is true of this pipeline.",
    ),
  participations: z
    .int()
    .min(1)
    .max(4_096)
    .optional()
    .describe("A claim: updates of a run that one record takes part in. It is 1."),
};
