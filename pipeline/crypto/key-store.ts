/**
 * Key stores: every stage opens its own keys, which are exactly those of its holder and nothing else.
 *
 * ```
 * <root>/{identities,desensitize,encrypt,train,aggregate,predict,consumer,recovery,dead-letters}/<a key file>
 * ```
 * A missing key, one too many, a wrong kind or purpose and a loose mode are refused before a stage starts; the offline
 * folders may hold any part of their keys, as each zone has its own. Where keys come from, key-source.ts says.
 * Must not: hand out raw material (except the CKKS secret, which another library parses), or write over a file.
 * Sources: DESIGN.md sections 1 and 5 (invariant 2).
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { SealstreamError } from "../errors.ts";
import {
  createKeyFile,
  errorCode,
  KEY_FILE_VERSION,
  type KeyFile,
  keyFileName,
  parseKeyFile,
} from "./key-file.ts";
import { createLiveSigner, type SecretKey, type SigningKey } from "./key-handles.ts";
import {
  type BlobKeyPurpose,
  isPurpose,
  type KeyHolder,
  PURPOSES,
  type Purpose,
  type SecretPurpose,
  type SigningPurpose,
  type UnwrapPurpose,
} from "./key-purposes.ts";
import { assertOnlyInReach } from "./key-reach.ts";
import { type KeyRings, openContent, openRingKey, type RingKey, withKeys } from "./key-ring.ts";
import {
  createPassphrase,
  createSealer,
  type Passphrase,
  type PassphraseSource,
  type SealWith,
  type Unlock,
} from "./key-seal.ts";
import { sealedToJson } from "./key-seal-form.ts";
import { environmentSource, folderSource, type KeySource } from "./key-source.ts";
import type { Kms } from "./kms/kms.ts";
import type { RemoteUnwrapKey, UnwrapKey } from "./wrap/types.ts";

/** Opened keys of one holder. Each method throws `key-missing` when the holder has no such key. */
export interface KeyStore {
  readonly holder: KeyHolder;
  /** A live handle: it follows the newest generation when {@link KeyStore.refresh} adds one. */
  signing(purpose: SigningPurpose): SigningKey;
  /** Keys of all generations, newest first; not live. */
  signingAll(purpose: SigningPurpose): readonly SigningKey[];
  /** The newest key that is not in a service. */
  unwrap(purpose: UnwrapPurpose): UnwrapKey;
  /** Keys of all generations, newest first. */
  unwrapAll(purpose: UnwrapPurpose): readonly (UnwrapKey | RemoteUnwrapKey)[];
  /** The newest. */
  secret(purpose: SecretPurpose): SecretKey;
  /** A copy of the material, which another library parses; the caller wipes it. @param generation default the newest */
  blob(purpose: BlobKeyPurpose, generation?: number): Uint8Array;
  /** Of the newest key. */
  generation(purpose: Purpose): number;
  /** True when a key of any generation has this kid; false for secrets and blobs, which have none. */
  holds(purpose: Purpose, kid: Uint8Array): boolean;
  /**
   * Looks at the sources again and adds what is new there; what is open stays open, even when its file is gone.
   * @returns true when keys were added
   * @throws as {@link openKeyStore} does, and then adds nothing
   */
  refresh(): Promise<boolean>;
}

/** Where a holder's keys are, and what opens those that are sealed. */
export interface KeyStoreOptions {
  readonly folder: string;
  readonly holder: KeyHolder;
  /** Searched for SEALSTREAM_KEY_<PURPOSE>; none by default. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** Asked for once, and only when a file needs it. */
  readonly passphrase?: Passphrase | PassphraseSource | undefined;
  readonly kms?: Kms | undefined;
}

/** Exactly the keys that each holder has. */
export const STAGE_KEYS = {
  desensitize: [],
  encrypt: ["owner-signing", "split"],
  train: ["train-signing", "training-unwrap"],
  aggregate: ["model-signing", "contribution-unwrap", "noise"],
  predict: ["result-signing", "model-unwrap"],
  consumer: ["consumer-unwrap", "ckks-secret"],
} as const satisfies Record<string, readonly Purpose[]>;

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * Opens the keys of a holder. A holder without keys needs no folder, nor does one with keys in its environment.
 * @throws `key-missing`, `key-forbidden` (a key that the holder must not have), `key-invalid`, and for keys that a
 * service seals or holds `kms-unavailable` or `access-denied`
 */
