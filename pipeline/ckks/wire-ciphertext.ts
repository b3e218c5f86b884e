/**
 * Ciphertexts as they travel: our own format, every residue in exactly as many bits as its prime has.
 *
 * SEAL's own form spends 64 bits on a residue of 46, and its compressed form has no length that is known beforehand.
 * Here the length follows from parameters, polynomials and limbs alone, nothing inflates, and no parser of the library
 * sees what came from outside: while unpacking every residue is compared with its prime and a second or third polynomial
 * without content is noticed (anybody could read the first one then). What is refused is an outcome, never an exception.
 * Nothing is authenticated here: bundles are (`crypto/bundle.ts`).
 *
 * Grammar (version 1, little-endian):
 *   ciphertext = magic 4 = "SCKT", version u8 = 1, log2 degree u8, polys u8 = 2 | 3, limbs u8, scale f64,
 *                polys x limbs x limb
 *   limb       = N residues of b bits, residue i in bits i b .. (i + 1) b of the limb's bytes, lowest bit first;
 *                b = bit length of the limb's prime. N is a multiple of 8: a limb is N b / 8 bytes.
 * Polynomials and limbs in the order of the chain, residues in SEAL's NTT order.
 */
import { SealstreamError } from "../errors.ts";
import { type BlobFault, ciphertextHeader } from "./blob.ts";
import {
  CIPHERTEXT_HEADER_BYTES,
  type CkksParameters,
  dataLimbs,
  RESIDUE_BYTES,
} from "./parameters.ts";
import type { Ring } from "./ring.ts";
import type { CkksContext } from "./seal.ts";

export const WIRE_HEADER_BYTES = 16;
const MAGIC = 0x544b4353;
const VERSION = 1;
const LIMBS_AT = 7;
/** Bytes behind packed bits that kernels read or overwrite; assembly/bits.ts. */
export const BITS_SLACK = 8;
/** Flags of the kernels that read bits. */
const TOO_LARGE = 1;
const NOT_ZERO = 2;
/** Scales of results: below, precision is gone; above, a double cannot say more and no first prime has room. */
const LEAST_SCALE = 2 ** 8;
const MOST_SCALE = 2 ** 56;

export interface WireShape {
  readonly polys: number;
  readonly limbs: number;
  readonly scale: number;
}

export interface WireRefusal {
  readonly status: "refused";
  readonly fault: BlobFault;
}

/** What a reader is ready for; `scale` null: any that a result may have. */
export interface WireExpectation {
  readonly polys: readonly number[];
  readonly limbs: number;
  readonly scale: number | null;
}

/** Bytes of one limb's residues. */
export function wireLimbBytes(
  { polyModulusDegree, coeffModulusBits }: CkksParameters,
  limb: number,
): number {
  return (polyModulusDegree / 8) * (coeffModulusBits[limb] ?? 0);
}

/** Bytes of a ciphertext over the first `limbs` primes: the only length that is accepted. */
export function wireCiphertextBytes(
  parameters: CkksParameters,
  polys: number,
  limbs: number,
): number {
  let bytes = 0;
  for (let limb = 0; limb < limbs; limb += 1) bytes += wireLimbBytes(parameters, limb);
  return WIRE_HEADER_BYTES + polys * bytes;
}

/** Where the residues of a polynomial's limb begin. */
export function wireLimbOffset(
  parameters: CkksParameters,
  { limbs }: Pick<WireShape, "limbs">,
  at: { readonly poly: number; readonly limb: number },
): number {
  const before = wireCiphertextBytes(parameters, 1, at.limb) - WIRE_HEADER_BYTES;
  return wireCiphertextBytes(parameters, at.poly, limbs) + before;
}

