/**
 * Turns unlabelled rows into one pack: CKKS ciphertexts in a signed bundle (grammar in `stages/predict/pack.ts`).
 *
 * The record ids travel sealed to the consumer, because a record id may still be personal. Must not know the CKKS
 * library or hold a secret key: the packer is handed in and encrypts under the consumer's public key.
 */
import { MAX_VALUE_BYTES } from "../../../schemas/topics.ts";
import { createBundle } from "../../crypto/bundle.ts";
import { BUNDLE_ID_BYTES } from "../../crypto/bundle-manifest.ts";
import type { SigningKey } from "../../crypto/key-handles.ts";
import { sealRecordIds } from "../../crypto/record-ids.ts";
import type { Recipient } from "../../crypto/wrap/types.ts";
import { SealstreamError } from "../../errors.ts";
import type { OutputRecord } from "../../stream/contract.ts";
import type { Row } from "./row.ts";

export type PredictRow = Extract<Row, { kind: "predict" }>;

/** An encrypted matrix of features. */
export interface PackedRows {
  readonly parts: readonly Uint8Array[];
  /** Null: the ciphertexts are the library's, as the version before wrote them. */
  readonly packing: "batch" | "slots" | null;
  /** Records that as many parts could hold. */
  readonly capacity: number;
}

/** How unlabelled rows are packed under the consumer's keys of this moment. */
export interface OwnerPacking {
  /** Hex SHA-256 of the consumer's public key. */
  readonly consumerKeyId: string;
  /** Id of the CKKS parameter set. */
  readonly parametersId: string;
  /** Most records of a pack. */
  readonly packRecords: number;
  /**
   * Encrypts a matrix of features under that key, in whichever packing is cheaper for so many rows.
   * @param rows of the matrix, 1..packRecords
   * @param features columns
   * @param matrix row-major, what the network reads, within the file's range; not kept
   */
  encrypt(rows: number, features: number, matrix: Float32Array): Promise<PackedRows>;
}

export interface PackOptions {
  readonly pipeline: string;
  readonly lane: number;
  readonly sequence: number;
  readonly features: number;
  readonly maxBytesPerRecord: number;
  readonly signer: SigningKey;
  readonly packing: OwnerPacking;
  readonly recipient: Recipient;
  /** CSPRNG. */
  readonly random: (bytes: number) => Uint8Array;
}

export interface SealedPack {
  readonly outputs: readonly OutputRecord[];
  /** Of all ciphertexts together. */
  readonly bytes: number;
}

/** Context under which packs of a lane are signed. */
export function packContext(pipeline: string, lane: number): string {
  return `sealstream/packs/v1|${pipeline}|${lane}`;
}

/**
 * One pack.
 * @throws SealstreamError limit-exceeded when a record of a full pack would cost more bytes than the file allows
 */
export async function sealPack(
  rows: readonly PredictRow[],
  options: PackOptions,
): Promise<SealedPack> {
  const { pipeline, lane, features } = options;
  const matrix = new Float32Array(rows.length * features);
  for (const [index, row] of rows.entries()) matrix.set(row.x, index * features);
  const { parts, packing, capacity } = await options.packing.encrypt(rows.length, features, matrix);
  matrix.fill(0);
  if (parts.length > features || (packing !== "slots" && parts.length !== features)) {
    throw new SealstreamError("internal", "The packer made another number of ciphertexts.");
  }
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  // Slots are for few records: dearer for each of them than a full batch, and chosen where a batch would not be full.
  if (packing !== "slots" && bytes / capacity > options.maxBytesPerRecord) {
    throw new SealstreamError(
      "limit-exceeded",
      `A record of a full pack takes ${Math.ceil(bytes / capacity)} bytes: use fewer features or raise encrypt.packs.maxBytesPerRecord.`,
    );
  }
  const bundleId = options.random(BUNDLE_ID_BYTES);
  const ids = rows.map((row) => row.recordId);
  const records = createBundle({
    context: packContext(pipeline, lane),
    bundleId,
    parts,
    fields: {
      sequence: options.sequence,
      rows: rows.length,
      features,
      parameters: options.packing.parametersId,
      consumerKeyId: options.packing.consumerKeyId,
      recordIds: sealRecordIds({ pipeline, bundleId, ids, recipient: options.recipient }),
      ...(packing === null ? {} : { packing }),
    },
    signer: options.signer,
    maxChunkBytes: MAX_VALUE_BYTES,
  });
  return { outputs: records.map((record) => ({ role: "packs", ...record })), bytes };
}
