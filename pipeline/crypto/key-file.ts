/**
 * Key files: one private key each, as JSON.
 *
 * ```
 * {"version": 1, "kind": <kind>, "purpose": <a purpose of that kind>, "material": <base64>}
 * {"version": 2, "kind": <kind>, "purpose": <a purpose that takes it>, "generation": <1 to 999999999>,
 *  "material": <base64, or the URI of kind kms> | "sealed": <see key-seal.ts>}
 * kind = "ed25519" | "x25519" | "secret" (32 raw bytes) | "ckks-secret" (what the CKKS room serialized)
 *      | "p-256" | "rsa" (PKCS#8 DER, version 2) | "kms" (a key that stays in a service, version 2)
 * ```
 * Named `<purpose>.key` or `<purpose>.<generation>.key`, mode 0600: any bit for group or others is refused. Nothing else
 * stands in a key file. Version 1 is of generation 1.
 * Must not: put a file's content into a message, or leave material on an enumerable property.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { SealstreamError } from "../errors.ts";
import { PRIVATE_KEY_BYTES } from "./key-handles.ts";
import {
  isBoxPurpose,
  isPurpose,
  type KeyHolder,
  type KeyKind,
  PURPOSES,
  type Purpose,
} from "./key-purposes.ts";
import { parseSealed, type Sealed } from "./key-seal-form.ts";

/** What a file may hold: a purpose for unwrapping may also be a key of another algorithm, or one in a service. */
export type KeyFileKind = KeyKind | "p-256" | "rsa" | "kms";

/** A key file in memory, never sealed; `json` holds the secret and is not enumerable. */
export interface KeyFile {
  readonly holder: KeyHolder;
  readonly purpose: Purpose;
  /** Counts the keys of a purpose, from 1 on. */
  readonly generation: number;
  readonly json: string;
}

/** What a key file says. The caller wipes `material` after making a handle of it. */
export interface KeyFileContent {
  readonly kind: KeyFileKind;
  readonly purpose: Purpose;
  readonly generation: number;
  /** Raw bytes, PKCS#8 DER, or the UTF-8 of a URI: by `kind`. */
  readonly material: Buffer;
}

/** A key file as it was found: open, or sealed. */
export type KeyFileForm =
  | (KeyFileContent & { readonly sealed: null })
  | (Omit<KeyFileContent, "material"> & { readonly sealed: Sealed; readonly material: null });

/** A CKKS secret key of 16,384 slots takes 1.2 MB; base64 and JSON add a third. */
export const MAX_KEY_FILE_BYTES = 16 * 1024 * 1024;
export const KEY_FILE_VERSION = 2;
export const FIRST_GENERATION = 1;
/** PKCS#8 of an RSA key of 8,192 bits takes 4.7 KB. */
const MAX_PKCS8_BYTES = 8 * 1024;
const MAX_URI_BYTES = 1024;
/** Permission bits of group and others. */
const LOOSE_BITS = 0o077;

const FIELDS: Readonly<Record<string, number>> = {
  "kind,material,purpose,version": 1,
  "generation,kind,material,purpose,version": 2,
  "generation,kind,purpose,sealed,version": 2,
};
const NAME = /^([a-z0-9-]+)(?:\.([1-9][0-9]{0,8}))?\.(key|pem)$/;
const URI = /^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$/;

/** What the name of a key file says. */
export interface KeyFileName {
  readonly purpose: Purpose;
  /** Null when the name has none. */
  readonly generation: number | null;
  readonly form: "key" | "pem";
}

/** `<purpose>.key`, from the second generation on `<purpose>.<generation>.key`. */
export function keyFileName(purpose: Purpose, generation: number = FIRST_GENERATION): string {
  return generation === FIRST_GENERATION ? `${purpose}.key` : `${purpose}.${generation}.key`;
}

/** Null for a name that is none of a key file. */
export function parseKeyFileName(name: string): KeyFileName | null {
  const [, purpose = "", generation, form] = NAME.exec(name) ?? [];
  if (!isPurpose(purpose) || (form !== "key" && form !== "pem")) return null;
  return { purpose, generation: generation === undefined ? null : Number(generation), form };
}

/** True when a key of this kind can serve the purpose. */
export function takesKind(purpose: Purpose, kind: KeyFileKind): boolean {
  const own = PURPOSES[purpose].kind;
  if (kind === own) return true;
  if (kind === "kms") return own === "x25519" && !isBoxPurpose(purpose);
  return own === "x25519" && (kind === "p-256" || kind === "rsa");
}

/**
 * The key file of raw material; the caller may wipe `material` afterwards.
 * @param options `kind`: the purpose's own by default; `generation`: 1 by default
 * @throws `key-invalid` when the material has not the form of its kind
 */
export function createKeyFile(
  purpose: Purpose,
  material: Uint8Array,
  options: { readonly kind?: KeyFileKind; readonly generation?: number } = {},
): KeyFile {
  const { holder } = PURPOSES[purpose];
  const kind = options.kind ?? PURPOSES[purpose].kind;
  const generation = options.generation ?? FIRST_GENERATION;
  assertMayBeAway(purpose, kind, `A key of ${purpose}`);
  if (!takesKind(purpose, kind) || !hasRightForm(kind, material) || !isGeneration(generation)) {
    throw new SealstreamError("key-invalid", `The material of ${purpose} has the wrong form.`);
  }
  const bytes = Buffer.from(material.buffer, material.byteOffset, material.length);
  const text = bytes.toString(kind === "kms" ? "utf8" : "base64");
  const json = { version: KEY_FILE_VERSION, kind, purpose, generation, material: text };
  return keyFileOf(holder, purpose, `${JSON.stringify(json)}\n`, generation);
}

