/** The private key of a downstream service: a PKCS#8 file in PEM that nobody else can read. */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { readKeyFileText } from "../crypto/key-file.ts";
import { PRIVATE_KEY_BYTES } from "../crypto/key-handles.ts";
import { createUnwrapKey, type UnwrapKey } from "../crypto/key-wrap.ts";
import { SealstreamError } from "../errors.ts";

/**
 * @param path of the file, as the command line gives it
 * @throws SealstreamError `usage` without one, `key-missing` when there is none, `key-invalid` for another content or mode
 */
export function readReaderKey(path: unknown): UnwrapKey {
  if (typeof path !== "string") {
    throw new SealstreamError("usage", "Name the private key: --key FILE.pem.");
  }
  const pem = readKeyFileText(path);
  const key = privateKeyOf(pem);
  if (key?.asymmetricKeyType !== "x25519") {
    throw new SealstreamError(
      "key-invalid",
      `${path} holds no X25519 private key in PEM (PKCS#8, without a passphrase).`,
    );
  }
  const der = key.export({ format: "der", type: "pkcs8" });
  const unwrapKey = createUnwrapKey("reader", der.subarray(der.length - PRIVATE_KEY_BYTES));
  der.fill(0);
  return unwrapKey;
}

function privateKeyOf(pem: string): KeyObject | null {
  try {
    return createPrivateKey({ key: pem, format: "pem" });
  } catch {
    // Because OpenSSL's message says nothing that helps, and may quote the file.
    return null;
  }
}
