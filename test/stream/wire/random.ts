/** Repeatable randomness of the wire tests. */

/** Integers in [0, bound) from a seed (mulberry32). */
export function createRandom(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

/** Random bytes; compressible where asked, since random ones are not. */
export function randomBytes(random: (bound: number) => number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const isPlain = random(2) === 0;
  for (let at = 0; at < length; at += 1) bytes[at] = isPlain ? at % 7 : random(256);
  return bytes;
}
