/**
 * Key files: one private key each, as JSON.
 *
 * ```
 * {"version": 1, "kind": "ed25519" | "x25519" | "secret" | "ckks-secret", "purpose": <a purpose of that kind>,
 *  "material": <base64: 32 raw bytes, or what the CKKS room serialized>}
 * ```
 * Named `<purpose>.key`, mode 0600: any bit for group or others is refused. Nothing else stands in a key file.
 * Must not: put a file's content into a message, or leave material on an enumerable property.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { SealstreamError } from "../errors.ts";
import { PRIVATE_KEY_BYTES } from "./key-handles.ts";
import { isPurpose, type KeyHolder, type KeyKind, PURPOSES, type Purpose } from "./key-purposes.ts";

/** A key file in memory; `json` holds the secret and is not enumerable. */
export interface KeyFile {
  readonly holder: KeyHolder;
  readonly purpose: Purpose;
  readonly json: string;
}

/** What a key file says. The caller wipes `material` after making a handle of it. */
export interface KeyFileContent {
  readonly kind: KeyKind;
  readonly purpose: Purpose;
  readonly material: Buffer;
}

/** A CKKS secret key of 16,384 slots takes 1.2 MB; base64 and JSON add a third. */
export const MAX_KEY_FILE_BYTES = 16 * 1024 * 1024;
const VERSION = 1;
const KEY_SUFFIX = ".key";
/** Permission bits of group and others. */
const LOOSE_BITS = 0o077;
const FIELDS = "kind,material,purpose,version";

export function keyFileName(purpose: Purpose): string {
  return purpose + KEY_SUFFIX;
}

/** The key file of raw material; the caller may wipe `material` afterwards. */
export function createKeyFile(purpose: Purpose, material: Uint8Array): KeyFile {
  const { kind, holder } = PURPOSES[purpose];
  if (!hasRightSize(kind, material)) {
    throw new SealstreamError("key-invalid", `The material of ${purpose} has the wrong size.`);
  }
  const base64 = Buffer.from(material.buffer, material.byteOffset, material.length);
  return keyFileOf(
    holder,
    purpose,
    `${JSON.stringify({ version: VERSION, kind, purpose, material: base64.toString("base64") })}\n`,
  );
}

/** A {@link KeyFile} whose json does not show when it is logged or serialized. */
export function keyFileOf(holder: KeyHolder, purpose: Purpose, json: string): KeyFile {
  const file: KeyFile = { holder, purpose, json };
  Object.defineProperty(file, "json", { value: json, enumerable: false });
  return Object.freeze(file);
}

/**
 * Content of a key file that must be for `purpose`.
 * @param where names the file in messages
 * @throws `key-invalid` when it is not exactly of the form above
 */
export function parseKeyFile(json: string, purpose: Purpose, where: string): KeyFileContent {
  const wrong = (what: string) =>
    new SealstreamError(
      "key-invalid",
      `${where} ${what}: restore it from a backup (new keys are a new start).`,
    );
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    // Because a corrupt file is reported without the parser's message, which quotes the content.
    throw wrong("is not JSON");
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw wrong("is no key file");
  }
  const fields = new Map<string, unknown>(Object.entries(parsed));
  if ([...fields.keys()].sort().join() !== FIELDS || fields.get("version") !== VERSION) {
    throw wrong("is no key file of version 1");
  }
  const { kind } = PURPOSES[purpose];
  if (fields.get("purpose") !== purpose) throw wrong(`is not a key for ${purpose}`);
  if (fields.get("kind") !== kind) throw wrong(`is not of kind ${kind}`);
  const text = fields.get("material");
  if (typeof text !== "string") throw wrong("holds no material");
  const material = Buffer.from(text, "base64");
  if (material.toString("base64") !== text || !hasRightSize(kind, material)) {
    throw wrong("holds material of the wrong form");
  }
  return { kind, purpose, material };
}

/**
 * Text of a key file, read through one descriptor so that what was checked is what is read.
 * @throws `key-missing` when there is none; `key-invalid` when it is no regular file, too large or of loose mode
 */
export function readKeyFileText(path: string): string {
  let descriptor: number;
  try {
    // Non-blocking, so that a named pipe in its place is refused instead of waited for.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    const code = errorCode(cause);
    if (code === "ENOENT") {
      throw new SealstreamError(
        "key-missing",
        `${path} is missing: restore it from a backup, or use the key folder that keys create made.`,
        {
          cause,
        },
      );
    }
    throw new SealstreamError("key-invalid", `${path} cannot be opened (${code}).`, { cause });
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile() || stat.size > MAX_KEY_FILE_BYTES) {
      throw new SealstreamError("key-invalid", `${path} is no key file.`);
    }
    if ((stat.mode & LOOSE_BITS) !== 0) {
      throw new SealstreamError(
        "key-invalid",
        `${path} can be read by others (mode ${(stat.mode & 0o777).toString(8)}): chmod 600 it.`,
      );
    }
    return readUpTo(descriptor, stat.size).toString("utf8");
  } finally {
    closeSync(descriptor);
  }
}

/** At most `bytes` bytes from the start of an open file. */
export function readUpTo(descriptor: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let at = 0;
  while (at < bytes) {
    const count = readSync(descriptor, buffer, at, bytes - at, at);
    if (count === 0) break;
    at += count;
  }
  return buffer.subarray(0, at);
}

/** The purpose of a file name of the form `<purpose>.key`, else null. */
export function purposeOfFileName(name: string): Purpose | null {
  if (!name.endsWith(KEY_SUFFIX)) return null;
  const purpose = name.slice(0, -KEY_SUFFIX.length);
  return isPurpose(purpose) ? purpose : null;
}

/** `code` of a system error, e.g. ENOENT; `unknown` for anything else. */
export function errorCode(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "unknown";
  return typeof error.code === "string" ? error.code : "unknown";
}

function hasRightSize(kind: KeyKind, material: Uint8Array): boolean {
  return kind === "ckks-secret" ? material.length > 0 : material.length === PRIVATE_KEY_BYTES;
}
