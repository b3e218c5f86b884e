/**
 * What a bundle's manifest says, out of its CBOR; the grammar is in `bundle.ts`.
 *
 * Reading is strict: exactly the fields of version 1, or null. Must not verify the signature (`bundle.ts` has), nor judge
 * the fields, which are the caller's.
 */
import { type CborValue, decodeCbor, isBytes, isCborArray, isTextMap, isUnsigned } from "./cbor.ts";
import { HASH_BYTES } from "./chunks.ts";

export const BUNDLE_ID_BYTES = 16;
export const BUNDLE_VERSION = 1;
/** Bounds a manifest's lists: 28,000 hashes of 34 bytes are what fits into 1 MB. */
export const MAX_CHUNKS = 28_000;

export interface ManifestHead {
  readonly bundleId: Uint8Array;
  readonly fields: Readonly<Record<string, CborValue>>;
}

interface ListedPart {
  readonly bytes: number;
  readonly chunks: readonly Uint8Array[];
}

export interface Manifest extends ManifestHead {
  readonly parts: readonly ListedPart[];
}

/** The manifest of a payload, or null when it is none. */
export function decodeManifest(payload: Uint8Array): Manifest | null {
  const map = decodeCbor(payload);
  if (map === null || !isTextMap(map) || Object.keys(map).length !== 4) return null;
  const { bundleId, fields } = map;
  if (map["v"] !== BUNDLE_VERSION || !isBytes(bundleId, BUNDLE_ID_BYTES) || !isTextMap(fields))
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
