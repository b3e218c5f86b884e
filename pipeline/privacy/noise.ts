/**
 * Noise rows: the Gaussian noise of one update, on the fixed-point grid, always the same for the same contributions.
 *
 * Invariant 6. A row is the output of a CSPRNG keyed by (run id, step, hash of that step's committed contributions) under
 * a key that aggregate alone holds. So an attempt that is repeated after a crash releases the same bytes again and
 * reveals nothing more, while other contributions get independent noise: the same noise on two different sums would
 * reveal their difference. This file must not draw randomness of its own, keep a stream open between calls, or be used
 * with two standard deviations in one run (the row would be the same one, scaled).
 *
 *   info = CBOR ["sealstream/noise-row/v1", runId: 16 bytes, step, contributionsHash: 32 bytes]
 *   key  = HKDF-SHA-256(noise secret, info), 32 bytes
 *   AES-256-CTR(key, counter from 0) gives 16 bytes a pair of values: two uniforms of 53 bits, then Box-Muller:
 *   u = (r1 + 1) / 2^53, v = r2 / 2^53 (r little-endian u64 >> 11); z1, z2 = sqrt(-2 ln u) (cos, sin)(2 pi v)
 *   row = round(z * standardDeviation)
 *
 * Guarantee. Each value is N(0, standardDeviation^2) rounded to the nearest integer, up to the float error of the three
 * elementary functions. The sum it is added to is an integer too, so sum + round(noise) = round(sum + noise): rounding is
 * post-processing of the ideal mechanism and costs no privacy.
 *
 * The floating-point attack (Mironov 2012) reads a secret from the gaps between the doubles that a naive sampler can
 * return. Rounding onto a grid that is fixed beforehand, with standard deviations of 2^20 grid units and more, closes
 * those gaps: every integer in the bulk is returned by very many of the 2^106 inputs. What remains and is not proven
 * here: probabilities of single integers are those of a rounded Gaussian only up to float error, values beyond 8.57
 * standard deviations (sqrt(-2 ln 2^-53); ideal probability 1e-17 each) never occur, and the running time of log and
 * cos may depend on the noise. An exact discrete Gaussian sampler is to replace this one; ledgers name the mechanism.
 *
 * Edge cases: standardDeviation 0 -> all zeros; NaN, negative or Infinity -> throws; length 0 -> empty.
 */
import { createCipheriv } from "node:crypto";
import { encodeCbor } from "../crypto/cbor.ts";
import type { SecretKey } from "../crypto/key-handles.ts";
import { SealstreamError } from "../errors.ts";

const LABEL = "sealstream/noise-row/v1";
const KEY_BYTES = 32;
/** Counter block of AES-CTR; the key is used for one stream only, so it starts from zero. */
const FIRST_COUNTER = new Uint8Array(16);
/** Two uint64. */
const PAIR_BYTES = 16;
/** Pairs made at a time: 64 KiB of stream, whatever the length of the row. */
const PAIRS_AT_A_TIME = 4_096;
const TWO_53 = 2 ** 53;
const UNUSED_BITS = 11n;
/** Beyond this, 9 standard deviations might not be a safe integer. */
const MAX_STANDARD_DEVIATION = 2 ** 49;

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
  /** In grid units, 0..2^49. */
  readonly standardDeviation: number;
  /** Values are multiples of 2^-fractionBits grid units: 16 for rows that are mixed (correlation/), 0 unless said. */
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
  if (!(standardDeviation >= 0 && standardDeviation * unit <= MAX_STANDARD_DEVIATION)) {
    throw new SealstreamError("internal", "A noise row needs a standard deviation of 0 to 2^49.");
  }
  const stream = createCipheriv("aes-256-ctr", key, FIRST_COUNTER);
  key.fill(0);
  const zeros = new Uint8Array(PAIRS_AT_A_TIME * PAIR_BYTES);
  const row = new Float64Array(length);
  for (let at = 0; at < length; at += 2 * PAIRS_AT_A_TIME) {
    const block = stream.update(zeros);
    fillWithGaussian(row.subarray(at, at + 2 * PAIRS_AT_A_TIME), block, standardDeviation * unit);
    block.fill(0);
  }
  if (unit !== 1) for (const [index, value] of row.entries()) row[index] = value / unit;
  return row;
}

/** Fills `target` from 8 bytes a value; an odd last value leaves the second of its pair unused. */
function fillWithGaussian(target: Float64Array, block: Buffer, standardDeviation: number): void {
  for (let index = 0; index < target.length; index += 2) {
    const u = (uniform53(block, index * 8) + 1) / TWO_53;
    const angle = 2 * Math.PI * (uniform53(block, index * 8 + 8) / TWO_53);
    const radius = standardDeviation * Math.sqrt(-2 * Math.log(u));
    // A typed array ignores a write one past its end, which is what the unused half of the last pair is.
    target[index] = Math.round(radius * Math.cos(angle));
    target[index + 1] = Math.round(radius * Math.sin(angle));
  }
}

/** 0..2^53-1 from the high 53 bits of 8 little-endian bytes. */
function uniform53(block: Buffer, at: number): number {
  return Number(block.readBigUInt64LE(at) >> UNUSED_BITS);
}
