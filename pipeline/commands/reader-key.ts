/** The private key of a downstream service: a PKCS#8 file in PEM that nobody else can read. */
import { createPrivateKey } from "node:crypto";
import { readKeyFileText } from "../crypto/key-file.ts";
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
  try {
    const key = createPrivateKey({ key: pem, format: "pem" });
    return createUnwrapKey("reader", key.export({ format: "der", type: "pkcs8" }).subarray(-32));
  } catch {
    // Because OpenSSL's message says nothing that helps, and may quote the file.
    throw new SealstreamError(
      "key-invalid",
      `${path} holds no private key in PEM (PKCS#8, without a passphrase): expected X25519, P-256 or RSA of at least 2048 bits.`,
    );
  }
}
