/**
 * Our operations with keys, on ciphertexts in kernel memory: what one rotation, one relinearization, or one of several
 * rotations of the same ciphertext costs. Keys come from stock node-seal, and what was computed is decrypted by it.
 */

import { ciphertextHeader } from "../../pipeline/ckks/blob.ts";
import { CIPHERTEXT_HEADER_BYTES } from "../../pipeline/ckks/parameters.ts";
import { createRing, type Ring } from "../../pipeline/ckks/ring.ts";
import { saveUncompressed } from "../../pipeline/ckks/seal.ts";
import { type KeyJob, seenSlots } from "./cases.ts";
import type { Runner } from "./contest.ts";
import { openSealLab, type SealLab } from "./seal-lab.ts";

const RING_BYTES = 512 * 1024 * 1024;

function importCiphertext(ring: Ring, blob: Uint8Array, limbs: number): number {
  const shape = { polys: 2, limbs };
  const at = ring.take(ring.shapeBytes(shape));
  if (!ring.importResidues(blob.subarray(CIPHERTEXT_HEADER_BYTES), shape, at))
    throw new Error("a residue is too large");
  return at;
}

/** Slots of a ciphertext of two polynomials in kernel memory. */
function decrypted(
  lab: SealLab,
  ring: Ring,
  { at, limbs, scale }: { at: number; limbs: number; scale: number },
): Float64Array {
  const shape = { polys: 2, limbs };
  const header = ciphertextHeader(lab.ckks, { ...shape, scale });
  const cipher = lab.cipher();
  // Because embind takes a Uint8Array and no Buffer.
  lab.load(new Uint8Array(Buffer.concat([header, ring.exportResidues(at, shape)])), cipher);
  return lab.decrypt(cipher);
}

/** @param hoisted whether rotations share the digits of their ciphertext */
export async function ourKeys(job: KeyJob, hoisted: boolean): Promise<Runner> {
  const { degree, bits, operation, steps, inputBits, values } = job;
  const lab = await openSealLab(degree, bits, { inputBits, steps });
  const ring = createRing(lab.ckks, { maxBytes: RING_BYTES });
  const relin = ring.loadRelinKeys(saveUncompressed(lab.ckks, lab.relinKeys));
  const galois = ring.loadGaloisKeys(saveUncompressed(lab.ckks, lab.galoisKeys!));
  if (relin === null || galois === null) throw new Error("the keys were refused");
  const limbs = bits.length - 1;
  const from = importCiphertext(
    ring,
    lab.encrypt(Float64Array.from(values), 2 ** inputBits),
    limbs,
  );
  const squared = ring.take(ring.shapeBytes({ polys: 3, limbs }));
  ring.square(from, limbs, squared);
  const to = ring.take(ring.shapeBytes({ polys: 2, limbs }));
  const digits = ring.take(ring.hoistedBytes(limbs));
  const rotate = (step: number): void => {
    if (hoisted) ring.rotateHoisted(from, limbs, { step, keys: galois, hoisted: digits }, to);
    else ring.rotate(from, limbs, { step, keys: galois }, to);
  };
  return {
    units: operation === "relinearize" ? 1 : steps.length,
    run(phases) {
      phases.start();
      if (hoisted) ring.hoist(from, limbs, digits);
      if (operation === "relinearize") ring.relinearize(squared, limbs, { keys: relin }, to);
      else steps.forEach(rotate);
      phases.done(operation);
    },
    logits() {
      const scale = 2 ** (operation === "relinearize" ? 2 * inputBits : inputBits);
      return seenSlots(decrypted(lab, ring, { at: to, limbs, scale }));
    },
    close: lab.close,
  };
}
