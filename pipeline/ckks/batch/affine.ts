/**
 * Runs affine operations on the kernels, tile by tile, from ciphertexts in memory or straight from their wire form.
 *
 * From the wire, only one limb of one polynomial of every input is in kernel memory at a time, as tight bits: the
 * residues of a wide input layer are never all there. Every residue that is read is range-checked on the way.
 * Must not decide anything about scales or levels: it does what the operation says.
 */
import type { BlobFault } from "../blob.ts";
import type { CkksParameters } from "../parameters.ts";
import type { Ring } from "../ring.ts";
import { BITS_SLACK, limbFault, stageWireLimb, wireLimbBytes } from "../wire-ciphertext.ts";
import { ENTRY_BYTES, type LaidRows, layRows } from "./blocks.ts";
import type { AffineOp, BatchPlan } from "./program.ts";

/** Bytes of a tile: a part of a core's second-level cache (512 KiB and more today), beside weights and results. */
const TILE_BYTES = 262_144;

/** First thing found wrong with an input: its place among the operation's inputs. */
export interface InputFault {
  readonly place: number;
  readonly fault: BlobFault;
}

export interface AffineSources {
  /** Address of a limb of a ciphertext in memory; 0: it has no such polynomial. */
  readonly limbAt: (ciphertext: number, poly: number, limb: number) => number;
  /** Inputs in wire form, lengths and headers checked, with `wireLimbs` limbs each. */
  readonly wires: readonly Uint8Array[];
  readonly wireLimbs: number;
}

export interface AffineRunner {
  /** What was found wrong with the inputs; then the outputs are of no use. Only wires can be at fault. */
  run(op: AffineOp, sources: AffineSources): InputFault | null;
}

interface Room {
  readonly tile: number;
  /** u32 per input. */
  readonly sources: number;
  readonly flags: number;
  /** Bits of one limb of every input. */
  readonly bits: number;
  /** One limb of zeros: a polynomial that an input does not have. */
  readonly zeros: number;
}

function pairsOf(ring: Ring, inputs: number): number {
  const most = Math.max(1, Math.floor(TILE_BYTES / (inputs * ENTRY_BYTES)));
  return Math.min(ring.degree / 2, 2 ** Math.floor(Math.log2(most)));
}

/** Takes memory for every affine operation of a program; it stays taken. @throws limit-exceeded when it does not fit */
export function createAffineRunner(
  ring: Ring,
  parameters: CkksParameters,
  plan: Pick<BatchPlan, "ops">,
): AffineRunner {
  const ops = affineOps(plan);
  const { widest, stride, bits } = roomFor(parameters, plan);
  const tileBytes = ops.map(
    ({ inputs: { length } }) => pairsOf(ring, length) * length * ENTRY_BYTES,
  );
  const room: Room = {
    tile: ring.take(tileBytes.reduce((most, bytes) => Math.max(most, bytes), 0)),
    sources: ring.take(widest * 4),
    flags: ring.take(widest * 4),
    bits: ring.take(bits),
    zeros: ring.take(ring.limbBytes),
  };
  ring.bytes(room.zeros, ring.limbBytes).fill(0);
  const laid = new Map(ops.map((op) => [op, { rows: layRows(ring, op), biases: new Map() }]));
  return {
    run(op, sources) {
      const known = laid.get(op);
      if (known === undefined) throw new RangeError("an operation of another program");
      for (let poly = 0; poly < op.polys; poly += 1) {
        for (let limb = 0; limb < op.limbs; limb += 1) {
          const outputs = Uint32Array.from(op.outputs, (id) => sources.limbAt(id, poly, limb));
          const biases = poly === 0 ? biasResidues(known.biases, op, ring, limb) : null;
          known.rows.aim(outputs, biases);
          const at = { poly, limb };
          const fault = op.fromWire
            ? runWires({ ring, parameters, room, rows: known.rows, stride }, op, sources, at)
            : runLimbs({ ring, room, rows: known.rows }, op, sources, at);
          if (fault !== null) return fault;
        }
      }
      return null;
    },
  };
}

function affineOps({ ops }: Pick<BatchPlan, "ops">): readonly AffineOp[] {
  return ops.filter((op) => op.kind === "affine");
}

