/**
 * Runs a planned program on packs: wire ciphertexts in, wire ciphertexts out, one for each class.
 *
 * Guarantees. Length, header and every residue of every input are checked, those of unused features and limbs too, before
 * a result exists; what is refused is an outcome that names the feature. All memory is taken when the evaluator is made:
 * a program that does not fit is refused then, and a pack never is. Under `secret` every result is relinearised, rescaled
 * and re-randomised by a fresh encryption of zero, so that its polynomials but the value say nothing about the model. A
 * class without weights is an encryption of its constant in both modes. What this does not give: a proof that this model
 * was run (the stage signs instead), or statistical circuit privacy (the consumer's noise depends a little on weights).
 * Must hold no secret key and make no randomness: `encryptZero` is the library's.
 */
import { SealstreamError } from "../../errors.ts";
import type { BlobFault } from "../blob.ts";
import type { RingRelinKeys } from "../evaluation-keys.ts";
import { CIPHERTEXT_HEADER_BYTES, CIPHERTEXT_POLYS, type CkksParameters } from "../parameters.ts";
import type { Ring } from "../ring.ts";
import {
  BITS_SLACK,
  checkWireLimbs,
  limbFault,
  newWireCiphertext,
  readWireHeader,
  stageWireLimb,
  WIRE_HEADER_BYTES,
  type WireShape,
  wireLimbBytes,
} from "../wire-ciphertext.ts";
import { createAffineRunner } from "./affine.ts";
import type { AffineOp, BatchOp, BatchOutput, BatchPlan, FinishOp, ProductOp } from "./program.ts";

export interface BatchEvaluatorOptions {
  readonly ring: Ring;
  readonly parameters: CkksParameters;
  readonly plan: BatchPlan;
  /** Needed where the plan says so; loaded in the same ring. */
  readonly relinKeys?: RingRelinKeys | null;
  /**
   * A fresh encryption of zero under the consumer's public key, over at least `outputLimbs` primes, as SEAL serializes it
   * without compression. Needed where the plan says so.
   */
  readonly encryptZero?: (() => Uint8Array) | null;
  /** Called at the end of each operation with its kind, for profiles. */
  readonly phase?: (name: string) => void;
}

export type BatchOutcome =
  /** One wire ciphertext per class, of the plan's `outputLimbs`; new buffers. */
  | { readonly status: "ok"; readonly blobs: readonly Uint8Array<ArrayBuffer>[] }
  /** `feature` is -1 when the number of ciphertexts is not the network's. */
  | { readonly status: "refused"; readonly feature: number; readonly fault: BlobFault | "count" };

export interface BatchEvaluator {
  readonly plan: BatchPlan;
  /** @param wires one ciphertext per feature. Not kept, not written. */
  evaluate(wires: readonly Uint8Array[]): BatchOutcome;
  /** Gives the ring's memory back to where it was; nothing may have been taken since. */
  close(): void;
}

interface Machine extends Required<BatchEvaluatorOptions> {
  /** Working memory: places of the plan. */
  readonly memory: number;
  /** Two ciphertexts for operands that are cut to fewer limbs. */
  readonly cut: number;
  readonly bits: number;
  readonly affine: ReturnType<typeof createAffineRunner>;
}

/**
 * Takes all memory a program needs, on top of what the ring holds.
 * @throws limit-exceeded when it does not fit the ring's limit
 * @throws internal when a key that the plan needs was not given
 */
export function createBatchEvaluator(options: BatchEvaluatorOptions): BatchEvaluator {
  const { ring, parameters, plan, relinKeys = null, encryptZero = null } = options;
  const { phase = () => undefined } = options;
  const hasKeys =
    (relinKeys !== null || !plan.needsRelinKeys) && (encryptZero !== null || !plan.needsPublicKey);
  if (!hasKeys || plan.parameters !== parameters.id) {
    throw new SealstreamError("internal", "A batch plan was given other keys than it needs.");
  }
  const mark = ring.mark();
  try {
    const machine: Machine = {
      ...{ ring, parameters, plan, relinKeys, encryptZero, phase },
      memory: ring.take(plan.placeLimbs * ring.limbBytes),
      cut: ring.take(2 * CIPHERTEXT_POLYS * plan.inputLimbs * ring.limbBytes),
      bits: ring.take(ring.limbBytes + BITS_SLACK),
      affine: createAffineRunner(ring, parameters, plan),
    };
    return {
      plan,
      evaluate: (wires) => evaluate(machine, wires),
      close: () => ring.release(mark),
    };
  } catch (error) {
    ring.release(mark);
    throw error;
  }
}

