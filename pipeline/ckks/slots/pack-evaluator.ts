/**
 * Runs a planned model on packs of the slots packing: one wire ciphertext in, one out.
 *
 * Guarantees. Length, header and every residue of the input are checked, those of unused limbs too, before a result
 * exists; what is refused is an outcome. All memory is taken when the evaluator is made. Unless the mode is shared, every
 * result is re-randomised by an encryption of zero that is used once: some are made ahead ({@link
 * SlotPackEvaluator.prepare}), because one takes the library as long as a pack takes us. What this does not give: a proof
 * that this model was run, or statistical circuit privacy. Must hold no secret key and make no randomness: `encryptZero`
 * is the library's.
 */
import { SealstreamError } from "../../errors.ts";
import type { BlobFault } from "../blob.ts";
import type { RingGaloisKeys, RingRelinKeys } from "../evaluation-keys.ts";
import { CIPHERTEXT_HEADER_BYTES, CIPHERTEXT_POLYS } from "../parameters.ts";
import type { Ring } from "../ring.ts";
import type { CkksContext } from "../seal.ts";
import {
  BITS_SLACK,
  checkWireLimbs,
  limbFault,
  newWireCiphertext,
  readWireHeader,
  stageWireLimb,
  wireLimbBytes,
  wireLimbOffset,
} from "../wire-ciphertext.ts";
import { loadEncryptedSlotModel } from "./encrypted-model.ts";
import { createSlotEvaluator, type SlotEvaluator } from "./evaluator.ts";
import { loadSlotModel } from "./model.ts";
import type { SlotPlan } from "./plan.ts";

export interface SlotPackEvaluatorOptions {
  readonly ring: Ring;
  readonly ckks: CkksContext;
  readonly plan: SlotPlan;
  /** Loaded in the same ring. */
  readonly relinKeys: RingRelinKeys | null;
  readonly galoisKeys: RingGaloisKeys;
  /**
   * A fresh encryption of zero under the consumer's public key, over at least `outputLimbs` primes, as SEAL serializes it
   * without compression. Needed unless the mode is shared.
   */
  readonly encryptZero?: (() => Uint8Array) | null;
  /** Ciphertexts of the model; needed when the mode is encrypted. */
  readonly modelBlobs?: readonly Uint8Array[];
  /** Called at the end of each phase, for profiles. */
  readonly phase?: (name: string) => void;
}

export type SlotPackOutcome =
  /** One wire ciphertext over `outputLimbs` primes; new buffers. */
  | { readonly status: "ok"; readonly blobs: readonly Uint8Array<ArrayBuffer>[] }
  /** `part` is -1 when there is not exactly one ciphertext. */
  | { readonly status: "refused"; readonly part: number; readonly fault: BlobFault | "count" };

export interface SlotPackEvaluator {
  readonly plan: SlotPlan;
  /**
   * @param wires exactly one. Not kept, not written.
   * @param records records in it, 1..recordsPerCiphertext
   */
  evaluate(wires: readonly Uint8Array[], records: number): SlotPackOutcome;
  /** Makes encryptions of zero for coming packs, up to a few; for when there is nothing else to do. */
  prepare(): void;
  /** Gives the ring's memory back to where it was; nothing may have been taken since. */
  close(): void;
}

/** Encryptions of zero kept ready: 64 KiB a limb each at N = 4096, twice that at 8192. */
const READY_ZEROS = 4;

interface Machine {
  readonly options: SlotPackEvaluatorOptions;
  readonly evaluator: SlotEvaluator;
  readonly bits: number;
  readonly zero: number;
  readonly ready: Uint8Array[];
}

/**
 * Encodes the model and takes all memory, on top of what the ring holds.
 * @throws limit-exceeded when it does not fit the ring's limit
 * @throws key-missing when a key of the plan is not there; checkpoint-invalid when the model's ciphertexts are not its
 */
export function createSlotPackEvaluator(options: SlotPackEvaluatorOptions): SlotPackEvaluator {
  const { ring, plan, relinKeys, galoisKeys, encryptZero = null, phase } = options;
  if (encryptZero === null && plan.mode !== "shared") {
    throw new SealstreamError("internal", "A slots plan needs encryptions of zero.");
  }
  const mark = ring.mark();
  try {
    const model = loadModel(options);
    const keys = { relin: relinKeys, galois: galoisKeys };
    const evaluator = createSlotEvaluator(ring, { plan, model, keys, ...(phase && { phase }) });
    const machine: Machine = {
      options,
      evaluator,
      bits: ring.take(ring.limbBytes + BITS_SLACK),
      zero: ring.take(ring.shapeBytes({ polys: CIPHERTEXT_POLYS, limbs: plan.outputLimbs })),
      ready: [],
    };
    return {
      plan,
      evaluate: (wires, records) => evaluate(machine, wires, records),
      prepare() {
        if (plan.mode === "shared" || encryptZero === null) return;
        while (machine.ready.length < READY_ZEROS) machine.ready.push(encryptZero());
      },
      close: () => ring.release(mark),
    };
  } catch (error) {
    ring.release(mark);
    throw error;
  }
}

