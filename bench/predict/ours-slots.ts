/**
 * Our evaluation of a few records in one ciphertext, as a contender: plan, wire format, rotations and evaluator are the
 * pipeline's own. See ours.ts.
 */
import { createParameters, dataLimbs } from "../../pipeline/ckks/parameters.ts";
import { primesOf } from "../../pipeline/ckks/primes.ts";
import { createRing, type Ring } from "../../pipeline/ckks/ring.ts";
import { saveUncompressed } from "../../pipeline/ckks/seal.ts";
import { encryptSlotModel } from "../../pipeline/ckks/slots/encrypted-model.ts";
import { fillSlots, logitSlot } from "../../pipeline/ckks/slots/layout.ts";
import { createSlotPackEvaluator } from "../../pipeline/ckks/slots/pack-evaluator.ts";
import { planSlots, type SlotPlan } from "../../pipeline/ckks/slots/plan.ts";
import { wireFromSeal } from "../../pipeline/ckks/wire-ciphertext.ts";
import type { Model } from "./models.ts";
import { type OurRunner, openWire, type SlotShape } from "./ours.ts";
import { openSealLab, type SealLab } from "./seal-lab.ts";
import type { Example } from "./trainer.ts";

const RING_BYTES = 2 * 1024 * 1024 * 1024;

/** Rows so many to a ciphertext. */
function packRows(lab: SealLab, ring: Ring, heldOut: readonly Example[], plan: SlotPlan) {
  const limbs = dataLimbs(lab.ckks.parameters);
  const shape = { polys: 2, limbs, scale: 2 ** plan.inputScaleBits };
  const { recordsPerCiphertext: most } = plan;
  const values = new Float64Array(lab.slots);
  return Array.from({ length: Math.ceil(heldOut.length / most) }, (_, pack) => {
    const rows = heldOut.slice(pack * most, (pack + 1) * most);
    fillSlots(plan.layout, rows.length, (r, feature) => rows[r]!.features[feature]!, values);
    const blob = lab.encrypt(values, shape.scale);
    return { records: rows.length, wire: wireFromSeal(lab.ckks, ring, blob, shape) };
  });
}

/** One ciphertext after the other, a few records in each. A run is one ciphertext. */
export async function openOurSlots(model: Model, shape: SlotShape): Promise<OurRunner> {
  const { degree, bits, mode, precisionBits } = shape;
  const { circuit, heldOut } = model;
  const probe = createParameters(degree, bits, 20);
  const goal = precisionBits === undefined ? {} : { precisionBits };
  const plan = planSlots(circuit, probe, primesOf(probe), { mode, ...goal });
  const { inputScaleBits, rotationSteps: steps } = plan;
  // Because a parameter set names the scale of batch packs, which is never so small; the plan's own is encrypted with.
  const lab = await openSealLab(degree, bits, { inputBits: Math.max(20, inputScaleBits), steps });
  const { ckks } = lab;
  const ring = createRing(ckks, { maxBytes: RING_BYTES });
  const relinKeys = ring.loadRelinKeys(saveUncompressed(ckks, lab.relinKeys));
  const galoisKeys = ring.loadGaloisKeys(saveUncompressed(ckks, lab.galoisKeys!));
  if (galoisKeys === null) throw new Error("the keys were refused");
  const packs = packRows(lab, ring, heldOut, plan);
  let ended: (phase: string) => void = () => undefined;
  const zero = lab.encryptZero(plan.outputLimbs);
  const evaluator = createSlotPackEvaluator({
    ...{ ring, ckks, plan, relinKeys, galoisKeys },
    // Made once and left out of the figure: secret and encrypted models, which are compared, take one each.
    encryptZero: () => zero,
    ...(mode === "encrypted" && { modelBlobs: await encryptSlotModel(plan, lab.publicKey) }),
    phase: (name) => ended(name),
  });
  const evaluate = ({ records, wire }: (typeof packs)[number]): Uint8Array => {
    const outcome = evaluator.evaluate([wire], records);
    if (outcome.status === "refused") throw new Error(`our own pack was refused: ${outcome.fault}`);
    return outcome.blobs[0]!;
  };
  let next = 0;
  return {
    units: plan.recordsPerCiphertext,
    bytesIn: packs[0]!.wire.length,
    bytesOut: evaluate(packs[0]!).length,
    precisionBits: plan.precisionBits,
    run(phases) {
      phases.start();
      ended = (phase) => phases.done(phase);
      evaluate(packs[next]!);
      ended = () => undefined;
      next = (next + 1) % packs.length;
    },
    logits: () =>
      packs.flatMap((pack) => {
        const values = openWire(lab, ring, evaluate(pack), plan.outputLimbs);
        return Array.from({ length: pack.records }, (_, record) =>
          Array.from(
            { length: plan.layout.classes },
            (__, j) => values[logitSlot(plan.layout, j, record)]!,
          ),
        );
      }),
    close: lab.close,
  };
}