/** A {@link KeyFile} whose json does not show when it is logged or serialized. */
export function keyFileOf(
  holder: KeyHolder,
  purpose: Purpose,
  json: string,
  generation: number = FIRST_GENERATION,
): KeyFile {
  const file: KeyFile = { holder, purpose, generation, json };
  Object.defineProperty(file, "json", { value: json, enumerable: false });
  return Object.freeze(file);
}

/**
 * What a key file that must be for `purpose` says; what is sealed stays sealed.
 * @param where names the file in messages
 * @throws `key-invalid` when it is not exactly of the form above
 */
export function parseKeyFileForm(json: string, purpose: Purpose, where: string): KeyFileForm {
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
    throw isCutOff(json) ? unfinished(where) : wrong("is not JSON");
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw wrong("is no key file");
  }
  const fields = new Map<string, unknown>(Object.entries(parsed));
  const version = FIELDS[[...fields.keys()].sort().join()];
  if (version === undefined || fields.get("version") !== version) {
    throw wrong(`is no key file of version 1 or ${KEY_FILE_VERSION}`);
  }
  if (fields.get("purpose") !== purpose) throw wrong(`is not a key for ${purpose}`);
  assertMayBeAway(purpose, fields.get("kind"), where);
  const kind = kindOf(fields.get("kind"), purpose, version);
  if (kind === null) throw wrong(`is not of kind ${PURPOSES[purpose].kind}`);
  const generation = version === 1 ? FIRST_GENERATION : fields.get("generation");
  if (!isGeneration(generation)) throw wrong("has no generation");
  if (fields.has("sealed")) {
    const sealed = parseSealed(fields.get("sealed"), MAX_KEY_FILE_BYTES);
    // What is no secret is not sealed, so that it has one spelling.
    if (sealed === null || kind === "kms") throw wrong("is sealed in no form of this version");
    return { kind, purpose, generation, sealed, material: null };
  }
  const text = fields.get("material");
  if (typeof text !== "string") throw wrong("holds no material");
  const encoding = kind === "kms" ? "utf8" : "base64";
  const material = Buffer.from(text, encoding);
  if (material.toString(encoding) !== text || !hasRightForm(kind, material)) {
    throw wrong("holds material of the wrong form");
  }
  return { kind, purpose, generation, material, sealed: null };
}

/** Every key file ends with its object: one that does not was never written to its end, or lost it. */
function isCutOff(json: string): boolean {
  return !json.trimEnd().endsWith("}");
}

/** Keys are published when their files are complete, so one that was cut off while it was written is nobody's yet. */
function unfinished(where: string): SealstreamError {
  return new SealstreamError(
    "key-invalid",
    `${where} is unfinished: if a keys command was stopped while it wrote it, remove it and run the command again; else restore it from a backup.`,
  );
}

/**
 * As {@link parseKeyFileForm}, for a file that is not sealed, as all are in memory.
 * @throws `key-invalid` also for a sealed one
 */
export function parseKeyFile(json: string, purpose: Purpose, where: string): KeyFileContent {
  const { sealed, ...form } = parseKeyFileForm(json, purpose, where);
  if (sealed !== null || form.material === null) {
    throw new SealstreamError("key-invalid", `${where} is sealed: open its folder first.`);
  }
  return form;
}

/** @throws `key-invalid` for a key in a service to which values are sealed one by one */
function assertMayBeAway(purpose: Purpose, kind: unknown, where: string): void {
  if (kind !== "kms" || !isBoxPurpose(purpose)) return;
  throw new SealstreamError(
    "key-invalid",
    `${where} cannot be in a key management service: what is sealed to ${purpose} is opened with a key file only.`,
  );
}

/** True for bytes that a key of this kind can have; whether they are a key, the handle made of them says. */
export function hasRightForm(kind: KeyFileKind, material: Uint8Array): boolean {
  switch (kind) {
    case "ckks-secret":
      return material.length > 0;
    case "p-256":
    case "rsa":
      return material.length > PRIVATE_KEY_BYTES && material.length <= MAX_PKCS8_BYTES;
    case "kms":
      return material.length <= MAX_URI_BYTES && URI.test(Buffer.from(material).toString("latin1"));
    default:
      return material.length === PRIVATE_KEY_BYTES;
  }
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
    assertTight(path, stat.mode, "600");
    return readUpTo(descriptor, stat.size).toString("utf8");
  } finally {
    closeSync(descriptor);
  }
}

/** @throws `key-invalid` when group or others can get at it */
export function assertTight(path: string, mode: number, wanted: "600" | "700"): void {
  if ((mode & LOOSE_BITS) === 0) return;
  const found = (mode & 0o777).toString(8);
  throw new SealstreamError(
    "key-invalid",
    `${path} can be read by others (mode ${found}): chmod ${wanted} it.`,
  );
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

/** `code` of a system error, e.g. ENOENT; `unknown` for anything else. */
export function errorCode(error: unknown): string {
  if (typeof error !== "object" || error === null || !("code" in error)) return "unknown";
  return typeof error.code === "string" ? error.code : "unknown";
}

function kindOf(value: unknown, purpose: Purpose, version: number): KeyFileKind | null {
  const own = PURPOSES[purpose].kind;
  if (value === own) return own;
  if (version === 1 || (value !== "p-256" && value !== "rsa" && value !== "kms")) return null;
  return takesKind(purpose, value) ? value : null;
}

function isGeneration(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value < 1e9;
}
