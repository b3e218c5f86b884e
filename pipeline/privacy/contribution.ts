/**
 * Contributions: what a train lane sends to aggregate. A clipped gradient sum in fixed point, and where it came from.
 *
 * Why fixed point: sums of integers are exact in any order, so an update does not depend on how its contributions were
 * grouped, and the noise is added to a number whose distance between neighbours is known. This file must not clip, seal
 * or sum; train clips before it quantizes, and the sensitivity below is only true if it did.
 *
 * Sensitivity (zero-out adjacency: one record's gradient is replaced by zero, everything else stays). Let C be the clip
 * norm, d the parameters, g = 2^-fractionBits the grid unit. One record changes one contribution's sum from S to S', and
 * what goes on is Q(S) = round(S / g), coordinate by coordinate. Then
 *   |Q(S) - Q(S')| g  <=  |S - S'| + |(Q(S) g - S) - (Q(S') g - S')|  <=  C + g sqrt(d)      (L2)
 * because each of the two roundings is off by at most g/2 in each coordinate. |S - S'| <= C is what the backend promises
 * of its float32 sums (stages/train/clip-margin.ts); here only the rounding is charged.
 *
 * Grammar, version 1 (integers little-endian; 104 + 4 count bytes):
 *   contribution = version:u16 fractionBits:u16 lane:u32 modelVersion:u32 places:u32 used:u32
 *                  from:u64 to:u64 runId:16 nonce:16 configHash:32 count:u32 sum:i32*count
 */
import { encodeCbor } from "../crypto/cbor.ts";
import { sha256 } from "../crypto/chunks.ts";
import { SealstreamError } from "../errors.ts";
import { putNumbers, takeNumbers } from "../little-endian.ts";

/** One contribution. Its buffers belong to whoever holds the object. */
export interface Contribution {
  /** 32 lower-case hex digits. */
  readonly runId: string;
  /**
   * Configuration that it was made with (run-config.ts), 64 lower-case hex digits: the claim that its examples were
   * clipped to this run's norm. Aggregate takes it only if it is the run's.
   */
  readonly configHash: string;
  /** Version of the model whose gradient this is. */
  readonly modelVersion: number;
  /** Lane (partition) of the source topic. */
  readonly lane: number;
  /** First source offset covered. */
  readonly from: number;
  /** One past the last source offset covered: the next contribution of the lane starts here. */
  readonly to: number;
  /** Places of the micro-batch; always `train.microBatchRecords`. */
  readonly places: number;
  /** Places that hold a record which was not refused: 0..places. */
  readonly used: number;
  /** 16 random bytes, fresh for each attempt. */
  readonly nonce: Uint8Array;
  /** `sum` is in units of 2^-fractionBits. */
  readonly fractionBits: number;
  /** Clipped gradient sum, one integer a parameter in the flat order of `network/weights.ts`. */
  readonly sum: Int32Array;
}

const CONTRIBUTIONS_LABEL = "sealstream/contributions/v1";
const VERSION = 1;
const HEADER_BYTES = 104;
const ID_BYTES = 16;
const HASH_BYTES = 32;
const INT32_BYTES = 4;
const MAX_UINT32 = 2 ** 32 - 1;
const MAX_INT32 = 2 ** 31 - 1;
/** Finest grid: beyond it a float32 gradient has no digits left that a clip norm of 2^-20 would need. */
const MAX_FRACTION_BITS = 52;
/** As many rows as the backends' clip margin covers. */
export const MAX_PLACES = 65_536;
/** 1.5 * 2^52: adding it to a number below 2^51 leaves the nearest integer, and taking it away again is exact. */
const ROUNDER = 6_755_399_441_055_744;
/** Room over places * clip for the float32 errors of a sum: n u = 2^16 2^-24 = 2^-8 at most. */
const HEADROOM = 1 + 2 ** -7;

/**
 * The finest grid on which no sum of `places` clipped gradients leaves int32.
 * @param options.l2ClipNorm > 0, in gradient units
 * @returns 0..52, so that places * l2ClipNorm * 2^bits, with headroom for float errors, stays below 2^31 - 1
 * @throws limit-exceeded when there is none (clip norm or places too large), or the arguments are out of range
 */
export function contributionFractionBits(options: GridOptions): number {
  const bits = finestFractionBits(options);
  if (bits !== null) return bits;
  throw new SealstreamError(
    "limit-exceeded",
    `train.microBatchRecords must be 1 to ${MAX_PLACES}, train.l2ClipNorm above 0, and their product below 2^30.`,
  );
}

export interface GridOptions {
  readonly places: number;
  readonly l2ClipNorm: number;
}

/** As {@link contributionFractionBits}, but null when there is no such grid. */
export function finestFractionBits({ places, l2ClipNorm }: GridOptions): number | null {
  if (!(isInteger(places, MAX_PLACES) && places >= 1 && l2ClipNorm > 0)) return null;
  const largest = places * l2ClipNorm * HEADROOM;
  // A loop instead of a logarithm, because every power of two here is exact and the result must not be off by one.
  for (let bits = MAX_FRACTION_BITS; bits >= 0; bits -= 1) {
    if (largest * 2 ** bits + 1 <= MAX_INT32) return bits;
  }
  return null;
}

/**
 * How far one record can move a quantized sum, in L2, in gradient units (the unit of the clip norm): the clip and the
 * rounding (derivation in the header).
 * @param options.parameters coordinates of the sum
 */
export function contributionSensitivity(options: {
  readonly l2ClipNorm: number;
  readonly parameters: number;
  readonly fractionBits: number;
}): number {
  const { l2ClipNorm, parameters, fractionBits } = options;
  return l2ClipNorm + Math.sqrt(parameters) * 2 ** -fractionBits;
}

