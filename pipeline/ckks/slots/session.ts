/**
 * One consumer's keys, ready to evaluate slots packs of any model: checks keys, plans models, keeps the last plan.
 *
 * A plan takes longer than a pack, and memory is laid out for one plan at a time, so that the plan of the model used last
 * is kept with its memory. The scale of a pack is the owner's (`slotInputScaleBits`) and is read from its header: any
 * whole number of bits in range is planned for. The library is used for fresh encryptions of zero only. Must hold no
 * secret key, nor anything of a pack after its answer; runs in a killable worker.
 */
import { SealstreamError } from "../../errors.ts";
import type { Circuit } from "../../network/circuit.ts";
import { checkPublicKey } from "../blob.ts";
import { checkEvaluationKeys, expandEvaluationKeys } from "../key-blob.ts";
import { type CkksParameters, dataLimbs } from "../parameters.ts";
import { createRing, type Ring } from "../ring.ts";
import { type CkksContext, guarded, type Handle, openTools, saveUncompressed } from "../seal.ts";
import { WIRE_HEADER_BYTES } from "../wire-ciphertext.ts";
import type { SlotKeys } from "./evaluator.ts";
import {
  createSlotPackEvaluator,
  type SlotPackEvaluator,
  type SlotPackOutcome,
} from "./pack-evaluator.ts";
import { planSlots, type SlotPlan } from "./plan.ts";

/** Most memory of a session's kernels: tables, keys, one model. A network that needs more is refused. */
const MAX_BYTES = 402_653_184;
/** Offset of the scale in a wire header, and the bits it may have. */
const SCALE_AT = 8;
const SCALE_BITS = { least: 10, most: 48 } as const;

export interface SlotModel {
  /** Names the circuit and its weights. */
  readonly modelId: string;
  readonly circuit: Circuit;
  readonly mode: "secret" | "shared";
  /** Bits asked for; see {@link planSlots}. */
  readonly precisionBits?: number;
}

export type SlotSessionOutcome =
  | (Extract<SlotPackOutcome, { status: "ok" }> & { readonly plan: SlotPlan })
  | Extract<SlotPackOutcome, { status: "refused" }>
  /** More records than the layout holds, or none. */
  | { readonly status: "refused"; readonly part: -1; readonly fault: "count" };

export interface SlotSession {
  /**
   * @param records records in the pack
   * @param wires exactly one wire ciphertext. Not kept, not written.
   * @throws limit-exceeded when the model cannot be evaluated in slots under these parameters
   * @throws key-missing when the consumer's keys lack a rotation of this network
   * @throws worker-died when the memory of the library is not to be used again
   */
  evaluate(model: SlotModel, records: number, wires: readonly Uint8Array[]): SlotSessionOutcome;
  /** Work that can be done ahead; for when there is nothing else to do. */
  prepare(): void;
  /** Frees the library's objects. */
  close(): void;
}

export interface SlotSessionKeys {
  /** Published evaluation keys (`key-blob.ts`). */
  readonly evaluationKeys: Uint8Array;
  /** Serialized public key of the consumer. */
  readonly publicKey: Uint8Array;
}

interface Loaded {
  readonly ckks: CkksContext;
  readonly ring: Ring;
  readonly keys: SlotKeys;
  /** Over the first primes only: what a result is over. */
  readonly encryptZero: (limbs: number) => Uint8Array;
}

/**
 * Checks and loads a consumer's keys.
 * @throws key-invalid when a key blob is not a key of these parameters, or has no rotations
 * @throws limit-exceeded when tables and keys alone do not fit `maxBytes`
 */
export async function createSlotSession(
  parameters: CkksParameters,
  keys: SlotSessionKeys,
  { maxBytes = MAX_BYTES }: { readonly maxBytes?: number } = {},
): Promise<SlotSession> {
  const { tools, close } = await openTools(parameters, "load the consumer's keys", (ckks, keep) =>
    load(ckks, keys, maxBytes, keep),
  );
  let kept: { readonly name: string; readonly evaluator: SlotPackEvaluator } | null = null;
  const evaluatorOf = (model: SlotModel, inputScaleBits: number): SlotPackEvaluator => {
    const name = `${model.mode}/${inputScaleBits}/${model.modelId}`;
    if (kept?.name === name) return kept.evaluator;
    kept?.evaluator.close();
    kept = null;
    const evaluator = makeEvaluator(tools, parameters, model, inputScaleBits);
    kept = { name, evaluator };
    return evaluator;
  };
  return {
    close,
    prepare: () => guarded("encrypt zero", () => kept?.evaluator.prepare()),
    evaluate(model, records, wires) {
      const [wire] = wires;
      if (wire === undefined || wires.length !== 1) return refused("count");
      const scaleBits = readScaleBits(wire);
      if (scaleBits === null) return { status: "refused", part: 0, fault: "scale" };
      const evaluator = evaluatorOf(model, scaleBits);
      const { plan } = evaluator;
      const fits = Number.isInteger(records) && records >= 1;
      if (!fits || records > plan.recordsPerCiphertext) return refused("count");
      const outcome = guarded("evaluate the network", () => evaluator.evaluate(wires, records));
      return outcome.status === "ok" ? { ...outcome, plan } : outcome;
    },
  };
}

