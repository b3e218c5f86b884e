/**
 * Opens predictions. Runs in the consumer zone only, the one place that holds the CKKS secret key.
 *
 * What comes out carries the noise of the scheme. CKKS is not IND-CPA-D: a decrypted value, a failure or a noise budget
 * must never travel back towards the prediction zone unrounded. Callers round what may cross a trust boundary.
 * Every blob is checked before the library sees it; a refused blob is an outcome and says nothing about the key.
 */
import { SealstreamError } from "../errors.ts";
import { type BlobFault, checkOutputCiphertext, checkSecretKey } from "./blob.ts";
import type { ResultLayout } from "./engine.ts";
import { type CiphertextForm, type CkksParameters, dataLimbs, slotCount } from "./parameters.ts";
import { createRing, type Ring } from "./ring.ts";
import {
  type CkksContext,
  guarded,
  type Handle,
  openTools,
  type SealEncoder,
  type SealPlaintext,
} from "./seal.ts";
import { readWireHeader, sealFromWire } from "./wire-ciphertext.ts";

/** Memory of the ring that unpacks: tables and two limbs. */
const RING_BYTES = 64 * 1024 * 1024;
/** Polynomials of a result: two, or three that were not relinearised. */
const RESULT_POLYS = [2, 3];

export type DecryptOutcome =
  /** One array of logits per record; new buffers. */
  | { readonly status: "ok"; readonly logits: readonly Float64Array[] }
  | { readonly status: "refused"; readonly part: number; readonly fault: BlobFault | "rows" };

/** The ciphertexts of a result, as its manifest describes them. */
export interface EncryptedLogits {
  readonly parts: readonly Uint8Array[];
  /** Records of the pack, 1 or more. */
  readonly rows: number;
  readonly classes: number;
  readonly layout: Omit<ResultLayout, "precisionBits"> & { readonly form: CiphertextForm };
}

export interface PredictionDecryptor {
  readonly parameters: CkksParameters;
  /** A part that is refused refuses the whole result. */
  decrypt(logits: EncryptedLogits): DecryptOutcome;
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
        ring: null,
      } as Tools;
    },
  );
  return { parameters, close, decrypt: (logits) => decryptLogits(ckks, tools, logits) };
}

/** The layout of a result of packing batch in the library's form: part j, slot r. */
export function libraryLayout(rows: number): EncryptedLogits["layout"] {
  const strides = { classStride: 0, recordStride: 1, recordsPerPart: rows };
  return { form: "library", packing: "batch", ...strides };
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
    const { blobs: parts, rows } = options;
    const layout = libraryLayout(rows);
    const outcome = decryptor.decrypt({ parts, rows, classes: parts.length, layout });
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
  /** Made when the first wire ciphertext comes. */
  ring: Ring | null;
}

function decryptLogits(
  ckks: CkksContext,
  tools: Tools,
  { parts, rows, classes, layout }: EncryptedLogits,
): DecryptOutcome {
  const slots = slotCount(ckks.parameters);
  const isBatch = layout.packing === "batch";
  const perPart = isBatch ? rows : layout.recordsPerPart;
  const expected = isBatch ? classes : Math.ceil(rows / perPart);
  const lastSlot = slotOf(layout, { label: classes - 1, row: Math.min(perPart, rows) - 1 });
  const isPossible = Number.isInteger(rows) && rows >= 1 && lastSlot < slots;
  if (!isPossible || parts.length !== expected) {
    return { status: "refused", part: -1, fault: "rows" };
  }
  const logits = Array.from({ length: rows }, () => new Float64Array(classes));
  for (const [part, blob] of parts.entries()) {
    const fault = loadPart(ckks, tools, blob, layout.form);
    if (fault !== null) return { status: "refused", part, fault };
    const values = guarded("decrypt a prediction", () => decryptLoaded(tools));
    const labels = isBatch ? [part] : Array.from({ length: classes }, (_, label) => label);
    const records = isBatch ? logits : logits.slice(part * perPart, (part + 1) * perPart);
    pickLogits(values, layout, { labels, records });
  }
  return { status: "ok", logits };
}

/** Copies the logits of these labels and records out of a part's slots. */
function pickLogits(
  values: Float64Array,
  layout: EncryptedLogits["layout"],
  to: { readonly labels: readonly number[]; readonly records: readonly Float64Array[] },
): void {
  for (const [row, record] of to.records.entries()) {
    for (const label of to.labels) {
      record[label] = values[slotOf(layout, { label, row })] ?? Number.NaN;
    }
  }
}

/** Slot of a logit within its part. */
function slotOf(
  { packing, classStride, recordStride }: EncryptedLogits["layout"],
  { label, row }: { readonly label: number; readonly row: number },
): number {
  return packing === "batch" ? row : label * classStride + row * recordStride;
}

/** Checks a part and loads it into `tools.ciphertext`; what is wrong with it, or null. */
function loadPart(
  ckks: CkksContext,
  tools: Tools,
  blob: Uint8Array,
  form: CiphertextForm,
): BlobFault | null {
  const found = form === "wire" ? readWirePart(ckks, tools, blob) : readLibraryPart(ckks, blob);
  if (found.status === "refused") return found.fault;
  guarded("load a prediction", () => tools.ciphertext.loadFromArray(ckks.context, found.blob));
  return null;
}

type ReadPart =
  | { readonly status: "ok"; readonly blob: Uint8Array }
  | { readonly status: "refused"; readonly fault: BlobFault };

function readLibraryPart(ckks: CkksContext, blob: Uint8Array): ReadPart {
  const check = checkOutputCiphertext(ckks, blob);
  return check.status === "refused" ? check : { status: "ok", blob };
}

/** A result may be over any number of the first primes: as many as its length says, which must be exact. */
function readWirePart(ckks: CkksContext, tools: Tools, blob: Uint8Array): ReadPart {
  for (let limbs = 1; limbs <= dataLimbs(ckks.parameters); limbs += 1) {
    const expected = { polys: RESULT_POLYS, limbs, scale: null };
    const header = readWireHeader(ckks.parameters, blob, expected);
    if (header.status === "refused" && header.fault === "shape") continue;
    if (header.status === "refused") return header;
    tools.ring ??= createRing(ckks, { maxBytes: RING_BYTES });
    return sealFromWire(ckks, tools.ring, blob, expected);
  }
  return { status: "refused", fault: "shape" };
}

function decryptLoaded({ decryptor, encoder, ciphertext, plaintext }: Tools): Float64Array {
  decryptor.decrypt(ciphertext as never, plaintext);
  // Because embind types the result as any; it is a Float64Array of all slots.
  return encoder.decodeFloat64(plaintext) as Float64Array;
}
