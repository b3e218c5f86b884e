/**
 * Which evaluation keys a published blob holds, as its head says: relinearization or not, and the rotation steps.
 *
 * Needs no library, so that a stage can ask what keys serve without loading one. The head is read strictly; what stands
 * behind it is judged by `key-blob.ts` (where the grammar is) before anything uses a key. Must not be called on blobs
 * that no signature stands for.
 */
import type { BlobFault } from "./blob.ts";
import { type CkksParameters, slotCount } from "./parameters.ts";

const MAGIC = "SSEK";
const VERSION = 1;
const FIXED_BYTES = 8;
const STEP_BYTES = 4;
/** First byte of what SEAL serializes: keys of version 0, relinearization alone. */
const SEAL_MAGIC_BYTE = 0x5e;
/** Most rotation steps of one plan: a baby-step giant-step product over 16,384 slots takes 256. */
export const MAX_STEPS = 256;

/** Which keys there are. */
export interface EvaluationKeyForm {
  readonly relin: boolean;
  /** Rotation steps, rising, none 0. */
  readonly steps: readonly number[];
}

/** Bytes of the head that says a form. */
export function formBytes({ steps }: Pick<EvaluationKeyForm, "steps">): number {
  return FIXED_BYTES + steps.length * STEP_BYTES;
}

/** Whether a blob is uncompressed relin-keys as version 0 published them, without a head. */
export function hasNoForm(blob: Uint8Array): boolean {
  return blob[0] === SEAL_MAGIC_BYTE;
}

/** Rising, none 0, each below the slots, and not too many. */
export function areSteps(parameters: CkksParameters, steps: readonly number[]): boolean {
  const slots = slotCount(parameters);
  return (
    steps.length <= MAX_STEPS &&
    steps.every(
      (step, index) =>
        Number.isInteger(step) &&
        step !== 0 &&
        Math.abs(step) < slots &&
        (index === 0 || step > (steps[index - 1] ?? 0)) &&
        // Both ways around the ring: one key twice.
        !steps.includes(step > 0 ? step - slots : step + slots),
    )
  );
}

/** The head of a form; a new buffer. */
export function writeForm(form: EvaluationKeyForm): Uint8Array {
  const head = new Uint8Array(formBytes(form));
  const view = new DataView(head.buffer);
  head.set(Buffer.from(MAGIC, "latin1"));
  view.setUint8(4, VERSION);
  view.setUint8(5, form.relin ? 1 : 0);
  view.setUint16(6, form.steps.length, true);
  for (const [index, step] of form.steps.entries()) {
    view.setInt32(FIXED_BYTES + index * STEP_BYTES, step, true);
  }
  return head;
}

/** The form that a blob's head says, or what is wrong with the head. */
export function readForm(
  parameters: CkksParameters,
  blob: Uint8Array,
): EvaluationKeyForm | BlobFault {
  if (hasNoForm(blob)) return { relin: true, steps: [] };
  if (blob.length < FIXED_BYTES) return "length";
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const isOurs = Buffer.from(blob.subarray(0, 4)).toString("latin1") === MAGIC;
  if (!isOurs || blob[4] !== VERSION) return "seal-header";
  const relin = view.getUint8(5);
  const count = view.getUint16(6, true);
  if (relin > 1 || count > MAX_STEPS) return "shape";
  if (blob.length < FIXED_BYTES + count * STEP_BYTES) return "length";
  const steps = Array.from({ length: count }, (_, index) =>
    view.getInt32(FIXED_BYTES + index * STEP_BYTES, true),
  );
  return areSteps(parameters, steps) ? { relin: relin === 1, steps } : "steps";
}
