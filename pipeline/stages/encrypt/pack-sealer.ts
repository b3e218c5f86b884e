/**
 * Turns unlabelled rows into one pack: CKKS ciphertexts (one per feature, slot r is row r) in a signed bundle.
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

/**
 * Encrypts a matrix of features, one ciphertext per column.
 * @param rows of the matrix, 1..slots
 * @param features columns
 * @param matrix row-major, values in 0..1; not kept
 */
export type Packer = (
  rows: number,
  features: number,
  matrix: Float32Array,
) => Promise<Uint8Array[]>;

export interface PackOptions {
  readonly pipeline: string;
  readonly lane: number;
  readonly sequence: number;
  readonly features: number;
  readonly slotsPerPack: number;
  readonly maxBytesPerRecord: number;
  readonly signer: SigningKey;
  readonly packer: Packer;
  readonly parametersId: string;
  /** Hex SHA-256 of the consumer's public key under which the packer encrypts. */
  readonly consumerKeyId: string;
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
  const parts = await options.packer(rows.length, features, matrix);
  matrix.fill(0);
  if (parts.length !== features) {
    throw new SealstreamError("internal", "The packer must return one ciphertext per feature.");
  }
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  if (bytes / options.slotsPerPack > options.maxBytesPerRecord) {
    throw new SealstreamError(
      "limit-exceeded",
      `A record of a full pack takes ${Math.ceil(bytes / options.slotsPerPack)} bytes: use fewer features or raise encrypt.packs.maxBytesPerRecord.`,
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
      parameters: options.parametersId,
      consumerKeyId: options.consumerKeyId,
      recordIds: sealRecordIds({ pipeline, bundleId, ids, recipient: options.recipient }),
    },
    signer: options.signer,
    maxChunkBytes: MAX_VALUE_BYTES,
  });
  return { outputs: records.map((record) => ({ role: "packs", ...record })), bytes };
}
