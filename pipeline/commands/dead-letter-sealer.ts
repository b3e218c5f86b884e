/** Seals dead letters to the failing stage's own zone. */
import { createHash } from "node:crypto";
import { MAX_VALUE_BYTES, type StageName } from "../../schemas/topics.ts";
import { encodeCbor } from "../crypto/cbor.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import type { UnwrapPurpose } from "../crypto/key-purposes.ts";
import { sealTo } from "../crypto/sealed-box.ts";
import type { Recipient } from "../crypto/wrap/types.ts";
import { SealstreamError } from "../errors.ts";
import type { StreamRecord } from "../stream/contract.ts";
import type { DeadLetterSealer } from "../stream/dead-letter.ts";

/** Key that opens the letters of each stage: its own zone's. */
export const DEAD_LETTER_PURPOSE: Readonly<Record<StageName, UnwrapPurpose>> = {
  desensitize: "owner-dead-letter",
  encrypt: "owner-dead-letter",
  train: "training-dead-letter",
  aggregate: "training-dead-letter",
  predict: "prediction-dead-letter",
};

/** AAD of a dead letter: where the record lay, so that letters cannot be swapped. */
export function deadLetterAad(
  pipeline: string,
  topic: string,
  partition: number,
  offset: number,
): Uint8Array {
  return new TextEncoder().encode(
    `sealstream/dead-letter/v1|${pipeline}|${topic}|${partition}|${offset}`,
  );
}

function recordBytes({ key, value, headers }: StreamRecord): number {
  const parts = [key, value, ...Object.values(headers)];
  const names = Object.keys(headers).reduce((sum, name) => sum + Buffer.byteLength(name), 0);
  return parts.reduce((sum, part) => sum + (part?.byteLength ?? 0), names);
}

/** What stands for a part of a record that is too large to be sealed whole. */
function digest(bytes: Uint8Array | null) {
  return bytes === null
    ? null
    : { bytes: bytes.byteLength, sha256: createHash("sha256").update(bytes).digest() };
}

/**
 * Grammar of the sealed plaintext, CBOR. Whole: `{v: 1, key: bstr / null, value: bstr / null, headers: {tstr: bstr},
 * timestampMs: int, reason: tstr}`. A record too large for a Kafka message of its own stays in the input topic and is
 * named: `{v: 1, key: {bytes, sha256} / null, value: {bytes, sha256} / null, timestampMs, reason}`.
 */
function plaintextOf(record: StreamRecord, reason: string): Uint8Array {
  const { key, value, headers } = record;
  // A producer may claim any int64; CBOR here takes only whole numbers that doubles hold exactly.
  const timestampMs = Number.isSafeInteger(record.timestampMs) ? record.timestampMs : 0;
  return encodeCbor(
    recordBytes(record) > MAX_VALUE_BYTES
      ? { v: 1, key: digest(key), value: digest(value), timestampMs, reason }
      : { v: 1, key, value, headers: { ...headers }, timestampMs, reason },
  );
}

/** @throws SealstreamError `key-missing` when no dead-letter key of the stage's zone is published */
export function createDeadLetterSealer(
  directory: KeyDirectory,
  stage: StageName,
): DeadLetterSealer {
  const recipient = (): Recipient => {
    const found = directory.recipient(DEAD_LETTER_PURPOSE[stage]);
    if (found === null) {
      throw new SealstreamError(
        "key-missing",
        `No ${DEAD_LETTER_PURPOSE[stage]} key is published: run "sealstream keys create FILE".`,
      );
    }
    return found;
  };
  // Checked at the start: a stage that cannot seal a refused record must not begin.
  recipient();
  return ({ pipeline, topic, partition, record, reason }) =>
    sealTo({
      recipients: [recipient()],
      plaintext: plaintextOf(record, reason),
      aad: deadLetterAad(pipeline, topic, partition, record.offset),
    });
}
