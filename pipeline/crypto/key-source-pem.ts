/**
 * PKCS#8 keys in PEM, as OpenSSL and others write them: one block, "PRIVATE KEY" or "ENCRYPTED PRIVATE KEY".
 *
 * Ed25519 for signing purposes; X25519, P-256 or RSA of at least 2,048 bits for unwrapping purposes; a secret is no
 * PKCS#8 key. Older forms ("RSA PRIVATE KEY", "EC PRIVATE KEY") are refused: their encryption derives keys with MD5.
 * Must not: quote OpenSSL, whose messages may hold what it read.
 * Sources: RFC 7468 (PEM), RFC 5958 (PKCS#8), RFC 8410, NIST SP 800-131A (RSA size).
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import type { KeyFileContent, KeyFileKind } from "./key-file.ts";
import { PRIVATE_KEY_BYTES } from "./key-handles.ts";
import { PURPOSES, type Purpose } from "./key-purposes.ts";

/** A PEM text that was found, not opened yet. */
export interface PemText {
  readonly pem: string;
  readonly isEncrypted: boolean;
}

const BLOCK =
  /^\s*-----BEGIN (ENCRYPTED )?PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END (ENCRYPTED )?PRIVATE KEY-----\s*$/;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;
/** PKCS#8 of a raw key of RFC 8410: 16 bytes, then the key. */
const RAW_PKCS8_BYTES = 16 + PRIVATE_KEY_BYTES;

export function looksLikePem(text: string): boolean {
  return /^\s*-----BEGIN /.test(text);
}

/** @throws `key-invalid` for anything but one PKCS#8 block */
export function readPem(text: string, where: string): PemText {
  const [block, begin, end] = BLOCK.exec(text) ?? [];
  if (block === undefined || begin !== end) {
    throw new SealstreamError(
      "key-invalid",
      `${where} is not one PKCS#8 key in PEM: convert it with "openssl pkcs8 -topk8".`,
    );
  }
  return { pem: block, isEncrypted: begin !== undefined };
}

/**
 * The key of a PEM text; the caller wipes its material.
 * @param passphrase for an encrypted one
 * @throws `key-missing` without a passphrase, `key-invalid` for a wrong one, a damaged, a weak or an unfit key
 */
export function openPem(
  { pem, isEncrypted }: PemText,
  key: { readonly purpose: Purpose; readonly generation: number; readonly where: string },
  passphrase: string | null,
): KeyFileContent {
  const { where, purpose, generation } = key;
  if (isEncrypted && passphrase === null) {
    throw new SealstreamError(
      "key-missing",
      `${where} is encrypted: set SEALSTREAM_KEY_PASSPHRASE, or SEALSTREAM_KEY_PASSPHRASE_FILE to a file that holds it.`,
    );
  }
  let privateKey: KeyObject;
  try {
    const secret = isEncrypted && passphrase !== null ? { passphrase } : {};
    privateKey = createPrivateKey({ key: pem, format: "pem", ...secret });
  } catch {
    // Because what OpenSSL says may quote what it read.
    throw new SealstreamError(
      "key-invalid",
      isEncrypted
        ? `${where} does not open: the passphrase is not the one that it was sealed with, or the file was changed.`
        : `${where} is no PKCS#8 key: restore it from a backup.`,
    );
  }
  const kind = assertFit(privateKey, purpose, where);
  const der = privateKey.export({ format: "der", type: "pkcs8" });
  if (kind === "p-256" || kind === "rsa") return { kind, purpose, generation, material: der };
  if (der.length !== RAW_PKCS8_BYTES) {
    throw new SealstreamError("key-invalid", `${where} is no PKCS#8 key: restore it.`);
  }
  const material = Buffer.from(der.subarray(-PRIVATE_KEY_BYTES));
  der.fill(0);
  return { kind, purpose, generation, material };
}

/**
 * The kind of a private key that may serve the purpose.
 * @throws `key-invalid` for another kind, another curve, or an RSA key of the wrong size
 */
export function assertFit(privateKey: KeyObject, purpose: Purpose, where: string): KeyFileKind {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = privateKey;
  const own = PURPOSES[purpose].kind;
  if (type === "ed25519" && own === "ed25519") return own;
  if (own === "x25519") {
    if (type === "x25519") return own;
    if (type === "ec" && details?.namedCurve === "prime256v1") return "p-256";
    if (type === "rsa") {
      const bits = details?.modulusLength ?? 0;
      if (bits >= MIN_RSA_BITS && bits <= MAX_RSA_BITS) return "rsa";
      throw new SealstreamError(
        "key-invalid",
        `${where} is an RSA key of ${bits} bits: make one of ${MIN_RSA_BITS} to ${MAX_RSA_BITS}.`,
      );
    }
  }
  const fit = { ed25519: "Ed25519", x25519: "X25519, P-256 or RSA" } as const;
  throw new SealstreamError(
    "key-invalid",
    own === "ed25519" || own === "x25519"
      ? `${where} is no ${fit[own]} key, which ${purpose} must be.`
      : `${where} is in PEM, and ${purpose} is no key of that kind: make it with sealstream keys create.`,
  );
}
