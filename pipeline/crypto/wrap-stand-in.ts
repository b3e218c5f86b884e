/** Stands in for `pipeline/crypto/wrap/` until that branch is merged: then this file goes. */
import { createHash, type KeyObject } from "node:crypto";
import { SealstreamError } from "../errors.ts";
import { createUnwrapKey, type UnwrapKey, type WrappedKey } from "./key-wrap.ts";
import type { Kms } from "./kms/kms.ts";

export type { UnwrapKey } from "./key-wrap.ts";
export interface RemoteUnwrapKey {
  readonly purpose: string;
  readonly algorithm: "kms";
  readonly kid: Uint8Array;
  readonly publicKey: Uint8Array;
  unwrapRemotely(wrapped: WrappedKey, binding: Uint8Array): Promise<KeyObject | null>;
}

export function createUnwrapKeyOf(purpose: string, privateKey: KeyObject): UnwrapKey {
  if (privateKey.asymmetricKeyType === "x25519") {
    const der = privateKey.export({ format: "der", type: "pkcs8" });
    return createUnwrapKey(purpose, der.subarray(-32));
  }
  const kid = createHash("sha256")
    .update(privateKey.export({ format: "der", type: "pkcs8" }))
    .digest()
    .subarray(0, 16);
  return { purpose, kid, publicKey: kid, unwrap: () => null };
}

export function createRemoteUnwrapKey(purpose: string, uri: string, _kms: Kms): RemoteUnwrapKey {
  const publicKey = new Uint8Array(Buffer.from(uri));
  const kid = new Uint8Array(createHash("sha256").update(publicKey).digest().subarray(0, 16));
  return {
    purpose,
    algorithm: "kms",
    kid,
    publicKey,
    unwrapRemotely: () => Promise.reject(new SealstreamError("internal", "Stand-in.")),
  };
}
