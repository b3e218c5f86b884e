/**
 * Bundles: several binary parts and a signed manifest as records of one lane, written in one transaction.
 *
 * ```
 * chunk    : key = bundleId (16 bytes) || u32be index, value = bytes, header sealstream-type = "chunk"
 * manifest : key = bundleId, header sealstream-type = "manifest", value = COSE_Sign1(payload), context given by the caller
 * payload  = {v: 1, bundleId: bstr (16), fields: {* tstr => any}, parts: [+ {bytes, chunks: [+ bstr (32)]}]}
 * ```
 * Chunks come first; their index counts over all parts. Only the manifest is believed: chunks are found by their
 * index and hash among the records of the same bundle id, so that records that somebody puts between them, of the same
 * or of other ids, change nothing. Nothing is hashed before an authentic manifest asks for it.
 * A bundle that is not complete within `maxSpan` of its first record is given up, the oldest first, and it alone: what
 * begins behind it may still complete. That bounds what a reader holds, and says how much foreign stuff a bundle bears.
 * One writer owns a lane, so once a new bundle is complete, every other bundle open at that point never will be. A copy
 * of an old one proves nothing about the writer: `isReplay` tells it, and it ends nobody but itself.
 * Must not: judge the fields, or remember what was read before (the caller does both).
 */
import { SealstreamError } from "../errors.ts";
import {
  BUNDLE_ID_BYTES,
  BUNDLE_VERSION,
  decodeManifest,
  MAX_CHUNKS,
  type ManifestHead,
} from "./bundle-manifest.ts";
import { type CborValue, encodeCbor, plainBytes } from "./cbor.ts";
import { joinChunks, sha256, splitIntoChunks } from "./chunks.ts";
import { type FindSigner, sign1, verify1 } from "./cose-sign1.ts";
import { hex, type SigningKey } from "./key-handles.ts";

/** A record to write, in this order, in one transaction. */
export interface BundleRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** `sealstream-type`: UTF-8 of `chunk` or `manifest`. */
  readonly headers: Readonly<Record<string, Uint8Array>>;
}

/** A record as it was read from a lane. */
export interface LaneRecord {
  readonly offset: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: Readonly<Record<string, Uint8Array>>;
}

export interface Bundle {
  readonly bundleId: Uint8Array;
  /** Text-keyed maps inside are plain objects; byte strings are views of the manifest's record. */
  readonly fields: Readonly<Record<string, CborValue>>;
  /** Each in a buffer of its own. */
  readonly parts: readonly Uint8Array[];
  /** kid of the manifest's signer. */
  readonly kid: Uint8Array;
  readonly fromOffset: number;
  /** Exclusive. */
  readonly toOffset: number;
}

type Fault = "pack-incomplete" | "pack-refused" | "key-unknown" | "replayed";

export interface RefusedRecord {
  readonly offset: number;
  readonly reason: Fault;
  /** Hex bundle id that the record claims; empty when it is no record of a bundle. */
  readonly bundleId: string;
}

export interface ReadBundles {
  /** In order; all of them lie before `consumedTo`. */
  readonly bundles: readonly Bundle[];
  /** Records that belong to no bundle, each before `consumedTo`, by rising offset. */
  readonly refused: readonly RefusedRecord[];
  /** Offset where an unfinished bundle begins. */
  readonly pendingFrom: number | null;
  /** All records before it are final; null when nothing is. */
  readonly consumedTo: number | null;
  /** Only with `waitForSigner`: reading stopped at a manifest that waits for its signer's certificate. */
  readonly waitsForSigner: boolean;
}

/** Record header that tells chunks from manifests. */
export const BUNDLE_TYPE_HEADER = "sealstream-type";

const INDEX_BYTES = 4;
const TYPE_CHUNK = new Uint8Array(Buffer.from("chunk", "latin1"));
const TYPE_MANIFEST = new Uint8Array(Buffer.from("manifest", "latin1"));

