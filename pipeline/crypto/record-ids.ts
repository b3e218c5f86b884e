/**
 * The record ids of a pack, sealed to the consumer: the prediction zone passes them through unread.
 *
 * Grammar of the plaintext, CBOR: `[* tstr]`, one id per slot in slot order. AAD: the label, the pipeline and the
 * bundle id, so that ids cannot be moved to another pack.
 */
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { openSealed, sealTo } from "./sealed-box.ts";
import type { Recipient, UnwrapKey } from "./wrap/types.ts";

function aadOf(pipeline: string, bundleId: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`sealstream/record-ids/v1|${pipeline}|`), bundleId]);
}

/** Seals the ids of a pack's rows. */
export function sealRecordIds(options: {
  readonly pipeline: string;
  readonly bundleId: Uint8Array;
  readonly ids: readonly string[];
  readonly recipient: Recipient;
}): Uint8Array {
  return sealTo({
    recipients: [options.recipient],
    plaintext: encodeCbor([...options.ids]),
    aad: aadOf(options.pipeline, options.bundleId),
  });
}

/** The ids, or null when the message is not one of this pack for this key. */
export function openRecordIds(options: {
  readonly pipeline: string;
  readonly bundleId: Uint8Array;
  readonly message: Uint8Array;
  readonly unwrapKey: UnwrapKey;
}): readonly string[] | null {
  const opened = openSealed({
    message: options.message,
    unwrapKey: options.unwrapKey,
    aad: aadOf(options.pipeline, options.bundleId),
  });
  const ids: unknown = opened.status === "ok" ? decodeCbor(opened.plaintext) : null;
  return Array.isArray(ids) && ids.every((id): id is string => typeof id === "string") ? ids : null;
}
