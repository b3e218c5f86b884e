/**
 * Packs records into wire ciphertexts: one per feature (batch), or all features of some records in one (slots). Runs in
 * the owner zone, under the consumer's public key.
 *
 * Slots without a record are exactly zero before encryption, so that nothing of an earlier pack can stay in them.
 * Features of batch packs must lie in [0, 1] (or in [-1, 1] where the plan says so), those of slots in [-1, 1]: the bounds with
 * which the prediction zone proves that no logit wraps around. Encryption
 * is the library's; here values are laid out and its residues written tight. Must not hold a secret key.
 */
import { SealstreamError } from "../errors.ts";
import type { LowestFeature } from "./batch/noise.ts";
import { checkPublicKey } from "./blob.ts";
import { CIPHERTEXT_POLYS, type CkksParameters, dataLimbs, slotCount } from "./parameters.ts";
import { createRing, type Ring } from "./ring.ts";
import {
  type CkksContext,
  guarded,
  type Handle,
  openContext,
  openTools,
  type SealCiphertext,
  type SealEncoder,
  type SealEncryptor,
  type SealPlaintext,
  saveUncompressed,
} from "./seal.ts";
import { fillSlots, type SlotLayout } from "./slots/layout.ts";
import { wireFromSeal } from "./wire-ciphertext.ts";

/** Memory of the ring that writes: tables and two limbs. */
const RING_BYTES = 64 * 1024 * 1024;
/** Largest feature of a batch pack. */
const MAX_FEATURE = 1;

/** How a pack is to be laid out. */
export type PackLayout =
  /** `limbs`: data primes that ciphertexts carry, the plan's; all of them unless said. `lowest`: the plan's; 0 unless said. */
  | { readonly packing: "batch"; readonly limbs?: number; readonly lowest?: LowestFeature }
  /** `scaleBits`: log2 of the scale, the plan's. */
  | { readonly packing: "slots"; readonly layout: SlotLayout; readonly scaleBits: number };

export interface WirePackRequest {
  /** The consumer's, serialized. */
  readonly publicKey: Uint8Array;
  /** Records in the pack, 1 or more. */
  readonly rows: number;
  readonly features: number;
  /** [rows][features] row-major, within the layout's bounds. Not kept. */
  readonly matrix: Float32Array;
  readonly how: PackLayout;
}

export interface WirePacker {
  readonly parameters: CkksParameters;
  /**
   * Encrypts a pack; gives the event loop a turn after each ciphertext.
   * @returns wire ciphertexts, one per feature or one per `recordsPerPack` records; new buffers
   * @throws limit-exceeded when rows do not fit or a feature is not a number within the layout's bounds
   * @throws key-invalid when the blob is not a public key of the parameters
   */
  pack(request: WirePackRequest): Promise<Uint8Array[]>;
}

/** A packer of a parameter set; it keeps tables and no key. @throws ciphertext-refused when kernels cannot hold the set */
export async function createWirePacker(parameters: CkksParameters): Promise<WirePacker> {
  const ckks = await openContext(parameters);
  const ring = createRing(ckks, { maxBytes: RING_BYTES });
  return { parameters, pack: (request) => packRows(ckks, ring, request) };
}

async function packRows(
  ckks: CkksContext,
  ring: Ring,
  request: WirePackRequest,
): Promise<Uint8Array[]> {
  const check = checkPublicKey(ckks, request.publicKey);
  if (check.status === "refused") {
    throw new SealstreamError(
      "key-invalid",
      `The consumer's CKKS public key in topic keys is not usable (${check.fault}); run sealstream keys create for the consumer zone.`,
    );
  }
  const { how } = request;
  const scale = 2 ** (how.packing === "batch" ? ckks.parameters.scaleBits : how.scaleBits);
  const limbs = limbsOf(ckks.parameters, how);
  const slots = new Float64Array(slotCount(ckks.parameters));
  const blobs: Uint8Array[] = [];
  const { tools, close } = await openTools(ckks.parameters, "load the public key", (_, keep) =>
    loadTools(ckks, request.publicKey, keep),
  );
  try {
    for (const fill of fillers(ckks.parameters, request)) {
      fill(slots);
      blobs.push(
        guarded("encrypt a pack", () => encrypt(ckks, ring, tools, { slots, scale, limbs })),
      );
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
    }
  } finally {
    slots.fill(0);
    close();
  }
  return blobs;
}

/** Data primes that the ciphertexts of a pack carry. */
function limbsOf(parameters: CkksParameters, how: PackLayout): number {
  const most = dataLimbs(parameters);
  const { limbs = most } = how.packing === "batch" ? how : {};
  if (Number.isInteger(limbs) && limbs >= 1 && limbs <= most) return limbs;
  throw new SealstreamError("limit-exceeded", `Ciphertexts of a pack carry 1 to ${most} primes.`);
}

/** One function for each ciphertext, which lays out its slots. */
function fillers(
  parameters: CkksParameters,
  { rows, features, matrix, how }: WirePackRequest,
): ((slots: Float64Array) => void)[] {
  const valueAt = (row: number, feature: number) => matrix[row * features + feature] ?? Number.NaN;
  if (how.packing === "slots") {
    const { recordsPerPack } = how.layout;
    const parts = Math.ceil(rows / recordsPerPack);
    return Array.from({ length: parts }, (_, part) => (slots) => {
      const first = part * recordsPerPack;
      const count = Math.min(recordsPerPack, rows - first);
      fillSlots(how.layout, count, (row, feature) => valueAt(first + row, feature), slots);
    });
  }
  const most = slotCount(parameters);
  const { lowest = 0 } = how;
  if (!(Number.isInteger(rows) && rows >= 1 && rows <= most && features >= 1)) {
    throw new SealstreamError("limit-exceeded", `A pack holds 1 to ${most} records.`);
  }
  return Array.from({ length: features }, (_, feature) => (slots) => {
    slots.fill(0);
    for (let row = 0; row < rows; row += 1) {
      const value = valueAt(row, feature);
      if (!(value >= lowest && value <= MAX_FEATURE)) {
        const message = `A feature of a pack is not in [${lowest}, ${MAX_FEATURE}].`;
        throw new SealstreamError("limit-exceeded", message);
      }
      slots[row] = value;
    }
  });
}

interface Tools {
  readonly encoder: SealEncoder;
  readonly encryptor: SealEncryptor;
  readonly plaintext: SealPlaintext;
  readonly ciphertext: SealCiphertext;
}

function loadTools(
  { seal, context }: CkksContext,
  publicKeyBlob: Uint8Array,
  keep: <T extends Handle>(handle: T) => T,
): Tools {
  const publicKey = keep(new seal.PublicKey());
  publicKey.loadFromArray(context, publicKeyBlob);
  return {
    encoder: keep(new seal.CKKSEncoder(context)),
    encryptor: keep(new seal.Encryptor(context, publicKey)),
    plaintext: keep(new seal.Plaintext()),
    ciphertext: keep(new seal.Ciphertext()),
  };
}

function encrypt(
  ckks: CkksContext,
  ring: Ring,
  { encoder, encryptor, plaintext, ciphertext }: Tools,
  { slots, scale, limbs }: { slots: Float64Array; scale: number; limbs: number },
): Uint8Array {
  encoder.encode(slots, scale, plaintext);
  encryptor.encrypt(plaintext, ciphertext);
  const shape = { polys: CIPHERTEXT_POLYS, limbs, scale, blobLimbs: dataLimbs(ckks.parameters) };
  return wireFromSeal(ckks, ring, saveUncompressed(ckks, ciphertext), shape);
}
