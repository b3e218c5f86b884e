/**
 * One entry of the privacy ledger: what was released, from which records, with how much noise, as signed canonical JSON.
 *
 * The entry is the model's manifest: readers find a model only through it. It must hold everything that is needed to
 * recompute the claim offline, and nothing about a record: no plaintext, nor a hash of one. This file knows one entry; the chain is ledger.ts.
 *
 * Grammar, versions 1, 2 and 3 (2: networks with other layers than dense ones with square or none, ledger-network.ts, or
 * an encrypted model; 3: `noise`, `recordsPerSubject`, `method` and `clipping`, all of them or, in 1 and 2, none):
 *   value     = COSE_Sign1 (crypto/cose-sign1.ts), context "sealstream/ledger/v1|<pipeline>", by a model-signing key
 *   payload   = RFC 8785 canonical JSON, UTF-8, of exactly the fields of LedgerEntry
 *   entryHash = lower-case hex SHA-256 of payload; the next entry's `previous`
 * The signature is not part of the hash, so an entry has one name however often it is signed.
 */
import canonicalize from "canonicalize";
import { z } from "zod";
import { sha256 } from "../crypto/chunks.ts";
import { type FindSigner, sign1, verify1 } from "../crypto/cose-sign1.ts";
import { hex, type SigningKey } from "../crypto/key-handles.ts";
import { SealstreamError } from "../errors.ts";
import { type LedgerNetwork, ledgerNetworkSchema, ledgerVersion } from "./ledger-network.ts";
import { INDEPENDENT, type LedgerNoise, ledgerNoiseSchema } from "./ledger-noise.ts";

/** The part of a source lane that one contribution covers. */
export interface LedgerRange {
  readonly lane: number;
  readonly from: number;
  /** One past the last offset. */
  readonly to: number;
  readonly places: number;
  /** Version of the model whose gradient it is. */
  readonly modelVersion: number;
}

/** Sealed bytes in `models`. */
export interface StoredModel {
  /** Of the sealed bytes. */
  readonly sha256: string;
  readonly bytes: number;
  /** SHA-256 of each chunk, in order. */
  readonly chunks: readonly string[];
}

/** A model whose weights are CKKS ciphertexts under a consumer's public key. */
export interface EncryptedModel extends StoredModel {
  /** Id of the CKKS parameter set. */
  readonly parameters: string;
  /** Hex SHA-256 of the consumer's public key. */
  readonly consumerKeyId: string;
}

/** How a run learns and what its bound is of, as far as accounting needs it. */
export interface LedgerMethod {
  /** How the noise of the run's updates hangs together. */
  readonly noise: LedgerNoise;
  /** Most records of one subject in the source topic, so that epsilon is of subjects; null: it is of records. */
  readonly recordsPerSubject: number | null;
  /** `statistics`: contributions are sums over X^T X and X^T Y, not gradients. */
  readonly method: "gradient" | "statistics";
  /** Each of them leaves one record at most `l2ClipNorm` in a sum. */
  readonly clipping: "flat" | "per-layer" | "automatic";
}

/** The same where a version has no words for it. */
export type WrittenMethod = {
  readonly [Key in keyof LedgerMethod]?: LedgerMethod[Key] | undefined;
};