/**
 * The records of a bundle: chunks, then the manifest.
 * @param options `context` says what the bundle is for, with version, pipeline and lane; `bundleId` is 16 bytes that
 * never come again; `parts` are not empty
 * @throws `internal` for no part, an empty part or a wrong id
 */
export function createBundle(options: {
  readonly context: string;
  readonly bundleId: Uint8Array;
  readonly parts: readonly Uint8Array[];
  readonly fields: Readonly<Record<string, CborValue>>;
  readonly signer: SigningKey;
  readonly maxChunkBytes: number;
}): BundleRecord[] {
  const { bundleId, parts, fields, maxChunkBytes } = options;
  if (bundleId.length !== BUNDLE_ID_BYTES || parts.length === 0 || parts.some((p) => !p.length)) {
    throw new SealstreamError("internal", "A bundle has an id of 16 bytes and parts with bytes.");
  }
  const records: BundleRecord[] = [];
  const listed = parts.map((part) => {
    const chunks = splitIntoChunks(part, maxChunkBytes);
    for (const chunk of chunks) {
      const key = chunkKey(bundleId, records.length);
      records.push({ key, value: chunk.bytes, headers: { [BUNDLE_TYPE_HEADER]: TYPE_CHUNK } });
    }
    return { bytes: part.length, chunks: chunks.map((chunk) => chunk.hash) };
  });
  if (records.length > MAX_CHUNKS) {
    throw new SealstreamError(
      "limit-exceeded",
      "A bundle has more chunks than a manifest can name.",
    );
  }
  const payload = encodeCbor({ v: BUNDLE_VERSION, bundleId, fields, parts: listed });
  const value = sign1({ payload, signer: options.signer, context: options.context });
  records.push({
    key: new Uint8Array(bundleId),
    value,
    headers: { [BUNDLE_TYPE_HEADER]: TYPE_MANIFEST },
  });
  return records;
}

/** How far a bundle may reach from its first record to its manifest, whatever stands between. */
export interface BundleSpan {
  readonly records: number;
  /** As {@link laneRecordBytes} counts them. */
  readonly bytes: number;
}

export interface ReadBundlesOptions {
  readonly context: string;
  readonly findSigner: FindSigner;
  /** Bytes of all parts of a bundle. */
  readonly maxBundleBytes: number;
  /** Unless said, a bundle may be as long as what is handed in. */
  readonly maxSpan?: BundleSpan | undefined;
  /** Stop behind this many bundles; what follows is handed in again. */
  readonly atMost?: number | undefined;
  /** A bundle that is given up: the one that begins at `from`, with its records before `to`. */
  readonly giveUp?: { readonly from: number; readonly to: number } | undefined;
  /** Asked about each authentic manifest: whether the lane is already past it. */
  readonly isReplay?: ((manifest: ManifestHead) => boolean) | undefined;
  /** Asked about each manifest of an unknown signer: true stops there until its certificate came; unless said, refuse. */
  readonly waitForSigner?: ((offset: number) => boolean) | undefined;
}

/** Bytes of key, value and header values: as a lane counts what it holds. */
export function laneRecordBytes({ key, value, headers }: Omit<LaneRecord, "offset">): number {
  let bytes = (key?.length ?? 0) + (value?.length ?? 0);
  for (const header of Object.values(headers)) bytes += header.length;
  return bytes;
}

/** Chunks of one bundle id whose manifest has not come. */
interface OpenBundle {
  readonly fromOffset: number;
  /** Records and bytes read before its first one. */
  readonly before: BundleSpan;
  readonly offsets: number[];
  /** By hex index: all that claim that place. */
  readonly chunks: Map<string, Uint8Array[]>;
}

interface Reading {
  /** By hex bundle id, the oldest first. */
  readonly open: Map<string, OpenBundle>;
  readonly bundles: Bundle[];
  readonly refused: RefusedRecord[];
  read: BundleSpan;
  /** Exclusive end of what was read. */
  end: number;
  readonly options: ReadBundlesOptions;
}