function loadModel({ ring, ckks, plan, modelBlobs }: SlotPackEvaluatorOptions) {
  if (plan.mode !== "encrypted") return loadSlotModel(ring, plan);
  const model = loadEncryptedSlotModel(ring, ckks, plan, modelBlobs ?? []);
  if (model !== null) return model;
  throw new SealstreamError(
    "checkpoint-invalid",
    "The encrypted model's ciphertexts are not those of its recipe; let the training zone publish it anew.",
  );
}

function evaluate(
  machine: Machine,
  wires: readonly Uint8Array[],
  records: number,
): SlotPackOutcome {
  const [wire] = wires;
  if (wire === undefined || wires.length !== 1) {
    return { status: "refused", part: -1, fault: "count" };
  }
  const fault = unpack(machine, wire);
  if (fault !== null) return { status: "refused", part: 0, fault };
  const { options, evaluator } = machine;
  options.phase?.("unpack");
  const zero = options.plan.mode === "shared" ? undefined : importZero(machine);
  const blob = pack(machine, evaluator.evaluate(records, zero));
  options.phase?.("pack");
  return { status: "ok", blobs: [blob] };
}

function unpack({ options, evaluator, bits }: Machine, wire: Uint8Array): BlobFault | null {
  const { ring, plan } = options;
  const { parameters } = plan;
  const scale = 2 ** plan.inputScaleBits;
  const shape = { polys: CIPHERTEXT_POLYS, limbs: plan.inputLimbs, scale };
  const expected = { polys: [CIPHERTEXT_POLYS], limbs: plan.inputLimbs, scale };
  const header = readWireHeader(parameters, wire, expected);
  if (header.status === "refused") return header.fault;
  const { input, inputLimbs } = evaluator;
  for (let poly = 0; poly < CIPHERTEXT_POLYS; poly += 1) {
    for (let limb = 0; limb < inputLimbs; limb += 1) {
      stageWireLimb(parameters, ring, wire, { shape, place: { poly, limb }, to: bits });
      const to = input + (poly * inputLimbs + limb) * ring.limbBytes;
      const width = parameters.coeffModulusBits[limb] ?? 0;
      const prime = Number(ring.primes[limb] ?? 0n);
      const fault = limbFault(ring.kernels.unpackRing(bits, to, ring.degree, width, prime), poly);
      if (fault !== null) return fault;
    }
  }
  if (inputLimbs === plan.inputLimbs) return null;
  return checkWireLimbs(parameters, ring, wire, { shape, from: inputLimbs });
}

/** An encryption of zero that was not used before, its first limbs. */
function importZero({ options, zero, ready }: Machine): number {
  const { ring, plan, encryptZero } = options;
  const blob = ready.pop() ?? encryptZero?.() ?? new Uint8Array(0);
  const polyBytes = (blob.length - CIPHERTEXT_HEADER_BYTES) / CIPHERTEXT_POLYS;
  const bytes = plan.outputLimbs * ring.limbBytes;
  for (let poly = 0; poly < CIPHERTEXT_POLYS; poly += 1) {
    const from = CIPHERTEXT_HEADER_BYTES + poly * polyBytes;
    const residues = blob.subarray(from, from + bytes);
    const shape = { polys: 1, limbs: plan.outputLimbs };
    if (residues.length !== bytes || !ring.importResidues(residues, shape, zero + poly * bytes)) {
      throw new SealstreamError("internal", "A fresh ciphertext is not over the ring's primes.");
    }
  }
  return zero;
}

function pack({ options, bits }: Machine, at: number): Uint8Array<ArrayBuffer> {
  const { ring, plan } = options;
  const { parameters, outputLimbs: limbs } = plan;
  const shape = { polys: CIPHERTEXT_POLYS, limbs, scale: 2 ** plan.outputScaleBits };
  const wire = newWireCiphertext(parameters, shape);
  for (let poly = 0; poly < CIPHERTEXT_POLYS; poly += 1) {
    for (let limb = 0; limb < limbs; limb += 1) {
      const from = at + (poly * limbs + limb) * ring.limbBytes;
      const width = parameters.coeffModulusBits[limb] ?? 0;
      ring.kernels.packRing(from, bits, ring.degree, width, Number(ring.primes[limb] ?? 0n));
      const packed = ring.bytes(bits, wireLimbBytes(parameters, limb));
      wire.set(packed, wireLimbOffset(parameters, shape, { poly, limb }));
    }
  }
  return wire;
}
