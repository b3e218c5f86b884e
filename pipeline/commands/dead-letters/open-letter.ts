/**
 * Opens a dead letter with the key of the failing stage's own zone.
 *
 * The AAD names pipeline, topic, partition and offset of the record: a letter that was edited, or whose headers were
 * moved to another record, does not open. A letter is not signed, though: whoever has the zone's public key can make
 * one. So it says what may have lain there; a replay also compares it with the record itself.
 */
import { join } from "node:path";
import type { StageName } from "../../../schemas/topics.ts";
import { type CborValue, decodeCbor, isBytes, isTextMap, isUnsigned } from "../../crypto/cbor.ts";
import { PURPOSES } from "../../crypto/key-purposes.ts";
import { openSealed } from "../../crypto/sealed-box.ts";
import type { UnwrapKey } from "../../crypto/wrap/types.ts";
import { isSealstreamError, SealstreamError } from "../../errors.ts";
import type { Headers, StreamRecord } from "../../stream/contract.ts";
import type { LetterHeaders } from "../../stream/dead-letter.ts";
import type { CommandContext } from "../context.ts";
import { DEAD_LETTER_PURPOSE, deadLetterAad } from "../dead-letter-sealer.ts";
import { openHolderKeys } from "../key-access.ts";

/** What stands for a part of a record that was too large to be sealed. */
export interface PartDigest {
  readonly bytes: number;
  readonly sha256: Uint8Array;
}

export type OpenedLetter =
  | { readonly status: "whole"; readonly record: StreamRecord; readonly reason: string }
  | {
      readonly status: "digest";
      readonly key: PartDigest | null;
      readonly value: PartDigest | null;
      readonly timestampMs: number;
      readonly reason: string;
    }
  | { readonly status: "refused" };

/** The key that opens a stage's letters. @throws SealstreamError `key-missing` in one sentence */
export async function deadLetterKey(
  context: CommandContext,
  keysRoot: string,
  stage: StageName,
): Promise<UnwrapKey> {
  const purpose = DEAD_LETTER_PURPOSE[stage];
  const folder = join(keysRoot, "dead-letters");
  try {
    return (await openHolderKeys(context, folder, "dead-letters")).unwrap(purpose);
  } catch (error) {
    if (!isSealstreamError(error, "key-missing")) {
      throw error;
    }
    throw new SealstreamError(
      "key-missing",
      `Letters of ${stage} are sealed to the ${PURPOSES[purpose].zone} zone, and ${folder} has no ${purpose}.key: name the folder of that zone's keys with --keys.`,
      { cause: error },
    );
  }
}

/** Opens a letter under what its headers say; never throws on bad input. */
export function openLetter(given: {
  readonly pipeline: string;
  readonly headers: LetterHeaders;
  readonly value: Uint8Array | null;
  readonly key: UnwrapKey;
}): OpenedLetter {
  const { pipeline, headers, value, key } = given;
  const refused = { status: "refused" } as const;
  if (value === null) return refused;
  const aad = deadLetterAad(pipeline, headers.topic, headers.partition, headers.offset);
  const opened = openSealed({ message: value, unwrapKey: key, aad });
  if (opened.status === "refused") return refused;
  const letter = decodePlaintext(opened.plaintext, headers.offset);
  // The header's reason is not authenticated: it must be the sealed one.
  return letter.status !== "refused" && letter.reason === headers.reason ? letter : refused;
}

/** The grammar is that of `dead-letter-sealer.ts`. */
function decodePlaintext(plaintext: Uint8Array, offset: number): OpenedLetter {
  const refused = { status: "refused" } as const;
  const map = decodeCbor(plaintext);
  if (map === null || !isTextMap(map) || map["v"] !== 1) return refused;
  const { key, value, headers, timestampMs, reason } = map;
  if (typeof timestampMs !== "number" || !Number.isSafeInteger(timestampMs)) return refused;
  if (typeof reason !== "string") return refused;
  if (headers === undefined) {
    const keyDigest = digestOf(key);
    const valueDigest = digestOf(value);
    if (keyDigest === undefined || valueDigest === undefined) return refused;
    return { status: "digest", key: keyDigest, value: valueDigest, timestampMs, reason };
  }
  const plainHeaders = headersOf(headers);
  if (!isPart(key) || !isPart(value) || plainHeaders === null) return refused;
  return {
    status: "whole",
    record: { offset, timestampMs, key, value, headers: plainHeaders },
    reason,
  };
}

function isPart(value: CborValue | undefined): value is Uint8Array | null {
  return value === null || value instanceof Uint8Array;
}

function headersOf(value: CborValue): Headers | null {
  if (!isTextMap(value)) return null;
  // Because a header may be called `__proto__`: the object must have no prototype.
  const headers = Object.create(null) as Record<string, Uint8Array>;
  for (const [name, bytes] of Object.entries(value)) {
    if (!(bytes instanceof Uint8Array)) return null;
    headers[name] = bytes;
  }
  return headers;
}

/** `undefined` when it is no digest. */
function digestOf(value: CborValue | undefined): PartDigest | null | undefined {
  if (value === null) return null;
  if (!isTextMap(value)) return undefined;
  const { bytes, sha256 } = value;
  return isUnsigned(bytes) && isBytes(sha256, 32) ? { bytes, sha256 } : undefined;
}
