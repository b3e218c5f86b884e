/**
 * Key folders: every stage opens its own, which holds exactly its keys and nothing else.
 *
 * ```
 * <root>/{identities,desensitize,encrypt,train,aggregate,predict,consumer,recovery,dead-letters}/<purpose>.key
 * ```
 * A missing key, one too many, a wrong kind or purpose and a loose mode are refused before a stage starts; the three
 * offline folders may hold any part of their keys, as each zone has its own.
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
  readdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { SealstreamError } from "../errors.ts";
import {
  errorCode,
  type KeyFile,
  keyFileName,
  keyFileOf,
  parseKeyFile,
  purposeOfFileName,
  readKeyFileText,
} from "./key-file.ts";
import {
  createSecretHandle,
  createSigningKey,
  type SecretKey,
  type SigningKey,
} from "./key-handles.ts";
import {
  type BlobKeyPurpose,
  type KeyHolder,
  PURPOSES,
  type Purpose,
  type SecretPurpose,
  type SigningPurpose,
  type UnwrapPurpose,
} from "./key-purposes.ts";
import { assertOnlyInReach } from "./key-reach.ts";
import { createUnwrapKey } from "./wrap/key-wrap.ts";
import type { UnwrapKey } from "./wrap/types.ts";

/** Opened keys of one holder. Each method throws `key-missing` when the holder has no such key. */
export interface KeyStore {
  readonly holder: KeyHolder;
  signing(purpose: SigningPurpose): SigningKey;
  unwrap(purpose: UnwrapPurpose): UnwrapKey;
  secret(purpose: SecretPurpose): SecretKey;
  /** A copy of the material, which another library parses; the caller wipes it. */
  blob(purpose: BlobKeyPurpose): Uint8Array;
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

/** Folders kept offline: each zone has its own part of them. */
const OFFLINE_KEYS = {
  identities: ["owner-identity", "training-identity", "prediction-identity", "consumer-identity"],
  recovery: ["owner-recovery", "training-recovery"],
  "dead-letters": ["owner-dead-letter", "training-dead-letter", "prediction-dead-letter"],
} as const satisfies Record<string, readonly Purpose[]>;

const HOLDER_KEYS: Readonly<Record<KeyHolder, readonly Purpose[]>> = {
  ...STAGE_KEYS,
  ...OFFLINE_KEYS,
};

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * Opens the key folder of a holder. A holder without keys needs no folder.
 * @throws `key-missing`, `key-forbidden` (a file that the holder must not have) or `key-invalid`
 */
export function openKeyStore(options: {
  readonly folder: string;
  readonly holder: KeyHolder;
}): KeyStore {
  const { folder, holder } = options;
  const wanted = HOLDER_KEYS[holder];
  const present = namesIn(folder, wanted.length > 0);
  const allowed = new Set(wanted.map(keyFileName));
  for (const name of present) {
    if (!allowed.has(name)) {
      throw new SealstreamError(
        "key-forbidden",
        `${join(folder, name)} must not be in the key folder of ${holder}: move it away.`,
      );
    }
  }
  const offline = holder in OFFLINE_KEYS;
  const signing = new Map<string, SigningKey>();
  const unwrap = new Map<string, UnwrapKey>();
  const secret = new Map<string, SecretKey>();
  const blob = new Map<string, Buffer>();
  for (const purpose of wanted) {
    if (offline && !present.includes(keyFileName(purpose))) continue;
    const path = join(folder, keyFileName(purpose));
    const { kind, material } = parseKeyFile(readKeyFileText(path), purpose, path);
    if (kind === "ed25519") signing.set(purpose, createSigningKey(purpose, material));
    else if (kind === "x25519") unwrap.set(purpose, createUnwrapKey(purpose, material));
    else if (kind === "secret") secret.set(purpose, createSecretHandle(purpose, material));
    else blob.set(purpose, Buffer.from(material));
    material.fill(0);
  }
  const get = <T>(keys: ReadonlyMap<string, T>, purpose: string): T => {
    const key = keys.get(purpose);
    if (key === undefined) {
      throw new SealstreamError(
        "key-missing",
        `${folder} has no ${purpose} key: restore it from a backup, or use the folder of its holder.`,
      );
    }
    return key;
  };
  return Object.freeze({
    holder,
    signing: (purpose: SigningPurpose) => get(signing, purpose),
    unwrap: (purpose: UnwrapPurpose) => get(unwrap, purpose),
    secret: (purpose: SecretPurpose) => get(secret, purpose),
    blob: (purpose: BlobKeyPurpose) => new Uint8Array(get(blob, purpose)),
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
 * @throws `key-invalid` when one of them exists (then none is written) or the root cannot be written
 */
export function writeKeyFiles(root: string, files: readonly KeyFile[]): void {
  const placed = files.map((file) => ({
    folder: join(root, file.holder),
    path: join(root, file.holder, keyFileName(file.purpose)),
    json: file.json,
  }));
  for (const { path } of placed) if (existsSync(path)) throw alreadyThere(path);
  for (const { folder, path, json } of placed) {
    mkdirSync(folder, { recursive: true, mode: FOLDER_MODE });
    // A folder that was there before may be open to others.
    chmodSync(folder, FOLDER_MODE);
    let descriptor: number;
    try {
      descriptor = openSync(path, "wx", FILE_MODE);
    } catch (error) {
      if (errorCode(error) === "EEXIST") throw alreadyThere(path);
      throw new SealstreamError("key-invalid", `${path} cannot be written.`, { cause: error });
    }
    try {
      writeFileSync(descriptor, json);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
}

/**
 * Every key file under `root`, for the ceremony; each is checked like {@link openKeyStore} does.
 * @param holders folders to read, all by default; a folder that is not there holds nothing
 */
export function readKeyFiles(root: string, holders?: readonly KeyHolder[]): KeyFile[] {
  const files: KeyFile[] = [];
  for (const holder of holders ?? allHolders()) {
    for (const name of namesIn(join(root, holder), false)) {
      const path = join(root, holder, name);
      const purpose = purposeOfFileName(name);
      if (purpose === null || PURPOSES[purpose].holder !== holder) {
        throw new SealstreamError("key-forbidden", `${path} must not be in that key folder.`);
      }
      const json = readKeyFileText(path);
      parseKeyFile(json, purpose, path).material.fill(0);
      files.push(keyFileOf(holder, purpose, json));
    }
  }
  return files;
}

function allHolders(): KeyHolder[] {
  return [...new Set(Object.values(PURPOSES).map((one) => one.holder))];
}

function namesIn(folder: string, required: boolean): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (cause) {
    const code = errorCode(cause);
    if (code === "ENOENT" && !required) return [];
    const missing = code === "ENOENT";
    throw new SealstreamError(
      missing ? "key-missing" : "key-invalid",
      missing
        ? `The key folder ${folder} is missing: run sealstream keys create.`
        : `The key folder ${folder} cannot be read (${code}).`,
      { cause },
    );
  }
}

function alreadyThere(path: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `${path} exists and is not written over: move the old keys away first.`,
  );
}
