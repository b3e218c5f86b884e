/**
 * Bundles: several binary parts and a signed manifest as records of one lane, written in one transaction.
 *
 * ```
 * chunk    : key = bundleId (16 bytes) || u32be index, value = bytes, header sealstream-type = "chunk"
 * manifest : key = bundleId, header sealstream-type = "manifest", value = COSE_Sign1(payload), context given by the caller
 * payload  = {v: 1, bundleId: bstr (16), fields: {* tstr => any}, parts: [+ {bytes, chunks: [+ bstr (32)]}]}
 * ```
 * Chunks come first; their index counts over all parts. Only the manifest is believed: chunks are found by their
 * index and hash among the records of the same bundle id, so that a record that somebody puts between them changes
 * nothing.
 * One writer owns a lane, so once a bundle is complete, every other bundle open at that point never will be.
 * Must not: judge the fields, or that a bundle was read before (a sequence in the fields says that).
 */
import { SealstreamError } from "../errors.ts";
import {
  type CborValue,
  decodeCbor,
  encodeCbor,
  isBytes,
  isCborArray,
  isTextMap,
  isUnsigned,
  plainBytes,
} from "./cbor.ts";
import { HASH_BYTES, joinChunks, sha256, splitIntoChunks } from "./chunks.ts";
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

export interface RefusedRecord {
  readonly offset: number;
  readonly reason: "pack-incomplete" | "pack-refused" | "key-unknown";
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
  /** Only with `waitForSigner`: an open bundle waits for its signer's certificate. */
  readonly waitsForSigner: boolean;
}

export const BUNDLE_ID_BYTES = 16;
/** Record header that tells chunks from manifests. */
export const BUNDLE_TYPE_HEADER = "sealstream-type";

const VERSION = 1;
const INDEX_BYTES = 4;
/** Bounds a manifest's lists: 28,000 hashes of 34 bytes are what fits into 1 MB. */
const MAX_CHUNKS = 28_000;
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
  const payload = encodeCbor({ v: VERSION, bundleId, fields, parts: listed });
  const value = sign1({ payload, signer: options.signer, context: options.context });
  records.push({
    key: new Uint8Array(bundleId),
    value,
    headers: { [BUNDLE_TYPE_HEADER]: TYPE_MANIFEST },
  });
  return records;
}

/** Chunks of one bundle id whose manifest has not come. */
interface OpenBundle {
  readonly fromOffset: number;
  readonly offsets: number[];
  /** By hex index and hex hash. */
  readonly chunks: Map<string, Uint8Array>;
  bytes: number;
  signerUnknown: boolean;
}

/**
 * Finds the complete bundles among consecutive records of a lane.
 * @param records from the lane's position on, by rising offset; what is not before `consumedTo` is handed in again
 * @param options `maxBundleBytes`: chunks held at once (the lane must be able to hold as much); when passed, the
 * oldest open bundle is given up. `waitForSigner`: keep a bundle of an unknown signer open (the caller sets a limit)
 * instead of refusing it
 */
export function readBundles(
  records: readonly LaneRecord[],
  options: {
    readonly context: string;
    readonly findSigner: FindSigner;
    readonly maxBundleBytes: number;
    readonly waitForSigner?: boolean | undefined;
  },
): ReadBundles {
  const reading: Reading = { open: new Map(), bundles: [], refused: [], openBytes: 0, options };
  for (const record of records) {
    const place = placeOf(record);
    if (place === null) {
      reading.refused.push({ offset: record.offset, reason: "pack-refused" });
    } else if (place.type === "chunk") {
      takeChunk(reading, record.offset, place);
    } else {
      takeManifest(reading, record.offset, place);
    }
  }
  if (options.waitForSigner !== true) {
    for (const [id, bundle] of reading.open) if (bundle.signerUnknown) giveUp(reading, id, bundle);
  }
  return settle(records, reading);
}

interface ReadOptions {
  readonly context: string;
  readonly findSigner: FindSigner;
  readonly maxBundleBytes: number;
}

interface Reading {
  /** By hex bundle id, the oldest first. */
  readonly open: Map<string, OpenBundle>;
  readonly bundles: Bundle[];
  readonly refused: RefusedRecord[];
  openBytes: number;
  readonly options: ReadOptions;
}

function giveUp(reading: Reading, id: string, bundle: OpenBundle): void {
  const reason = bundle.signerUnknown ? "key-unknown" : "pack-incomplete";
  for (const offset of bundle.offsets) reading.refused.push({ offset, reason });
  reading.openBytes -= bundle.bytes;
  reading.open.delete(id);
}

function takeChunk(reading: Reading, offset: number, place: Place): void {
  reading.openBytes += addChunk(reading.open, offset, place);
  for (const [id, bundle] of reading.open) {
    if (reading.openBytes <= reading.options.maxBundleBytes) break;
    giveUp(reading, id, bundle);
  }
}