/** A new buffer of the right length with its header; residues are the caller's to fill in. */
export function newWireCiphertext(
  parameters: CkksParameters,
  shape: WireShape,
): Uint8Array<ArrayBuffer> {
  const blob = new Uint8Array(wireCiphertextBytes(parameters, shape.polys, shape.limbs));
  const view = new DataView(blob.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, VERSION);
  view.setUint8(5, Math.log2(parameters.polyModulusDegree));
  view.setUint8(6, shape.polys);
  view.setUint8(LIMBS_AT, shape.limbs);
  view.setFloat64(8, shape.scale, true);
  return blob;
}

/** Judges length and header; the residues have not been looked at. */
export function readWireHeader(
  parameters: CkksParameters,
  blob: Uint8Array,
  expected: WireExpectation,
): { readonly status: "ok"; readonly shape: WireShape } | WireRefusal {
  const { limbs } = expected;
  if (blob.length < WIRE_HEADER_BYTES) return refused("length");
  const view = new DataView(blob.buffer, blob.byteOffset, blob.length);
  if (view.getUint32(0, true) !== MAGIC || view.getUint8(4) !== VERSION) {
    return refused("wire-header");
  }
  const polys = view.getUint8(6);
  const sameShape =
    view.getUint8(5) === Math.log2(parameters.polyModulusDegree) &&
    expected.polys.includes(polys) &&
    view.getUint8(LIMBS_AT) === limbs;
  if (!sameShape) return refused("shape");
  if (blob.length !== wireCiphertextBytes(parameters, polys, limbs)) return refused("length");
  const scale = view.getFloat64(8, true);
  const good =
    expected.scale === null
      ? scale >= LEAST_SCALE && scale <= MOST_SCALE
      : scale === expected.scale;
  return good ? { status: "ok", shape: { polys, limbs, scale } } : refused("scale");
}

/** As {@link readWireHeader}, where the header itself says how many limbs there are: 1 up to all data primes. */
export function readAnyLimbs(
  parameters: CkksParameters,
  blob: Uint8Array,
  expected: Omit<WireExpectation, "limbs">,
): ReturnType<typeof readWireHeader> {
  const most = dataLimbs(parameters);
  const limbs = Math.min(Math.max(1, blob[LIMBS_AT] ?? most), most);
  return readWireHeader(parameters, blob, { ...expected, limbs });
}

function refused(fault: BlobFault): WireRefusal {
  return { status: "refused", fault };
}

/** What a limb's flags say: polynomials behind the first must not be zero in any limb. */
export function limbFault(flags: number, poly: number): BlobFault | null {
  if ((flags & TOO_LARGE) !== 0) return "residue";
  return (flags & NOT_ZERO) === 0 && poly > 0 ? "transparent" : null;
}

/**
 * What our own library object serialized, to wire form: the owner's way out.
 *
 * Limbs behind `shape.limbs` are left out, which is SEAL's switch to a smaller modulus (`mod_switch_drop_to_next`): the
 * value, its scale and its noise stay what they are as long as they are below the smaller modulus. A ciphertext modulo a
 * divisor of q is a function of the one modulo q: it tells nobody more.
 * @param blob SEAL, uncompressed, of exactly this shape but for `blobLimbs`: the limbs it has, no fewer than `limbs`
 * @throws internal when the blob is not of this shape: it is not from outside
 */
export function wireFromSeal(
  ckks: Pick<CkksContext, "parameters">,
  ring: Ring,
  blob: Uint8Array,
  shape: WireShape & { readonly blobLimbs?: number },
): Uint8Array<ArrayBuffer> {
  const { parameters } = ckks;
  const { degree } = ring;
  const { polys, limbs, blobLimbs = limbs } = shape;
  const words = degree * RESIDUE_BYTES;
  if (blobLimbs < limbs || blob.length !== CIPHERTEXT_HEADER_BYTES + polys * blobLimbs * words) {
    throw new SealstreamError("internal", "A ciphertext has another shape than was asked for.");
  }
  const wire = newWireCiphertext(parameters, shape);
  const mark = ring.mark();
  const source = ring.take(words);
  const target = ring.take(words + BITS_SLACK);
  let to = WIRE_HEADER_BYTES;
  for (let at = 0; at < polys * limbs; at += 1) {
    const limb = at % limbs;
    const from = CIPHERTEXT_HEADER_BYTES + (Math.floor(at / limbs) * blobLimbs + limb) * words;
    const bytes = wireLimbBytes(parameters, limb);
    ring.bytes(source, words).set(blob.subarray(from, from + words));
    const prime = ring.primes[limb] ?? 0n;
    ring.kernels.packWords(source, target, degree, bitsOf(parameters, limb), prime);
    wire.set(ring.bytes(target, bytes), to);
    to += bytes;
  }
  ring.release(mark);
  return wire;
}

