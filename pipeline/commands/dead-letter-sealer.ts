/** Seals dead letters to the failing stage's own zone. */
import type { StageName } from "../../schemas/topics.ts";
import { encodeCbor } from "../crypto/cbor.ts";
import type { KeyDirectory } from "../crypto/directory.ts";
import type { UnwrapPurpose } from "../crypto/key-purposes.ts";
import { sealTo } from "../crypto/sealed-box.ts";
import { SealstreamError } from "../errors.ts";
import type { DeadLetterSealer } from "../stream/dead-letter.ts";

const PURPOSE: Readonly<Record<StageName, UnwrapPurpose>> = {
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

/**
 * Grammar of the sealed plaintext, CBOR: `{v: 1, key: bstr / null, value: bstr / null, headers: {tstr: bstr},
 * timestampMs: uint, reason: tstr}`.
 */
export function createDeadLetterSealer(
  directory: KeyDirectory,
  stage: StageName,
): DeadLetterSealer {
  return ({ pipeline, topic, partition, record, reason }) => {
    const recipient = directory.recipient(PURPOSE[stage]);
    if (recipient === null) {
      throw new SealstreamError(
        "key-missing",
        `No ${PURPOSE[stage]} key is published: run "sealstream keys create FILE".`,
      );
    }
    return sealTo({
      recipients: [recipient],
      plaintext: encodeCbor({
        v: 1,
        key: record.key,
        value: record.value,
        headers: { ...record.headers },
        timestampMs: record.timestampMs,
        reason,
      }),
      aad: deadLetterAad(pipeline, topic, partition, record.offset),
    });
  };
}