function evaluate(machine: Machine, wires: readonly Uint8Array[]): BatchOutcome {
  const { plan } = machine;
  if (wires.length !== plan.features) return { status: "refused", feature: -1, fault: "count" };
  const early = checkUnread(machine, wires);
  if (early !== null) return early;
  for (const op of plan.ops) {
    const refused = runOp(machine, op, wires);
    if (refused !== null) return refused;
    machine.phase(op.kind === "affine" && op.fromWire ? "unpack and sum" : op.kind);
  }
  const blobs = plan.outputs.map((output) => writeOutput(machine, output));
  machine.phase("pack");
  return { status: "ok", blobs };
}

function refuse(feature: number, fault: BlobFault): BatchOutcome {
  return { status: "refused", feature, fault };
}

function inputShape({ plan }: Machine): WireShape {
  return { polys: CIPHERTEXT_POLYS, limbs: plan.wireLimbs, scale: 2 ** plan.inputScaleBits };
}

/** Judges every header, and the residues that no operation reads. */
function checkUnread(machine: Machine, wires: readonly Uint8Array[]): BatchOutcome | null {
  const { ring, parameters, plan } = machine;
  const shape = inputShape(machine);
  const expected = { polys: [CIPHERTEXT_POLYS], limbs: shape.limbs, scale: shape.scale };
  const readTo = new Uint8Array(plan.features);
  for (const op of plan.ops) {
    if (op.kind === "unpack") readTo[op.feature] = plan.ciphertexts[op.output]?.limbs ?? 0;
    if (op.kind !== "affine" || !op.fromWire) continue;
    for (const feature of op.inputs) {
      readTo[feature] = Math.max(readTo[feature] ?? 0, op.limbs);
    }
  }
  for (const [feature, wire] of wires.entries()) {
    const header = readWireHeader(parameters, wire, expected);
    if (header.status === "refused") return refuse(feature, header.fault);
    const from = readTo[feature] ?? 0;
    if (from === shape.limbs) continue;
    const fault = checkWireLimbs(parameters, ring, wire, { shape, from });
    if (fault !== null) return refuse(feature, fault);
  }
  return null;
}

/** Address of a ciphertext, and how many limbs lie there. */
function placeOf({ ring, plan, memory }: Machine, id: number) {
  const known = plan.ciphertexts[id];
  if (known === undefined || known.place < 0) throw new RangeError("a ciphertext without a place");
  return { at: memory + known.place * ring.limbBytes, limbs: known.limbs, polys: known.polys };
}

function runOp(machine: Machine, op: BatchOp, wires: readonly Uint8Array[]): BatchOutcome | null {
  if (op.kind === "affine") return runAffine(machine, op, wires);
  if (op.kind === "unpack") {
    const fault = unpack(machine, wires[op.feature] ?? new Uint8Array(), op);
    return fault === null ? null : refuse(op.feature, fault);
  }
  if (op.kind === "finish") finish(machine, op);
  else product(machine, op);
  return null;
}

function runAffine(
  machine: Machine,
  op: AffineOp,
  wires: readonly Uint8Array[],
): BatchOutcome | null {
  const { ring, affine } = machine;
  const wireLimbs = inputShape(machine).limbs;
  const limbAt = (id: number, poly: number, limb: number): number => {
    const { at, limbs, polys } = placeOf(machine, id);
    return poly < polys ? at + (poly * limbs + limb) * ring.limbBytes : 0;
  };
  const found = affine.run(op, { limbAt, wires, wireLimbs });
  return found === null ? null : refuse(op.inputs[found.place] ?? -1, found.fault);
}

function unpack(
  machine: Machine,
  wire: Uint8Array,
  { output, boostBits }: { readonly output: number; readonly boostBits: number },
): BlobFault | null {
  const { ring, parameters, bits } = machine;
  const { at, limbs } = placeOf(machine, output);
  const shape = inputShape(machine);
  for (let poly = 0; poly < CIPHERTEXT_POLYS; poly += 1) {
    for (let limb = 0; limb < limbs; limb += 1) {
      stageWireLimb(parameters, ring, wire, { shape, place: { poly, limb }, to: bits });
      const flags = ring.kernels.unpackRing(
        bits,
        at + (poly * limbs + limb) * ring.limbBytes,
        ring.degree,
        parameters.coeffModulusBits[limb] ?? 0,
        Number(ring.primes[limb] ?? 0n),
      );
      const fault = limbFault(flags, poly);
      if (fault !== null) return fault;
    }
  }
  const all = { polys: CIPHERTEXT_POLYS, limbs };
  if (boostBits > 0) ring.multiplyConstant(at, 1n << BigInt(boostBits), all, at);
  return null;
}