/**
 * Finds the complete bundles among consecutive records of a lane.
 * @param records from the lane's position on, by rising offset; what is not before `consumedTo` is handed in again
 */
export function readBundles(
  records: readonly LaneRecord[],
  options: ReadBundlesOptions,
): ReadBundles {
  const reading: Reading = {
    open: new Map(),
    bundles: [],
    refused: [],
    read: { records: 0, bytes: 0 },
    end: records[0]?.offset ?? 0,
    options,
  };
  let waitsForSigner = false;
  for (const record of records) {
    if (record.offset >= (options.giveUp?.to ?? Number.POSITIVE_INFINITY)) giveUpSaid(reading);
    const before = reading.read;
    reading.read = { records: before.records + 1, bytes: before.bytes + laneRecordBytes(record) };
    giveUpTooLong(reading);
    const place = placeOf(record);
    if (place === null) {
      reading.refused.push({ offset: record.offset, reason: "pack-refused", bundleId: "" });
    } else if (place.type === "chunk") {
      takeChunk(reading, record.offset, place, before);
    } else if (takeManifest(reading, record.offset, place) === "wait") {
      waitsForSigner = true;
      break;
    }
    reading.end = record.offset + 1;
    if (reading.bundles.length === options.atMost) break;
  }
  if (reading.end >= (options.giveUp?.to ?? Number.POSITIVE_INFINITY)) giveUpSaid(reading);
  return settle(reading, records[0]?.offset ?? 0, waitsForSigner);
}

/** The caller's own decision, which it may have committed: nothing that comes later changes it. */
function giveUpSaid(reading: Reading): void {
  const from = reading.options.giveUp?.from;
  for (const [id, { fromOffset }] of reading.open) if (fromOffset === from) giveUp(reading, id);
}

function giveUp({ open, refused }: Reading, id: string, reason: Fault = "pack-incomplete"): void {
  for (const offset of open.get(id)?.offsets ?? []) refused.push({ offset, reason, bundleId: id });
  open.delete(id);
}

function giveUpTooLong(reading: Reading): void {
  const { read, options } = reading;
  const { records, bytes } = options.maxSpan ?? { records: Infinity, bytes: Infinity };
  for (const [id, { before }] of reading.open) {
    if (read.records - before.records <= records && read.bytes - before.bytes <= bytes) return;
    giveUp(reading, id);
  }
}

function takeChunk({ open }: Reading, offset: number, place: Place, before: BundleSpan): void {
  const { id, index, value } = place;
  const fresh: OpenBundle = { fromOffset: offset, before, offsets: [], chunks: new Map() };
  const bundle = open.get(id) ?? fresh;
  open.set(id, bundle);
  bundle.offsets.push(offset);
  const candidates = bundle.chunks.get(index);
  if (candidates === undefined) bundle.chunks.set(index, [value]);
  else candidates.push(value);
}

function takeManifest(reading: Reading, offset: number, place: Place): "wait" | "taken" {
  const { open, options, refused } = reading;
  const mine = open.get(place.id);
  const read = readManifest({ place, offset, mine, options });
  if (read === "key-unknown" && options.waitForSigner?.(offset) === true) return "wait";
  if (typeof read === "string") {
    const reason = read === "too-large" ? "pack-refused" : read;
    refused.push({ offset, reason, bundleId: place.id });
    // Any other manifest that is no good says nothing about the chunks: the true one may follow.
    if (read === "replayed" || read === "too-large") giveUp(reading, place.id, reason);
    return "taken";
  }
  reading.bundles.push(read);
  open.delete(place.id);
  for (const id of open.keys()) giveUp(reading, id);
  return "taken";
}