function refused(fault: "count"): SlotSessionOutcome {
  return { status: "refused", part: -1, fault };
}

/** Whole bits of the scale that a wire header names, or null; the evaluator checks all the rest. */
function readScaleBits(wire: Uint8Array): number | null {
  if (wire.length < WIRE_HEADER_BYTES) return null;
  const scale = new DataView(wire.buffer, wire.byteOffset).getFloat64(SCALE_AT, true);
  const bits = Math.round(Math.log2(scale));
  const { least, most } = SCALE_BITS;
  return bits >= least && bits <= most && 2 ** bits === scale ? bits : null;
}

function load(
  ckks: CkksContext,
  blobs: SlotSessionKeys,
  maxBytes: number,
  keep: <T extends Handle>(handle: T) => T,
): Loaded {
  const { seal, context } = ckks;
  const checked = checkEvaluationKeys(ckks, blobs.evaluationKeys);
  if (checked.status === "refused") throw keyInvalid("evaluation keys", checked.fault);
  const publicCheck = checkPublicKey(ckks, blobs.publicKey);
  if (publicCheck.status === "refused") throw keyInvalid("public key", publicCheck.fault);
  const expanded = expandEvaluationKeys(ckks, checked.keys);
  if (typeof expanded === "string") throw keyInvalid("evaluation keys", expanded);
  const ring = createRing(ckks, { maxBytes });
  const relin = expanded.relinKeys === null ? null : ring.loadRelinKeys(expanded.relinKeys);
  const galois = expanded.galoisKeys === null ? null : ring.loadGaloisKeys(expanded.galoisKeys);
  if (galois === null) throw keyInvalid("evaluation keys", "no rotations");
  if (relin === null && expanded.relinKeys !== null) throw keyInvalid("evaluation keys", "residue");
  const publicKey = keep(new seal.PublicKey());
  publicKey.loadFromArray(context, blobs.publicKey);
  const encryptor = keep(new seal.Encryptor(context, publicKey));
  const encoder = keep(new seal.CKKSEncoder(context));
  const evaluator = keep(new seal.Evaluator(context));
  const plaintext = keep(new seal.Plaintext());
  const zero = keep(new seal.Ciphertext());
  const slots = new Float64Array(ring.degree / 2);
  return {
    ckks,
    ring,
    keys: { relin, galois },
    // Because a plaintext of few limbs is encrypted over few limbs, in a fraction of the time.
    encryptZero(limbs) {
      encoder.encode(slots, 1, plaintext);
      for (let held = dataLimbs(ckks.parameters); held > limbs; held -= 1) {
        evaluator.plainModSwitchToNextInplace(plaintext);
      }
      encryptor.encrypt(plaintext, zero);
      return saveUncompressed(ckks, zero);
    },
  };
}

function keyInvalid(what: string, fault: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `The consumer's CKKS ${what} in topic keys are not usable (${fault}); run sealstream keys create for the consumer zone.`,
  );
}

function makeEvaluator(
  { ckks, ring, keys, encryptZero }: Loaded,
  parameters: CkksParameters,
  { circuit, mode, precisionBits }: SlotModel,
  inputScaleBits: number,
): SlotPackEvaluator {
  const goal = precisionBits === undefined ? {} : { precisionBits };
  const plan = planSlots(circuit, parameters, ckks.primes, { mode, inputScaleBits, ...goal });
  return createSlotPackEvaluator({
    ring,
    ckks,
    plan,
    relinKeys: keys.relin,
    galoisKeys: keys.galois,
    encryptZero: () => encryptZero(plan.outputLimbs),
  });
}
