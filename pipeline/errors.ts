/**
 * The closed list of error codes of Sealstream.
 *
 * Bad input is an outcome, never an exception. An exception is a bug or a broken world: it has a code from
 * this list, says whether trying again can help, and its message says what to do next. A message never holds
 * a record value, a record key, a secret, or the text of another exception that may hold one.
 */

/** Every code, with whether the same call may succeed later without anybody changing anything. */
export const ERROR_CODES = {
  /** The command line was not understood. */
  usage: { retriable: false },
  /** The pipeline file is not valid; the message lists line, path and what was expected. */
  "spec-invalid": { retriable: false },
  /** No broker can be reached or started. */
  "broker-unavailable": { retriable: true },
  /** The cluster refused these credentials, or they may not do this (ACLs). */
  "access-denied": { retriable: false },
  /** A topic of the pipeline does not exist or has the wrong shape. */
  "topic-missing": { retriable: false },
  /** Kafka answered with an error that is none of the others. */
  "kafka-failed": { retriable: true },
  /** Another owner of this lane has fenced us; start again from the committed offset. */
  fenced: { retriable: true },
  /** Offsets, changelog, ledger or checkpoint disagree; starting would lose or double records. */
  "state-mismatch": { retriable: false },
  /** A key that this stage needs is not there. */
  "key-missing": { retriable: false },
  /** A key is within reach that this stage must not hold. */
  "key-forbidden": { retriable: false },
  /** A key file, key entry or pinned identity cannot be used as such. */
  "key-invalid": { retriable: false },
  /** A nonce or use limit of a key is spent. */
  "key-spent": { retriable: false },
  /** A key management service did not answer within its limit, or throttles. */
  "kms-unavailable": { retriable: true },
  /** A signature does not verify or its signer is not pinned. */
  "signature-invalid": { retriable: false },
  /** An authenticated envelope does not open. */
  "envelope-refused": { retriable: false },
  /** A model checkpoint is corrupt, of another network, or not the one its ledger entry names. */
  "checkpoint-invalid": { retriable: false },
  /** The ledger has an edit, a gap or a fork. */
  "ledger-invalid": { retriable: false },
  /** The privacy budget cannot be met or is spent. */
  "budget-spent": { retriable: false },
  /** A WASM module is not a plugin of this ABI, or declares what is not granted. */
  "plugin-invalid": { retriable: false },
  /** A plugin trapped, returned something impossible, or ran past its deadline. */
  "plugin-failed": { retriable: true },
  /** A CKKS blob or parameter set was refused before or by the library. */
  "ciphertext-refused": { retriable: false },
  /** A worker died (killed, out of memory). */
  "worker-died": { retriable: true },
  /** The compute backend asked for is not on this machine. */
  "backend-unavailable": { retriable: false },
  /** A limit set by configuration was passed. */
  "limit-exceeded": { retriable: false },
  /** A bug in Sealstream. */
  internal: { retriable: false },
} as const satisfies Record<string, { retriable: boolean }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** The only error class that Sealstream throws on purpose. */
export class SealstreamError extends Error {
  readonly code: ErrorCode;

  /**
   * @param code one of {@link ERROR_CODES}
   * @param message one sentence: what is wrong and what to do next; no record content, no secret
   * @param options `cause` is kept for debuggers and is never printed by the command line
   */
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "SealstreamError";
    this.code = code;
  }

  /** Whether the same call may succeed later without anybody changing anything. */
  get retriable(): boolean {
    return ERROR_CODES[this.code].retriable;
  }
}

/** True when `error` is a {@link SealstreamError}, of the given code if one is given. */
export function isSealstreamError(error: unknown, code?: ErrorCode): error is SealstreamError {
  return error instanceof SealstreamError && (code === undefined || error.code === code);
}
