/**
 * How everybody finds a model: through its ledger entry, and no other way (invariant 4).
 *
 * Fed with the records of `ledger` and `models` in the order of each topic, in any order between the two, and with a key
 * directory that may lag behind both. A model is handed out when its entry is in the chain, all its chunks are here, the
 * joined bytes have the entry's hash, the envelope opens and the signature inside it verifies. Chunks are kept while
 * they may still be needed and within a limit; nobody who can write to `models` can make this room grow.
 * Must not read Kafka, parse a checkpoint, or hand out what an entry does not name.
 */
import { joinChunks, sha256 } from "../crypto/chunks.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import { hex } from "../crypto/key-handles.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import type { HashedEntry, LedgerEntry, StoredModel } from "./ledger-entry.ts";
import { type ModelForm, openModel } from "./model-blob.ts";

export interface ReadModel {
  readonly entry: LedgerEntry;
  /** Lower-case hex SHA-256 of the entry's canonical JSON. */
  readonly entryHash: string;
  /** Authenticated bytes: safetensors for `decodeCheckpoint`, or a model of ciphertexts. Shared: do not write. */
  readonly checkpoint: Uint8Array;
}

export interface ModelReader {
  /** A record of `ledger`. `pending`: it waits for its signer, or behind an entry that does. Never throws. */
  applyLedger(value: Uint8Array | null, offset: number): "accepted" | "pending" | "refused";
  /** A record of `models`; what is no chunk of its key is ignored. The value is copied. */
  applyModel(key: Uint8Array | null, value: Uint8Array | null): void;
  /** The newest model that is complete here, or null. Cheap when nothing has changed. */
  newest(): ReadModel | null;
  /** All accepted entries, oldest first; the same array grows. */
  entries(): readonly HashedEntry[];
}

export interface ModelReaderOptions {
  readonly pipeline: string;
  readonly directory: KeyDirectory;
  /** Chunks held for models that are not complete yet, in bytes. */
  readonly maxCacheBytes?: number | undefined;
  /** Which form of the models is wanted; `plain` unless said. Entries that name none are passed over. */
  readonly form?: ModelForm | undefined;
}

/** Three of the largest models (16 MiB, network/definition.ts) and their seals. */
const MAX_CACHE_BYTES = 64 * 1024 * 1024;
/** Kafka's default message limit: no chunk is larger. */
const MAX_CHUNK_BYTES = 1024 * 1024;
/** Entries that may wait for a signer, in bytes: a start in which `keys` is read last; an entry is usually 2 KB. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** Models older than this many entries have no chunks left: aggregate keeps eight. */
const LOOK_BACK = 64;

export function createModelReader(options: ModelReaderOptions): ModelReader {
  const { pipeline, directory, form = "plain" } = options;
  const findSigner = (kid: Uint8Array) => directory.findSigner(kid, ["model-signing"]);
  const ledger = createLedger({ pipeline, findSigner });
  const queue = createEntryQueue(ledger);
  const cache = createChunkCache(options.maxCacheBytes ?? MAX_CACHE_BYTES);
  const refused = new Set<number>();
  let newest: ReadModel | null = null;
  /** What `newest` was looked for with; a different one means that there may be a newer model. */
  let seen = "";

  const storedIn = (entry: LedgerEntry): StoredModel | undefined =>
    form === "plain" ? entry.model : entry.encryptedModel;
  const name = (entry: LedgerEntry): void => {
    cache.name(entry.sequence, storedIn(entry)?.chunks ?? []);
  };

  function retry(): void {
    for (const { entry } of queue.retry(directory.version)) name(entry);
  }

  function open({ entry, entryHash }: HashedEntry): ReadModel | null {
    const stored = storedIn(entry);
    if (stored === undefined) return null;
    const { bytes, chunks } = stored;
    const hashes = chunks.map((chunk) => Buffer.from(chunk, "hex"));
    const sealed = joinChunks({ hashes, lookup: (hash) => cache.get(hex(hash)), bytes });
    if (sealed === null) return null;
    const opened =
      hex(sha256(sealed)) === stored.sha256
        ? openModel({
            name: { pipeline, runId: entry.runId, modelVersion: entry.modelVersion, form },
            sealed,
            findKey: (kid) => directory.findDataKey(kid, "models"),
            findSigner,
          })
        : ({ status: "refused" } as const);
    if (opened.status === "refused") refused.add(entry.sequence);
    return opened.status === "ok" ? { entry, entryHash, checkpoint: opened.checkpoint } : null;
  }

  return {
    applyLedger(value) {
      if (value === null) return "refused";
      retry();
      const applied = queue.apply(value);
      if (applied.status === "ok") name(applied.entry);
      return applied.status === "ok" ? "accepted" : applied.status;
    },
    applyModel(key, value) {
      if (key !== null) cache.apply(key, value);
    },
    newest() {
      retry();
      const state = `${ledger.entries().length}/${cache.changes()}/${directory.version}`;
      if (state === seen) return newest;
      seen = state;
      const current = newest?.entry.sequence ?? -1;
      for (const candidate of ledger.entries().slice(-LOOK_BACK).reverse()) {
        const { sequence } = candidate.entry;
        if (sequence <= current) break;
        const model = refused.has(sequence) ? null : open(candidate);
        if (model !== null) {
          newest = model;
          cache.forgetUpTo(sequence);
          break;
        }
      }
      return newest;
    },
    entries() {
      retry();
      return ledger.entries();
    },
  };
}