export async function openKeyStore(options: KeyStoreOptions): Promise<KeyStore> {
  const { folder, holder, kms } = options;
  const wanted = purposesOf(holder);
  const variables = environmentSource(options.environment ?? {});
  const isStage = holder in STAGE_KEYS;
  const needsFolder = wanted.length > 0 && variables.list(holder).length === 0;
  const sources = [folderSource(folder, needsFolder), variables];
  const unlock = { passphrase: passphraseOf(options.passphrase), kms };
  let rings = withKeys(new Map(), await openNew({ sources, holder, unlock, rings: new Map() }));
  for (const purpose of isStage ? wanted : []) {
    if (rings.has(purpose)) continue;
    throw new SealstreamError(
      "key-missing",
      `${join(folder, keyFileName(purpose))} is missing: restore it from a backup, or use the key folder that keys create made.`,
    );
  }
  let refreshing: Promise<boolean> | null = null;
  const refresh = async (): Promise<boolean> => {
    const added = await openNew({ sources, holder, unlock, rings });
    rings = withKeys(rings, added);
    return added.length > 0;
  };
  return storeOf({
    folder,
    holder,
    rings: () => rings,
    refresh() {
      refreshing ??= refresh().finally(() => {
        refreshing = null;
      });
      return refreshing;
    },
  });
}

/**
 * Invariant 2, checked by `predict` before anything else starts: no key beyond its closed list is within its reach.
 * @param options `folder`: predict's own key folder; `environment`: the process's
 * @throws `key-forbidden`, naming the file or variable
 */
export function assertNothingForbiddenInReach(options: {
  readonly folder: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}): void {
  assertOnlyInReach({ ...options, allowed: STAGE_KEYS.predict });
}

/**
 * Writes key files into `<root>/<holder>/`, folders 0700 and files 0600, and never over a file.
 * @param options `seal`: how their material is sealed; open by default
 * @throws `key-invalid` when one of them exists (then none is written) or the root cannot be written, and what sealing
 * throws (then none is written either)
 */
export async function writeKeyFiles(
  root: string,
  files: readonly KeyFile[],
  options: { readonly seal?: SealWith | undefined } = {},
): Promise<void> {
  const pathOf = ({ holder, purpose, generation }: KeyFile) =>
    join(root, holder, keyFileName(purpose, generation));
  for (const file of files) if (existsSync(pathOf(file))) throw alreadyThere(pathOf(file));
  const texts = await sealedTexts(files, options.seal);
  for (const [index, file] of files.entries()) {
    const folder = join(root, file.holder);
    makeFolder(folder);
    writeNew(pathOf(file), texts[index] ?? "");
    syncFolder(folder);
  }
}

/**
 * Every key under `root`, for the ceremony; each is checked like {@link openKeyStore} does, and none is sealed any more.
 * @param holders folders to read, all by default; a folder that is not there holds nothing
 * @param unlock opens what is sealed
 */
export async function readKeyFiles(
  root: string,
  holders?: readonly KeyHolder[],
  unlock: { readonly passphrase?: Passphrase | PassphraseSource; readonly kms?: Kms } = {},
): Promise<KeyFile[]> {
  const files: KeyFile[] = [];
  const keys: Unlock = { passphrase: passphraseOf(unlock.passphrase), kms: unlock.kms };
  for (const holder of holders ?? allHolders()) {
    for (const sourced of folderSource(join(root, holder), false).list(holder)) {
      const { kind, purpose, generation, material } = await openContent(sourced, keys);
      files.push(createKeyFile(purpose, material, { kind, generation }));
      material.fill(0);
    }
  }
  return files;
}

interface OpenOptions {
  readonly sources: readonly KeySource[];
  readonly holder: KeyHolder;
  readonly unlock: Unlock;
  /** What is open already, and not opened again. */
  readonly rings: KeyRings;
}

/** Opens what the sources have and the rings have not; side by side, as a service may take its time for each. */
function openNew({ sources, holder, unlock, rings }: OpenOptions): Promise<RingKey[]> {
  const known = new Set([...rings.values()].flat().map((key) => key.where));
  const found = sources.flatMap((source) => source.list(holder));
  const fresh = found.filter((sourced) => !known.has(sourced.where));
  return Promise.all(fresh.map((sourced) => openRingKey(sourced, unlock)));
}

