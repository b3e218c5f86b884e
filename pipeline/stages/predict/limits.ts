/**
 * How much of a lane a pack may take, derived from the CKKS parameters and the number of features.
 *
 * Must not depend on what a pack says about itself.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { type CkksParameters, inputCiphertextBytes } from "../../ckks/parameters.ts";

/** Chunks smaller than this are not expected; with them a pack of allowed size could have too many records. */
const LEAST_CHUNK_BYTES = 64 * 1024;
/** Key and headers of a chunk: 16 + 4 bytes and a header name with its value, rounded up. */
const RECORD_OVERHEAD_BYTES = 64;
/** Room for the beginning of the next pack, which arrives while this one is evaluated: two fetches of 4 MiB. */
const PREFETCH_BYTES = 8 * 1024 * 1024;

export interface PackLimits {
  /** Id of the parameter set the limits are for. */
  readonly parameters: string;
  /** Bytes of all ciphertexts of a pack, exactly. */
  readonly packBytes: number;
  /** Records that a lane may hold. */
  readonly windowRecords: number;
  /** Bytes that a lane may hold: the largest pack, its manifest and the beginning of the next. */
  readonly windowBytes: number;
}

/** Limits for packs of `features` ciphertexts. */
export function packLimits(parameters: CkksParameters, features: number): PackLimits {
  const ciphertext = inputCiphertextBytes(parameters);
  const packBytes = features * ciphertext;
  const packRecords = features * Math.ceil(ciphertext / LEAST_CHUNK_BYTES) + 1;
  return {
    parameters: parameters.id,
    packBytes,
    windowRecords: 2 * packRecords,
    windowBytes: packBytes + packRecords * RECORD_OVERHEAD_BYTES + MAX_VALUE_BYTES + PREFETCH_BYTES,
  };
}
