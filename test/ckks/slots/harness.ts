/** Owner, consumer and prediction zone of one slots plan in one process, and the same evaluation by the library. */
import { ciphertextHeader } from "../../../pipeline/ckks/blob.ts";
import type { CkksParameters } from "../../../pipeline/ckks/parameters.ts";
import { createRing, type Ring } from "../../../pipeline/ckks/ring.ts";
import { type CkksContext, openContext, saveUncompressed } from "../../../pipeline/ckks/seal.ts";
import {
  createSlotEvaluator,
  type SlotEvaluator,
  type SlotKeys,
} from "../../../pipeline/ckks/slots/evaluator.ts";
import { expandPlaces, fillSlots, logitSlot } from "../../../pipeline/ckks/slots/layout.ts";
import { loadSlotModel } from "../../../pipeline/ckks/slots/model.ts";
import type { SlotPlan } from "../../../pipeline/ckks/slots/plan.ts";

const HEADER_BYTES = 113;

export interface Parties {
  readonly ckks: CkksContext;
  readonly ring: Ring;
  readonly keys: SlotKeys;
  readonly publicKey: Uint8Array;
  /** SEAL's uncompressed ciphertext of a pack. */
  encrypt(
    plan: SlotPlan,
    records: number,
    at: (record: number, feature: number) => number,
  ): Uint8Array;
  encryptSlots(slots: Float64Array, scale: number): Uint8Array;
  /** All slots of a ciphertext of ours. */
  decrypt(blob: Uint8Array): Float64Array;
  /** A fresh encryption of zero over all data primes, SEAL's form. */
  zeroBlob(): Uint8Array;
  /** Address of a fresh encryption of zero over `limbs` primes. */
  zero(limbs: number): number;
  /** Evaluates with the library alone; its blob. */
  reference(plan: SlotPlan, blob: Uint8Array, records: number): Uint8Array;
}