/**
 * A clipped gradient sum on the grid, each coordinate rounded to the nearest integer (halves to even).
 * @param sum gradient units; kept unchanged
 * @returns new buffer, units of 2^-fractionBits
 * @throws internal when a coordinate is not finite or does not fit: the caller has not clipped
 */
export function quantizeSum(sum: Float32Array | Float64Array, fractionBits: number): Int32Array {
  const unit = 2 ** fractionBits;
  const quantized = new Int32Array(sum.length);
  let largest = 0;
  for (let index = 0; index < sum.length; index += 1) {
    // A third of the time of Math.round: a double this large has no digits behind the point.
    const rounded = (sum[index] ?? 0) * unit + ROUNDER - ROUNDER;
    quantized[index] = rounded;
    // NaN for good once there is one.
    largest = Math.max(largest, Math.abs(rounded));
  }
  if (!(largest <= MAX_INT32)) {
    throw new SealstreamError("internal", "A gradient sum does not fit its fixed-point grid.");
  }
  return quantized;
}

/**
 * Bytes of a contribution (grammar above); a new buffer.
 * @throws internal when a field is out of range
 */
export function encodeContribution(contribution: Contribution): Uint8Array {
  const fault = contributionFault(contribution);
  if (fault !== null) throw new SealstreamError("internal", `Not a contribution: ${fault}.`);
  const { sum } = contribution;
  const bytes = new Uint8Array(HEADER_BYTES + sum.length * INT32_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, VERSION, true);
  view.setUint16(2, contribution.fractionBits, true);
  view.setUint32(4, contribution.lane, true);
  view.setUint32(8, contribution.modelVersion, true);
  view.setUint32(12, contribution.places, true);
  view.setUint32(16, contribution.used, true);
  view.setBigUint64(20, BigInt(contribution.from), true);
  view.setBigUint64(28, BigInt(contribution.to), true);
  bytes.set(Buffer.from(contribution.runId, "hex"), 36);
  bytes.set(contribution.nonce, 52);
  bytes.set(Buffer.from(contribution.configHash, "hex"), 68);
  view.setUint32(100, sum.length, true);
  putNumbers(bytes, HEADER_BYTES, sum);
  return bytes;
}

/** Bytes of an encoded contribution of that many parameters. */
export function contributionBytes(parameters: number): number {
  return HEADER_BYTES + parameters * INT32_BYTES;
}

/**
 * The contribution in `bytes`, or null when they are not exactly one contribution of `parameters` coordinates.
 * @param bytes untrusted; not kept
 * @returns new buffers
 */
export function decodeContribution(bytes: Uint8Array, parameters: number): Contribution | null {
  if (bytes.length !== contributionBytes(parameters)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(0, true) !== VERSION || view.getUint32(100, true) !== parameters) return null;
  const sum = takeNumbers(new Int32Array(parameters), bytes, HEADER_BYTES);
  const contribution: Contribution = {
    runId: Buffer.from(bytes.subarray(36, 36 + ID_BYTES)).toString("hex"),
    configHash: Buffer.from(bytes.subarray(68, 68 + HASH_BYTES)).toString("hex"),
    modelVersion: view.getUint32(8, true),
    lane: view.getUint32(4, true),
    // Offsets beyond 2^53 lose digits here; contributionFault refuses all such.
    from: Number(view.getBigUint64(20, true)),
    to: Number(view.getBigUint64(28, true)),
    places: view.getUint32(12, true),
    used: view.getUint32(16, true),
    // Not slice: that of a Buffer is a view.
    nonce: Uint8Array.from(bytes.subarray(52, 52 + ID_BYTES)),
    fractionBits: view.getUint16(2, true),
    sum,
  };
  return contributionFault(contribution) === null ? contribution : null;
}

/**
 * What the noise row of an update is keyed by: SHA-256 of CBOR ["sealstream/contributions/v1", [SHA-256 of each record
 * value in `contributions`, in log order]]. Offsets are not in it: a topic that is made anew repeats them.
 *
 * The ledger publishes this hash, so it must be one of sealed bytes: a hash of plaintext contributions would let
 * everybody who reads the ledger test a guess at the exact sums, past the noise. It also lets the ledger be checked
 * against the topic without a key.
 * @param digests SHA-256 of each sealed envelope as committed, 32 bytes each
 */
export function contributionsHash(digests: readonly Uint8Array[]): Uint8Array {
  return sha256(encodeCbor([CONTRIBUTIONS_LABEL, digests]));
}

/** What is wrong with a contribution, as the end of a sentence, or null. */
function contributionFault(contribution: Contribution): string | null {
  const { from, to, places, used, fractionBits, lane, modelVersion } = contribution;
  if (!/^[0-9a-f]{32}$/.test(contribution.runId)) return "the run id is not 32 hex digits";
  if (!/^[0-9a-f]{64}$/.test(contribution.configHash)) return "the configuration is not a hash";
  if (contribution.nonce.length !== ID_BYTES) return "the nonce is not 16 bytes";
  if (![lane, modelVersion].every((value) => isInteger(value, MAX_UINT32))) {
    return "the lane or model version is not a uint32";
  }
  if (!(isInteger(places, MAX_PLACES) && places >= 1)) return "the places are out of range";
  if (!isInteger(used, places)) return "more places are used than there are";
  if (!isInteger(fractionBits, MAX_FRACTION_BITS)) return "the fraction bits are out of range";
  if (!(isInteger(from, Number.MAX_SAFE_INTEGER) && isInteger(to, Number.MAX_SAFE_INTEGER))) {
    return "the range is not made of offsets";
  }
  // An empty range covers no record and would let a lane contribute for ever without moving on.
  if (to <= from) return "the range is empty";
  return null;
}

function isInteger(value: number, most: number): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= most;
}
