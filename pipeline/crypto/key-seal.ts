/**
 * Sealed key files: material under AES-256-GCM, by a key that a passphrase or a key management service gives back.
 *
 * The AAD names version, purpose, kind, generation and how the key was made, so that no file can stand in for another
 * one and no cost can be lowered. Keys of one ceremony share a salt: a process derives once for all of them.
 * Must not: keep a passphrase or say which of passphrase and file is the wrong one (nobody can know).
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomBytes,
  scrypt,
} from "node:crypto";
import { argon2idAsync } from "@noble/hashes/argon2.js";
import { isSealstreamError, SealstreamError } from "../errors.ts";
import { encodeCbor } from "./cbor.ts";
import { KEY_FILE_VERSION, type KeyFileContent, type KeyFileForm } from "./key-file.ts";
import {
  isBearable,
  type KdfCost,
  type KmsSealed,
  NONCE_BYTES,
  type PassphraseSealed,
  SALT_BYTES,
  type Sealed,
  TAG_BYTES,
} from "./key-seal-form.ts";
import type { Kms } from "./kms/kms.ts";

/** Where a passphrase comes from: asked for once, when a file needs it. */
export type PassphraseSource = string | (() => string | Promise<string>);

/** Keys made of one passphrase, each once. */
export interface Passphrase {
  /** The passphrase itself, for PKCS#8 files alone. @throws `key-invalid` for an empty one */
  text(): Promise<string>;
  /** @throws `key-invalid` for an empty passphrase, `limit-exceeded` for a cost that is not bearable */
  key(cost: KdfCost, salt: Uint8Array): Promise<KeyObject>;
}

/** How key files are sealed when they are written. */
export type SealWith =
  | { readonly passphrase: Passphrase; readonly cost?: KdfCost }
  | { readonly kms: Kms; readonly uri: string };

/** What opens sealed files. */
export interface Unlock {
  readonly passphrase?: Passphrase | undefined;
  readonly kms?: Kms | undefined;
}

/** OWASP's recommendation for scrypt; 128 MiB and half a second. */
export const SCRYPT_COST: KdfCost = { kdf: "scrypt", n: 2 ** 17, r: 8, p: 1 };
/** The second recommendation of RFC 9106 section 4, with one lane. */
export const ARGON2ID_COST: KdfCost = { kdf: "argon2id", memoryKib: 65_536, passes: 3, lanes: 1 };

const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
/** Salts of one process: ceremonies and rotations of the keys of a holder. */
const MAX_DERIVED = 64;

export function createPassphrase(source: PassphraseSource): Passphrase {
  const derived = new Map<string, Promise<KeyObject>>();
  let asked: Promise<string> | null = null;
  const text = async (): Promise<string> => {
    asked ??= Promise.resolve(typeof source === "string" ? source : source());
    const found = await asked;
    if (found === "") throw new SealstreamError("key-invalid", "The passphrase is empty: set it.");
    return found;
  };
  const derive = async (cost: KdfCost, salt: Uint8Array): Promise<KeyObject> => {
    const raw = await deriveRaw(await text(), cost, salt);
    const key = createSecretKey(raw);
    raw.fill(0);
    return key;
  };
  return Object.freeze({
    text,
    key(cost: KdfCost, salt: Uint8Array): Promise<KeyObject> {
      const name = JSON.stringify([cost, Buffer.from(salt).toString("base64")]);
      const known = derived.get(name);
      if (known !== undefined) return known;
      if (!isBearable(cost)) {
        return Promise.reject(new SealstreamError("limit-exceeded", "The KDF's cost is refused."));
      }
      const made = derive(cost, salt);
      made.catch(() => {
        derived.delete(name);
        // Because the file that holds it may be there the next time.
        asked = null;
      });
      const oldest = derived.keys().next();
      if (derived.size >= MAX_DERIVED && oldest.done !== true) derived.delete(oldest.value);
      derived.set(name, made);
      return made;
    },
  });
}

/** A function that seals the files of one ceremony: under one salt, each with a nonce of its own. */
export function createSealer(seal: SealWith): (content: KeyFileContent) => Promise<Sealed> {
  if ("kms" in seal) return (content) => sealWithKms(content, seal);
  const { passphrase, cost = SCRYPT_COST } = seal;
  const salt = randomBytes(SALT_BYTES);
  return async (content) => {
    const key = await passphrase.key(cost, salt);
    const nonce = randomBytes(NONCE_BYTES);
    const shell = { by: "passphrase" as const, cost, salt };
    return { ...shell, nonce, ciphertext: encrypt(key, nonce, content, aadOf(content, shell)) };
  };
}

/**
 * The material of a file; the caller wipes it.
 * @param where names the file in messages
 * @throws `key-missing` without what opens it, `key-invalid` when it does not open, and what `Kms.unwrap` throws
 */