function takeManifest(reading: Reading, offset: number, place: Place): void {
  const { open } = reading;
  const mine = open.get(place.id);
  const read = readManifest({ place, offset, mine, options: reading.options });
  if (typeof read === "string") {
    // A manifest that is no good says nothing about the chunks: the true one may follow.
    if (read === "key-unknown" && mine !== undefined) mine.signerUnknown = true;
    reading.refused.push({ offset, reason: read });
    return;
  }
  reading.bundles.push(read);
  if (mine !== undefined) {
    reading.openBytes -= mine.bytes;
    open.delete(place.id);
  }
  for (const [id, bundle] of open) giveUp(reading, id, bundle);
}

/** What is final, given what is still open. */
function settle(records: readonly LaneRecord[], read: Reading): ReadBundles {
  const starts = [...read.open.values()].map((bundle) => bundle.fromOffset);
  const pendingFrom = starts.length === 0 ? null : Math.min(...starts);
  const first = records[0];
  const last = records.at(-1);
  let consumedTo: number | null = null;
  if (first !== undefined && last !== undefined) {
    consumedTo = pendingFrom ?? last.offset + 1;
    if (consumedTo === first.offset) consumedTo = null;
  }
  const end = consumedTo ?? 0;
  return {
    bundles: read.bundles,
    refused: read.refused
      .filter((record) => record.offset < end)
      .sort((a, b) => a.offset - b.offset),
    pendingFrom,
    consumedTo,
    waitsForSigner: [...read.open.values()].some((bundle) => bundle.signerUnknown),
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

/** Puts a chunk to its bundle; returns the bytes it adds to what is held. */
function addChunk(open: Map<string, OpenBundle>, offset: number, place: Place): number {
  let bundle = open.get(place.id);
  if (bundle === undefined) {
    bundle = { fromOffset: offset, offsets: [], chunks: new Map(), bytes: 0, signerUnknown: false };
    open.set(place.id, bundle);
  }
  bundle.offsets.push(offset);
  const name = place.index + hex(sha256(place.value));
  if (bundle.chunks.has(name)) return 0;
  bundle.chunks.set(name, place.value);
  bundle.bytes += place.value.length;
  return place.value.length;
}

/** The bundle that a manifest completes, or why there is none. */
function readManifest(given: {
  readonly place: Place;
  readonly offset: number;
  readonly mine: OpenBundle | undefined;
  readonly options: ReadOptions;
}): Bundle | RefusedRecord["reason"] {
  const { offset, mine, options } = given;
  const { id, value } = given.place;
  const { context, findSigner } = options;
  const verified = verify1({ message: value, context, findSigner });
  if (verified.status === "refused") {
    return verified.reason === "unknown-signer" ? "key-unknown" : "pack-refused";
  }
  const manifest = decodeManifest(verified.payload);
  if (manifest === null || hex(manifest.bundleId) !== id) return "pack-refused";
  const total = manifest.parts.reduce((sum, part) => sum + part.bytes, 0);
  if (total > options.maxBundleBytes) return "pack-refused";
  const parts: Uint8Array[] = [];
  let index = 0;
  const lookup = (hash: Uint8Array) => mine?.chunks.get(indexHex(index++) + hex(hash)) ?? null;
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

interface ListedPart {
  readonly bytes: number;
  readonly chunks: readonly Uint8Array[];
}

interface Manifest {
  readonly bundleId: Uint8Array;
  readonly fields: Readonly<Record<string, CborValue>>;
  readonly parts: readonly ListedPart[];
}

function decodeManifest(payload: Uint8Array): Manifest | null {
  const map = decodeCbor(payload);
  if (map === null || !isTextMap(map) || Object.keys(map).length !== 4) return null;
  const { bundleId, fields } = map;
  if (map["v"] !== VERSION || !isBytes(bundleId, BUNDLE_ID_BYTES) || !isTextMap(fields))
    return null;
  const parts = decodeParts(map["parts"]);
  return parts && { bundleId, fields, parts };
}

function decodeParts(value: CborValue | undefined): ListedPart[] | null {
  if (!isCborArray(value) || value.length === 0) return null;
  const parts: ListedPart[] = [];
  let count = 0;
  for (const part of value) {
    if (!isTextMap(part) || Object.keys(part).length !== 2) return null;
    const { bytes, chunks } = part;
    if (!isUnsigned(bytes) || bytes === 0 || !isCborArray(chunks)) return null;
    const hashes = chunks.filter((chunk) => isBytes(chunk, HASH_BYTES));
    count += hashes.length;
    if (hashes.length === 0 || hashes.length !== chunks.length || count > MAX_CHUNKS) return null;
    parts.push({ bytes, chunks: hashes });
  }
  return parts;
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
