/**
 * Which automorphism rotates slots by how much, and where it moves the places of a limb in ring form.
 *
 * Rotating left by `step` slots is X -> X^(3^step mod 2N); its key is entry (element - 1) / 2 of SEAL's Galois keys.
 * Index k of SEAL's NTT order is the value at root^(2 reverse(k) + 1), so that the automorphism only moves indices.
 * Source: SEAL 4.1 `util/galois.cpp` (get_elt_from_step, generate_table_ntt). Must not see a ciphertext.
 */
import { bitReversal } from "./moduli.ts";

/** The element 3^step modulo 2N; a negative step rotates right. Steps are modulo the N / 2 slots. */
export function galoisElement(degree: number, step: number): number {
  const slots = degree / 2;
  const turns = ((step % slots) + slots) % slots;
  let element = 1;
  for (let turn = 0; turn < turns; turn += 1) element = (element * 3) % (2 * degree);
  return element;
}

/** The step, 0 .. N / 2 - 1, of every element that rotates. */
export function stepsByElement(degree: number): ReadonlyMap<number, number> {
  const steps = new Map<number, number>();
  for (let step = 0, element = 1; step < degree / 2; step += 1) {
    steps.set(element, step);
    element = (element * 3) % (2 * degree);
  }
  return steps;
}

/** For each place of the result the byte offset of the place to take: assembly/galois.ts. */
export function galoisTable(degree: number, element: number): Uint32Array {
  const bits = Math.log2(degree);
  const reversed = bitReversal(bits);
  const placeOf = (index: number): number =>
    index < degree / 2 ? 2 * index : 2 * (index - degree / 2) + 1;
  const table = new Uint32Array(degree);
  for (let index = 0; index < degree; index += 1) {
    // Below 2^32 because both factors are below 2N <= 2^16.
    const exponent = (element * (2 * (reversed[index] ?? 0) + 1)) % (2 * degree);
    table[placeOf(index)] = placeOf(reversed[(exponent - 1) / 2] ?? 0) * 8;
  }
  return table;
}
