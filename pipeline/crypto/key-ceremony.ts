/**
 * The ceremony: making a zone's keys, and the signed entries with which the zone publishes their public halves.
 *
 * Pure but for the CSPRNG: files are written by key-store.ts, entries by whoever talks to Kafka. Each zone can hold its
 * ceremony alone, on its own machine; together they agree on nothing but the pinned identities.
 * Must not: write or print anything.
 */
import { randomBytes } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { sha256, splitIntoChunks } from "./chunks.ts";
import { chunkEntry, type KeyEntry, signEntry } from "./key-entries.ts";
import { createKeyFile, type KeyFile, parseKeyFile } from "./key-file.ts";
import { createSigningKey, PRIVATE_KEY_BYTES, type SigningKey } from "./key-handles.ts";
import { MAX_BLOB_BYTES } from "./key-payload.ts";
import {
  BLOB_ZONE,
  type BlobPurpose,
  isPurpose,
  isStageSigning,
  isUnwrap,
  PURPOSES,
  type Purpose,
  ZONE_IDENTITY,
  ZONES,
  type ZoneName,
} from "./key-purposes.ts";
import { createUnwrapKey } from "./wrap/key-wrap.ts";

/** Chunks of blobs: below Kafka's default message limit of 1 MB with room for key and headers. */
const DEFAULT_CHUNK_BYTES = 900 * 1024;
const FIRST_GENERATION = 1;

/**
 * Fresh keys of the zones, all of them by default. The ckks-secret is made by the CKKS room and added with
 * {@link ckksSecretFile}.
 */
export function createZoneKeys(
  options: { readonly zones?: readonly ZoneName[] | undefined } = {},
): {
  files: KeyFile[];
  /** Raw public keys to pin. */
  identities: Partial<Record<ZoneName, Uint8Array>>;
  /** Identity keys, to sign blobs with. */
  signers: Partial<Record<ZoneName, SigningKey>>;
} {
  const zones = options.zones ?? ZONES;
  const files: KeyFile[] = [];
  const identities: Partial<Record<ZoneName, Uint8Array>> = {};
  const signers: Partial<Record<ZoneName, SigningKey>> = {};
  for (const purpose of purposesOf(zones)) {
    const { kind, zone } = PURPOSES[purpose];
    if (kind === "ckks-secret") continue;
    const raw = randomBytes(PRIVATE_KEY_BYTES);
    files.push(createKeyFile(purpose, raw));
    if (purpose === ZONE_IDENTITY[zone]) {
      const signer = createSigningKey(purpose, raw);
      signers[zone] = signer;
      identities[zone] = signer.publicKey;
    }
    raw.fill(0);
  }
  return { files, identities, signers };
}

/** The key file of a serialized CKKS secret key. */
export function ckksSecretFile(bytes: Uint8Array): KeyFile {
  return createKeyFile("ckks-secret", bytes);
}

/**
 * Signer and recipient entries of every stage key and unwrap key in `files`, signed by the identities among them.
 * @param options `generation` is raised by every rotation; default 1
 * @throws `key-missing` when the identity of a zone is not among the files; `key-invalid` for a file of a wrong form
 */
export function publicEntries(options: {
  readonly pipeline: string;
  readonly files: readonly KeyFile[];
  readonly generation?: number | undefined;
}): KeyEntry[] {
  const { pipeline, files } = options;
  const generation = options.generation ?? FIRST_GENERATION;
  const identities = new Map<ZoneName, SigningKey>();
  for (const file of files) {
    const { zone } = PURPOSES[file.purpose];
    if (file.purpose === ZONE_IDENTITY[zone]) {
      identities.set(
        zone,
        withMaterial(file, (raw) => createSigningKey(file.purpose, raw)),
      );
    }
  }
  const identityOf = (zone: ZoneName): SigningKey => {
    const identity = identities.get(zone);
    if (identity === undefined) {
      const name = ZONE_IDENTITY[zone];
      throw new SealstreamError("key-missing", `Publishing keys of ${zone} needs ${name}.`);
    }
    return identity;
  };
  const signers: KeyEntry[] = [];
  const recipients: KeyEntry[] = [];
  for (const file of files) {
    const { purpose } = file;
    const { zone } = PURPOSES[purpose];
    if (isStageSigning(purpose)) {
      const { publicKey } = withMaterial(file, (raw) => createSigningKey(purpose, raw));
      const payload = { type: "signer", generation, purpose, publicKey } as const;
      signers.push(signEntry({ pipeline, payload, signer: identityOf(zone) }));
    } else if (isUnwrap(purpose)) {
      const { publicKey } = withMaterial(file, (raw) => createUnwrapKey(purpose, raw));
      const algorithm = "x25519";
      const payload = { type: "recipient", generation, purpose, algorithm, publicKey } as const;
      recipients.push(signEntry({ pipeline, payload, signer: identityOf(zone) }));
    }
  }
  return [...signers, ...recipients];
}

/**
 * Chunk records, then the signed manifest.
 * @param options `identity`: the consumer's; `parameters`: id of the CKKS parameter set; `generation` is raised by
 * every rotation, default 1; `maxChunkBytes`: default 900 KiB
 */
export function blobEntries(options: {
  readonly pipeline: string;
  readonly purpose: BlobPurpose;
  readonly bytes: Uint8Array;
  readonly parameters: string;
  readonly identity: SigningKey;
  readonly generation?: number | undefined;
  readonly maxChunkBytes?: number | undefined;
}): KeyEntry[] {
  const { pipeline, purpose, bytes, parameters, identity } = options;
  if (identity.purpose !== ZONE_IDENTITY[BLOB_ZONE]) {
    throw new SealstreamError("key-forbidden", `${purpose} is signed by the consumer's identity.`);
  }
  if (bytes.length === 0 || bytes.length > MAX_BLOB_BYTES) {
    throw new SealstreamError("limit-exceeded", `${purpose} must have 1 byte to 64 MiB.`);
  }
  const chunks = splitIntoChunks(bytes, options.maxChunkBytes ?? DEFAULT_CHUNK_BYTES);
  const manifest = signEntry({
    pipeline,
    payload: {
      type: "blob",
      generation: options.generation ?? FIRST_GENERATION,
      purpose,
      parameters,
      bytes: bytes.length,
      sha256: sha256(bytes),
      chunks: chunks.map((chunk) => chunk.hash),
    },
    signer: identity,
  });
  return [...chunks.map((chunk) => chunkEntry(chunk.hash, chunk.bytes)), manifest];
}

function purposesOf(zones: readonly ZoneName[]): Purpose[] {
  return Object.keys(PURPOSES)
    .filter(isPurpose)
    .filter((purpose) => zones.includes(PURPOSES[purpose].zone));
}

/** A handle made of a file's material, which is wiped. */
function withMaterial<T>(file: KeyFile, make: (raw: Uint8Array) => T): T {
  const { material } = parseKeyFile(file.json, file.purpose, `The key file of ${file.purpose}`);
  try {
    return make(material);
  } finally {
    material.fill(0);
  }
}
