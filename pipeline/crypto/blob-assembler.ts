/**
 * Puts public blobs (CKKS public and evaluation keys) together from the chunks of the `keys` topic.
 *
 * Chunks are worth nothing until a manifest that was verified names them: they are held up to a limit, oldest out
 * first, and those that a manifest waits for stay. A blob in use stays in use until its successor is complete, and after
 * that for whatever was made with it: the newest generations are kept.
 * Must not: verify signatures (the directory has), or parse a blob.
 */
import { joinChunks, sha256 } from "./chunks.ts";
import { hex } from "./key-handles.ts";
import { type BlobPayload, MAX_BLOB_BYTES } from "./key-payload.ts";
import type { BlobPurpose } from "./key-purposes.ts";
import { withParent } from "./trust.ts";

export interface PublicBlob {
  /** Id of the CKKS parameter set. */
  readonly parameters: string;
  readonly bytes: Uint8Array;
  /** Hex SHA-256 of `bytes`. */
  readonly id: string;
  /** Keys of one ceremony have the same. */
  readonly generation: number;
  /** Hex kids of the identities that signed its manifest. */
  readonly by: readonly string[];
}

export interface BlobAssembler {
  /** A chunk record whose key claims `name` (hex SHA-256). The value is copied. */
  addChunk(name: string, value: Uint8Array): "accepted" | "refused";
  /** A manifest with a valid signature. Copied. */
  addManifest(manifest: BlobPayload, by: string): "accepted" | "pending" | "refused";
  /** The newest. */
  blob(purpose: BlobPurpose): PublicBlob | null;
  byId(purpose: BlobPurpose, id: string): PublicBlob | null;
  ofGeneration(purpose: BlobPurpose, generation: number): PublicBlob | null;
  /** The newest first. */
  all(purpose: BlobPurpose): readonly PublicBlob[];
}

interface Wanted {
  readonly manifest: BlobPayload;
  readonly by: string;
  readonly names: ReadonlySet<string>;
}

/**
 * Generations that are kept: packs under the last key are still predicted while a new one is taken up, and predictions
 * are read for as long as their topic keeps them. Evaluation keys are large, public keys small.
 */
const KEPT_GENERATIONS: Readonly<Record<BlobPurpose, number>> = {
  "ckks-evaluation": 2,
  "ckks-public": 16,
};

/** @param options `maxBytes`: chunks held at once, default 64 MiB (the largest blob) */
export function createBlobAssembler(options: {
  readonly purposes: readonly BlobPurpose[];
  readonly maxBytes?: number | undefined;
}): BlobAssembler {
  const maxBytes = options.maxBytes ?? MAX_BLOB_BYTES;
  const chunks = new Map<string, Uint8Array>();
  const wanted = new Map<BlobPurpose, Wanted>();
  const kept = createKeptBlobs();
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
  const tryJoin = (purpose: BlobPurpose, { manifest, by, names }: Wanted): boolean | null => {
    for (const name of names) if (!chunks.has(name)) return null;
    const lookup = (hash: Uint8Array) => chunks.get(hex(hash)) ?? null;
    const bytes = joinChunks({ hashes: manifest.chunks, lookup, bytes: manifest.bytes });
    wanted.delete(purpose);
    for (const name of names) if (!isWanted(name)) drop(name);
    if (bytes === null || Buffer.compare(sha256(bytes), manifest.sha256) !== 0) return false;
    const { parameters, generation } = manifest;
    const id = hex(manifest.sha256);
    kept.put(purpose, Object.freeze({ parameters, bytes, id, generation, by: [by] }));
    return true;
  };

  /** Nothing that came for this manifest is needed. */
  const letGo = ({ purpose, generation, chunks: hashes }: BlobPayload) => {
    if ((wanted.get(purpose)?.manifest.generation ?? 0) <= generation) wanted.delete(purpose);
    for (const hash of hashes) if (!isWanted(hex(hash))) drop(hex(hash));
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
    addManifest(manifest, by) {
      const { purpose, generation } = manifest;
      if (!options.purposes.includes(purpose)) return "accepted";
      const newest = Math.max(
        kept.all(purpose)[0]?.generation ?? 0,
        wanted.get(purpose)?.manifest.generation ?? 0,
      );
      // One that is kept may be signed anew by another identity, also when it is not the newest.
      if (kept.renew(manifest, by)) {
        letGo(manifest);
        return "accepted";
      }
      if (generation < newest || manifest.bytes > maxBytes) return "refused";
      const one: Wanted = {
        by,
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
    blob: (purpose) => kept.all(purpose)[0] ?? null,
    byId: (purpose, id) => kept.all(purpose).find((one) => one.id === id) ?? null,
    ofGeneration: (purpose, generation) =>
      kept.all(purpose).find((one) => one.generation === generation) ?? null,
    all: (purpose) => kept.all(purpose),
  };
}

/** The newest complete blobs of each purpose. */
function createKeptBlobs() {
  const kept = new Map<BlobPurpose, readonly PublicBlob[]>();
  const all = (purpose: BlobPurpose) => kept.get(purpose) ?? [];
  const put = (purpose: BlobPurpose, blob: PublicBlob) => {
    const others = all(purpose).filter(({ generation }) => generation !== blob.generation);
    const sorted = [blob, ...others].sort((a, b) => b.generation - a.generation);
    kept.set(purpose, sorted.slice(0, KEPT_GENERATIONS[purpose]));
  };
  return {
    all,
    put,
    /** Another manifest of a kept blob's bytes, not older: its parameters, generation and signer count from now on. */
    renew(manifest: BlobPayload, by: string): boolean {
      const { purpose, parameters, generation } = manifest;
      const known = all(purpose).find(({ id }) => id === hex(manifest.sha256));
      if (known === undefined || known.bytes.length !== manifest.bytes) return false;
      if (known.generation > generation) return false;
      kept.set(
        purpose,
        all(purpose).filter((one) => one !== known),
      );
      const parents = withParent(known.by, [by]);
      put(purpose, Object.freeze({ ...known, parameters, generation, by: parents }));
      return true;
    },
  };
}