function finish(machine: Machine, op: FinishOp): void {
  const { ring, relinKeys } = machine;
  const input = placeOf(machine, op.input);
  const to = placeOf(machine, op.output).at;
  let shape = { polys: input.polys as number, limbs: input.limbs };
  let from = input.at;
  if (op.boostBits > 0) {
    // In place unless this is all there is to do: an input that is relinearised or rescaled is not read again as it was.
    const target = op.relinearize || op.rescale ? from : to;
    ring.multiplyConstant(from, 1n << BigInt(op.boostBits), shape, target);
    from = target;
  }
  if (op.relinearize) {
    if (relinKeys === null) throw new RangeError("a plan that needs relinearisation keys");
    if (op.rescale) {
      ring.relinearizeRescale(from, shape.limbs, { keys: relinKeys }, to);
      return;
    }
    ring.relinearize(from, shape.limbs, { keys: relinKeys }, to);
    from = to;
    shape = { ...shape, polys: CIPHERTEXT_POLYS };
  }
  if (op.rescale) ring.rescale(from, shape, to);
}

function product(machine: Machine, { left, right, output }: ProductOp): void {
  const { ring, cut } = machine;
  const to = placeOf(machine, output);
  const a = cutTo(machine, left, to.limbs, cut);
  if (left === right) {
    ring.square(a, to.limbs, to.at);
    return;
  }
  const room = CIPHERTEXT_POLYS * to.limbs * ring.limbBytes;
  ring.multiply(a, cutTo(machine, right, to.limbs, cut + room), to.limbs, to.at);
}

/** Address of a ciphertext with exactly `limbs` limbs: itself, or a copy without the last ones. */
function cutTo(machine: Machine, id: number, limbs: number, to: number): number {
  const { ring } = machine;
  const known = placeOf(machine, id);
  if (known.limbs === limbs) return known.at;
  const bytes = limbs * ring.limbBytes;
  for (let poly = 0; poly < CIPHERTEXT_POLYS; poly += 1) {
    const from = known.at + poly * known.limbs * ring.limbBytes;
    ring.bytes(to + poly * bytes, bytes).set(ring.bytes(from, bytes));
  }
  return to;
}

/** A result's first limbs in wire form, re-randomised where the mode says so. */
function writeOutput(machine: Machine, output: BatchOutput): Uint8Array<ArrayBuffer> {
  const { ring, plan, cut } = machine;
  const { limbBytes } = ring;
  const { outputLimbs } = plan;
  const isRandom = "constant" in output || plan.mode === "secret";
  if (isRandom) importZero(machine);
  if ("constant" in output) {
    const value = BigInt(Math.round(output.constant * plan.outputScale));
    ring.addConstant(cut, value, { polys: CIPHERTEXT_POLYS, limbs: outputLimbs }, cut);
    return pack(machine, [cut, cut + outputLimbs * limbBytes]);
  }
  const { at, limbs, polys } = placeOf(machine, output.ciphertext);
  const addresses = Array.from({ length: polys }, (_, poly) => at + poly * limbs * limbBytes);
  if (isRandom) {
    for (const [poly, address] of addresses.entries()) {
      const zero = cut + poly * outputLimbs * limbBytes;
      ring.add(address, zero, { polys: 1, limbs: outputLimbs }, address);
    }
  }
  return pack(machine, addresses);
}

/** A fresh encryption of zero, its first limbs, at `cut`: two polynomials. */
function importZero({ ring, plan, encryptZero, cut }: Machine): void {
  const zero = encryptZero?.() ?? new Uint8Array();
  const limbs = plan.outputLimbs;
  const bytes = limbs * ring.limbBytes;
  const stride = (zero.length - CIPHERTEXT_HEADER_BYTES) / CIPHERTEXT_POLYS;
  for (let poly = 0; poly < CIPHERTEXT_POLYS; poly += 1) {
    const from = CIPHERTEXT_HEADER_BYTES + poly * stride;
    const residues = zero.subarray(from, from + bytes);
    const isWhole = residues.length === bytes;
    if (!isWhole || !ring.importResidues(residues, { polys: 1, limbs }, cut + poly * bytes)) {
      throw new SealstreamError("internal", "A fresh ciphertext is not over the ring's primes.");
    }
  }
}

/** The first limbs at these addresses, one for each polynomial, as a wire ciphertext. */
function pack(
  { ring, parameters, plan, bits }: Machine,
  addresses: readonly number[],
): Uint8Array<ArrayBuffer> {
  const shape = { polys: addresses.length, limbs: plan.outputLimbs, scale: plan.outputScale };
  const wire = newWireCiphertext(parameters, shape);
  let to = WIRE_HEADER_BYTES;
  for (const address of addresses) {
    for (let limb = 0; limb < plan.outputLimbs; limb += 1) {
      const bytes = wireLimbBytes(parameters, limb);
      const width = parameters.coeffModulusBits[limb] ?? 0;
      const prime = Number(ring.primes[limb] ?? 0n);
      ring.kernels.packRing(address + limb * ring.limbBytes, bits, ring.degree, width, prime);
      wire.set(ring.bytes(bits, bytes), to);
      to += bytes;
    }
  }
  return wire;
}
