/**
 * How much of a lane a pack may take, derived from the CKKS parameters and the number of features.
 *
 * Must not depend on what a pack says about itself.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import {
  CIPHERTEXT_POLYS,
  type CiphertextForm,
  type CkksParameters,
  dataLimbs,
  inputCiphertextBytes,
  type Packing,
} from "../../ckks/parameters.ts";
import { wireCiphertextBytes } from "../../ckks/wire-ciphertext.ts";
import type { BundleSpan } from "../../crypto/bundle.ts";

/** Chunks smaller than this are not expected; with them a pack of allowed size could have too many records. */
const LEAST_CHUNK_BYTES = 64 * 1024;
/** Key and headers of a chunk: 16 + 4 bytes and a header name with its value, rounded up. */
const RECORD_OVERHEAD_BYTES = 64;
/**
 * What strangers may write between a pack's first record and its manifest before it is given up, in records and bytes.
 * A record of one byte costs the lane about 0.6 KB of heap: 40 MB while it is flooded. Bytes are held in any case when
 * predict lags, so that they are also the room for the next pack's beginning: four fetches of 4 MiB.
 */
const FOREIGN_RECORDS = 65_536;
const FOREIGN_BYTES = 16 * 1024 * 1024;

export interface PackLimits {
  /** Ids of the parameter sets that the limits are for. */
  readonly parameters: ReadonlySet<string>;
  /** Most bytes of all ciphertexts of a pack. */
  readonly packBytes: number;
  /** How far a pack may reach: the largest pack, its manifest, and what strangers put between. */
  readonly span: BundleSpan;
  /** What a lane may hold: one record and one byte more, so that a full lane can always give something up. */
  readonly window: BundleSpan;
}

/**
 * Limits for packs of at most `features` ciphertexts.
 * @param sets the consumer's parameter sets whose keys are published, one at least
 */
export function packLimits(sets: readonly CkksParameters[], features: number): PackLimits {
  const ciphertext = Math.max(...sets.map(inputCiphertextBytes));
  const packBytes = features * ciphertext;
  const packRecords = features * Math.ceil(ciphertext / LEAST_CHUNK_BYTES) + 1;
  const span = {
    records: packRecords + FOREIGN_RECORDS,
    bytes: packBytes + packRecords * RECORD_OVERHEAD_BYTES + MAX_VALUE_BYTES + FOREIGN_BYTES,
  };
  const window = { records: span.records + 1, bytes: span.bytes + 1 };
  return { parameters: new Set(sets.map(({ id }) => id)), packBytes, span, window };
}

/**
 * Whether a ciphertext of a pack may have this length. Batch packs carry as many primes as their owner's plan reads; the
 * worker checks the length against what the header says.
 */
export function isPartLength(
  parameters: CkksParameters,
  { form, packing }: { readonly form: CiphertextForm; readonly packing: Packing },
  bytes: number,
): boolean {
  if (form === "library") return bytes === inputCiphertextBytes(parameters);
  const most = dataLimbs(parameters);
  for (let limbs = packing === "batch" ? 1 : most; limbs <= most; limbs += 1) {
    if (bytes === wireCiphertextBytes(parameters, CIPHERTEXT_POLYS, limbs)) return true;
  }
  return false;
}
