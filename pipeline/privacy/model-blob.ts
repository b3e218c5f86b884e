/**
 * A model as it is stored: a checkpoint, signed, sealed, and cut into chunks that its ledger entry names.
 *
 * Signed inside the seal, so that whoever holds only the data key of models cannot make one; sealed, because a model is
 * the training zone's to give. The ledger entry binds the sealed bytes by hash, the envelope binds run and version.
 * Must not look into a checkpoint.
 *
 *   sealed = COSE_Encrypt0 (crypto/envelope.ts; topic "models", lane 0, record id UTF-8 "<runId>/<modelVersion>",
 *            schema version 1, sequence = the ledger entry's) of
 *            COSE_Sign1 (context "sealstream/models/v1|<pipeline>", model-signing) of the checkpoint (safetensors)
 * A model of ciphertexts (ckks/slots/encrypted-model-file.ts) is stored alike, with "encrypted-models" instead of "models" in the
 * signature's context and "/ckks" behind the version in the record id: neither form can be taken for the other.
 */
import { type Chunk, sha256, splitIntoChunks } from "../crypto/chunks.ts";
import { type FindSigner, sign1, verify1 } from "../crypto/cose-sign1.ts";
import type { DataKey } from "../crypto/data-key.ts";
import { type EnvelopeContext, openEnvelope, sealEnvelope } from "../crypto/envelope.ts";
import { hex, type SigningKey } from "../crypto/key-handles.ts";
import type { StoredModel } from "./ledger-entry.ts";

/** Weights in the clear, or as CKKS ciphertexts. */
export type ModelForm = "plain" | "encrypted";

/** What a model is of. */
export interface ModelName {
  readonly pipeline: string;
  /** 32 hex digits. */
  readonly runId: string;
  readonly modelVersion: number;
  /** `plain` unless said. */
  readonly form?: ModelForm | undefined;
}

export interface SealedModel {
  /** For the ledger entry. */
  readonly model: StoredModel;
  /** For `models`: key = hash, value = bytes. */
  readonly chunks: readonly Chunk[];
}

/** What became of sealed bytes. `unknown-key`: their data key is not in the directory (yet). */
export type OpenedModel =
  | { readonly status: "ok"; readonly checkpoint: Uint8Array }
  | { readonly status: "unknown-key" }
  | { readonly status: "refused" };

const SCHEMA_VERSION = 1;

/**
 * Signs, seals and cuts a checkpoint.
 * @param options.sequence of the ledger entry that will name it
 * @throws key-spent when the data key has reached its limit
 */
export function sealModel(options: {
  readonly name: ModelName;
  readonly checkpoint: Uint8Array;
  readonly signer: SigningKey;
  readonly dataKey: DataKey;
  readonly sequence: number;
  readonly maxChunkBytes: number;
}): SealedModel {
  const { name, checkpoint, signer, dataKey, sequence, maxChunkBytes } = options;
  const plaintext = sign1({ payload: checkpoint, signer, context: modelContext(name) });
  const sealed = sealEnvelope({ dataKey, plaintext, context: envelopeContext(name), sequence });
  const chunks = splitIntoChunks(sealed, maxChunkBytes);
  return {
    model: {
      sha256: hex(sha256(sealed)),
      bytes: sealed.length,
      chunks: chunks.map((chunk) => hex(chunk.hash)),
    },
    chunks,
  };
}

/**
 * The checkpoint in sealed bytes.
 * @param options.sealed joined chunks; their hash must have been compared with the ledger entry's
 * @returns a view of a fresh buffer
 */
export function openModel(options: {
  readonly name: ModelName;
  readonly sealed: Uint8Array;
  readonly findKey: (kid: Uint8Array) => DataKey | null;
  readonly findSigner: FindSigner;
}): OpenedModel {
  const { name, sealed, findKey, findSigner } = options;
  const opened = openEnvelope({ envelope: sealed, context: envelopeContext(name), findKey });
  if (opened.status !== "ok") return { status: opened.status };
  const verified = verify1({
    message: opened.plaintext,
    context: modelContext(name),
    findSigner,
  });
  if (verified.status === "ok") return { status: "ok", checkpoint: verified.payload };
  // A signer who is not known yet is no verdict: `keys` may be read later than `models`.
  return { status: verified.reason === "unknown-signer" ? "unknown-key" : "refused" };
}

function envelopeContext({ pipeline, runId, modelVersion, form }: ModelName): EnvelopeContext {
  const suffix = form === "encrypted" ? "/ckks" : "";
  const recordId = new TextEncoder().encode(`${runId}/${modelVersion}${suffix}`);
  return { pipeline, topic: "models", lane: 0, recordId, schemaVersion: SCHEMA_VERSION };
}

function modelContext({ pipeline, form }: ModelName): string {
  return `sealstream/${form === "encrypted" ? "encrypted-models" : "models"}/v1|${pipeline}`;
}