type Queued = HashedEntry & { readonly status: "ok" };

interface EntryQueue {
  apply(value: Uint8Array): Queued | { readonly status: "pending" | "refused" };
  /** Entries that could be added now that the directory is at `version`. */
  retry(version: number): Queued[];
}

/**
 * A ledger whose signers may become known after their entries: those wait, in order, and so does what follows them.
 * An unknown signer's junk does not hold up anybody: what does not need it is added past it.
 */
function createEntryQueue(ledger: Ledger): EntryQueue {
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let triedAt = -1;

  function offer(value: Uint8Array, behind: boolean): Queued | { status: "pending" | "refused" } {
    const applied = ledger.apply(value);
    if (applied.status === "ok") return applied;
    // A gap may be closed by an entry that still waits.
    const waits = applied.status === "unknown-signer" || (behind && applied.fault.kind === "gap");
    return { status: waits ? "pending" : "refused" };
  }

  return {
    apply(value) {
      const offered = offer(value, waiting.length > 0);
      if (offered.status !== "pending") return offered;
      if (waitingBytes + value.length > MAX_WAITING_BYTES) return { status: "refused" };
      waiting.push(Uint8Array.from(value));
      waitingBytes += value.length;
      return offered;
    },
    retry(version) {
      if (waiting.length === 0 || version === triedAt) return [];
      triedAt = version;
      const added: Queued[] = [];
      const still: Uint8Array[] = [];
      for (const value of waiting) {
        const offered = offer(value, still.length > 0);
        if (offered.status === "ok") added.push(offered);
        else if (offered.status === "pending") still.push(value);
      }
      waiting = still;
      waitingBytes = still.reduce((sum, value) => sum + value.length, 0);
      return added;
    },
  };
}

interface ChunkCache {
  apply(key: Uint8Array, value: Uint8Array | null): void;
  /** The entry of this number names chunks. */
  name(sequence: number, hashes: readonly string[]): void;
  get(hash: string): Uint8Array | null;
  /** Models up to this entry are no longer wanted. */
  forgetUpTo(sequence: number): void;
  /** Rises whenever a chunk was added. */
  changes(): number;
}

/** Chunks by hex hash, oldest first; over the limit, those that no entry names go before those that one does. */
function createChunkCache(maxBytes: number): ChunkCache {
  const chunks = new Map<string, Uint8Array>();
  const namedBy = new Map<string, number>();
  let bytes = 0;
  let changes = 0;
  let wantedFrom = 0;

  function remove(hash: string): void {
    bytes -= chunks.get(hash)?.length ?? 0;
    chunks.delete(hash);
  }

  function evict(): void {
    for (const named of [false, true]) {
      for (const hash of [...chunks.keys()]) {
        if (bytes <= maxBytes) return;
        if (namedBy.has(hash) === named) remove(hash);
      }
    }
  }

  return {
    apply(key, value) {
      const name = hex(key);
      if (value === null) {
        remove(name);
        return;
      }
      const old = (namedBy.get(name) ?? wantedFrom) < wantedFrom;
      if (old || chunks.has(name) || value.length > MAX_CHUNK_BYTES) return;
      if (hex(sha256(value)) !== name) return;
      chunks.set(name, Uint8Array.from(value));
      bytes += value.length;
      changes += 1;
      if (bytes > maxBytes) evict();
    },
    name(sequence, names) {
      for (const hash of names) namedBy.set(hash, sequence);
    },
    get: (hash) => chunks.get(hash) ?? null,
    forgetUpTo(sequence) {
      wantedFrom = sequence + 1;
      for (const hash of [...chunks.keys()]) {
        if ((namedBy.get(hash) ?? wantedFrom) < wantedFrom) remove(hash);
      }
    },
    changes: () => changes,
  };
}
