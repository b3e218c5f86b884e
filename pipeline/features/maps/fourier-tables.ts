/**
 * Tables of the Fourier kernel for a length; their form stands in assembly/fourier.ts.
 */
import { turn } from "./elementary.ts";
import type { FeatureArena } from "./kernels.ts";

const WORD_BYTES = 4;
/** Kernels of these have few operations; any other radix is a prime by its definition. */
const GOOD_RADICES = [4, 3, 2];
const LARGEST_GOOD_RADIX = 4;

/** Radices whose product is `length`. */
function radicesOf(length: number): number[] {
  const radices: number[] = [];
  let rest = length;
  for (const radix of GOOD_RADICES) {
    for (; rest % radix === 0; rest /= radix) radices.push(radix);
  }
  for (let prime = 5; rest > 1; prime += 2) {
    for (; rest % prime === 0; rest /= prime) radices.push(prime);
  }
  return radices;
}

/**
 * Writes the table of a length; its address.
 * @param length a composite number: lines are written over themselves
 */
export function writeFourierTable(arena: FeatureArena, length: number): number {
  const radices = radicesOf(length);
  if (radices.length < 2) throw new RangeError("a transform of a length without factors");
  const address = arena.take((1 + 4 * radices.length) * WORD_BYTES);
  const stages: number[] = [];
  let rest = length;
  for (const radix of radices) {
    const m = rest / radix;
    stages.push(radix, m, length / rest, writeFactors(arena, radix, m));
    rest = m;
  }
  arena.words(address, 1 + stages.length).set([radices.length, ...stages]);
  return address;
}

function writeFactors(arena: FeatureArena, radix: number, m: number): number {
  const factors: number[] = [];
  const push = (numerator: number, denominator: number): void => {
    const [sine, cosine] = turn(numerator, denominator);
    factors.push(cosine, -sine);
  };
  for (let p = 0; p < m; p += 1) {
    for (let j = 1; j < radix; j += 1) push(j * p, radix * m);
  }
  if (radix > LARGEST_GOOD_RADIX) for (let j = 0; j < radix; j += 1) push(j, radix);
  const address = arena.take(factors.length * WORD_BYTES);
  arena.floats(address, factors.length).set(factors);
  return address;
}
