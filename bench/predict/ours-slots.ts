/**
 * Our evaluation of a few records in one ciphertext, as a contender: plan, wire format, rotations and evaluator are the
 * pipeline's own. See ours.ts.
 */
import { createParameters, dataLimbs } from "../../pipeline/ckks/parameters.ts";
import { primesOf } from "../../pipeline/ckks/primes.ts";
import { createRing, type Ring } from "../../pipeline/ckks/ring.ts";
import { saveUncompressed } from "../../pipeline/ckks/seal.ts";
import { createSlotEvaluator } from "../../pipeline/ckks/slots/evaluator.ts";
import { fillSlots, logitSlot } from "../../pipeline/ckks/slots/layout.ts";
import { loadSlotModel } from "../../pipeline/ckks/slots/model.ts";
import { planSlots, type SlotPlan } from "../../pipeline/ckks/slots/plan.ts";
import {
  BITS_SLACK,
  limbFault,
  newWireCiphertext,
  stageWireLimb,
  WIRE_HEADER_BYTES,
  type WireShape,
  wireFromSeal,
  wireLimbBytes,
} from "../../pipeline/ckks/wire-ciphertext.ts";
import type { Model } from "./models.ts";
import { type OurRunner, type OurShape, openWire } from "./ours.ts";
import { openSealLab, type SealLab } from "./seal-lab.ts";
import type { Example } from "./trainer.ts";

const RING_BYTES = 2 * 1024 * 1024 * 1024;

/** Wire form between messages and kernel memory. */
function wireOf(lab: SealLab, ring: Ring, staged: number) {
  const { parameters, primes } = lab.ckks;
  const limbOf = (shape: WireShape, at: number) => {
    const limb = at % shape.limbs;
    const place = { poly: Math.floor(at / shape.limbs), limb };
    return { place, bits: parameters.coeffModulusBits[limb]!, prime: Number(primes[limb]!) };
  };
  return {
    load(wire: Uint8Array, shape: WireShape, to: number): void {
      for (let at = 0; at < shape.polys * shape.limbs; at += 1) {
        const { place, bits, prime } = limbOf(shape, at);
        stageWireLimb(parameters, ring, wire, { shape, place, to: staged });
        const target = to + at * ring.limbBytes;
        const flags = ring.kernels.unpackRing(staged, target, ring.degree, bits, prime);
        if (limbFault(flags, place.poly) !== null) throw new Error("our own wire was refused");
      }
    },
    save(from: number, shape: WireShape): Uint8Array {
      const wire = newWireCiphertext(parameters, shape);
      let to = WIRE_HEADER_BYTES;
      for (let at = 0; at < shape.polys * shape.limbs; at += 1) {
        const { place, bits, prime } = limbOf(shape, at);
        ring.kernels.packRing(from + at * ring.limbBytes, staged, ring.degree, bits, prime);
        const bytes = wireLimbBytes(parameters, place.limb);
        wire.set(ring.bytes(staged, bytes), to);
        to += bytes;
      }
      return wire;
    },
  };
}

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
export async function openOurSlots(
  model: Model,
  { degree, bits, mode }: Omit<OurShape, "inputBits">,
): Promise<OurRunner> {
  const probe = createParameters(degree, bits, 20);
  const plan = planSlots(model.circuit, probe, primesOf(probe), { mode });
  const { inputScaleBits, rotationSteps: steps } = plan;
  // Because a parameter set names the scale of batch packs, which is never so small; the plan's own is encrypted with.
  const lab = await openSealLab(degree, bits, { inputBits: Math.max(20, inputScaleBits), steps });
  const ring = createRing(lab.ckks, { maxBytes: RING_BYTES });
  const relin = ring.loadRelinKeys(saveUncompressed(lab.ckks, lab.relinKeys));
  const galois = ring.loadGaloisKeys(saveUncompressed(lab.ckks, lab.galoisKeys!));
  if (galois === null) throw new Error("the keys were refused");
  const shape = { polys: 2, limbs: dataLimbs(lab.ckks.parameters), scale: 2 ** inputScaleBits };
  const out = { polys: 2, limbs: plan.outputLimbs, scale: 2 ** plan.outputScaleBits };
  const packs = packRows(lab, ring, model.heldOut, plan);
  let ended: (phase: string) => void = () => undefined;
  const evaluator = createSlotEvaluator(ring, {
    plan,
    model: loadSlotModel(ring, plan),
    keys: { relin, galois },
    phase: (name) => ended(name),
  });
  const wires = wireOf(lab, ring, ring.take(ring.limbBytes + BITS_SLACK));
  const zeroAt = ring.take(ring.shapeBytes(out));
  const evaluate = ({ records, wire }: (typeof packs)[number]): Uint8Array => {
    wires.load(wire, shape, evaluator.input);
    ended("load");
    const at = evaluator.evaluate(records, ...(mode === "secret" ? [zeroAt] : []));
    ended("end");
    return wires.save(at, out);
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
      phases.done("save");
      ended = () => undefined;
      next = (next + 1) % packs.length;
    },
    logits: () =>
      packs.flatMap((pack) => {
        const values = openWire(lab, ring, evaluate(pack), plan.outputLimbs);
        return Array.from({ length: pack.records }, (_, record) =>
          Array.from(
            { length: model.circuit.steps.at(-1)!.outputs },
            (__, j) => values[logitSlot(plan.layout, j, record)]!,
          ),
        );
      }),
    close: lab.close,
  };
}
