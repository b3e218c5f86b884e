/**
 * Wire ciphertexts straight into ring form and back, limb by limb, without the library's form in between.
 *
 * Reading checks everything there is to check (`wire-ciphertext.ts`); what is refused leaves memory that is of no use and
 * harms nothing. Takes two limbs of the ring's memory and gives them back. Must not call the library.
 */
import type { BlobFault } from "./blob.ts";
import type { CkksParameters } from "./parameters.ts";
import type { Ring } from "./ring.ts";
import {
  BITS_SLACK,
  limbFault,
  newWireCiphertext,
  readWireHeader,
  stageWireLimb,
  type WireExpectation,
  type WireShape,
  wireLimbBytes,
  wireLimbOffset,
} from "./wire-ciphertext.ts";

/** The residues of a wire ciphertext at `to`, [poly][limb][N]; what is wrong with it, or null. */
export function readWireToRing(
  parameters: CkksParameters,
  ring: Ring,
  wire: Uint8Array,
  { expected, to }: { readonly expected: WireExpectation; readonly to: number },
): BlobFault | null {
  const header = readWireHeader(parameters, wire, expected);
  if (header.status === "refused") return header.fault;
  const { shape } = header;
  const mark = ring.mark();
  const bits = ring.take(ring.limbBytes + BITS_SLACK);
  let fault: BlobFault | null = null;
  for (let at = 0; at < shape.polys * shape.limbs && fault === null; at += 1) {
    const place = { poly: Math.floor(at / shape.limbs), limb: at % shape.limbs };
    stageWireLimb(parameters, ring, wire, { shape, place, to: bits });
    const width = parameters.coeffModulusBits[place.limb] ?? 0;
    const prime = Number(ring.primes[place.limb] ?? 0n);
    const target = to + at * ring.limbBytes;
    fault = limbFault(ring.kernels.unpackRing(bits, target, ring.degree, width, prime), place.poly);
  }
  ring.release(mark);
  return fault;
}

/** A wire ciphertext of what lies at `from`, [poly][limb][N]; a new buffer. */
export function writeWireFromRing(
  parameters: CkksParameters,
  ring: Ring,
  from: number,
  shape: WireShape,
): Uint8Array<ArrayBuffer> {
  const wire = newWireCiphertext(parameters, shape);
  const mark = ring.mark();
  const bits = ring.take(ring.limbBytes + BITS_SLACK);
  for (let at = 0; at < shape.polys * shape.limbs; at += 1) {
    const place = { poly: Math.floor(at / shape.limbs), limb: at % shape.limbs };
    const width = parameters.coeffModulusBits[place.limb] ?? 0;
    const prime = Number(ring.primes[place.limb] ?? 0n);
    ring.kernels.packRing(from + at * ring.limbBytes, bits, ring.degree, width, prime);
    const bytes = wireLimbBytes(parameters, place.limb);
    wire.set(ring.bytes(bits, bytes), wireLimbOffset(parameters, shape, place));
  }
  ring.release(mark);
  return wire;
}