export interface LedgerEntry extends WrittenMethod {
  /** The lowest that can say the entry (`entryVersion`). */
  readonly version: 1 | 2 | 3;
  readonly pipeline: string;
  /** 0, 1, 2, ... over all runs. */
  readonly sequence: number;
  /** Hash of the entry before; null for the first. */
  readonly previous: string | null;
  /** `genesis` opens a run with a model that no record has touched. */
  readonly kind: "genesis" | "update";
  /** 32 hex digits. */
  readonly runId: string;
  /** 0 at genesis, then one more with each entry of the run. */
  readonly modelVersion: number;
  /** Updates of the run up to here. */
  readonly step: number;
  /** SHA-256 of the settings that fix the run. */
  readonly configHash: string;
  readonly network: LedgerNetwork;
  readonly mechanism: "gaussian";
  /** Standard deviation of the noise rows, over `sensitivity`. */
  readonly noiseMultiplier: number;
  readonly l2ClipNorm: number;
  /**
   * Of one record in one update, L2, gradient units: clip and rounding (contribution.ts), times the largest norm of a
   * column of the noise's matrix, which is 1 where rows are independent.
   */
  readonly sensitivity: number;
  readonly updateBatchRecords: number;
  readonly microBatchRecords: number;
  readonly learningRate: number;
  readonly adjacency: "zero-out";
  /** Topic whose offsets the ranges are. */
  readonly sourceTopic: string;
  /** The contributions of this update, in log order; empty at genesis. */
  readonly ranges: readonly LedgerRange[];
  /** Lane (decimal) to the source offset where its next range must start. */
  readonly laneNext: Readonly<Record<string, number>>;
  /** Offset in `contributions` up to which everything is final with this entry. */
  readonly contributionsNext: number;
  /** Of the sealed contributions (contribution.ts); the noise row is keyed by it, run id and step. Null at genesis. */
  readonly contributionsHash: string | null;
  /** Releases of the run that one record takes part in: 1 in one pass. */
  readonly participations: number;
  /** Composed over every run of the source topic that has an update, this entry included. */
  readonly epsilon: number;
  readonly delta: number;
  readonly model: StoredModel;
  /** The same model as ciphertexts, where the prediction zone must not see it; from version 2 on. */
  readonly encryptedModel?: EncryptedModel | undefined;
  /** When it was written, ISO 8601 in UTC with milliseconds. */
  readonly at: string;
}

/** An entry under its name. */
export interface HashedEntry {
  readonly entry: LedgerEntry;
  /** Lower-case hex SHA-256 of the entry's canonical JSON. */
  readonly entryHash: string;
}

/** What becomes of a record of `ledger`. */
export type DecodedEntry =
  | ({ readonly status: "ok" } & HashedEntry)
  | {
      readonly status: "refused";
      readonly reason: "malformed" | "unknown-signer" | "bad-signature";
    };

/** An entry of 4,096 ranges is about 600 KB: it must fit one message. */
export const MAX_RANGES = 4_096;
/** Bytes of a value that are looked at: Kafka's default message limit. */
const MAX_ENTRY_BYTES = 1024 * 1024;

const count = z.int().min(0);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const id = z.string().regex(/^[0-9a-f]{32}$/);
const positive = z.number().positive();

const stored = { sha256: hash, bytes: count.min(1), chunks: z.array(hash).min(1) };
const fields = z.strictObject({
  version: z.literal([1, 2, 3]),
  pipeline: z.string().min(1),
  sequence: count,
  previous: hash.nullable(),
  kind: z.enum(["genesis", "update"]),
  runId: id,
  modelVersion: count,
  step: count,
  configHash: hash,
  network: ledgerNetworkSchema,
  mechanism: z.literal("gaussian"),
  noiseMultiplier: positive,
  l2ClipNorm: positive,
  sensitivity: positive,
  updateBatchRecords: count.min(1),
  microBatchRecords: count.min(1),
  learningRate: positive,
  adjacency: z.literal("zero-out"),
  sourceTopic: z.string().min(1),
  ranges: z
    .array(
      z.strictObject({
        lane: count,
        from: count,
        to: count,
        places: count.min(1),
        modelVersion: count,
      }),
    )
    .max(MAX_RANGES),
  laneNext: z.record(z.string().regex(/^(0|[1-9][0-9]{0,8})$/), count),
  contributionsNext: count,
  contributionsHash: hash.nullable(),
  participations: count.min(1),
  epsilon: z.number().min(0),
  delta: positive.max(1),
  model: z.strictObject(stored),
  encryptedModel: z
    .strictObject({ ...stored, parameters: z.string().min(1).max(128), consumerKeyId: hash })
    .optional(),
  at: z.iso.datetime({ precision: 3 }),
  noise: ledgerNoiseSchema.optional(),
  recordsPerSubject: count.min(1).nullable().optional(),
  method: z.enum(["gradient", "statistics"]).optional(),
  clipping: z.enum(["flat", "per-layer", "automatic"]).optional(),
});
const schema = fields.refine((entry) => {
  const { noise, recordsPerSubject, method, clipping } = entry;
  const isWritten = (value: unknown): boolean => (value !== undefined) === (entry.version === 3);
  return (
    entry.version === entryVersion(entry) &&
    [noise, recordsPerSubject, method, clipping].every(isWritten)
  );
});

/** What entries of versions 1 and 2 mean. */
const METHOD_DEFAULTS: LedgerMethod = {
  noise: INDEPENDENT,
  recordsPerSubject: null,
  method: "gradient",
  clipping: "flat",
};