/** The methods of a store over rings that may grow. */
function storeOf(given: {
  readonly folder: string;
  readonly holder: KeyHolder;
  readonly rings: () => KeyRings;
  readonly refresh: () => Promise<boolean>;
}): KeyStore {
  const { folder, holder, rings, refresh } = given;
  const missing = (purpose: Purpose, what = "key") =>
    new SealstreamError(
      "key-missing",
      `${folder} has no ${purpose} ${what}: restore it from a backup, or use the folder of its holder.`,
    );
  const ring = (purpose: Purpose): readonly RingKey[] => {
    const found = rings().get(purpose);
    if (found === undefined) throw missing(purpose);
    return found;
  };
  const signingAll = (purpose: SigningPurpose): readonly SigningKey[] =>
    ring(purpose).flatMap(({ handle }) => (handle.type === "signing" ? [handle.key] : []));
  const newestSigner = (purpose: SigningPurpose): SigningKey => {
    const [newest] = signingAll(purpose);
    if (newest === undefined) throw missing(purpose);
    return newest;
  };
  return Object.freeze({
    holder,
    signing: (purpose: SigningPurpose) => {
      newestSigner(purpose);
      return createLiveSigner(purpose, () => newestSigner(purpose));
    },
    signingAll,
    unwrap(purpose: UnwrapPurpose) {
      const handle = ring(purpose).find((key) => key.handle.type === "unwrap")?.handle;
      if (handle?.type !== "unwrap") throw missing(purpose, "key outside a service");
      return handle.key;
    },
    unwrapAll: (purpose: UnwrapPurpose) =>
      ring(purpose).flatMap(({ handle }) =>
        handle.type === "unwrap" || handle.type === "remote" ? [handle.key] : [],
      ),
    secret(purpose: SecretPurpose) {
      const handle = ring(purpose)[0]?.handle;
      if (handle?.type !== "secret") throw missing(purpose);
      return handle.key;
    },
    blob(purpose: BlobKeyPurpose, generation?: number) {
      const found = ring(purpose).find((key) => key.generation === (generation ?? key.generation));
      if (found === undefined) throw missing(purpose, `key of generation ${generation}`);
      if (found.handle.type !== "blob") throw missing(purpose);
      return new Uint8Array(found.handle.key);
    },
    generation: (purpose: Purpose) => ring(purpose)[0]?.generation ?? 0,
    holds: (purpose: Purpose, kid: Uint8Array) =>
      (rings().get(purpose) ?? []).some(
        ({ handle }) =>
          handle.type !== "secret" &&
          handle.type !== "blob" &&
          Buffer.compare(handle.key.kid, kid) === 0,
      ),
    refresh,
  });
}

async function sealedTexts(
  files: readonly KeyFile[],
  seal: SealWith | undefined,
): Promise<readonly string[]> {
  if (seal === undefined) return files.map((file) => file.json);
  const sealer = createSealer(seal);
  return Promise.all(
    files.map(async ({ json, purpose }) => {
      const content = parseKeyFile(json, purpose, `The key file of ${purpose}`);
      const { kind, generation, material } = content;
      // The name of a key in a service is no secret.
      if (kind === "kms") return json;
      try {
        const sealed = sealedToJson(await sealer(content));
        const fields = { version: KEY_FILE_VERSION, kind, purpose, generation, sealed };
        return `${JSON.stringify(fields)}\n`;
      } finally {
        material.fill(0);
      }
    }),
  );
}

/** @throws `key-invalid` when it cannot be made or closed to others */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: FOLDER_MODE });
    // A folder that was there before may be open to others.
    chmodSync(folder, FOLDER_MODE);
  } catch (cause) {
    throw new SealstreamError(
      "key-invalid",
      `The key folder ${folder} cannot be made (${errorCode(cause)}): choose another one with --keys.`,
      { cause },
    );
  }
}

/** Writes straight to the final name, so that no copy of a secret is left under another one. */
function writeNew(path: string, text: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, "wx", FILE_MODE);
  } catch (error) {
    if (errorCode(error) === "EEXIST") throw alreadyThere(path);
    throw new SealstreamError("key-invalid", `${path} cannot be written.`, { cause: error });
  }
  try {
    writeFileSync(descriptor, text);
    fsyncSync(descriptor);
  } catch (error) {
    rmSync(path, { force: true });
    throw new SealstreamError("key-invalid", `${path} cannot be written.`, { cause: error });
  } finally {
    closeSync(descriptor);
  }
}

/** A new name is on the disk only when its folder is. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function passphraseOf(given: Passphrase | PassphraseSource | undefined): Passphrase | undefined {
  return typeof given === "string" || typeof given === "function" ? createPassphrase(given) : given;
}

function allPurposes(): Purpose[] {
  return Object.keys(PURPOSES).filter(isPurpose);
}

function purposesOf(holder: KeyHolder): Purpose[] {
  return allPurposes().filter((purpose) => PURPOSES[purpose].holder === holder);
}

function allHolders(): KeyHolder[] {
  return [...new Set(allPurposes().map((purpose) => PURPOSES[purpose].holder))];
}

function alreadyThere(path: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `${path} exists and is not written over: move the old keys away first.`,
  );
}
