/**
 * Noise rows: the Gaussian noise of one update, on the fixed-point grid, always the same for the same contributions.
 *
 * Invariant 6. A row is the output of a CSPRNG keyed by (run id, step, hash of that step's committed contributions) under
 * a key that aggregate alone holds. So an attempt that is repeated after a crash releases the same bytes again and
 * reveals nothing more, while other contributions get independent noise: the same noise on two different sums would
 * reveal their difference. This file must not draw randomness of its own, keep a stream open between calls, or be used
 * with two standard deviations in one run (the row would be the same one, scaled).
 *
 *   info = CBOR ["sealstream/noise-row/v2", runId: 16 bytes, step, contributionsHash: 32 bytes]
 *   key  = HKDF-SHA-256(noise secret, info), 32 bytes
 *   words = AES-256-CTR(key, counter from 0) of zeros, as little-endian u32, in order
 *   row  = round(z s 2^fractionBits) / 2^fractionBits, z from exact-gaussian.ts, whose header says which word decides what
 * Version 1 (Box-Muller in doubles) is not made any more, so a run that began under it cannot go on: an update that was cut off
 * in the middle would be repeated under other noise, and whoever read both had two independent looks at one sum. Aggregate
 * writes down which rows a run has (stages/aggregate/decisions.ts) and takes in nothing more for one of others.
 *
 * Guarantee. Each value is N(0, s^2) exactly rounded to the nearest multiple of 2^-fractionBits: not the float neighbour of one,
 * and not a discrete Gaussian, which would have an account of its own. The sum it is added to is a multiple too, so
 * sum + round(noise) = round(sum + noise): rounding is post-processing of the ideal mechanism and costs no privacy. The
 * floating-point attack (Mironov 2012) has nothing to read: which multiples occur, and how often, does not depend on doubles.
 * For rows that are mixed (correlation/mixer.ts) the grid is 2^-16, on which C G lies: its header derives the same for them.
 * What is charged is therefore the Gaussian with s over the sensitivity, nothing else; AES-256-CTR and HKDF are taken for random
 * functions, and 2^-256 a value for what exact-gaussian.ts leaves out. Not proven: the running time depends on the
 * noise (rejections), so nobody without the key may time single values; rows are made off the hot path.
 *
 * Edge cases: standardDeviation 0 -> all zeros; NaN, negative or above 2^48 units -> throws; length 0 -> empty.
 */
import { createCipheriv } from "node:crypto";
import { encodeCbor } from "../crypto/cbor.ts";
import type { SecretKey } from "../crypto/key-handles.ts";
import { SealstreamError } from "../errors.ts";
import { fillWithExactGaussians, MAX_SCALE, type WordSource } from "./exact-gaussian.ts";

/** Version of the rows: raise it with every change of the words, of what is made of them, or of their key. */
export const NOISE_ROWS = 2;
const LABEL = `sealstream/noise-row/v${NOISE_ROWS}`;
const KEY_BYTES = 32;
/** Counter block of AES-CTR; the key is used for one stream only, so it starts from zero. */
const FIRST_COUNTER = new Uint8Array(16);
const MAX_FRACTION_BITS = 32;
const IS_BIG_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 0;

/** What a noise row is keyed by. */
export interface NoiseRowName {
  /** 32 hex digits. */
  readonly runId: string;
  /** Number of the update in its run, >= 1. */
  readonly step: number;
  /** 32 bytes, of exactly the contributions that the row will be added to. */
  readonly contributionsHash: Uint8Array;
}

export interface NoiseRowOptions {
  /** Values in the row. */
  readonly length: number;
  /** In grid units; times 2^fractionBits at most 2^48. */
  readonly standardDeviation: number;
  /** Values are multiples of 2^-fractionBits grid units: 0..32; `rowFractionBits` of correlation/, 0 unless said. */
  readonly fractionBits?: number;
}

/** The key of one row, 32 bytes: enough to make that row and no other. @throws internal when the name is none */
export function noiseRowKey(
  noise: Pick<SecretKey, "hkdf">,
  { runId, step, contributionsHash }: NoiseRowName,
): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(runId) || contributionsHash.length !== 32) {
    throw new SealstreamError("internal", "A noise row needs a run id and a hash to be keyed by.");
  }
  const info = encodeCbor([LABEL, Buffer.from(runId, "hex"), step, contributionsHash]);
  return noise.hkdf(info, KEY_BYTES);
}

/**
 * The noise row of one update.
 * @param options.noise the noise secret's handle
 * @returns a new buffer of multiples of 2^-fractionBits
 * @throws internal when an argument is out of range
 */
export function noiseRow(
  options: NoiseRowName & NoiseRowOptions & { readonly noise: Pick<SecretKey, "hkdf"> },
): Float64Array {
  return noiseRowOf(noiseRowKey(options.noise, options), options);
}

/**
 * The row of a key.
 * @param key of `noiseRowKey`; erased
 * @returns a new buffer of multiples of 2^-fractionBits
 * @throws internal when an argument is out of range
 */
export function noiseRowOf(
  key: Uint8Array,
  { length, standardDeviation, fractionBits = 0 }: NoiseRowOptions,
): Float64Array {
  const unit = 2 ** fractionBits;
  const scale = standardDeviation * unit;
  const isGrid = Number.isInteger(fractionBits) && fractionBits >= 0;
  if (!(isGrid && fractionBits <= MAX_FRACTION_BITS && scale >= 0 && scale <= MAX_SCALE)) {
    throw new SealstreamError(
      "internal",
      "A noise row needs a standard deviation of 0 to 2^48 units of its grid.",
    );
  }
  const row = new Float64Array(length);
  if (scale > 0) fillWithExactGaussians(row, scale, wordsOf(key));
  key.fill(0);
  if (unit !== 1) for (let k = 0; k < length; k += 1) row[k] = (row[k] ?? 0) / unit;
  return row;
}

/** The words of a key's stream. */
function wordsOf(key: Uint8Array): WordSource {
  const stream = createCipheriv("aes-256-ctr", key, FIRST_COUNTER);
  let zeros = new Uint8Array(0);
  return (words) => {
    if (zeros.length !== words.byteLength) zeros = new Uint8Array(words.byteLength);
    const block = stream.update(zeros);
    if (IS_BIG_ENDIAN) block.swap32();
    new Uint8Array(words.buffer, words.byteOffset, words.byteLength).set(block);
    block.fill(0);
  };
}
