/**
 * Our evaluation of a model, as a contender: the pipeline's own plan, wire format, kernels and evaluators.
 *
 * A run takes wire ciphertexts and leaves wire ciphertexts, every residue of them checked on the way in: what the predict
 * stage does with a pack besides Kafka and signatures. Encrypting and decrypting is stock node-seal's.
 */
import { createBatchEvaluator } from "../../pipeline/ckks/batch/evaluator.ts";
import { planBatch } from "../../pipeline/ckks/batch/plan.ts";
import { dataLimbs } from "../../pipeline/ckks/parameters.ts";
import { createRing, type Ring } from "../../pipeline/ckks/ring.ts";
import { saveUncompressed } from "../../pipeline/ckks/seal.ts";
import { sealFromWire, wireFromSeal } from "../../pipeline/ckks/wire-ciphertext.ts";
import type { Runner } from "./contest.ts";
import type { Model } from "./models.ts";
import { openSealLab, type SealLab } from "./seal-lab.ts";

/** Our contender with what its plan promised and its ciphertexts weigh. */
export interface OurRunner extends Runner {
  /** Of a full pack. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** As planned. */
  readonly precisionBits: number;
}

export interface OurShape {
  readonly degree: number;
  readonly bits: readonly number[];
  /** log2 of the scale of the features. */
  readonly inputBits: number;
  readonly mode: "shared" | "secret";
}

/** What a few records in one ciphertext run under; the plan chooses the scale. */
export interface SlotShape {
  readonly degree: number;
  readonly bits: readonly number[];
  readonly mode: "shared" | "secret" | "encrypted";
  /** Asked of the plan; its own default unless said. */
  readonly precisionBits?: number;
}

const RING_BYTES = 1024 * 1024 * 1024;

export function totalBytes(blobs: readonly Uint8Array[]): number {
  return blobs.reduce((sum, { length }) => sum + length, 0);
}

/** Slots of a result. */
export function openWire(lab: SealLab, ring: Ring, wire: Uint8Array, limbs: number): Float64Array {
  const read = sealFromWire(lab.ckks, ring, wire, { polys: [2, 3], limbs, scale: null });
  if (read.status === "refused") throw new Error(`a result was refused: ${read.fault}`);
  const cipher = new lab.ckks.seal.Ciphertext();
  try {
    lab.load(read.blob, cipher);
    return lab.decrypt(cipher);
  } finally {
    cipher.delete();
  }
}

/** Full packs, one ciphertext a feature. */
export async function openOurBatch(model: Model, shape: OurShape): Promise<OurRunner> {
  const { degree, bits, inputBits, mode } = shape;
  const { circuit, heldOut } = model;
  const lab = await openSealLab(degree, bits, { inputBits });
  const { ckks, slots } = lab;
  const { parameters, primes } = ckks;
  const plan = planBatch({ circuit, parameters, primes, mode });
  const ring = createRing(ckks, { maxBytes: RING_BYTES });
  const wireShape = { polys: 2, limbs: dataLimbs(parameters), scale: 2 ** inputBits };
  const wires = Array.from({ length: circuit.features }, (_, feature) => {
    const column = Float64Array.from(
      { length: slots },
      (__, record) => heldOut[record % heldOut.length]!.features[feature]!,
    );
    return wireFromSeal(ckks, ring, lab.encrypt(column, wireShape.scale), wireShape);
  });
  let ended: (phase: string) => void = () => undefined;
  const evaluator = createBatchEvaluator({
    ...{ ring, parameters, plan },
    relinKeys: plan.needsRelinKeys
      ? ring.loadRelinKeys(saveUncompressed(ckks, lab.relinKeys))
      : null,
    encryptZero: () => lab.encryptZero(plan.outputLimbs),
    phase: (name) => ended(name),
  });
  const evaluate = (): readonly Uint8Array[] => {
    const outcome = evaluator.evaluate(wires);
    if (outcome.status === "refused") throw new Error(`our own pack was refused: ${outcome.fault}`);
    return outcome.blobs;
  };
  let results = evaluate();
  return {
    units: slots,
    bytesIn: totalBytes(wires),
    bytesOut: totalBytes(results),
    precisionBits: plan.precisionBits,
    run(phases) {
      phases.start();
      ended = (phase) => phases.done(phase);
      results = evaluate();
      ended = () => undefined;
    },
    logits() {
      const columns = results.map((wire) => openWire(lab, ring, wire, plan.outputLimbs));
      return heldOut.slice(0, slots).map((_, row) => columns.map((column) => column[row]!));
    },
    close: lab.close,
  };
}
