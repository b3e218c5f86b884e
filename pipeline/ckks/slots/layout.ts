/**
 * Which number lies in which slot when the features of a record share one ciphertext (the low-latency packing).
 *
 * slot = place * recordsPerPack + record. A record has `places` places, a power of two, and places x recordsPerPack is
 * the number of slots: a rotation by k * recordsPerPack turns every record's places by k, cyclically, and never mixes
 * two records. What lies in a place:
 * - replicated: place i * columns + j holds feature i, for every j. One plaintext product and log2(rows) rotations are
 *   the first affine step, one product and log2(columns) rotations the second. For circuits of one or two steps.
 * - diagonal: place p holds feature p modulo the power of two at or above the number of features. An affine step is a
 *   sum of products with the generalized diagonals of its matrix (Halevi and Shoup, Algorithms in HElib, 2014). For
 *   chains of any length.
 * Depends on the circuit's shape only: the owner, who has no weights, computes the same layout as the prediction zone.
 * Guarantees that every slot is either a feature of a record or exactly zero. Must not see weights.
 */
import { SealstreamError } from "../../errors.ts";
import { type CkksParameters, slotCount } from "../parameters.ts";

/** What a layout depends on; a `Circuit` is one. */
export interface CircuitShape {
  readonly features: number;
  readonly steps: readonly { readonly inputs: Uint32Array; readonly outputs: number }[];
}

export type SlotPacking = "replicated" | "diagonal";

export interface SlotLayout {
  readonly packing: SlotPacking;
  readonly features: number;
  readonly classes: number;
  /** Places of a record, a power of two. */
  readonly places: number;
  /** Most records of one ciphertext, a power of two; places x recordsPerPack = slots. */
  readonly recordsPerPack: number;
  /** replicated: how often a feature is repeated; diagonal: 1. A power of two. */
  readonly columns: number;
  /** Per place the feature it holds, -1: always zero. */
  readonly featureAt: Int32Array;
  /** The logit of class j of record r lies in slot j * classStride + r * recordStride. */
  readonly classStride: number;
  readonly recordStride: number;
}

export type SlotLayoutOutcome =
  | { readonly status: "ok"; readonly layout: SlotLayout }
  /** `reason` ends the sentence "The slots packing cannot hold this network: ...". */
  | { readonly status: "refused"; readonly reason: string };

/** The smallest power of two at or above `value`. */
export function powerOfTwo(value: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, value)));
}

/**
 * The layout of a circuit: replicated where it fits, else diagonal.
 * @param prefer takes this packing or none
 */
export function slotLayout(
  shape: CircuitShape,
  parameters: CkksParameters,
  prefer?: SlotPacking,
): SlotLayoutOutcome {
  const slots = slotCount(parameters);
  const fault = shapeFault(shape);
  if (fault !== null) return { status: "refused", reason: fault };
  if (prefer !== "diagonal") {
    const layout = replicatedLayout(shape, slots);
    if (layout !== null) return { status: "ok", layout };
    if (prefer === "replicated") {
      return {
        status: "refused",
        reason: `the replicated layout takes one or two dense steps whose inputs x outputs fit ${slots} slots`,
      };
    }
  }
  return diagonalLayout(shape, slots);
}

function shapeFault({ features, steps }: CircuitShape): string | null {
  if (!(Number.isSafeInteger(features) && features >= 1)) return "it has no features";
  if (steps.length === 0) return "it has no steps";
  let wires = features;
  for (const [index, { inputs, outputs }] of steps.entries()) {
    if (outputs < 1 || inputs.length === 0) return `step ${index} reads or makes nothing`;
    const last = inputs.at(-1) ?? 0;
    if (last >= wires) return `step ${index} reads what is not made yet`;
    wires += outputs;
  }
  return null;
}

/** Two steps at most, the second reading the first only, and rows x columns within the slots; else null. */
function replicatedLayout({ features, steps }: CircuitShape, slots: number): SlotLayout | null {
  const [first, second] = steps;
  if (first === undefined || steps.length > 2) return null;
  if ((first.inputs.at(-1) ?? 0) >= features) return null;
  if (second !== undefined && (second.inputs[0] ?? 0) < features) return null;
  const columns = powerOfTwo(first.outputs);
  const rows = powerOfTwo(Math.max(features, second?.outputs ?? 1));
  const places = rows * columns;
  if (places > slots) return null;
  const recordsPerPack = slots / places;
  const featureAt = Int32Array.from({ length: places }, (_, place) => {
    const feature = Math.floor(place / columns);
    return feature < features ? feature : -1;
  });
  return {
    packing: "replicated",
    features,
    classes: (second ?? first).outputs,
    places,
    recordsPerPack,
    columns,
    featureAt,
    classStride: recordsPerPack * (second === undefined ? 1 : columns),
    recordStride: 1,
  };
}

function diagonalLayout({ features, steps }: CircuitShape, slots: number): SlotLayoutOutcome {
  const places = powerOfTwo(Math.max(features, ...steps.map(({ outputs }) => outputs)));
  if (places > slots) {
    return { status: "refused", reason: `a step is wider than the ${slots} slots of a ciphertext` };
  }
  const period = powerOfTwo(features);
  const recordsPerPack = slots / places;
  const layout: SlotLayout = {
    packing: "diagonal",
    features,
    classes: steps.at(-1)?.outputs ?? 0,
    places,
    recordsPerPack,
    columns: 1,
    featureAt: Int32Array.from({ length: places }, (_, place) =>
      place % period < features ? place % period : -1,
    ),
    classStride: recordsPerPack,
    recordStride: 1,
  };
  return { status: "ok", layout };
}

/** Largest |feature|: the bound with which the prediction zone proves that nothing wraps around. */
const MAX_FEATURE = 1;

/**
 * The slots of a pack, before encryption. Unused slots become exactly 0.
 * @param records 1..recordsPerPack
 * @param at feature of a record, in [-1, 1]
 * @param target [slots], overwritten; the caller wipes it
 * @throws limit-exceeded when the records do not fit or a feature is not a number in [-1, 1]; target is then all zero
 */
export function fillSlots(
  layout: SlotLayout,
  records: number,
  at: (record: number, feature: number) => number,
  target: Float64Array,
): void {
  const { places, recordsPerPack, featureAt } = layout;
  target.fill(0);
  const fits = Number.isInteger(records) && records >= 1 && records <= recordsPerPack;
  if (!fits || target.length !== places * recordsPerPack) {
    throw new SealstreamError(
      "limit-exceeded",
      `A slots pack holds 1 to ${recordsPerPack} records.`,
    );
  }
  for (const [place, feature] of featureAt.entries()) {
    if (feature < 0) continue;
    for (let record = 0; record < records; record += 1) {
      const value = at(record, feature);
      if (!(Math.abs(value) <= MAX_FEATURE)) {
        target.fill(0);
        throw new SealstreamError("limit-exceeded", "A feature of a pack is not in [-1, 1].");
      }
      target[place * recordsPerPack + record] = value;
    }
  }
}

/** The slot of a logit. */
export function logitSlot(layout: SlotLayout, classIndex: number, record: number): number {
  return classIndex * layout.classStride + record * layout.recordStride;
}

/** One number per place, the same for the first `records` records, 0 for the others; a new array of all slots. */
export function expandPlaces(
  { places, recordsPerPack }: SlotLayout,
  values: ArrayLike<number>,
  records: number,
): Float64Array {
  const slots = new Float64Array(places * recordsPerPack);
  for (let place = 0; place < places; place += 1) {
    slots.fill(values[place] ?? 0, place * recordsPerPack, place * recordsPerPack + records);
  }
  return slots;
}