/** Keys of every step that the plans need. */
export async function parties(
  parameters: CkksParameters,
  steps: readonly number[],
  options: { readonly maxBytes?: number; readonly exactOnly?: boolean } = {},
): Promise<Parties> {
  const ckks = await openContext(parameters);
  const { seal, context } = ckks;
  const generator = new seal.KeyGenerator(context);
  const secret = generator.secretKey();
  const publicKey = generator.createPublicKey();
  const relinKeys = generator.createRelinKeys();
  const galoisKeys = generator.createGaloisKeysWithSteps(Int32Array.from(steps));
  const ring = createRing(ckks, { maxBytes: 2 ** 30, ...options });
  const relin = ring.loadRelinKeys(saveUncompressed(ckks, relinKeys));
  const galois = ring.loadGaloisKeys(saveUncompressed(ckks, galoisKeys));
  if (galois === null) throw new Error("keys refused");
  const encoder = new seal.CKKSEncoder(context);
  const encryptor = new seal.Encryptor(context, publicKey);
  const decryptor = new seal.Decryptor(context, secret);
  const evaluator = new seal.Evaluator(context);
  const plain = new seal.Plaintext();
  const cipher = new seal.Ciphertext();
  const turned = new seal.Ciphertext();
  const encryptSlots = (slots: Float64Array, scale: number): Uint8Array => {
    encoder.encode(slots, scale, plain);
    encryptor.encrypt(plain, cipher);
    return saveUncompressed(ckks, cipher);
  };
  const times = (slots: Float64Array, scale: number, of: typeof cipher) => {
    encoder.encode(slots, scale, plain);
    evaluator.plainModSwitchToInplace(plain, of.parmsId());
    evaluator.multiplyPlainInplace(of, plain);
  };
  return {
    ckks,
    ring,
    keys: { relin, galois },
    publicKey: saveUncompressed(ckks, publicKey),
    encryptSlots,
    encrypt(plan, records, at) {
      const slots = new Float64Array(ring.degree / 2);
      fillSlots(plan.layout, records, at, slots);
      return encryptSlots(slots, 2 ** plan.inputScaleBits);
    },
    decrypt(blob) {
      cipher.loadFromArray(context, blob);
      decryptor.decrypt(cipher, plain);
      return encoder.decodeFloat64(plain) as Float64Array;
    },
    zeroBlob() {
      encryptor.encryptZero(cipher);
      return saveUncompressed(ckks, cipher);
    },
    zero(limbs) {
      encryptor.encryptZero(cipher);
      while (cipher.coeffModulusSize() > limbs) evaluator.cipherModSwitchToNextInplace(cipher);
      const blob = saveUncompressed(ckks, cipher);
      const to = ring.take(ring.shapeBytes({ polys: 2, limbs }));
      if (!ring.importResidues(blob.subarray(HEADER_BYTES), { polys: 2, limbs }, to))
        throw new Error();
      return to;
    },
    // Replicated layouts only: one product and folds a step.
    reference(plan, blob, records) {
      const { program, scales, layout } = plan;
      cipher.loadFromArray(context, blob);
      while (cipher.coeffModulusSize() > scales.structure.limbs)
        evaluator.cipherModSwitchToNextInplace(cipher);
      for (const [index, step] of program.steps.entries()) {
        const matrix = step.matrices[0]!;
        const values = matrix.groups[0]!.terms[0]!.values;
        const structure = scales.structure.steps[index]!;
        const chosen = scales.steps[index]!;
        times(expandPlaces(layout, values, layout.recordsPerPack), chosen.plainScales[0]!, cipher);
        if (structure.early) evaluator.rescaleToNextInplace(cipher);
        // Powers of two: what the library does best without hoisting.
        for (const turn of matrix.folds.flat().filter((t) => Number.isInteger(Math.log2(t)))) {
          evaluator.rotateVector(cipher, turn * layout.recordsPerPack, galoisKeys, turned);
          evaluator.addInplace(cipher, turned);
        }
        if (structure.late) evaluator.rescaleToNextInplace(cipher);
        encoder.encode(expandPlaces(layout, step.bias, records), cipher.scale(), plain);
        evaluator.plainModSwitchToInplace(plain, cipher.parmsId());
        evaluator.addPlainInplace(cipher, plain);
        if (!step.square) continue;
        evaluator.squareInplace(cipher);
        evaluator.relinearizeInplace(cipher, relinKeys);
        if (structure.square) evaluator.rescaleToNextInplace(cipher);
      }
      while (cipher.coeffModulusSize() > plan.outputLimbs)
        evaluator.cipherModSwitchToNextInplace(cipher);
      return saveUncompressed(ckks, cipher);
    },
  };
}

/** SEAL's form of a result, and into the evaluator from SEAL's form. */
export function evaluateBlob(
  { ckks, ring }: Parties,
  plan: SlotPlan,
  evaluator: SlotEvaluator,
  {
    blob,
    records,
    zero,
  }: { readonly blob: Uint8Array; readonly records: number; readonly zero?: number },
): Uint8Array {
  const { input, inputLimbs: limbs } = evaluator;
  const polyBytes = (blob.length - HEADER_BYTES) / 2;
  for (const poly of [0, 1]) {
    const residues = blob
      .subarray(HEADER_BYTES + poly * polyBytes)
      .subarray(0, limbs * ring.limbBytes);
    if (!ring.importResidues(residues, { polys: 1, limbs }, input + poly * limbs * ring.limbBytes))
      throw new Error("refused");
  }
  const at = evaluator.evaluate(records, zero);
  const shape = { polys: 2, limbs: plan.outputLimbs };
  const residues = ring.exportResidues(at, shape);
  const out = new Uint8Array(HEADER_BYTES + residues.length);
  out.set(ciphertextHeader(ckks, { ...shape, scale: 2 ** plan.outputScaleBits }));
  out.set(residues, HEADER_BYTES);
  return out;
}

export function plainEvaluator(
  on: Parties,
  plan: SlotPlan,
  phase?: (name: string) => void,
): SlotEvaluator {
  const model = loadSlotModel(on.ring, plan);
  return createSlotEvaluator(on.ring, { plan, model, keys: on.keys, ...(phase && { phase }) });
}

/** Logits of one record. */
export function logitsOf({ layout }: SlotPlan, slots: Float64Array, record: number): Float64Array {
  return Float64Array.from(
    { length: layout.classes },
    (_, j) => slots[logitSlot(layout, j, record)]!,
  );
}
