/**
 * Puts public blobs (CKKS public and evaluation keys) together from the chunks of the `keys` topic.
 *
 * Chunks are worth nothing until a manifest that was verified names them: they are held up to a limit, oldest out
 * first, and those that a manifest waits for stay. A blob in use stays in use until its successor is complete.
 * Must not: verify signatures (the directory has), or parse a blob.
 */
import { joinChunks, sha256 } from "./chunks.ts";
import { type BlobPayload, MAX_BLOB_BYTES } from "./key-entries.ts";
import { hex } from "./key-handles.ts";
import type { BlobPurpose } from "./key-purposes.ts";

export interface PublicBlob {
  /** Id of the CKKS parameter set. */
  readonly parameters: string;
  readonly bytes: Uint8Array;
  /** Hex SHA-256 of `bytes`. */
  readonly id: string;
}

export interface BlobAssembler {
  /** A chunk record whose key claims `name` (hex SHA-256). The value is copied. */
  addChunk(name: string, value: Uint8Array): "accepted" | "refused";
  /** A manifest with a valid signature. Copied. */
  addManifest(manifest: BlobPayload): "accepted" | "pending" | "refused";
  blob(purpose: BlobPurpose): PublicBlob | null;
}

interface Wanted {
  readonly manifest: BlobPayload;
  readonly names: ReadonlySet<string>;
}

/** @param options `maxBytes`: chunks held at once, default 64 MiB (the largest blob) */
export function createBlobAssembler(options: {
  readonly purposes: readonly BlobPurpose[];
  readonly maxBytes?: number | undefined;
}): BlobAssembler {
  const maxBytes = options.maxBytes ?? MAX_BLOB_BYTES;
  const chunks = new Map<string, Uint8Array>();
  const wanted = new Map<BlobPurpose, Wanted>();
  const done = new Map<BlobPurpose, { readonly generation: number; readonly blob: PublicBlob }>();
  let held = 0;

  const isWanted = (name: string) => [...wanted.values()].some((one) => one.names.has(name));
  const drop = (name: string) => {
    held -= chunks.get(name)?.length ?? 0;
    chunks.delete(name);
  };
  const makeRoom = (bytes: number) => {
    for (const name of chunks.keys()) {
      if (held + bytes <= maxBytes) return true;
      if (!isWanted(name)) drop(name);
    }
    return held + bytes <= maxBytes;
  };
  const tryJoin = (purpose: BlobPurpose, { manifest, names }: Wanted): boolean | null => {
    for (const name of names) if (!chunks.has(name)) return null;
    const lookup = (hash: Uint8Array) => chunks.get(hex(hash)) ?? null;
    const bytes = joinChunks({ hashes: manifest.chunks, lookup, bytes: manifest.bytes });
    wanted.delete(purpose);
    for (const name of names) if (!isWanted(name)) drop(name);
    if (bytes === null || Buffer.compare(sha256(bytes), manifest.sha256) !== 0) return false;
    const blob = { parameters: manifest.parameters, bytes, id: hex(manifest.sha256) };
    done.set(purpose, { generation: manifest.generation, blob: Object.freeze(blob) });
    return true;
  };

  return {
    addChunk(name, value) {
      if (hex(sha256(value)) !== name) return "refused";
      if (options.purposes.length === 0 || chunks.has(name)) return "accepted";
      if (!makeRoom(value.length)) return "refused";
      chunks.set(name, new Uint8Array(value));
      held += value.length;
      for (const [purpose, one] of [...wanted]) if (one.names.has(name)) tryJoin(purpose, one);
      return "accepted";
    },
    addManifest(manifest) {
      const { purpose, generation } = manifest;
      if (!options.purposes.includes(purpose)) return "accepted";
      const newest = Math.max(
        done.get(purpose)?.generation ?? 0,
        wanted.get(purpose)?.manifest.generation ?? 0,
      );
      if (generation < newest || manifest.bytes > maxBytes) return "refused";
      const current = done.get(purpose);
      if (current?.blob.id === hex(manifest.sha256)) {
        const blob = Object.freeze({ ...current.blob, parameters: manifest.parameters });
        done.set(purpose, { generation, blob });
        wanted.delete(purpose);
        // Its chunks came again before it, and are not needed.
        for (const hash of manifest.chunks) if (!isWanted(hex(hash))) drop(hex(hash));
        return "accepted";
      }
      const one: Wanted = {
        manifest: {
          ...manifest,
          sha256: new Uint8Array(manifest.sha256),
          chunks: manifest.chunks.map((hash) => new Uint8Array(hash)),
        },
        names: new Set(manifest.chunks.map(hex)),
      };
      wanted.set(purpose, one);
      const joined = tryJoin(purpose, one);
      if (joined === null) return "pending";
      return joined ? "accepted" : "refused";
    },
    blob: (purpose) => done.get(purpose)?.blob ?? null,
  };
}