export async function openMaterial(
  form: KeyFileForm,
  unlock: Unlock,
  where: string,
): Promise<Buffer> {
  if (form.sealed === null) return form.material;
  const { sealed } = form;
  const key =
    sealed.by === "kms"
      ? await serviceKey(form, sealed, unlock.kms, where)
      : await passphraseKey(sealed, unlock.passphrase, where);
  const material = key === null ? null : decrypt(key, sealed, aadOf(form, sealed));
  if (material === null) {
    throw new SealstreamError(
      "key-invalid",
      sealed.by === "kms"
        ? `${where} does not open: ${sealed.uri} is not the key that it was sealed with, or the file was changed.`
        : `${where} does not open: the passphrase is not the one that it was sealed with, or the file was changed.`,
    );
  }
  return material;
}

function passphraseKey(
  { cost, salt }: PassphraseSealed,
  passphrase: Passphrase | undefined,
  where: string,
): Promise<KeyObject> {
  if (passphrase === undefined) {
    throw new SealstreamError(
      "key-missing",
      `${where} is sealed with a passphrase: set SEALSTREAM_KEY_PASSPHRASE, or SEALSTREAM_KEY_PASSPHRASE_FILE to a file that holds it.`,
    );
  }
  return passphrase.key(cost, salt);
}

async function serviceKey(
  form: KeyFileForm,
  sealed: KmsSealed,
  kms: Kms | undefined,
  where: string,
): Promise<KeyObject | null> {
  if (kms === undefined) {
    throw new SealstreamError(
      "key-missing",
      `${where} is sealed with ${sealed.uri}: set the address and the credentials of that service (for Vault or OpenBao VAULT_ADDR and VAULT_TOKEN).`,
    );
  }
  let raw: Uint8Array | null;
  try {
    raw = await kms.unwrap(sealed.uri, sealed.wrapped, aadOf(form, sealed));
  } catch (error) {
    // Because whoever starts a stage must read which file it waits for, and each reason already says what to do.
    if (!isSealstreamError(error)) throw error;
    throw new SealstreamError(error.code, `${where} does not open: ${error.message}`, {
      cause: error,
    });
  }
  if (raw === null || raw.length !== KEY_BYTES) return null;
  const key = createSecretKey(raw);
  raw.fill(0);
  return key;
}

async function sealWithKms(
  content: KeyFileContent,
  { kms, uri }: { readonly kms: Kms; readonly uri: string },
): Promise<Sealed> {
  const raw = randomBytes(KEY_BYTES);
  try {
    const aad = aadOf(content, { by: "kms", uri });
    const wrapped = Buffer.from(await kms.wrap(uri, raw, aad));
    const nonce = randomBytes(NONCE_BYTES);
    const ciphertext = encrypt(createSecretKey(raw), nonce, content, aad);
    return { by: "kms", uri, wrapped, nonce, ciphertext };
  } finally {
    raw.fill(0);
  }
}

type Shell = Pick<PassphraseSealed, "by" | "cost" | "salt"> | Pick<KmsSealed, "by" | "uri">;

function aadOf({ purpose, kind, generation }: Omit<KeyFileContent, "material">, shell: Shell) {
  const made = shell.by === "kms" ? ["kms", shell.uri] : listOf(shell.cost);
  const salt = shell.by === "kms" ? new Uint8Array(0) : new Uint8Array(shell.salt);
  const head = ["sealstream-key-file", KEY_FILE_VERSION, purpose, kind, generation];
  return encodeCbor([...head, made, salt]);
}

function listOf(cost: KdfCost): (string | number)[] {
  return cost.kdf === "scrypt"
    ? [cost.kdf, cost.n, cost.r, cost.p]
    : [cost.kdf, cost.memoryKib, cost.passes, cost.lanes];
}

function encrypt(
  key: KeyObject,
  nonce: Buffer,
  { material }: KeyFileContent,
  aad: Uint8Array,
): Buffer {
  const cipher = createCipheriv(CIPHER, key, nonce);
  cipher.setAAD(aad);
  return Buffer.concat([cipher.update(material), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: KeyObject, { nonce, ciphertext }: Sealed, aad: Uint8Array): Buffer | null {
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(ciphertext.subarray(-TAG_BYTES));
  const material = decipher.update(ciphertext.subarray(0, -TAG_BYTES));
  try {
    decipher.final();
    return material;
  } catch {
    // Because node reports a tag that does not fit by throwing, and that is bad input.
    material.fill(0);
    return null;
  }
}

async function deriveRaw(text: string, cost: KdfCost, salt: Uint8Array): Promise<Uint8Array> {
  if (cost.kdf === "argon2id") {
    const { memoryKib: m, passes: t, lanes: p } = cost;
    return argon2idAsync(text, salt, { m, t, p, dkLen: KEY_BYTES, maxmem: (m + 1024) * 1024 });
  }
  const { n: N, r, p } = cost;
  const options = { N, r, p, maxmem: 128 * r * (N + p) + 2 ** 20 };
  return new Promise((resolve, reject) => {
    // Native and on a thread of its own: noble's takes four times as long and stalls the lanes of a refreshing stage.
    scrypt(text, salt, KEY_BYTES, options, (error, key) => {
      if (error === null) resolve(key);
      else reject(new SealstreamError("internal", "No key could be derived.", { cause: error }));
    });
  });
}