/** What affine operations need: most inputs of one, bytes between the bits of two, bytes of all bits there at a time. */
function roomFor(parameters: CkksParameters, plan: Pick<BatchPlan, "ops">) {
  const ops = affineOps(plan);
  const most = (of: (op: AffineOp) => number): number =>
    ops.reduce((size, op) => Math.max(size, of(op)), 0);
  const stride = wireStride(
    parameters,
    most(({ limbs }) => limbs),
  );
  const widest = most(({ inputs }) => inputs.length);
  return { widest, stride, bits: most((op) => (op.fromWire ? op.inputs.length * stride : 0)) };
}

/** Bytes that a program's affine operations take beside its working memory, tables of weights included. */
export function affineBytes(parameters: CkksParameters, plan: Pick<BatchPlan, "ops">): number {
  const tables = affineOps(plan).reduce((sum, { weights }) => sum + weights.length * 12, 0);
  return roomFor(parameters, plan).bits + tables + TILE_BYTES;
}

/** Bytes between the bits of two inputs. */
function wireStride(parameters: CkksParameters, limbs: number): number {
  let most = 0;
  for (let limb = 0; limb < limbs; limb += 1) {
    most = Math.max(most, wireLimbBytes(parameters, limb));
  }
  return most + BITS_SLACK;
}

/** Balanced residues of an operation's biases modulo a prime, computed once. */
function biasResidues(
  known: Map<number, Float64Array>,
  { biases }: AffineOp,
  ring: Ring,
  limb: number,
): Float64Array {
  const made = known.get(limb);
  if (made !== undefined) return made;
  const prime = ring.primes[limb] ?? 1n;
  const residues = Float64Array.from(biases, (bias) => {
    const residue = ((bias % prime) + prime) % prime;
    return Number(residue > prime / 2n ? residue - prime : residue);
  });
  known.set(limb, residues);
  return residues;
}

interface Work {
  readonly ring: Ring;
  readonly room: Room;
  readonly rows: LaidRows;
}

interface At {
  readonly poly: number;
  readonly limb: number;
}

function runLimbs(work: Work, op: AffineOp, { limbAt }: AffineSources, at: At): null {
  const { ring, room } = work;
  const { kernels } = ring;
  const inputs = op.inputs.length;
  const addresses = ring.words(room.sources, inputs);
  for (const [place, id] of op.inputs.entries()) {
    addresses[place] = limbAt(id, at.poly, at.limb) || room.zeros;
  }
  forTiles(work, inputs, at.limb, (first, pairs) =>
    kernels.loadRingTile(room.sources, inputs, first * 16, pairs, room.tile),
  );
  return null;
}

function runWires(
  work: Work & { readonly parameters: CkksParameters; readonly stride: number },
  op: AffineOp,
  { wires, wireLimbs }: AffineSources,
  at: At,
): InputFault | null {
  const { ring, room, parameters, stride } = work;
  const { kernels } = ring;
  const inputs = op.inputs.length;
  const addresses = ring.words(room.sources, inputs);
  for (const [place, feature] of op.inputs.entries()) {
    const to = room.bits + place * stride;
    addresses[place] = to;
    const wire = wires[feature] ?? new Uint8Array();
    stageWireLimb(parameters, ring, wire, { shape: { limbs: wireLimbs }, place: at, to });
  }
  ring.words(room.flags, inputs).fill(0);
  const half = ring.degree / 2;
  const bits = parameters.coeffModulusBits[at.limb] ?? 0;
  const prime = Number(ring.primes[at.limb] ?? 0n);
  forTiles(work, inputs, at.limb, (first, pairs) =>
    kernels.loadBitsTile(
      room.sources,
      inputs,
      room.flags,
      first,
      pairs,
      room.tile,
      half,
      bits,
      prime,
    ),
  );
  for (const [place, flags] of ring.words(room.flags, inputs).entries()) {
    const fault = limbFault(flags, at.poly);
    if (fault !== null) return { place, fault };
  }
  return null;
}

function forTiles(
  { ring, room, rows }: Work,
  inputs: number,
  limb: number,
  load: (first: number, pairs: number) => void,
): void {
  const pairs = pairsOf(ring, inputs);
  const prime = Number(ring.primes[limb] ?? 0n);
  for (let first = 0; first < ring.degree / 2; first += pairs) {
    load(first, pairs);
    ring.kernels.accumulateBlocks(rows.at, rows.count, room.tile, inputs, first * 16, pairs, prime);
  }
}
