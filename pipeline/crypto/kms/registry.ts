/** Several key management services as one: a key's URI says by its scheme which of them is asked. */
import { SealstreamError } from "../../errors.ts";
import type { Kms } from "./kms.ts";

/** @throws `key-invalid` when two services have one scheme; the methods also for a scheme that none has */
export function kmsOf(services: readonly Kms[]): Kms {
  const byScheme = new Map<string, Kms>();
  for (const service of services) {
    for (const scheme of service.schemes) {
      if (byScheme.has(scheme)) {
        throw new SealstreamError("key-invalid", `Two services have keys of the scheme ${scheme}.`);
      }
      byScheme.set(scheme, service);
    }
  }
  const serviceOf = (uri: string): Kms => {
    const [, scheme = ""] = /^([a-z][a-z0-9+.-]{0,31}):/.exec(uri) ?? [];
    const service = byScheme.get(scheme);
    if (service !== undefined) return service;
    const known = [...byScheme.keys()].sort().join(", ");
    throw new SealstreamError(
      "key-invalid",
      `No key management service is set up for keys of the scheme "${scheme}": there ${known === "" ? "is none" : `are ${known}`}.`,
    );
  };
  return Object.freeze({
    schemes: [...byScheme.keys()],
    wrap: async (uri: string, contentKey: Uint8Array, binding: Uint8Array) =>
      serviceOf(uri).wrap(uri, contentKey, binding),
    unwrap: async (uri: string, ciphertext: Uint8Array, binding: Uint8Array) =>
      serviceOf(uri).unwrap(uri, ciphertext, binding),
    publicKey: async (uri: string) => serviceOf(uri).publicKey(uri),
  });
}
