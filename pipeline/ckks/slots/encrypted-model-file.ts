/**
 * A model of ciphertexts as bytes: what the training zone gives the prediction zone under `predict.model: encrypted`.
 *
 * Grammar, version 1, integers little-endian:
 *   file   = magic 4 = "SCKM", version u8 = 1, zero 3, recipe bytes u32, recipe, parts u32, parts x part
 *   recipe = JSON of exactly the fields of SlotRecipe, UTF-8
 *   part   = bytes u32, a ciphertext in SEAL's uncompressed form (blob.ts)
 * Nothing is authenticated here: a ledger entry names the sealed bytes. Reading judges lengths and types only; what a
 * recipe and its ciphertexts may be is for `encrypted-model.ts`, which knows the plan.
 */
import { z } from "zod";
import { SealstreamError } from "../../errors.ts";
import type { Network } from "../../network/definition.ts";
import type { Weights } from "../../network/weights.ts";
import { type FeatureBounds, lowerScaled, UNIT_BOUNDS } from "../feature-bounds.ts";
import type { CkksParameters } from "../parameters.ts";
import { primesOf } from "../primes.ts";
import { encryptSlotModel, type SlotRecipe, slotRecipe } from "./encrypted-model.ts";
import { planSlots } from "./plan.ts";

const MAGIC = 0x4d4b4353;
const VERSION = 1;
const HEADER_BYTES = 12;
const LENGTH_BYTES = 4;
/** Matrix diagonals and biases; each is a ciphertext, so that far fewer fit a message's chunks. */
const MAX_PARTS = 65_536;
/** A recipe is a few numbers for each layer. */
const MAX_RECIPE_BYTES = 64 * 1024;

const MIB = 1024 * 1024;
/** Readers hold at most 64 MiB of models that are not complete yet (`privacy/model-reader.ts`). */
const MAX_FILE_BYTES = 48 * MIB;

const whole = z.int();
const recipeSchema = z.strictObject({
  packing: z.enum(["replicated", "diagonal"]),
  limbs: whole,
  steps: z
    .array(z.strictObject({ early: z.boolean(), late: z.boolean(), square: z.boolean() }))
    .max(256),
  bits: z.strictObject({
    input: whole,
    sums: z.array(whole).max(256),
    mask: whole.nullable(),
  }),
  outputLimbs: whole,
  precisionBits: z.number(),
});

export interface EncryptedModelFile {
  readonly recipe: SlotRecipe;
  /** Unchecked ciphertexts; views of the file. */
  readonly blobs: readonly Uint8Array[];
}

/**
 * Encrypts a model for one consumer.
 * @param options.precisionBits bits of a logit that must be right, as the pipeline file asks
 * @throws limit-exceeded when the model does not fit the parameters; key-invalid when the public key is not one of them
 */
export async function encryptModelFile(options: {
  readonly network: Network;
  readonly weights: Weights;
  readonly parameters: CkksParameters;
  readonly publicKey: Uint8Array;
  readonly precisionBits: number;
  /** log2 of the scale at which the owner encrypts. */
  readonly inputScaleBits: number;
  /** Of the pipeline file's features; those of numbers in [0, 1] unless said. */
  readonly bounds?: FeatureBounds;
}): Promise<Uint8Array> {
  const { network, weights, parameters, publicKey, precisionBits, inputScaleBits } = options;
  const circuit = lowerScaled(network, weights, options.bounds ?? UNIT_BOUNDS);
  const plan = planSlots(circuit, parameters, primesOf(parameters), {
    mode: "encrypted",
    precisionBits,
    inputScaleBits,
  });
  const recipe = slotRecipe(plan);
  const file = encodeEncryptedModel({ recipe, blobs: await encryptSlotModel(plan, publicKey) });
  if (file.length > MAX_FILE_BYTES) {
    throw new SealstreamError(
      "limit-exceeded",
      `CKKS: this model takes ${Math.ceil(file.length / MIB)} MiB as ciphertexts, more than the ${MAX_FILE_BYTES / MIB} that are published; use a smaller network, or predict.model: secret.`,
    );
  }
  return file;
}

/** The bytes of a model; a new buffer. */
export function encodeEncryptedModel({ recipe, blobs }: EncryptedModelFile): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify(recipe));
  const parts = blobs.reduce((sum, blob) => sum + LENGTH_BYTES + blob.length, 0);
  const file = new Uint8Array(HEADER_BYTES + text.length + LENGTH_BYTES + parts);
  const view = new DataView(file.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, VERSION);
  view.setUint32(8, text.length, true);
  file.set(text, HEADER_BYTES);
  let at = HEADER_BYTES + text.length;
  view.setUint32(at, blobs.length, true);
  at += LENGTH_BYTES;
  for (const blob of blobs) {
    view.setUint32(at, blob.length, true);
    file.set(blob, at + LENGTH_BYTES);
    at += LENGTH_BYTES + blob.length;
  }
  return file;
}

/**
 * What a file holds.
 * @param file authentic; not written
 * @throws checkpoint-invalid when it is not a file of version 1
 */
export function decodeEncryptedModel(file: Uint8Array): EncryptedModelFile {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const starts =
    file.length >= HEADER_BYTES + LENGTH_BYTES &&
    view.getUint32(0, true) === MAGIC &&
    view.getUint32(4, true) === VERSION;
  const recipeBytes = starts ? view.getUint32(8, true) : MAX_RECIPE_BYTES + 1;
  const partsAt = HEADER_BYTES + recipeBytes;
  if (recipeBytes > MAX_RECIPE_BYTES || partsAt + LENGTH_BYTES > file.length) throw notAFile();
  const recipe = recipeSchema.safeParse(parseJson(file.subarray(HEADER_BYTES, partsAt)));
  if (!recipe.success) throw notAFile();
  const parts = view.getUint32(partsAt, true);
  if (parts > MAX_PARTS) throw notAFile();
  const blobs: Uint8Array[] = [];
  let at = partsAt + LENGTH_BYTES;
  for (let part = 0; part < parts; part += 1) {
    const from = at + LENGTH_BYTES;
    if (from > file.length) throw notAFile();
    at = from + view.getUint32(at, true);
    if (at > file.length) throw notAFile();
    blobs.push(file.subarray(from, at));
  }
  if (at !== file.length) throw notAFile();
  return { recipe: recipe.data, blobs };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return null;
  }
}

function notAFile(): SealstreamError {
  return new SealstreamError(
    "checkpoint-invalid",
    "The encrypted model is not a file of version 1; let the training zone publish it anew.",
  );
}
