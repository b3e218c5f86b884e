/**
 * Evaluates slots packs of one model: some wire ciphertexts in, each of some records, as many out.
 *
 * The scale is the owner's choice: the first ciphertext says it, and the others must be of the same. Takes the ring's memory when it is made and gives it back when closed, last in first out. Must make no
 * randomness: encryptions of zero are handed in.
 */
import { SealstreamError } from "../errors.ts";
import { assumedCircuit } from "./assumed-circuit.ts";
import type { PackOutcome, PackRequest } from "./engine.ts";
import type { RingGaloisKeys, RingRelinKeys } from "./evaluation-keys.ts";
import { lowerScaled, UNIT_BOUNDS } from "./feature-bounds.ts";
import { CIPHERTEXT_POLYS } from "./parameters.ts";
import type { Ring } from "./ring.ts";
import type { CkksContext } from "./seal.ts";
import { planFromRecipe } from "./slots/encrypted-model.ts";
import { decodeEncryptedModel } from "./slots/encrypted-model-file.ts";
import { createSlotPackEvaluator } from "./slots/pack-evaluator.ts";
import { planSlots, type SlotPlan } from "./slots/plan.ts";
import { readWireHeader } from "./wire-ciphertext.ts";

export interface SlotsKeys {
  readonly ckks: CkksContext;
  readonly ring: Ring;
  readonly relinKeys: RingRelinKeys | null;
  readonly galoisKeys: RingGaloisKeys | null;
  /** A fresh encryption of zero over the primes of a result, as the library serializes it. */
  readonly encryptZero: () => Uint8Array;
}

export interface SlotsEngine {
  evaluate(request: PackRequest): PackOutcome;
  close(): void;
}

/** Scales that an owner's plan may choose: log2, least and most. */
const SCALE_BITS = { least: 8, most: 50 } as const;

/** log2 of the scale at which a pack says that it was encrypted; null when it is none that an owner would choose. */
export function slotsScaleBits(ckks: CkksContext, { ciphertexts }: PackRequest): number | null {
  const { parameters } = ckks;
  const limbs = ckks.primes.length - 1;
  const expected = { polys: [CIPHERTEXT_POLYS], limbs, scale: null };
  const header = readWireHeader(parameters, ciphertexts[0] ?? new Uint8Array(), expected);
  if (header.status === "refused") return null;
  const bits = Math.log2(header.shape.scale);
  const isOne = Number.isInteger(bits) && bits >= SCALE_BITS.least && bits <= SCALE_BITS.most;
  return isOne ? bits : null;
}

/**
 * Plans a model in slots; one of ciphertexts was planned where its weights are.
 * @throws limit-exceeded when the packing cannot hold it
 * @throws checkpoint-invalid when ciphertexts are not those of this network and these parameters
 */
export function planSlotsPack(
  ckks: CkksContext,
  request: PackRequest,
  inputScaleBits: number,
): SlotPlan {
  const { network, weights, mode, precisionBits, bounds = UNIT_BOUNDS } = request;
  const { parameters, primes } = ckks;
  if ("file" in weights) {
    const { recipe } = decodeEncryptedModel(weights.file);
    if (recipe.bits.input !== inputScaleBits) {
      throw new SealstreamError(
        "limit-exceeded",
        "CKKS: the encrypted model is for packs of another scale than the owner's.",
      );
    }
    return planFromRecipe(assumedCircuit(network), parameters, primes, recipe);
  }
  const goal = { mode, precisionBits, inputScaleBits };
  return planSlots(lowerScaled(network, weights, bounds), parameters, primes, goal);
}

/**
 * @throws limit-exceeded when the ring's memory does not hold the model
 * @throws key-missing when the keys lack a rotation of the plan, or relinearization
 * @throws checkpoint-invalid when the ciphertexts of a model are not those of the plan
 */
export function createSlotsEngine(
  keys: SlotsKeys,
  plan: SlotPlan,
  { weights }: Pick<PackRequest, "weights">,
): SlotsEngine {
  const { galoisKeys } = keys;
  if (galoisKeys === null) {
    throw new SealstreamError("key-missing", "The consumer published no rotation keys.");
  }
  const model = "file" in weights ? { modelBlobs: decodeEncryptedModel(weights.file).blobs } : {};
  const evaluator = createSlotPackEvaluator({ ...keys, ...model, galoisKeys, plan });
  const { recordsPerCiphertext, precisionBits } = plan;
  const { classStride, recordStride } = plan.layout;
  const strides = { classStride, recordStride, recordsPerPart: recordsPerCiphertext };
  return {
    close: () => evaluator.close(),
    evaluate({ ciphertexts, records }) {
      if (ciphertexts.length !== Math.ceil(records / recordsPerCiphertext)) {
        return { status: "refused", part: -1, fault: "count" };
      }
      const blobs: Uint8Array[] = [];
      for (const [part, wire] of ciphertexts.entries()) {
        const count = Math.min(recordsPerCiphertext, records - part * recordsPerCiphertext);
        const made = evaluator.evaluate([wire], count);
        if (made.status === "refused") return { status: "refused", part, fault: made.fault };
        blobs.push(...made.blobs);
      }
      return { status: "ok", blobs, layout: { packing: "slots", ...strides, precisionBits } };
    },
  };
}
