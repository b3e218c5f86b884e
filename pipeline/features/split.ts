/**
 * Which share of the labelled records a subject belongs to: train, validate or test, by keyed hash.
 *
 * All records of one subject fall on one side, on every machine and at every time, and nobody without the key can
 * tell which or choose it. Guarantee: for subjects not chosen with the key, membership is indistinguishable from
 * independent draws with the given shares, as HMAC-SHA-256 is a pseudorandom function. Must not hold the key: the
 * caller hands in the function.
 * Source: RFC 2104 (HMAC).
 */

export type Split = "train" | "validate" | "test";

export interface SplitShares {
  readonly train: number;
  readonly validate: number;
  readonly test: number;
}

/** Separates this use of the key from any other; a version of the rule, since changing it moves subjects. */
const LABEL = new TextEncoder().encode("sealstream/split/v1|");
/** Numbers below 2^53 are exact in a double: 53 bits of the hash make a uniform fraction. */
const HASH_BYTES = 7;
const HASH_SHIFT = 8;
const FRACTIONS = 2 ** 53;

/**
 * The split of a subject.
 * @param subject bytes that name the person, after desensitization
 * @param hmac keyed hash of at least 7 bytes, secret to the owner's zone
 * @param split shares that sum to 1
 */
export function splitOf(options: {
  readonly subject: Uint8Array;
  readonly hmac: (message: Uint8Array) => Uint8Array;
  readonly split: SplitShares;
}): Split {
  const { subject, hmac, split } = options;
  const message = new Uint8Array(LABEL.length + subject.length);
  message.set(LABEL);
  message.set(subject, LABEL.length);
  const fraction = toFraction(hmac(message));
  if (fraction < split.train) return "train";
  // What rounding leaves between the sum and 1 goes to the last share that is not empty.
  if (split.test === 0) return split.validate === 0 ? "train" : "validate";
  return fraction < split.train + split.validate ? "validate" : "test";
}

/** Uniform in [0, 1): the first 53 bits, big-endian. */
function toFraction(hash: Uint8Array): number {
  let bits = 0n;
  for (let index = 0; index < HASH_BYTES; index++) bits = (bits << 8n) | BigInt(hash[index] ?? 0);
  return Number(bits >> BigInt(HASH_BYTES * HASH_SHIFT - 53)) / FRACTIONS;
}