/** What an entry of any version says about its method. */
export function methodOf(entry: WrittenMethod): LedgerMethod {
  const { noise, recordsPerSubject, method, clipping } = entry;
  return {
    noise: noise ?? METHOD_DEFAULTS.noise,
    recordsPerSubject: recordsPerSubject ?? METHOD_DEFAULTS.recordsPerSubject,
    method: method ?? METHOD_DEFAULTS.method,
    clipping: clipping ?? METHOD_DEFAULTS.clipping,
  };
}

/** What decides the version of an entry. */
export interface Versioned extends WrittenMethod {
  readonly network: LedgerNetwork;
  readonly encryptedModel?: EncryptedModel | undefined;
}

/** Version of an entry: the lowest that has words for all that it says. */
export function entryVersion(entry: Versioned): 1 | 2 | 3 {
  const { noise, recordsPerSubject, method, clipping } = methodOf(entry);
  const isPlain =
    noise.kind === "independent" &&
    recordsPerSubject === null &&
    method === "gradient" &&
    clipping === "flat";
  if (!isPlain) return 3;
  const version = ledgerVersion(entry.network);
  return version === 1 && entry.encryptedModel !== undefined ? 2 : version;
}

/** The version of an entry and what that version writes about the method. */
export function versionFields(entry: Versioned): Pick<LedgerEntry, "version"> & WrittenMethod {
  const version = entryVersion(entry);
  return version === 3 ? { version, ...methodOf(entry) } : { version };
}

/** Every chunk of `models` that an entry names. */
export function chunksOf({
  model,
  encryptedModel,
}: Pick<LedgerEntry, "model" | "encryptedModel">): readonly string[] {
  return [...model.chunks, ...(encryptedModel?.chunks ?? [])];
}

/**
 * Canonical JSON of an entry, UTF-8; a new buffer.
 * @throws internal when it is not an entry (a field missing, too many, NaN, Infinity, out of range)
 */
export function entryPayload(entry: LedgerEntry): Uint8Array {
  const parsed = schema.safeParse(entry);
  const json = parsed.success ? canonicalize(parsed.data) : undefined;
  if (json === undefined) {
    throw new SealstreamError("internal", "What was to be written to the ledger is not an entry.");
  }
  return new TextEncoder().encode(json);
}

/** Lower-case hex SHA-256 of an entry's canonical JSON. @throws internal when it is not an entry */
export function entryHash(entry: LedgerEntry): string {
  return hex(sha256(entryPayload(entry)));
}

/** The record value of an entry. @throws internal when it is not an entry or does not fit one message */
export function encodeLedgerEntry(entry: LedgerEntry, signer: SigningKey): Uint8Array {
  const value = sign1({
    payload: entryPayload(entry),
    signer,
    context: ledgerContext(entry.pipeline),
  });
  if (value.length > MAX_ENTRY_BYTES) {
    throw new SealstreamError("internal", "A ledger entry does not fit one message.");
  }
  return value;
}

/**
 * The entry in a record value, if it is signed by somebody whom `findSigner` allows and spelled canonically.
 * @param value untrusted; not kept
 */
export function decodeLedgerEntry(
  value: Uint8Array,
  options: { readonly pipeline: string; readonly findSigner: FindSigner },
): DecodedEntry {
  if (value.length > MAX_ENTRY_BYTES) return { status: "refused", reason: "malformed" };
  const verified = verify1({
    message: value,
    context: ledgerContext(options.pipeline),
    findSigner: options.findSigner,
  });
  if (verified.status === "refused") return verified;
  const entry = parseEntry(verified.payload);
  if (entry === null || entry.pipeline !== options.pipeline) {
    return { status: "refused", reason: "malformed" };
  }
  return { status: "ok", entry, entryHash: hex(sha256(verified.payload)) };
}

function parseEntry(payload: Uint8Array): LedgerEntry | null {
  try {
    const parsed = schema.safeParse(
      JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload)),
    );
    if (!parsed.success) return null;
    // One entry, one spelling: otherwise the same entry could have two hashes.
    return Buffer.compare(entryPayload(parsed.data), payload) === 0 ? parsed.data : null;
  } catch {
    // Because text that is not UTF-8 or not JSON is bad input, and both are reported by throwing.
    return null;
  }
}

function ledgerContext(pipeline: string): string {
  return `sealstream/ledger/v1|${pipeline}`;
}
