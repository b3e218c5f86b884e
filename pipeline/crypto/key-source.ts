/**
 * Where a holder's private keys come from: its folder, and its environment where a container has no volume.
 *
 * ```
 * <folder, 0700>/<purpose>.key | <purpose>.<generation>.key   JSON of key-file.ts, open or sealed, 0600
 * <folder, 0700>/<purpose>.pem | <purpose>.<generation>.pem   PKCS#8 of key-source-pem.ts, open or encrypted, 0600
 * SEALSTREAM_KEY_<PURPOSE> | SEALSTREAM_KEY_<PURPOSE>_<GENERATION>   either of them, or base64 of it
 * ```
 * A source lists what it has and refuses what the holder must not have; it opens nothing. Must not: read the process's
 * environment by itself, or put what a file or variable holds into a message.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { SealstreamError } from "../errors.ts";
import {
  assertTight,
  errorCode,
  type KeyFileForm,
  type KeyFileName,
  parseKeyFileForm,
  parseKeyFileName,
  readKeyFileText,
} from "./key-file.ts";
import { isPurpose, type KeyHolder, PURPOSES, type Purpose } from "./key-purposes.ts";
import { looksLikePem, type PemText, readPem } from "./key-source-pem.ts";

/** A key that a source has; `form` reads it. */
export interface SourcedKey {
  readonly purpose: Purpose;
  /** By its name; null when that says none. */
  readonly generation: number | null;
  /** Names the file or variable in messages, and is one key's alone. */
  readonly where: string;
  /** @throws `key-invalid` for a wrong form or a loose mode */
  read(): KeyFileForm | PemText;
}

export interface KeySource {
  /**
   * What is there now, for a holder.
   * @throws `key-forbidden` for a key that the holder must not have, `key-invalid` for what is no key
   */
  list(holder: KeyHolder): readonly SourcedKey[];
}

type Environment = Readonly<Record<string, string | undefined>>;

const VARIABLE_PREFIX = "SEALSTREAM_KEY_";
/** Variables that are no key: SEALSTREAM_KEY_PASSPHRASE, its _FILE, and those of one stage. */
const PASSPHRASE_PREFIX = `${VARIABLE_PREFIX}PASSPHRASE`;

/** A folder of files. @param required whether it must be there */
export function folderSource(folder: string, required: boolean): KeySource {
  return {
    list(holder) {
      const names = namesInFolder(folder, required);
      const keys = names.map((name) => {
        const path = join(folder, name);
        const named = parseKeyFileName(name);
        if (named === null || PURPOSES[named.purpose].holder !== holder) {
          throw new SealstreamError(
            "key-forbidden",
            `${path} must not be in the key folder of ${holder}: move it away.`,
          );
        }
        const { purpose, generation } = named;
        return { purpose, generation, where: path, read: () => readFile(path, named) };
      });
      if (keys.length > 0) assertTight(folder, statSync(folder).mode, "700");
      return keys;
    },
  };
}

/** Variables of an environment that is handed in. */
export function environmentSource(environment: Environment): KeySource {
  return {
    list(holder) {
      const found: SourcedKey[] = [];
      for (const [name, value] of Object.entries(environment)) {
        if (value === undefined || value === "" || !name.startsWith(VARIABLE_PREFIX)) continue;
        if (name.startsWith(PASSPHRASE_PREFIX)) continue;
        const key = parseKeyVariable(name);
        const where = `The environment variable ${name}`;
        if (key === null) {
          throw new SealstreamError("key-invalid", `${where} names no key: correct or remove it.`);
        }
        if (PURPOSES[key.purpose].holder !== holder) {
          throw new SealstreamError(
            "key-forbidden",
            `${where} holds a key that ${holder} must not have: remove it.`,
          );
        }
        found.push({ ...key, where, read: () => readVariable(value, key.purpose, where) });
      }
      return found;
    },
  };
}

/** `SEALSTREAM_KEY_` and the purpose in capitals, dashes as underscores. */
export function keyVariable(purpose: Purpose): string {
  return VARIABLE_PREFIX + purpose.toUpperCase().replaceAll("-", "_");
}

/** The purpose and generation that a variable's name says; null when it names no key. */
export function parseKeyVariable(
  name: string,
): { readonly purpose: Purpose; readonly generation: number | null } | null {
  if (!name.startsWith(VARIABLE_PREFIX)) return null;
  const [, base = "", generation] =
    /^([A-Z_]+?)(?:_([1-9][0-9]{0,8}))?$/.exec(name.slice(VARIABLE_PREFIX.length)) ?? [];
  const purpose = base.toLowerCase().replaceAll("_", "-");
  if (!isPurpose(purpose)) return null;
  return { purpose, generation: generation === undefined ? null : Number(generation) };
}

/** Names in a key folder, in order. @throws `key-missing`, `key-invalid` */
export function namesInFolder(folder: string, required: boolean): string[] {
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

function readFile(path: string, { purpose, form }: KeyFileName): KeyFileForm | PemText {
  const text = readKeyFileText(path);
  return form === "pem" ? readPem(text, path) : parseKeyFileForm(text, purpose, path);
}

function readVariable(value: string, purpose: Purpose, where: string): KeyFileForm | PemText {
  const text = /^\s*[{-]/.test(value) ? value : Buffer.from(value, "base64").toString("utf8");
  return looksLikePem(text) ? readPem(text, where) : parseKeyFileForm(text, purpose, where);
}
