/**
 * The ceremony: making a zone's keys, and the signed entries with which the zone publishes their public halves.
 *
 * Pure but for the CSPRNG: files are written by key-store.ts, entries by whoever talks to Kafka. Each zone can hold its
 * ceremony alone, on its own machine; together they agree on nothing but the pinned identities.
 * Must not: write or print anything.
 */
import { createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { sha256, splitIntoChunks } from "./chunks.ts";
import { type PublicHalf, publicHalfOf, signerOf } from "./key-ceremony-halves.ts";
import { chunkEntry, type KeyEntry, signEntry } from "./key-entries.ts";
import { createKeyFile, FIRST_GENERATION, type KeyFile, type KeyFileKind } from "./key-file.ts";
import { PRIVATE_KEY_BYTES, type SigningKey } from "./key-handles.ts";
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

/** Chunks of blobs: below Kafka's default message limit of 1 MB with room for key and headers. */
const DEFAULT_CHUNK_BYTES = 900 * 1024;
const DEFAULT_RSA_BITS = 3072;

/**
 * A fresh key of a purpose.
 * @param like a key that it is to follow: then it is of the same kind and, with RSA, of the same length
 * @throws `internal` for the CKKS secret key, which the CKKS room makes, and after a key in a service, where the next one
 * is made there
 */
export function createFreshKey(
  purpose: Purpose,
  generation: number = FIRST_GENERATION,
  like: Pick<PublicHalf, "algorithm" | "publicKey"> | null = null,
): KeyFile {
  if (PURPOSES[purpose].kind === "ckks-secret") {
    throw new SealstreamError("internal", "The CKKS room makes the CKKS secret key.");
  }
  if (like?.algorithm === "kms") {
    throw new SealstreamError("internal", "The next key of a service is made in the service.");
  }
  const [kind, material] = freshMaterial(purpose, like);
  try {
    return createKeyFile(purpose, material, { kind, generation });
  } finally {
    material.fill(0);
  }
}

function freshMaterial(
  purpose: Purpose,
  like: Pick<PublicHalf, "algorithm" | "publicKey"> | null,
): readonly [KeyFileKind, Uint8Array] {
  const form = { format: "der", type: "pkcs8" } as const;
  if (like?.algorithm === "p-256") {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    return ["p-256", privateKey.export(form)];
  }
  if (like?.algorithm === "rsa-oaep-256") {
    const key = Buffer.from(like.publicKey);
    const { asymmetricKeyDetails } = createPublicKey({ key, format: "der", type: "spki" });
    const modulusLength = asymmetricKeyDetails?.modulusLength ?? DEFAULT_RSA_BITS;
    return ["rsa", generateKeyPairSync("rsa", { modulusLength }).privateKey.export(form)];
  }
  return [PURPOSES[purpose].kind, randomBytes(PRIVATE_KEY_BYTES)];
}

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
  const files = (options.zones ?? ZONES)
    .flatMap(purposesOf)
    .filter((purpose) => PURPOSES[purpose].kind !== "ckks-secret")
    .map((purpose) => createFreshKey(purpose));
  const identities: Partial<Record<ZoneName, Uint8Array>> = {};
  const signers: Partial<Record<ZoneName, SigningKey>> = {};
  for (const [zone, signer] of identitiesIn(files)) {
    signers[zone] = signer;
    identities[zone] = signer.publicKey;
  }
  return { files, identities, signers };
}

/** The key file of a serialized CKKS secret key. */
export function ckksSecretFile(bytes: Uint8Array, generation: number = FIRST_GENERATION): KeyFile {
  return createKeyFile("ckks-secret", bytes, { generation });
}

/** The newest identity of each zone among key files. @throws `key-invalid` for a file of a wrong form */
export function identitiesIn(files: readonly KeyFile[]): Map<ZoneName, SigningKey> {
  const newest = new Map<ZoneName, KeyFile>();
  for (const file of files) {
    const { zone } = PURPOSES[file.purpose];
    if (file.purpose !== ZONE_IDENTITY[zone]) continue;
    const known = newest.get(zone);
    if (known === undefined || known.generation < file.generation) newest.set(zone, file);
  }
  return new Map([...newest].map(([zone, file]) => [zone, signerOf(file)]));
}

/**
 * Signer and recipient entries of every stage key and unwrap key in `files`, signed by the newest identities among them.
 * @param options `identities`: those to sign with instead
 * @throws `key-missing` when the identity of a zone is not among the files; `key-invalid` for a file of a wrong form
 */
export function publicEntries(options: {
  readonly pipeline: string;
  readonly files: readonly KeyFile[];
  readonly identities?: ReadonlyMap<ZoneName, SigningKey> | undefined;
}): KeyEntry[] {
  const { pipeline, files } = options;
  const identities = options.identities ?? identitiesIn(files);
  const signers: KeyEntry[] = [];
  const recipients: KeyEntry[] = [];
  for (const file of files) {
    const { purpose } = file;
    if (!isStageSigning(purpose) && !isUnwrap(purpose)) continue;
    const half = publicHalfOf(file);
    if (half === null) continue;
    const signer = identities.get(half.zone);
    if (signer === undefined) {
      const name = ZONE_IDENTITY[half.zone];
      throw new SealstreamError("key-missing", `Publishing keys of ${half.zone} needs ${name}.`);
    }
    const { generation, publicKey, algorithm } = half;
    if (isStageSigning(purpose)) {
      const payload = { type: "signer", generation, purpose, publicKey } as const;
      signers.push(signEntry({ pipeline, payload, signer }));
    } else if (algorithm !== "ed25519") {
      const payload = { type: "recipient", generation, purpose, algorithm, publicKey } as const;
      recipients.push(signEntry({ pipeline, payload, signer }));
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

/** Every purpose of a zone. */
export function purposesOf(zone: ZoneName): Purpose[] {
  return Object.keys(PURPOSES)
    .filter(isPurpose)
    .filter((purpose) => PURPOSES[purpose].zone === zone);
}