/** What is final, given what is still open. */
function settle(reading: Reading, from: number, waitsForSigner: boolean): ReadBundles {
  // The oldest comes first in the map.
  const [oldest] = reading.open.values();
  const pendingFrom = oldest?.fromOffset ?? null;
  const end = pendingFrom ?? reading.end;
  return {
    bundles: reading.bundles,
    refused: reading.refused
      .filter((record) => record.offset < end)
      .sort((a, b) => a.offset - b.offset),
    pendingFrom: pendingFrom ?? (waitsForSigner ? reading.end : null),
    consumedTo: end > from ? end : null,
    waitsForSigner,
  };
}

interface Place {
  readonly type: "chunk" | "manifest";
  /** Hex bundle id. */
  readonly id: string;
  /** Hex index of a chunk, empty for a manifest. */
  readonly index: string;
  readonly value: Uint8Array;
}

/** What a record claims to be; null when it is neither chunk nor manifest. */
function placeOf(record: LaneRecord): Place | null {
  const { key, value } = record;
  const type = record.headers[BUNDLE_TYPE_HEADER];
  if (key === null || value === null || value.length === 0 || type === undefined) return null;
  const isChunk = Buffer.compare(type, TYPE_CHUNK) === 0;
  if (!isChunk && Buffer.compare(type, TYPE_MANIFEST) !== 0) return null;
  if (key.length !== BUNDLE_ID_BYTES + (isChunk ? INDEX_BYTES : 0)) return null;
  const id = hex(key.subarray(0, BUNDLE_ID_BYTES));
  const index = hex(key.subarray(BUNDLE_ID_BYTES));
  return { type: isChunk ? "chunk" : "manifest", id, index, value };
}

/** The bundle that a manifest completes, or why there is none. */
function readManifest(given: {
  readonly place: Place;
  readonly offset: number;
  readonly mine: OpenBundle | undefined;
  readonly options: ReadBundlesOptions;
}): Bundle | Fault | "too-large" {
  const { offset, mine, options } = given;
  const { id, value } = given.place;
  const { context, findSigner } = options;
  const verified = verify1({ message: value, context, findSigner });
  if (verified.status === "refused") {
    return verified.reason === "unknown-signer" ? "key-unknown" : "pack-refused";
  }
  const manifest = decodeManifest(verified.payload);
  if (manifest === null || hex(manifest.bundleId) !== id) return "pack-refused";
  if (options.isReplay?.(manifest) === true) return "replayed";
  const total = manifest.parts.reduce((sum, part) => sum + part.bytes, 0);
  if (total > options.maxBundleBytes) return "too-large";
  const parts: Uint8Array[] = [];
  let index = 0;
  const lookup = (hash: Uint8Array) => findChunk(mine?.chunks.get(indexHex(index++)) ?? [], hash);
  for (const part of manifest.parts) {
    const joined = joinChunks({ hashes: part.chunks, lookup, bytes: part.bytes });
    if (joined === null) return "pack-incomplete";
    parts.push(joined);
  }
  return {
    bundleId: manifest.bundleId,
    fields: manifest.fields,
    parts,
    kid: verified.kid,
    fromOffset: mine?.fromOffset ?? offset,
    toOffset: offset + 1,
  };
}

/** The chunk of a hash; one that stands alone is not hashed here, since joining does it. */
function findChunk(candidates: readonly Uint8Array[], hash: Uint8Array): Uint8Array | null {
  const only = candidates.length === 1 ? candidates[0] : undefined;
  const isIt = (chunk: Uint8Array) => Buffer.compare(sha256(chunk), hash) === 0;
  return only ?? candidates.find(isIt) ?? null;
}

function indexHex(index: number): string {
  return index.toString(16).padStart(2 * INDEX_BYTES, "0");
}

function chunkKey(bundleId: Uint8Array, index: number): Uint8Array {
  const key = Buffer.alloc(BUNDLE_ID_BYTES + INDEX_BYTES);
  key.set(bundleId, 0);
  key.writeUInt32BE(index, BUNDLE_ID_BYTES);
  return plainBytes(key);
}
