/**
 * The parts of the pipeline file about prediction on ciphertexts: `encrypt.packs` and `predict`.
 *
 * What a single key may be, and the words an editor shows beside it. Whether a parameter set's id names a secure set,
 * and whether any set carries the network, is the planner's to say (`pipeline/ckks/`). Must not import any room.
 */
import { z } from "zod";

/** As CKKS parameter sets are named: ring degree, bits of the primes, bits of the scale. */
const PARAMETERS = /^(?:auto|ckks-[1-9]\d{0,4}-[1-9]\d?(?:\.[1-9]\d?)+-s[1-9]\d?)$/;

const integer = (minimum: number, maximum: number) => z.int().min(minimum).max(maximum);

/** `encrypt.packs`. */
export const packs = z
  .strictObject({
    lingerMs: integer(0, 600_000)
      .default(200)
      .describe("A pack that is not full goes after this long."),
    maxBytesPerRecord: integer(1, 2 ** 31)
      .default(200_000)
      .describe(
        "Bytes one record of a full pack may cost; check refuses a dearer network, and encrypt stops.",
      ),
    rate: z
      .number()
      .positive()
      .max(1_000_000)
      .optional()
      .describe(
        "Unlabelled records a second that are expected, over all partitions. With lingerMs it says how full packs get: for packing auto and sealstream plan. Left out: packs are taken to be full.",
      ),
  })
  .prefault({})
  .describe("Unlabelled records, for prediction.");

/** `predict`. */
export const predict = z
  .strictObject({
    encrypted: z
      .boolean()
      .default(true)
      .describe(
        "Whether unlabelled records are predicted on ciphertexts. false: for networks that ciphertexts cannot be put through (relu, tanh, maxima, gru, lstm, norms, embeddings). Then there is no predict stage and no CKKS key, and unlabelled records are dropped; training is the same.",
      ),
    packing: z
      .enum(["auto", "batch", "slots"])
      .default("auto")
      .describe(
        "How records share ciphertexts. batch: one ciphertext a feature, thousands of records in each, the most records a second. slots: all features of a few records in one ciphertext, the first answer soonest. auto: whichever is cheaper for the records that came.",
      ),
    model: z
      .enum(["secret", "shared", "encrypted"])
      .default("secret")
      .describe(
        "What the consumer may learn of the model beside predictions. secret: results are re-randomised, which costs time. shared: the consumer may come to know the model. encrypted: the weights are ciphertexts too, so that the prediction zone sees neither records nor model; slots packing only.",
      ),
    // 24: beyond it the noise of encryption at our largest scale is all that is left.
    precisionBits: z
      .number()
      .min(1)
      .max(24)
      .default(3)
      .describe(
        "Right bits behind the binary point that every logit must have: 3 is an error of 1/8 at most.",
      ),
    workers: z
      .union([z.literal("auto"), integer(1, 64)])
      .default("auto")
      .describe("Threads that evaluate packs in one predict process; auto: one for each core."),
    parameters: z
      .string()
      .max(128)
      .regex(PARAMETERS, "auto or the id of a parameter set, such as ckks-8192-46.46.47-s24")
      .default("auto")
      .describe(
        "CKKS parameter set of new keys, by id. auto: the cheapest that is secure, deep and precise enough; sealstream plan says why.",
      ),
  })
  .prefault({})
  .describe("Prediction on ciphertexts.");
