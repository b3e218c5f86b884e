/**
 * A planned model in ring form: matrices, biases and mask as the evaluator multiplies and adds them.
 *
 * Plain weights are encoded here, once a model. An encrypted model comes as ciphertexts (`encrypted-model.ts`) and only
 * its mask is encoded. Biases depend on how many records share the ciphertext, because slots without a record get none:
 * everything in them stays 0 up to noise, whatever the model. Those of a full pack and of one other number are kept.
 * Memory is the ring's: the caller marks before and releases after.
 */
import { SealstreamError } from "../../errors.ts";
import type { Ring } from "../ring.ts";
import { createSlotEncoder, type SlotEncoder, writePlain } from "./encode.ts";
import { expandPlaces } from "./layout.ts";
import type { SlotPlan } from "./plan.ts";

/** Addresses of one step. */
export interface LoadedStep {
  /** Per matrix, group and term: [limbs][N], or [2][limbs][N] when the model is encrypted. */
  readonly matrices: readonly (readonly (readonly number[])[])[];
}

export interface LoadedModel {
  readonly encrypted: boolean;
  readonly steps: readonly LoadedStep[];
  /** Address of a step's bias for a pack of so many records: [sumLimbs][N], with 2 polys when encrypted. */
  bias(step: number, records: number): number;
  /** Address of the mask of the last step, [foldLimbs][N]; null: none. */
  mask(records: number): number | null;
}

/** Encodings of one number of records. */
interface RecordSet {
  records: number;
  readonly biases: readonly number[];
  readonly mask: number | null;
}

interface Writer {
  readonly ring: Ring;
  readonly plan: SlotPlan;
  readonly encoder: SlotEncoder;
  /** One limb of work memory. */
  readonly work: number;
}

/** Takes memory for a set and leaves it unwritten (records 0). */
function takeRecordSet({ ring, plan }: Writer): RecordSet {
  const last = plan.scales.steps.at(-1);
  const masked = last !== undefined && last.maskScale !== null;
  return {
    records: 0,
    biases: plan.scales.steps.map(({ sumLimbs }) => ring.take(sumLimbs * ring.limbBytes)),
    mask: masked ? ring.take(last.foldLimbs * ring.limbBytes) : null,
  };
}

function writeRecordSet(
  { ring, plan, encoder, work }: Writer,
  set: RecordSet,
  records: number,
): void {
  const { layout, program, scales } = plan;
  for (const [index, { sumLimbs: limbs, sumScale }] of scales.steps.entries()) {
    const slots = expandPlaces(layout, program.steps[index]?.bias ?? [], records);
    const to = set.biases[index] ?? 0;
    writePlain(ring, encoder.coefficients(slots, sumScale), { limbs, work, to });
  }
  const last = scales.steps.at(-1);
  if (set.mask !== null && last !== undefined) {
    const slots = expandPlaces(layout, program.mask, records);
    const coefficients = encoder.coefficients(slots, last.maskScale ?? 1);
    writePlain(ring, coefficients, { limbs: last.foldLimbs, work, to: set.mask });
  }
  set.records = records;
}

/**
 * Encodes a plan's weights; about 1 ms a term.
 * @throws limit-exceeded when the ring's memory does not hold them
 */
export function loadSlotModel(ring: Ring, plan: SlotPlan): LoadedModel {
  const encoder = createSlotEncoder(ring.degree);
  const writer: Writer = { ring, plan, encoder, work: ring.take(ring.limbBytes) };
  const { layout, program, scales } = plan;
  const steps = program.steps.map(({ matrices }, index): LoadedStep => {
    const { limbs, plainScales } = scales.steps[index] ?? missing();
    return {
      matrices: matrices.map(({ groups }, matrix) =>
        groups.map(({ terms }) =>
          terms.map(({ values }) => {
            const slots = expandPlaces(layout, values, layout.recordsPerPack);
            const to = ring.take(limbs * ring.limbBytes);
            const coefficients = encoder.coefficients(slots, plainScales[matrix] ?? 1);
            writePlain(ring, coefficients, { limbs, work: writer.work, to });
            return to;
          }),
        ),
      ),
    };
  });
  const setFor = createRecordSets(writer);
  return {
    encrypted: false,
    steps,
    bias: (step, records) => setFor(records).biases[step] ?? missing(),
    mask: (records) => setFor(records).mask,
  };
}

/** Sets of a full pack and of the other number that was asked for last. */
function createRecordSets(writer: Writer): (records: number) => RecordSet {
  const full = writer.plan.layout.recordsPerPack;
  const whole = takeRecordSet(writer);
  const other = full > 1 ? takeRecordSet(writer) : whole;
  return (records) => {
    const set = records === full ? whole : other;
    if (set.records !== records) writeRecordSet(writer, set, records);
    return set;
  };
}

/** Masks only, for a model whose matrices and biases are ciphertexts. */
export function loadSlotMasks(ring: Ring, plan: SlotPlan): (records: number) => number | null {
  const last = plan.scales.steps.at(-1) ?? missing();
  if (last.maskScale === null) return () => null;
  const { maskScale, foldLimbs: limbs } = last;
  const encoder = createSlotEncoder(ring.degree);
  const work = ring.take(ring.limbBytes);
  const to = ring.take(limbs * ring.limbBytes);
  let written = 0;
  return (records) => {
    if (written !== records) {
      const slots = expandPlaces(plan.layout, plan.program.mask, records);
      writePlain(ring, encoder.coefficients(slots, maskScale), { limbs, work, to });
      written = records;
    }
    return to;
  };
}

function missing(): never {
  throw new SealstreamError("internal", "A slots plan lacks a step of its program.");
}
