/**
 * What stands in place of the material of a sealed key file, as JSON: read here with its limits, opened in key-seal.ts.
 *
 * ```
 * sealed = {"kdf": "scrypt", "n": <2^14 to 2^20>, "r": 8, "p": 1 to 16, salt, nonce, ciphertext}
 *        | {"kdf": "argon2id", "memoryKib": <8,192 to 1,048,576>, "passes": 1 to 64, "lanes": 1 to 16, salt, nonce, ciphertext}
 *        | {"kms": <URI of a key>, "wrapped": <base64: the file's own key as the service wrapped it>, nonce, ciphertext}
 * salt: 16 to 64 bytes, nonce: 12, ciphertext: AES-256-GCM of the material, 16 more (each base64)
 * ```
 * Must not: derive or decrypt anything. Sources: RFC 7914 (scrypt), RFC 9106 (Argon2id), NIST SP 800-38D (GCM).
 */
import { MAX_KMS_CIPHERTEXT_BYTES } from "./kms/kms.ts";

export interface ScryptCost {
  readonly kdf: "scrypt";
  /** A power of two: 128 * n * r bytes of memory. */
  readonly n: number;
  readonly r: number;
  readonly p: number;
}

export interface Argon2Cost {
  readonly kdf: "argon2id";
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}

/** What it costs to make a key of a passphrase. */
export type KdfCost = ScryptCost | Argon2Cost;

interface Box {
  readonly nonce: Buffer;
  /** With its tag of 16 bytes. */
  readonly ciphertext: Buffer;
}

export interface PassphraseSealed extends Box {
  readonly by: "passphrase";
  readonly cost: KdfCost;
  readonly salt: Buffer;
}

export interface KmsSealed extends Box {
  readonly by: "kms";
  readonly uri: string;
  readonly wrapped: Buffer;
}

export type Sealed = PassphraseSealed | KmsSealed;

export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
export const SALT_BYTES = 16;
const MAX_SALT_BYTES = 64;
const MAX_URI = /^[a-z][a-z0-9+.-]*:[\x21-\x7e]{1,1000}$/;

/** True for a cost that neither fills the memory nor is too cheap to protect anything. */
export function isBearable(cost: KdfCost): boolean {
  if (cost.kdf === "scrypt") {
    const { n, r, p } = cost;
    return isWithin(n, 2 ** 14, 2 ** 20) && (n & (n - 1)) === 0 && r === 8 && isWithin(p, 1, 16);
  }
  const { memoryKib, passes, lanes } = cost;
  return isWithin(memoryKib, 8192, 2 ** 20) && isWithin(passes, 1, 64) && isWithin(lanes, 1, 16);
}

/** Null when the value is not exactly of one of the forms above. */
export function parseSealed(value: unknown, maxBytes: number): Sealed | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const fields = new Map<string, unknown>(Object.entries(value));
  const nonce = base64Of(fields.get("nonce"), NONCE_BYTES, NONCE_BYTES);
  const ciphertext = base64Of(fields.get("ciphertext"), TAG_BYTES + 1, maxBytes);
  if (nonce === null || ciphertext === null) return null;
  const names = [...fields.keys()].sort().join();
  if (names === "ciphertext,kms,nonce,wrapped") {
    const uri = fields.get("kms");
    const wrapped = base64Of(fields.get("wrapped"), 1, MAX_KMS_CIPHERTEXT_BYTES);
    if (typeof uri !== "string" || !MAX_URI.test(uri) || wrapped === null) return null;
    return { by: "kms", uri, wrapped, nonce, ciphertext };
  }
  const cost = costOf(fields, names);
  const salt = base64Of(fields.get("salt"), SALT_BYTES, MAX_SALT_BYTES);
  if (cost === null || !isBearable(cost) || salt === null) return null;
  return { by: "passphrase", cost, salt, nonce, ciphertext };
}

/** The JSON of {@link parseSealed}. */
export function sealedToJson(sealed: Sealed): Readonly<Record<string, string | number>> {
  const box = {
    nonce: sealed.nonce.toString("base64"),
    ciphertext: sealed.ciphertext.toString("base64"),
  };
  return sealed.by === "kms"
    ? { kms: sealed.uri, wrapped: sealed.wrapped.toString("base64"), ...box }
    : { ...sealed.cost, salt: sealed.salt.toString("base64"), ...box };
}

function costOf(fields: ReadonlyMap<string, unknown>, names: string): KdfCost | null {
  const number = (name: string) => {
    const value = fields.get(name);
    return typeof value === "number" ? value : Number.NaN;
  };
  const kdf = fields.get("kdf");
  if (kdf === "scrypt" && names === "ciphertext,kdf,n,nonce,p,r,salt") {
    return { kdf, n: number("n"), r: number("r"), p: number("p") };
  }
  if (kdf === "argon2id" && names === "ciphertext,kdf,lanes,memoryKib,nonce,passes,salt") {
    const [memoryKib, passes, lanes] = [number("memoryKib"), number("passes"), number("lanes")];
    return { kdf, memoryKib, passes, lanes };
  }
  return null;
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}

/** Bytes of canonical base64 of a length within the limits, else null. */
function base64Of(value: unknown, least: number, most: number): Buffer | null {
  if (typeof value !== "string" || value.length > 4 * Math.ceil(most / 3)) return null;
  const bytes = Buffer.from(value, "base64");
  return bytes.toString("base64") === value && bytes.length >= least ? bytes : null;
}
