/** The private key of a downstream service: a PKCS#8 file in PEM that nobody else can read. */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { readKeyFileText } from "../crypto/key-file.ts";
import { createUnwrapKeyOf } from "../crypto/wrap/key-wrap.ts";
import type { UnwrapKey } from "../crypto/wrap/types.ts";
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
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: pem, format: "pem" });
  } catch {
    // Because OpenSSL's message says nothing that helps, and may quote the file.
    throw new SealstreamError(
      "key-invalid",
      `${path} holds no private key in PEM (PKCS#8, without a passphrase).`,
    );
  }
  return createUnwrapKeyOf("reader", key);
}
