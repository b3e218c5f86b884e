/**
 * Opens predictions. Runs in the consumer zone only, the one place that holds the CKKS secret key.
 *
 * What comes out carries the noise of the scheme. CKKS is not IND-CPA-D: a decrypted value, a failure or a noise budget
 * must never travel back towards the prediction zone unrounded. Callers round what may cross a trust boundary.
 * Every blob is checked before the library sees it; a refused blob is an outcome and says nothing about the key.
 */
import { SealstreamError } from "../errors.ts";
import { type BlobFault, checkOutputCiphertext, checkSecretKey } from "./blob.ts";
import { type CkksParameters, slotCount } from "./parameters.ts";
import {
  type CkksContext,
  guarded,
  type Handle,
  openTools,
  type SealEncoder,
  type SealPlaintext,
} from "./seal.ts";

export type DecryptOutcome =
  /** One array of logits per record; new buffers. */
  | { readonly status: "ok"; readonly logits: readonly Float64Array[] }
  | { readonly status: "refused"; readonly part: number; readonly fault: BlobFault | "rows" };

export interface PredictionDecryptor {
  readonly parameters: CkksParameters;
  /**
   * @param blobs one serialized ciphertext per class
   * @param rows records of the pack, 1..slotCount
   */
  decrypt(blobs: readonly Uint8Array[], rows: number): DecryptOutcome;
  /** Frees the library's objects, the secret key's among them. */
  close(): void;
}

/**
 * Checks and loads a consumer's secret key.
 * @throws key-invalid when the blob is not a secret key of these parameters
 */
export async function createPredictionDecryptor(options: {
  readonly secretKey: Uint8Array;
  readonly parameters: CkksParameters;
}): Promise<PredictionDecryptor> {
  const { parameters } = options;
  const { ckks, tools, close } = await openTools(
    parameters,
    "load the secret key",
    (opened, keep) => {
      const { seal, context } = opened;
      if (checkSecretKey(opened, options.secretKey).status === "refused") throw secretKeyInvalid();
      const secretKey = keep(new seal.SecretKey());
      secretKey.loadFromArray(context, options.secretKey);
      return {
        decryptor: keep(new seal.Decryptor(context, secretKey)),
        encoder: keep(new seal.CKKSEncoder(context)),
        ciphertext: keep(new seal.Ciphertext()),
        plaintext: keep(new seal.Plaintext()),
      };
    },
  );
  return { parameters, close, decrypt: (blobs, rows) => decryptBlobs(ckks, tools, blobs, rows) };
}

/**
 * One pack's predictions with a key that is loaded for them alone; see {@link createPredictionDecryptor}.
 * @returns one array of logits per record, or null when a blob is refused
 * @throws key-invalid when the blob is not a secret key of these parameters
 */
export async function decryptPredictions(options: {
  readonly secretKey: Uint8Array;
  readonly parameters: CkksParameters;
  readonly blobs: readonly Uint8Array[];
  readonly rows: number;
}): Promise<readonly Float64Array[] | null> {
  const decryptor = await createPredictionDecryptor(options);
  try {
    const outcome = decryptor.decrypt(options.blobs, options.rows);
    return outcome.status === "ok" ? outcome.logits : null;
  } finally {
    decryptor.close();
  }
}

function secretKeyInvalid(): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    "The CKKS secret key is not a key of this pipeline's parameters; use the key folder that keys create made.",
  );
}

interface Tools {
  readonly decryptor: Handle & { decrypt(ciphertext: never, plaintext: SealPlaintext): void };
  readonly encoder: SealEncoder;
  readonly ciphertext: Handle & {
    loadFromArray(context: CkksContext["context"], blob: Uint8Array): void;
  };
  readonly plaintext: SealPlaintext;
}

function decryptBlobs(
  ckks: CkksContext,
  tools: Tools,
  blobs: readonly Uint8Array[],
  rows: number,
): DecryptOutcome {
  const slots = slotCount(ckks.parameters);
  if (!(Number.isInteger(rows) && rows >= 1 && rows <= slots)) {
    return { status: "refused", part: -1, fault: "rows" };
  }
  const logits = Array.from({ length: rows }, () => new Float64Array(blobs.length));
  for (const [part, blob] of blobs.entries()) {
    const check = checkOutputCiphertext(ckks, blob);
    if (check.status === "refused") return { status: "refused", part, fault: check.fault };
    const values = guarded("decrypt a prediction", () => decryptSlots(ckks, tools, blob));
    for (const [row, record] of logits.entries()) record[part] = values[row] ?? Number.NaN;
  }
  return { status: "ok", logits };
}

function decryptSlots(ckks: CkksContext, tools: Tools, blob: Uint8Array): Float64Array {
  const { decryptor, encoder, ciphertext, plaintext } = tools;
  ciphertext.loadFromArray(ckks.context, blob);
  decryptor.decrypt(ciphertext as never, plaintext);
  // Because embind types the result as any; it is a Float64Array of all slots.
  return encoder.decodeFloat64(plaintext) as Float64Array;
}
