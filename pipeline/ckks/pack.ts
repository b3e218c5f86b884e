/**
 * Packs records into CKKS slots: one ciphertext per feature, slot r belongs to record r. Runs in the owner zone.
 *
 * Slots without a record are exactly zero before encryption, so that nothing of an earlier pack can stay in them.
 * Features must lie in [-1, 1]: the bound with which the prediction zone proves that no logit wraps around.
 * Must not hold a secret key; only the consumer can open what this makes.
 */
import { SealstreamError } from "../errors.ts";
import { checkPublicKey } from "./blob.ts";
import { type CkksParameters, slotCount } from "./parameters.ts";
import {
  type CkksContext,
  guarded,
  type Handle,
  openTools,
  type SealEncoder,
  type SealEncryptor,
  type SealPlaintext,
  saveUncompressed,
} from "./seal.ts";

/** Largest |feature|. */
const MAX_FEATURE = 1;

export interface PackRequest {
  /** Records in the pack, 1..slotCount. */
  readonly rows: number;
  readonly features: number;
  /** Either a function, or a matrix [rows][features] row-major. Values in [-1, 1]. Not kept. */
  readonly at: ((row: number, feature: number) => number) | Float32Array;
}

export interface PackEncryptor {
  readonly parameters: CkksParameters;
  /**
   * Encrypts a pack; gives the event loop a turn after each feature (about 6 ms).
   * @returns one serialized ciphertext per feature; new buffers
   * @throws limit-exceeded when rows do not fit or a feature is not a number in [-1, 1]
   */
  encryptPack(request: PackRequest): Promise<Uint8Array[]>;
  /** Frees the library's objects. */
  close(): void;
}

interface Tools {
  readonly ckks: CkksContext;
  readonly encoder: SealEncoder;
  readonly encryptor: SealEncryptor;
  readonly plaintext: SealPlaintext;
}

/**
 * Checks and loads a consumer's public key.
 * @throws key-invalid when the blob is not a public key of these parameters
 */
export async function createPackEncryptor(options: {
  readonly publicKey: Uint8Array;
  readonly parameters: CkksParameters;
}): Promise<PackEncryptor> {
  const { parameters } = options;
  const { tools, close } = await openTools(parameters, "load the public key", (ckks, keep) =>
    loadTools(ckks, options.publicKey, keep),
  );
  return { parameters, encryptPack: (request) => encryptFeatures(tools, request), close };
}

/** One pack under a key that is loaded for it alone; see {@link createPackEncryptor} for more than one. */
export async function encryptPack(
  options: PackRequest & { readonly publicKey: Uint8Array; readonly parameters: CkksParameters },
): Promise<Uint8Array[]> {
  const encryptor = await createPackEncryptor(options);
  try {
    return await encryptor.encryptPack(options);
  } finally {
    encryptor.close();
  }
}

function loadTools(
  ckks: CkksContext,
  publicKeyBlob: Uint8Array,
  keep: <T extends Handle>(handle: T) => T,
): Tools {
  const { seal, context } = ckks;
  const check = checkPublicKey(ckks, publicKeyBlob);
  if (check.status === "refused") {
    throw new SealstreamError(
      "key-invalid",
      `The consumer's CKKS public key in topic keys is not usable (${check.fault}); run sealstream keys create for the consumer zone.`,
    );
  }
  const publicKey = keep(new seal.PublicKey());
  publicKey.loadFromArray(context, publicKeyBlob);
  return {
    ckks,
    encoder: keep(new seal.CKKSEncoder(context)),
    encryptor: keep(new seal.Encryptor(context, publicKey)),
    plaintext: keep(new seal.Plaintext()),
  };
}

async function encryptFeatures(tools: Tools, request: PackRequest): Promise<Uint8Array[]> {
  const { ckks } = tools;
  const { rows, features } = request;
  const slots = slotCount(ckks.parameters);
  if (!(Number.isInteger(rows) && rows >= 1 && rows <= slots && features >= 1)) {
    throw new SealstreamError("limit-exceeded", `A pack holds 1 to ${slots} records.`);
  }
  const values = new Float64Array(slots);
  const blobs: Uint8Array[] = [];
  for (let feature = 0; feature < features; feature += 1) {
    fillSlots(values, request, feature);
    blobs.push(guarded("encrypt a feature", () => encryptSlots(tools, values)));
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
  values.fill(0);
  return blobs;
}

function fillSlots(
  values: Float64Array,
  { rows, features, at }: PackRequest,
  feature: number,
): void {
  for (let row = 0; row < rows; row += 1) {
    const value =
      typeof at === "function" ? at(row, feature) : (at[row * features + feature] ?? Number.NaN);
    if (!(Math.abs(value) <= MAX_FEATURE)) {
      throw new SealstreamError("limit-exceeded", "A feature of a pack is not in [-1, 1].");
    }
    values[row] = value;
  }
}

function encryptSlots(
  { ckks, encoder, encryptor, plaintext }: Tools,
  values: Float64Array,
): Uint8Array {
  encoder.encode(values, 2 ** ckks.parameters.scaleBits, plaintext);
  const ciphertext = new ckks.seal.Ciphertext();
  try {
    encryptor.encrypt(plaintext, ciphertext);
    return saveUncompressed(ckks, ciphertext);
  } finally {
    ciphertext.delete();
  }
}