/** Wire form to what the library loads: the consumer's way in. A new buffer. */
export function sealFromWire(
  ckks: CkksContext,
  ring: Ring,
  blob: Uint8Array,
  expected: WireExpectation,
):
  | {
      readonly status: "ok";
      readonly blob: Uint8Array<ArrayBuffer>;
      readonly shape: WireShape;
    }
  | WireRefusal {
  const { parameters } = ckks;
  const header = readWireHeader(parameters, blob, expected);
  if (header.status === "refused") return header;
  const { shape } = header;
  const words = ring.degree * RESIDUE_BYTES;
  const seal = new Uint8Array(CIPHERTEXT_HEADER_BYTES + shape.polys * shape.limbs * words);
  seal.set(ciphertextHeader(ckks, shape));
  const mark = ring.mark();
  const target = ring.take(words);
  const source = ring.take(words + BITS_SLACK);
  let to = CIPHERTEXT_HEADER_BYTES;
  let fault: BlobFault | null = null;
  for (let at = 0; at < shape.polys * shape.limbs && fault === null; at += 1) {
    const place = { poly: Math.floor(at / shape.limbs), limb: at % shape.limbs };
    stageWireLimb(parameters, ring, blob, { shape, place, to: source });
    const prime = ring.primes[place.limb] ?? 0n;
    const bits = bitsOf(parameters, place.limb);
    fault = limbFault(
      ring.kernels.unpackWords(source, target, ring.degree, bits, prime),
      place.poly,
    );
    seal.set(ring.bytes(target, words), to);
    to += words;
  }
  ring.release(mark);
  return fault === null ? { status: "ok", blob: seal, shape } : refused(fault);
}

/** Checks every residue of the limbs from `from` on, and keeps nothing. The header has been judged. */
export function checkWireLimbs(
  parameters: CkksParameters,
  ring: Ring,
  blob: Uint8Array,
  { shape, from }: { readonly shape: WireShape; readonly from: number },
): BlobFault | null {
  const mark = ring.mark();
  const source = ring.take(ring.limbBytes + BITS_SLACK);
  let fault: BlobFault | null = null;
  for (let poly = 0; poly < shape.polys && fault === null; poly += 1) {
    for (let limb = from; limb < shape.limbs && fault === null; limb += 1) {
      stageWireLimb(parameters, ring, blob, { shape, place: { poly, limb }, to: source });
      const prime = ring.primes[limb] ?? 0n;
      const bits = bitsOf(parameters, limb);
      fault = limbFault(ring.kernels.unpackWords(source, 0, ring.degree, bits, prime), poly);
    }
  }
  ring.release(mark);
  return fault;
}

/** Copies one limb's bits to kernel memory; 8 bytes behind them must be readable. */
export function stageWireLimb(
  parameters: CkksParameters,
  ring: Ring,
  blob: Uint8Array,
  {
    shape,
    place,
    to,
  }: {
    readonly shape: Pick<WireShape, "limbs">;
    readonly place: { readonly poly: number; readonly limb: number };
    readonly to: number;
  },
): void {
  const from = wireLimbOffset(parameters, shape, place);
  const bytes = wireLimbBytes(parameters, place.limb);
  ring.bytes(to, bytes).set(blob.subarray(from, from + bytes));
}

function bitsOf({ coeffModulusBits }: CkksParameters, limb: number): number {
  return coeffModulusBits[limb] ?? 0;
}
