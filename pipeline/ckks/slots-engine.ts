/**
 * Evaluates slots packs of one model: wire ciphertexts in, wire ciphertexts out, one for each of some records.
 *
 * Takes the ring's memory when it is made and gives it back when closed, last in first out. What an owner encrypted at is
 * worked out again from the network's shape, so that a ciphertext of any other scale is refused. Must make no randomness:
 * encryptions of zero are handed in.
 */
import { SealstreamError } from "../errors.ts";
import { classCount } from "../network/definition.ts";
import { lowerNetwork } from "../network/lower.ts";
import { assumedCircuit } from "./assumed-circuit.ts";
import type { PackOutcome, PackRequest } from "./engine.ts";
import type { RingGaloisKeys, RingRelinKeys } from "./evaluation-keys.ts";
import { CIPHERTEXT_HEADER_BYTES, CIPHERTEXT_POLYS } from "./parameters.ts";
import type { Ring } from "./ring.ts";
import type { CkksContext } from "./seal.ts";
import { createSlotEvaluator } from "./slots/evaluator.ts";
import { loadSlotModel } from "./slots/model.ts";
import { planSlots, type SlotPlan, slotInputScaleBits } from "./slots/plan.ts";
import { readWireToRing, writeWireFromRing } from "./wire-ring.ts";

export interface SlotsKeys {
  readonly ckks: CkksContext;
  readonly ring: Ring;
  readonly relinKeys: RingRelinKeys | null;
  readonly galoisKeys: RingGaloisKeys | null;
  /** A fresh encryption of zero over all data primes, as the library serializes it. */
  readonly encryptZero: () => Uint8Array;
}

export interface SlotsEngine {
  evaluate(request: PackRequest): PackOutcome;
  close(): void;
}

/** Plans a model in slots. @throws limit-exceeded when the packing cannot hold it */
export function planSlotsPack(ckks: CkksContext, request: PackRequest): SlotPlan {
  const { network, weights, mode, precisionBits } = request;
  const { parameters, primes } = ckks;
  const goal = { mode, precisionBits };
  // As the owner does, who knows the network and no weights.
  const shape = assumedCircuit(network);
  const inputScaleBits = slotInputScaleBits(shape, parameters, primes, goal);
  return planSlots(lowerNetwork(network, weights), parameters, primes, { ...goal, inputScaleBits });
}

/**
 * @throws limit-exceeded when the ring's memory does not hold the model
 * @throws key-missing when the keys lack a rotation of the plan, or relinearization
 */
export function createSlotsEngine(keys: SlotsKeys, plan: SlotPlan): SlotsEngine {
  const { ckks, ring, relinKeys: relin, galoisKeys: galois } = keys;
  if (galois === null) {
    throw new SealstreamError("key-missing", "The consumer published no rotation keys.");
  }
  const mark = ring.mark();
  try {
    const model = loadSlotModel(ring, plan);
    const evaluator = createSlotEvaluator(ring, { plan, model, keys: { relin, galois } });
    const zero = ring.take(ring.shapeBytes({ polys: CIPHERTEXT_POLYS, limbs: plan.outputLimbs }));
    const { parameters } = ckks;
    const scale = 2 ** plan.inputScaleBits;
    const expected = { polys: [CIPHERTEXT_POLYS], limbs: plan.inputLimbs, scale };
    const output = {
      ...{ polys: plan.outputPolys, limbs: plan.outputLimbs, scale: 2 ** plan.outputScaleBits },
    };
    const evaluateOne = (wire: Uint8Array, records: number) => {
      const to = evaluator.input;
      const fault = readWireToRing(parameters, ring, wire, { expected, to });
      if (fault !== null) return fault;
      const fresh = plan.mode === "shared" ? undefined : importZero(keys, plan, zero);
      return writeWireFromRing(parameters, ring, evaluator.evaluate(records, fresh), output);
    };
    return {
      evaluate: (request) => evaluateParts(plan, request, evaluateOne),
      close: () => ring.release(mark),
    };
  } catch (error) {
    ring.release(mark);
    throw error;
  }
}

function evaluateParts(
  plan: SlotPlan,
  { ciphertexts, records, network }: PackRequest,
  evaluateOne: (
    wire: Uint8Array,
    records: number,
  ) => ReturnType<typeof readWireToRing> | Uint8Array,
): PackOutcome {
  const { recordsPerCiphertext, layout, precisionBits } = plan;
  if (ciphertexts.length !== Math.ceil(records / recordsPerCiphertext)) {
    return { status: "refused", part: -1, fault: "count" };
  }
  if (layout.classes !== classCount(network)) {
    throw new SealstreamError("internal", "A slots layout is of another network.");
  }
  const blobs: Uint8Array[] = [];
  for (const [part, wire] of ciphertexts.entries()) {
    const count = Math.min(recordsPerCiphertext, records - part * recordsPerCiphertext);
    const made = evaluateOne(wire, count);
    if (!(made instanceof Uint8Array)) return { status: "refused", part, fault: made ?? "shape" };
    blobs.push(made);
  }
  const { classStride, recordStride } = layout;
  const strides = { classStride, recordStride, recordsPerPart: recordsPerCiphertext };
  return { status: "ok", blobs, layout: { packing: "slots", ...strides, precisionBits } };
}

/** A fresh encryption of zero over the result's primes. */
function importZero({ ring, ckks, encryptZero }: SlotsKeys, plan: SlotPlan, to: number): number {
  const zero = encryptZero();
  const stride = (ckks.primes.length - 1) * ring.limbBytes;
  const bytes = plan.outputLimbs * ring.limbBytes;
  for (let poly = 0; poly < CIPHERTEXT_POLYS; poly += 1) {
    const from = CIPHERTEXT_HEADER_BYTES + poly * stride;
    const residues = zero.subarray(from, from + bytes);
    const shape = { polys: 1, limbs: plan.outputLimbs };
    if (!ring.importResidues(residues, shape, to + poly * bytes)) {
      throw new SealstreamError("internal", "A fresh ciphertext is not over the ring's primes.");
    }
  }
  return to;
}
